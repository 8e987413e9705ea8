/**
 * Making the packs of a store known: by their trailers, and by salvage where a trailer cannot be trusted.
 *
 * Order: all packs with a sound trailer first, then the damaged ones, then the deltas that salvage found before their
 * bases. Whatever is wrong with a pack is a problem; it never keeps the other packs from being read.
 */

import { open } from 'node:fs/promises';
import { join } from 'node:path';

import { hex } from './bytes.js';
import type { StoreConfig } from './config.js';
import type { ContentStore } from './content.js';
import { messageOf, PortableError } from './errors.js';
import type { Checksum } from './hashes.js';
import { readRange, type Pack, type PackFiles } from './pack-files.js';
import { packBytesMax, packHeaderBytes, parsePackHeader, parsePackName, type PackName } from './pack-header.js';
import { problemOf, type PortableProblem } from './problem.js';
import { gapsBetween, salvageFrames, type Proof } from './salvage.js';
import { footerBytes, parseFooter, parseTrailer, type PackFrame } from './trailer.js';

/** Where packs stand, relative to the store. */
export const packsFolder = 'home/packs';

/** Frames of a pack as its trailer lists them. Throws an `Error` that says why when it cannot be trusted. */
async function listedFrames(files: PackFiles, pack: Pack, checksum: Checksum): Promise<readonly PackFrame[]> {
  const footerAt = pack.fileBytes - footerBytes;
  if (footerAt < packHeaderBytes) throw new Error('the file is too short for a footer');
  const footer = parseFooter(await files.read(pack, footerAt, footerBytes), pack.fileBytes, checksum);
  const trailer = await files.read(pack, footer.trailerAt, footerAt - footer.trailerAt);
  return parseTrailer(trailer, footer, pack.setting, checksum);
}

/** Loads packs into a content store, and tells of each what frames it has. */
export class PackLoader {
  readonly #storePath: string;
  readonly #config: StoreConfig;
  readonly #files: PackFiles;
  readonly #content: ContentStore;
  readonly #checksum: Checksum;
  readonly #problems: PortableProblem[] = [];
  /** Frames of the packs without a trustworthy trailer, by pack index. */
  readonly #salvaged = new Map<number, PackFrame[]>();

  constructor(storePath: string, config: StoreConfig, files: PackFiles, content: ContentStore, checksum: Checksum) {
    this.#storePath = storePath;
    this.#config = config;
    this.#files = files;
    this.#content = content;
    this.#checksum = checksum;
  }

