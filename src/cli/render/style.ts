/** How text may look on the stream that it goes to. */

/** What a renderer knows of its reader. */
export interface Style {
  readonly colour: boolean;
  /** Width that a line should keep to where it can. */
  readonly columns: number;
  /** How far local time is ahead of UTC at a moment. */
  readonly zoneOffsetMinutes: (timeMs: number) => number;
}

/** Whether a stream gets colours: a terminal that is not a dumb one, and nobody has asked for none. */
export function wantsColour(isTerminal: boolean, environment: Readonly<Record<string, string | undefined>>): boolean {
  const refused = (environment['NO_COLOR'] ?? '') !== '' || environment['TERM'] === 'dumb';
  return isTerminal && !refused;
}

function paint(style: Style, on: number, off: number, text: string): string {
  return style.colour ? `\u001b[${on}m${text}\u001b[${off}m` : text;
}

export function bold(style: Style, text: string): string {
  return paint(style, 1, 22, text);
}

export function dim(style: Style, text: string): string {
  return paint(style, 2, 22, text);
}

export function red(style: Style, text: string): string {
  return paint(style, 31, 39, text);
}

export function green(style: Style, text: string): string {
  return paint(style, 32, 39, text);
}

export function yellow(style: Style, text: string): string {
  return paint(style, 33, 39, text);
}
