/**
 * Questions of NBD clients, answered one by one as they come.
 *
 * A client's thread waits for its answer; the others go on. What an answer fails with becomes the error that the client is told.
 */

import { isStillpointError } from '../store/errors.js';
import type { NbdExport, NbdExports } from './engine.js';

/** What the addon asks, or tells. */
interface Question {
  readonly number: number;
  readonly kind: string;
  readonly name?: string;
  readonly token?: number;
}

/** An answer as the addon takes it. */
interface Answer {
  exports?: { name: string; description: string }[];
  export?: {
    token: number;
    name: string;
    description: string;
    diskId: string;
    pointId?: string;
    bitmaps: { name: string; pointId: string; isListed: boolean }[];
  };
  failure?: string;
  failureCode?: string;
}

/** The addon's server. */
interface Asking {
  takeQuestions(): Question[];
  answer(number: number, answer: Answer): void;
}

/** Answers what is asked now. */
export function answerQuestions(server: Asking, exports: NbdExports): void {
  for (const { number, kind, name, token } of server.takeQuestions()) {
    if (kind === 'closed') {
      exports.closed(token ?? 0);
      continue;
    }
    const asked = kind === 'list' ? listed(exports) : opened(exports, name ?? '');
    const answered = asked.catch(failureOf);
    void answered.then((answer: Answer) => {
      server.answer(number, answer);
    });
  }
}

function failureOf(error: unknown): Answer {
  if (isStillpointError(error)) return { failure: error.message, failureCode: error.code };
  return { failure: error instanceof Error ? error.message : 'it failed' };
}

async function listed(exports: NbdExports): Promise<Answer> {
  const all = await exports.list();
  return { exports: all.map(({ name, description }) => ({ name, description })) };
}

async function opened(exports: NbdExports, name: string): Promise<Answer> {
  const found = await exports.open(name);
  return found === null ? {} : { export: exportRecord(found) };
}

function exportRecord({ pointId, bitmaps, ...found }: NbdExport): NonNullable<Answer['export']> {
  const record = { ...found, bitmaps: bitmaps.map((bitmap) => ({ ...bitmap })) };
  return pointId === null ? record : { ...record, pointId };
}
