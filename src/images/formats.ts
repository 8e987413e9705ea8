/** Formats of images that disks come from and go to. */

import type { ImageKind } from './image-kind.js';

/** Every format but `raw` needs qemu-img. */
export const imageFormats = ['raw', 'qcow2', 'vhd', 'vhdx', 'vmdk', 'vdi'] as const;

export type ImageFormat = (typeof imageFormats)[number];

/** A format that qemu-img has to read or write. */
export type ContainerFormat = Exclude<ImageFormat, 'raw'>;

interface FormatFacts {
  /** What qemu-img calls it. */
  readonly driver: string;
  /** What its files are known by. */
  readonly kind: ImageKind;
  /** Options of new images. */
  readonly options: readonly string[];
}

/**
 * VHD has a geometry of cylinders that most sizes do not fit: without `force_size` qemu-img rounds the disk up. With it the disk
 * has its own size, and QEMU, Hyper-V and Azure go by that.
 */
export const formatFacts: Readonly<Record<ContainerFormat, FormatFacts>> = {
  qcow2: { driver: 'qcow2', kind: 'qcow2', options: ['compat=1.1'] },
  vhd: { driver: 'vpc', kind: 'VHD', options: ['subformat=dynamic', 'force_size=on'] },
  vhdx: { driver: 'vhdx', kind: 'VHDX', options: ['subformat=dynamic'] },
  vmdk: { driver: 'vmdk', kind: 'VMDK', options: ['subformat=monolithicSparse'] },
  vdi: { driver: 'vdi', kind: 'VDI', options: [] },
};

/** The format of a kind of file; null for what nothing here reads. */
export function formatOf(kind: ImageKind): ImageFormat | null {
  if (kind === 'raw') return 'raw';
  return imageFormats.find((format) => format !== 'raw' && formatFacts[format].kind === kind) ?? null;
}
