/**
 * What opening a store does about each restore point: the table of DESIGN section 3, as far as scans reach it.
 *
 * | catalog | manifest absent | manifest damaged | manifest present |
 * | --- | --- | --- | --- |
 * | creating | remove the record | mark failed | mark copied |
 * | cut | mark lost | mark failed | mark copied |
 * | copied | mark lost | mark failed | keep |
 * | failed | keep, say so again | keep, say so again | mark copied |
 * | deleting | finish | finish | finish |
 * | none, catalog sound | - | keep, say so | quarantine |
 * | none, catalog rebuilt | - | keep, say so | adopt |
 *
 * A sound catalog knows every point that anybody was answered for, so a manifest that it does not know is nobody's. A
 * rebuilt one knows nothing, so the manifests say what there is. A damaged manifest without a record stays where it
 * is: it stops the collector, so its chunks stay too until somebody brings it back or puts it away.
 *
 * `cut` without a manifest is lost here because no write log was there to resume from.
 */

import type { PointState } from '../catalog/record.js';

/** What the region holds of a point. */
export type ManifestEvidence = 'absent' | 'damaged' | 'present';

/** Where the catalog's records come from. */
export type CatalogOrigin = 'sound' | 'rebuilt';

/** What to do about a point. */
export type OnOpenAction =
  | 'keep'
  | 'keep-and-report'
  | 'remove-record'
  | 'mark-copied'
  | 'mark-damaged'
  | 'mark-lost'
  | 'finish-delete'
  | 'quarantine'
  | 'adopt';

const known: Readonly<Record<PointState, Readonly<Record<ManifestEvidence, OnOpenAction>>>> = {
  creating: { absent: 'remove-record', damaged: 'mark-damaged', present: 'mark-copied' },
  cut: { absent: 'mark-lost', damaged: 'mark-damaged', present: 'mark-copied' },
  copied: { absent: 'mark-lost', damaged: 'mark-damaged', present: 'keep' },
  failed: { absent: 'keep-and-report', damaged: 'keep-and-report', present: 'mark-copied' },
  deleting: { absent: 'finish-delete', damaged: 'finish-delete', present: 'finish-delete' },
};

const unknown: Readonly<Record<CatalogOrigin, Readonly<Record<ManifestEvidence, OnOpenAction>>>> = {
  sound: { absent: 'keep', damaged: 'keep-and-report', present: 'quarantine' },
  rebuilt: { absent: 'keep', damaged: 'keep-and-report', present: 'adopt' },
};

/** The action for a point; `state` is null when the catalog has no record of it. */
export function onOpen(state: PointState | null, manifest: ManifestEvidence, origin: CatalogOrigin): OnOpenAction {
  return state === null ? unknown[origin][manifest] : known[state][manifest];
}
