/**
 * What opening a store does about each restore point: the table of DESIGN section 3.
 *
 * | catalog | cut in log | manifest absent | manifest damaged | manifest present |
 * | --- | --- | --- | --- | --- |
 * | creating | no | remove the record | mark damaged | mark copied |
 * | creating | yes | nobody was answered: mark interrupted | mark damaged | mark copied |
 * | creating, cut, copied | unknown | wait | mark damaged | as without a cut |
 * | cut | no | mark lost | mark damaged | mark copied |
 * | cut | yes | resume the copy | mark damaged | mark copied |
 * | copied | no | mark lost | mark damaged | keep |
 * | copied | yes | copy again | mark damaged | keep |
 * | failed | any | keep, say so again | keep, say so again | mark copied |
 * | deleting | any | finish | finish | finish |
 * | none, catalog sound | any | - | keep, say so | quarantine |
 * | none, catalog rebuilt | no | - | keep, say so | adopt |
 * | none, catalog rebuilt | yes | take it as cut | keep, say so | adopt |
 *
 * A sound catalog knows every point that anybody was answered for, so a manifest that it does not know is nobody's. A
 * rebuilt one knows nothing, so the manifests and the logs say what there is. A damaged manifest without a record stays
 * where it is: it stops the collector, so its chunks stay too until somebody brings it back or puts it away.
 *
 * Unknown is what a log holds that could not be opened: what depends on it is decided when it is opened after all. A cut
 * above every sequence number that a sound catalog ever gave or reserved is of a time that the catalog has lost; it was rebuilt while the
 * log was closed, so the cut is taken as if it were rebuilt now.
 *
 * What becomes of the cut follows from what becomes of the point (`cutAfter`): a point with a manifest has no use for it,
 * and one that is failed or gone has none either. Where a disk of another log stands on it, dropping means that it is
 * copied to its roots first.
 */

import type { PointState } from '../catalog/record.js';

/** What the region holds of a point. */
export type ManifestEvidence = 'absent' | 'damaged' | 'present';

/** What a log holds of a point; unknown while the log could not be opened. */
export type CutEvidence = 'absent' | 'present' | 'unknown';

/** Where the catalog's records come from. */
export type CatalogOrigin = 'sound' | 'rebuilt';

/** What to do about a point. */
export type OnOpenAction =
  | 'keep'
  | 'keep-and-report'
  | 'remove-record'
  | 'mark-copied'
  | 'mark-damaged'
  | 'mark-interrupted'
  | 'mark-lost'
  | 'resume'
  | 'copy-again'
  | 'finish-delete'
  | 'quarantine'
  | 'adopt'
  | 'adopt-cut';

type Row = Readonly<Record<ManifestEvidence, OnOpenAction>>;

const known: Readonly<Record<PointState, Readonly<Record<CutEvidence, Row>>>> = {
  creating: {
    absent: { absent: 'remove-record', damaged: 'mark-damaged', present: 'mark-copied' },
    present: { absent: 'mark-interrupted', damaged: 'mark-damaged', present: 'mark-copied' },
    unknown: { absent: 'keep', damaged: 'mark-damaged', present: 'mark-copied' },
  },
  cut: {
    absent: { absent: 'mark-lost', damaged: 'mark-damaged', present: 'mark-copied' },
    present: { absent: 'resume', damaged: 'mark-damaged', present: 'mark-copied' },
    unknown: { absent: 'keep', damaged: 'mark-damaged', present: 'mark-copied' },
  },
  copied: {
    absent: { absent: 'mark-lost', damaged: 'mark-damaged', present: 'keep' },
    present: { absent: 'copy-again', damaged: 'mark-damaged', present: 'keep' },
    unknown: { absent: 'keep', damaged: 'mark-damaged', present: 'keep' },
  },
  failed: {
    absent: { absent: 'keep-and-report', damaged: 'keep-and-report', present: 'mark-copied' },
    present: { absent: 'keep-and-report', damaged: 'keep-and-report', present: 'mark-copied' },
    unknown: { absent: 'keep-and-report', damaged: 'keep-and-report', present: 'mark-copied' },
  },
  deleting: {
    absent: { absent: 'finish-delete', damaged: 'finish-delete', present: 'finish-delete' },
    present: { absent: 'finish-delete', damaged: 'finish-delete', present: 'finish-delete' },
    unknown: { absent: 'finish-delete', damaged: 'finish-delete', present: 'finish-delete' },
  },
};

const unknown: Readonly<Record<CatalogOrigin, Readonly<Record<CutEvidence, Row>>>> = {
  sound: {
    absent: { absent: 'keep', damaged: 'keep-and-report', present: 'quarantine' },
    present: { absent: 'keep', damaged: 'keep-and-report', present: 'quarantine' },
    unknown: { absent: 'keep', damaged: 'keep-and-report', present: 'quarantine' },
  },
  rebuilt: {
    absent: { absent: 'keep', damaged: 'keep-and-report', present: 'adopt' },
    present: { absent: 'adopt-cut', damaged: 'keep-and-report', present: 'adopt' },
    unknown: { absent: 'keep', damaged: 'keep-and-report', present: 'adopt' },
  },
};

/** The action for a point; `state` is null when the catalog has no record of it. */
export function onOpen(
  state: PointState | null,
  cut: CutEvidence,
  manifest: ManifestEvidence,
  origin: CatalogOrigin,
): OnOpenAction {
  return state === null ? unknown[origin][cut][manifest] : known[state][cut][manifest];
}

/** What to do about the point's cut, if there is one. */
export function cutAfter(state: PointState | null, action: OnOpenAction): 'keep' | 'release' | 'drop' {
  switch (action) {
    case 'resume':
    case 'copy-again':
    case 'adopt-cut':
      return 'keep';
    case 'mark-copied':
    case 'adopt':
      return 'release';
    case 'keep':
      // Of a point that the catalog does not know nothing is to be kept; a copied one only waits for its release.
      return state === null ? 'drop' : 'release';
    case 'keep-and-report':
    case 'remove-record':
    case 'mark-damaged':
    case 'mark-interrupted':
    case 'mark-lost':
    case 'quarantine':
      return 'drop';
    case 'finish-delete':
      // As a part of the deletion.
      return 'keep';
  }
}