  /** Loads the packs with these file names; returns what is wrong with them. */
  async load(names: readonly string[]): Promise<readonly PortableProblem[]> {
    const damaged: { readonly pack: Pack; readonly index: number; readonly defect: string }[] = [];
    for (const name of names) {
      const pack = await this.#openPack(name);
      if (pack === null) continue;
      const index = this.#content.addPack(pack);
      try {
        for (const frame of await listedFrames(this.#files, pack, this.#checksum)) this.#content.addFrame(index, frame);
      } catch (error) {
        damaged.push({ pack, index, defect: messageOf(error) });
      }
    }
    const undecided: { readonly index: number; readonly frame: PackFrame }[] = [];
    for (const { pack, index } of damaged) {
      for (const frame of await this.#salvage(pack, index)) undecided.push({ index, frame });
    }
    // Bases are full frames, so every base that can be found is known by now: one more round is enough.
    for (const { index, frame } of undecided) {
      if ((await this.#prove(index, frame)) === 'proven') this.#addSalvaged(index, frame);
    }
    for (const { pack, index, defect } of damaged) this.#reportSalvage(pack, index, defect);
    return this.#problems;
  }

  /** The frames of a loaded pack. Read anew from the trailer: the store's table does not keep whole ids. */
  async framesOf(packIndex: number): Promise<readonly PackFrame[]> {
    const salvaged = this.#salvaged.get(packIndex);
    if (salvaged !== undefined) return salvaged;
    const pack = this.#content.packs[packIndex];
    if (pack === undefined) throw new RangeError(`pack ${packIndex}`);
    return listedFrames(this.#files, pack, this.#checksum);
  }

  /** The pack with this file name; null, with a problem, when it cannot be read or is not this store's. */
  async #openPack(fileName: string): Promise<Pack | null> {
    const file = `${packsFolder}/${fileName}`;
    const name = parsePackName(fileName);
    if (name === null) {
      this.#report('STORE_DAMAGED', `${file} has not the name of a pack`, file, null);
      return null;
    }
    try {
      return await this.#readHeader(file, name);
    } catch (error) {
      const code = error instanceof PortableError ? error.code : 'IO_FAILED';
      this.#report(code, `${file} is not read: ${messageOf(error)}`, file, null);
      return null;
    }
  }

  async #readHeader(file: string, name: PackName): Promise<Pack> {
    const handle = await open(join(this.#storePath, file), 'r');
    try {
      const fileBytes = (await handle.stat()).size;
      if (fileBytes > packBytesMax) {
        throw new PortableError('STORE_DAMAGED', `it has ${fileBytes} bytes, no pack has more than ${packBytesMax}`);
      }
      const header = parsePackHeader(await readRange(handle, 0, packHeaderBytes), name, this.#config, this.#checksum);
      if (header.state === 'damaged') {
        const message = `the header of ${file} is damaged: ${header.defect}; its frames are read all the same`;
        this.#report('STORE_DAMAGED', message, file, 0, packHeaderBytes);
      }
      const domain = header.state === 'sound' ? header.domain : null;
      const setting = { kind: name.kind, domain, chunkBytes: this.#config.chunkBytes };
      return { ...name, file, fileBytes, setting };
    } finally {
      await handle.close();
    }
  }

  /** Finds the frames of a damaged pack; returns those that could not be decided yet. */
  async #salvage(pack: Pack, index: number): Promise<readonly PackFrame[]> {
    const read = (offset: number, length: number): Promise<Uint8Array> => this.#files.read(pack, offset, length);
    this.#salvaged.set(index, []);
    try {
      const prove = (frame: PackFrame): Promise<Proof> => this.#prove(index, frame);
      const { frames, undecided } = await salvageFrames(pack, read, prove, this.#checksum);
      for (const frame of frames) this.#addSalvaged(index, frame);
      return undecided;
    } catch (error) {
      if (!(error instanceof PortableError)) throw error;
      this.#report(error.code, error.message, pack.file, null);
      return [];
    }
  }

  #addSalvaged(index: number, frame: PackFrame): void {
    this.#content.addFrame(index, frame);
    this.#salvaged.get(index)?.push(frame);
  }

  async #prove(index: number, frame: PackFrame): Promise<Proof> {
    try {
      const place = { pack: index, offset: frame.offset, frameBytes: frame.frameBytes };
      await this.#content.prove(await this.#content.readFrame(place));
      return 'proven';
    } catch (error) {
      if (!(error instanceof PortableError) || error.code === 'IO_FAILED') throw error;
      return 'base' in error.context ? 'undecided' : 'refuted';
    }
  }

  #reportSalvage(pack: Pack, index: number, defect: string): void {
    const frames = this.#salvaged.get(index) ?? [];
    frames.sort((left, right) => left.offset - right.offset);
    const end = frames.reduce((max, frame) => Math.max(max, frame.offset + frame.frameBytes), packHeaderBytes);
    const message = `the trailer of ${pack.file} cannot be used: ${defect}; ${frames.length} frames were found without it`;
    this.#report('STORE_DAMAGED', message, pack.file, Math.min(end, pack.fileBytes), Math.max(pack.fileBytes - end, 0));
    for (const gap of gapsBetween(frames)) {
      const code = pack.kind === 'chunk' ? 'CHUNK_DAMAGED' : 'NODE_DAMAGED';
      const from = gap.offset;
      this.#report(
        code,
        `no frame was found at ${from} to ${from + gap.length} of ${pack.file}`,
        pack.file,
        from,
        gap.length,
      );
    }
  }

  #report(code: PortableProblem['code'], message: string, file: string, offset: number | null, length?: number): void {
    this.#problems.push(problemOf(code, message, file, offset, length ?? null));
  }
}

/** Why what a frame's header says is not what was announced of it; null when it is. */
export function announcementDefect(
  announced: PackFrame,
  header: Omit<PackFrame, 'offset' | 'frameBytes'>,
): string | null {
  const idOf = (id: Uint8Array | null): string => (id === null ? 'none' : hex(id));
  if (hex(announced.id) !== hex(header.id)) return `id ${hex(header.id)}, the trailer says ${hex(announced.id)}`;
  if (idOf(announced.baseId) !== idOf(header.baseId)) return `base ${idOf(header.baseId)}, the trailer says another`;
  for (const field of ['codec', 'plainBytes', 'storedBytes'] as const) {
    if (announced[field] !== header[field]) return `${field} ${header[field]}, the trailer says ${announced[field]}`;
  }
  return null;
}
