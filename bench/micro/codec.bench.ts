/**
 * What does compression cost, there and back?
 *
 * Unit: one chunk of 64 KiB, on one core, zstd at level 2. Encoding includes decoding the result and comparing it with
 * the plain bytes, which happens before anything is stored.
 * Expected: text at 330 MB/s is 200 us, and 45 us to verify at 1.5 GB/s. Bytes that do not compress are given up early,
 * at about 1 GB/s: 65 us, and nothing to verify. Decoding text is those 45 us; what was stored plain is a copy: 4 us.
 */

import { addon } from './addon.js';
import { sampleOf, type SampleKind } from './sample.js';
import { chunkBytes, level, type MicroCase, type Suite } from './suite.js';

export const codec: Suite = {
  name: 'codec',
  question: 'What does compression cost, there and back?',
  open: (size) => {
    const casesOf = (kind: SampleKind, encodeMicroseconds: number, decodeMicroseconds: number): MicroCase[] => {
      const probe = new addon.NativeProbe(chunkBytes, level);
      probe.load(sampleOf(kind, size.sampleChunks));
      const common = { unit: 'chunk', operations: size.sampleChunks, bytes: chunkBytes };
      const encode = (): void => probe.encode();
      const decode = (): void => probe.decode();
      return [
        { ...common, name: `encode and verify ${kind}`, expectedMicroseconds: encodeMicroseconds, run: encode },
        { ...common, name: `decode ${kind}`, expectedMicroseconds: decodeMicroseconds, run: decode },
      ];
    };
    return { cases: [...casesOf('text', 245, 45), ...casesOf('random', 65, 4)] };
  },
};
