/** What the home region holds: the manifests that can be read, and those that cannot. */

import type { Engine, Finding } from '../native/engine.js';
import { isStillpointError } from '../store/errors.js';
import { toPointId, type PointId } from '../store/units.js';
import { decodeManifest, type PublishedPoint } from '../catalog/detail.js';
import { fileFinding, manifestFile } from '../catalog/finding.js';
import type { ManifestEvidence } from './on-open.js';

/** The manifests of a store. */
export interface Survey {
  readonly published: ReadonlyMap<PointId, PublishedPoint>;
  readonly damaged: ReadonlySet<PointId>;
  /** About manifests that the engine takes for sound and whose detail is none. */
  readonly findings: readonly Finding[];
}

/** What a manifest that is there and cannot be used is reported as. */
const unreadable: ReadonlySet<string> = new Set(['MANIFEST_DAMAGED', 'STORE_NEWER_FORMAT']);

const manifestPath = /\/([0-9a-f]{32})\.manifest$/;

/** Reads all manifests. Damaged ones are in the engine's findings, by their file. */
export async function survey(engine: Engine): Promise<Survey> {
  const published = new Map<PointId, PublishedPoint>();
  const damaged = new Set<PointId>();
  const findings: Finding[] = [];
  for (const { code, file } of engine.findings) {
    const id = manifestPath.exec(file)?.[1];
    if (unreadable.has(code) && id !== undefined) damaged.add(toPointId(id));
  }
  for (const manifest of await engine.manifests()) {
    try {
      const point = decodeManifest(manifest);
      published.set(point.id, point);
    } catch (error) {
      if (!isStillpointError(error, 'MANIFEST_DAMAGED')) throw error;
      const id = toPointId(manifest.pointId);
      damaged.add(id);
      findings.push(fileFinding('MANIFEST_DAMAGED', manifestFile(id), error.message));
    }
  }
  return { published, damaged, findings };
}

/** What the region holds of a point. */
export function evidenceOf({ published, damaged }: Survey, id: PointId): ManifestEvidence {
  if (published.has(id)) return 'present';
  return damaged.has(id) ? 'damaged' : 'absent';
}
