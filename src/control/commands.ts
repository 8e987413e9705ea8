/**
 * The commands by name: the one list that the command line and the control socket go by.
 *
 * `init`, `bench`, `portable-restore` and `serve` are not on it: they make stores of their own, use none, or keep one open.
 */

import type { CommandContext } from './context.js';
import type * as captures from './commands/capture.js';
import type * as completions from './commands/complete.js';
import type * as deletions from './commands/delete.js';
import type * as diffs from './commands/diff.js';
import type * as disks from './commands/disks.js';
import type * as collections from './commands/gc.js';
import type * as holds from './commands/hold.js';
import type * as lists from './commands/list.js';
import type * as machines from './commands/machines.js';
import type * as reopenings from './commands/reopen.js';
import type * as restores from './commands/restore.js';
import type * as liveRestores from './commands/restore-live.js';
import type * as shows from './commands/show.js';
import type * as statistics from './commands/stats.js';
import type * as states from './commands/status.js';
import type * as verifications from './commands/verify.js';

/** The request of a command that asks for nothing in particular. */
export type NoRequest = Readonly<Record<string, never>>;

/** What a command function takes and gives. */
type Signature<Run> = Run extends (context: CommandContext, request: infer Request) => Promise<infer Result>
  ? { readonly request: unknown extends Request ? NoRequest : Request; readonly result: Result }
  : never;

/** Requests and results by name. */
export interface Commands {
  readonly 'vm.create': Signature<typeof machines.createMachine>;
  readonly 'vm.list': Signature<typeof machines.listMachines>;
  readonly 'vm.show': Signature<typeof machines.showMachine>;
  readonly 'vm.update': Signature<typeof machines.updateMachine>;
  readonly 'vm.delete': Signature<typeof machines.deleteMachine>;
  readonly 'disk.create': Signature<typeof disks.createDisk>;
  readonly 'disk.import': Signature<typeof disks.importDisk>;
  readonly 'disk.clone': Signature<typeof disks.cloneDisk>;
  readonly 'disk.grow': Signature<typeof disks.growDisk>;
  readonly 'disk.limit': Signature<typeof disks.limitDisk>;
  readonly 'disk.attach': Signature<typeof disks.attachDisk>;
  readonly 'disk.detach': Signature<typeof disks.detachDisk>;
  readonly 'disk.list': Signature<typeof disks.listDisks>;
  readonly 'disk.delete': Signature<typeof disks.deleteDisk>;
  readonly capture: Signature<typeof captures.capture>;
  readonly list: Signature<typeof lists.list>;
  readonly show: Signature<typeof shows.show>;
  readonly diff: { readonly request: diffs.DiffRequest; readonly result: diffs.DiffSummary };
  readonly 'restore.disk': Signature<typeof restores.restoreDisk>;
  readonly 'restore.disks': Signature<typeof restores.restoreDisks>;
  readonly 'restore.toDisk': Signature<typeof liveRestores.restoreToDisk>;
  readonly 'restore.inPlace': Signature<typeof liveRestores.restoreInPlace>;
  readonly 'restore.toMachine': Signature<typeof liveRestores.restoreToMachine>;
  readonly hold: Signature<typeof holds.hold>;
  readonly delete: Signature<typeof deletions.deletePoints>;
  readonly status: Signature<typeof states.status>;
  readonly stats: Signature<typeof statistics.stats>;
  readonly verify: Signature<typeof verifications.verify>;
  readonly gc: Signature<typeof collections.gc>;
  readonly reopen: Signature<typeof reopenings.reopen>;
  readonly complete: Signature<typeof completions.complete>;
}

export type CommandName = keyof Commands;
export type RequestOf<Name extends CommandName> = Commands[Name]['request'];
export type ResultOf<Name extends CommandName> = Commands[Name]['result'];

type Table = {
  readonly [Name in CommandName]: (context: CommandContext, request: RequestOf<Name>) => Promise<ResultOf<Name>>;
};

