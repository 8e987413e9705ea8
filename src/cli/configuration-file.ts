/** Reads the JSON file of `--config`. */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { StillpointError } from '../store/errors.js';

/** The configuration in the file, or nothing when none was named. Throws `ARGUMENT_INVALID`. */
export async function readConfiguration(
  named: string | undefined,
  workingDirectory: string,
): Promise<{ configuration?: unknown }> {
  if (named === undefined) return {};
  const path = resolve(workingDirectory, named);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StillpointError('ARGUMENT_INVALID', `cannot read the configuration: ${reason}`, { path }, error);
  }
  try {
    const configuration: unknown = JSON.parse(text);
    return { configuration };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StillpointError('ARGUMENT_INVALID', `the configuration ${path} is not JSON: ${reason}`, { path }, error);
  }
}
