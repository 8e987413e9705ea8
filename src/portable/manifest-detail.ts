/**
 * The detail of a manifest: one JSON object (format.md section 7).
 *
 * Members that are not known here are ignored; known ones have the type that the document gives them, or the manifest
 * is refused. Functions throw an `Error` that names the member.
 */

import type { PortableDisk, PortablePoint } from './point.js';

/** What the detail adds to the binary part of a manifest. */
export type ManifestDetail = Omit<PortablePoint, 'id'>;

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A member of an object together with its path, for messages. */
class Member {
  readonly path: string;
  readonly value: unknown;

  constructor(path: string, value: unknown) {
    this.path = path;
    this.value = value;
  }

  at(name: string): Member {
    if (!isObject(this.value)) throw this.#refuse('an object');
    const value = Object.hasOwn(this.value, name) ? this.value[name] : undefined;
    return new Member(this.path === '' ? name : `${this.path}.${name}`, value);
  }

  text(): string {
    if (typeof this.value !== 'string') throw this.#refuse('a text');
    return this.value;
  }

  textOrNull(): string | null {
    return this.value === null || this.value === undefined ? null : this.text();
  }

  count(): number {
    if (typeof this.value !== 'number' || !Number.isSafeInteger(this.value) || this.value < 0) {
      throw this.#refuse('a whole number');
    }
    return this.value;
  }

  truth(): boolean {
    if (typeof this.value !== 'boolean') throw this.#refuse('true or false');
    return this.value;
  }

  oneOf<T extends string>(values: readonly T[]): T {
    const match = values.find((value) => value === this.value);
    if (match === undefined) throw this.#refuse(values.join(' or '));
    return match;
  }

  items(): readonly Member[] {
    if (!Array.isArray(this.value)) throw this.#refuse('an array');
    return this.value.map((value: unknown, index) => new Member(`${this.path}[${index}]`, value));
  }

  #refuse(expected: string): Error {
    return new Error(`the detail's ${this.path === '' ? 'value' : this.path} is not ${expected}`);
  }
}

function parseDisk(disk: Member): PortableDisk {
  return {
    id: disk.at('id').text(),
    role: disk.at('role').text(),
    name: disk.at('name').text(),
    kind: disk.at('kind').oneOf(['external', 'managed']),
    sizeBytes: disk.at('sizeBytes').count(),
    sectorBytes: disk.at('sectorBytes').count(),
    excluded: disk.at('excluded').truth(),
    source: disk.at('source').textOrNull(),
  };
}

/** Reads the detail from its bytes. */
export function parseDetail(bytes: Uint8Array): ManifestDetail {
  const detail = new Member('', JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)));
  const machine = detail.at('machine');
  const collection = detail.at('collection');
  const consistency = detail.at('consistency');
  return {
    createdMs: detail.at('createdMs').count(),
    machine: {
      id: machine.at('id').text(),
      name: machine.at('name').text(),
      subscription: machine.at('subscription').text(),
      resourceGroup: machine.at('resourceGroup').text(),
    },
    collection: { id: collection.at('id').text(), name: collection.at('name').text() },
    name: detail.at('name').text(),
    sequence: detail.at('sequence').count(),
    consistency: {
      requested: consistency.at('requested').textOrNull(),
      reached: consistency.at('reached').text(),
      writers: consistency.at('writers').value ?? null,
    },
    configuration: detail.at('configuration').value ?? null,
    disks: detail.at('disks').items().map(parseDisk),
  };
}