const onMachines = (): Promise<typeof machines> => import('./commands/machines.js');
const onDisks = (): Promise<typeof disks> => import('./commands/disks.js');
const restoring = (): Promise<typeof restores> => import('./commands/restore.js');
const restoringLive = (): Promise<typeof liveRestores> => import('./commands/restore-live.js');

/** What each command does in this process; its modules are loaded when it is run. */
const table: Table = {
  'vm.create': async (context, request) => (await onMachines()).createMachine(context, request),
  'vm.list': async (context) => (await onMachines()).listMachines(context),
  'vm.show': async (context, request) => (await onMachines()).showMachine(context, request),
  'vm.update': async (context, request) => (await onMachines()).updateMachine(context, request),
  'vm.delete': async (context, request) => (await onMachines()).deleteMachine(context, request),
  'disk.create': async (context, request) => (await onDisks()).createDisk(context, request),
  'disk.import': async (context, request) => (await onDisks()).importDisk(context, request),
  'disk.clone': async (context, request) => (await onDisks()).cloneDisk(context, request),
  'disk.grow': async (context, request) => (await onDisks()).growDisk(context, request),
  'disk.limit': async (context, request) => (await onDisks()).limitDisk(context, request),
  'disk.attach': async (context, request) => (await onDisks()).attachDisk(context, request),
  'disk.detach': async (context, request) => (await onDisks()).detachDisk(context, request),
  'disk.list': async (context) => (await onDisks()).listDisks(context),
  'disk.delete': async (context, request) => (await onDisks()).deleteDisk(context, request),
  capture: async (context, request) => (await import('./commands/capture.js')).capture(context, request),
  list: async (context, request) => (await import('./commands/list.js')).list(context, request),
  show: async (context, request) => (await import('./commands/show.js')).show(context, request),
  diff: async (context, request) => {
    const { diff, onlyCount } = await import('./commands/diff.js');
    return diff(context, request, onlyCount);
  },
  'restore.disk': async (context, request) => (await restoring()).restoreDisk(context, request),
  'restore.disks': async (context, request) => (await restoring()).restoreDisks(context, request),
  'restore.toDisk': async (context, request) => (await restoringLive()).restoreToDisk(context, request),
  'restore.inPlace': async (context, request) => (await restoringLive()).restoreInPlace(context, request),
  'restore.toMachine': async (context, request) => (await restoringLive()).restoreToMachine(context, request),
  hold: async (context, request) => (await import('./commands/hold.js')).hold(context, request),
  delete: async (context, request) => (await import('./commands/delete.js')).deletePoints(context, request),
  status: async (context) => (await import('./commands/status.js')).status(context),
  stats: async (context, request) => (await import('./commands/stats.js')).stats(context, request),
  verify: async (context, request) => (await import('./commands/verify.js')).verify(context, request),
  gc: async (context, request) => (await import('./commands/gc.js')).gc(context, request),
  reopen: async (context) => (await import('./commands/reopen.js')).reopen(context),
  complete: async (context, request) => (await import('./commands/complete.js')).complete(context, request),
};

/** Runs a command in this process. */
export function runHere<Name extends CommandName>(
  context: CommandContext,
  name: Name,
  request: RequestOf<Name>,
): Promise<ResultOf<Name>> {
  return table[name](context, request);
}

/** Commands that only look, and take no longer than a moment. */
export const briefCommands: ReadonlySet<CommandName> = new Set<CommandName>([
  ...(['vm.list', 'vm.show', 'disk.list', 'list', 'show', 'status', 'complete'] as const),
]);

/** Commands that open files by paths of their request; whoever runs them must see the same files. */
export const fileCommands: ReadonlySet<CommandName> = new Set<CommandName>([
  ...(['vm.create', 'vm.update', 'disk.import', 'restore.disk', 'restore.disks'] as const),
]);
