/** Stacks that perf saw, put together: what was called from where, and how often it was seen. */

/** One function, called from where it stands in the tree. */
export interface Frame {
  readonly name: string;
  /** Samples in it and in all that it called. */
  samples: number;
  /** Samples in it alone. */
  own: number;
  readonly called: Map<string, Frame>;
}

function newFrame(name: string): Frame {
  return { name, samples: 0, own: 0, called: new Map() };
}

/**
 * Reads what `perf script -F comm,ip,sym` prints: for each sample a line with the thread's name, then its stack, the
 * innermost first, one line each, then an empty line.
 */
export function stacksOf(script: string): Frame {
  const root = newFrame('all');
  for (const sample of script.split(/\n\s*\n/)) {
    const [thread = '', ...lines] = sample.split('\n').filter((line) => line.trim() !== '');
    if (thread === '') continue;
    const functions = lines.map(functionOf).reverse();
    let frame = root;
    frame.samples += 1;
    for (const name of [thread.trim(), ...functions]) {
      const called = frame.called.get(name) ?? newFrame(name);
      frame.called.set(name, called);
      called.samples += 1;
      frame = called;
    }
    frame.own += 1;
  }
  return root;
}

/** The name in a line of a stack: without the address before it, and without what tells instances of it apart. */
function functionOf(line: string): string {
  const name = line.trim().replace(/^[0-9a-f]+\s+/, '');
  return name.replace(/::h[0-9a-f]{16}$/, '').replace(/\+0x[0-9a-f]+$/, '') || '[unknown]';
}

export interface OwnTime {
  readonly name: string;
  /** Of all samples. */
  readonly share: number;
}

/** The functions with most samples of their own, wherever they were called from. */
export function hottest(root: Frame, count: number): readonly OwnTime[] {
  const own = new Map<string, number>();
  const visit = (frame: Frame): void => {
    if (frame.own > 0) own.set(frame.name, (own.get(frame.name) ?? 0) + frame.own);
    for (const called of frame.called.values()) visit(called);
  };
  visit(root);
  return [...own]
    .sort(([, left], [, right]) => right - left)
    .slice(0, count)
    .map(([name, samples]) => ({ name, share: samples / root.samples }));
}
