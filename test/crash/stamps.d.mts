export declare const blockBytes: number;
export declare const writerCount: number;
export declare const slotCount: number;
export declare const roles: readonly string[];
export declare const machines: readonly string[];
export declare const diskBytes: number;
export type Fact = 'submitted' | 'acknowledged' | 'durable';
export declare const facts: readonly Fact[];
export declare function placeOf(machine: number, writer: number, fact: Fact): number;
export interface StampedOperation {
  readonly kind: 'write' | 'zero' | 'trim';
  readonly disk: number;
  readonly slot: number;
  readonly fua: boolean;
  readonly flushes: boolean;
}
export declare function togetherFrom(writer: number, number: number): number;
export declare function operationAt(writer: number, number: number): StampedOperation;
export declare function offsetOf(writer: number, slot: number): number;
export interface Stamp {
  readonly writer: number;
  readonly number: number;
  readonly round: number;
  readonly disk: number;
  readonly slot: number;
  readonly seen: readonly number[];
}
export declare function stamped(stamp: Stamp): Uint8Array;
export declare function stampOf(bytes: Uint8Array): Stamp | null;
