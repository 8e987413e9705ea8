/** The command lines of docs/nbd.md, so that what is run is what stands there. */

import { readFileSync } from 'node:fs';

const document = new URL('../../docs/nbd.md', import.meta.url);
const socketInRecipes = '/run/stillpoint/nbd.sock';

/** Program and arguments of the one shell command under a heading, with the server at another socket. */
export function recipe(heading: string, socket: string): readonly string[] {
  const [, section] = readFileSync(document, 'utf8').split(`\n### ${heading}\n`);
  const command = /```sh\n([\s\S]*?)```/.exec(section?.split('\n### ')[0] ?? '')?.[1];
  if (command?.includes(socketInRecipes) !== true) throw new Error(`docs/nbd.md has no command under "${heading}"`);
  return command.replaceAll('\\\n', ' ').replaceAll(socketInRecipes, socket).trim().split(/\s+/);
}
