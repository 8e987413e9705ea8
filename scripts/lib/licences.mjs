/** The licence texts of packages whose code goes into our files: their authors ask for that. */

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { StepError } from './run.mjs';

const heading = `The files beside this one contain code of these packages, under these licences.\n`;

/** The part of a module's path that is the folder of its package. */
const packageFolder = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/;

function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((each) => /^(licen[cs]e|copying)/i.test(each));
  if (file === undefined)
    throw new StepError(`${name} has no text of its licence, so its code cannot be put into ours`);
  return `${name} ${version} (${license})\n\n${readFileSync(path.join(folder, file), 'utf8').trim()}\n`;
}

/** One text for all packages that the modules belong to; modules of ours are left out. */
export function licencesOf(modules) {
  const folders = new Set(modules.flatMap((file) => packageFolder.exec(file)?.[0] ?? []));
  return [heading, ...[...folders].sort().map(licenceOf)].join(`\n${'-'.repeat(80)}\n\n`);
}
