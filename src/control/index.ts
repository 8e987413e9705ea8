/**
 * Lets users of the command line into a program that has a store open: `stillpoint/control`.
 *
 * The library itself knows nothing of commands, so that is an entry of its own, which a program that does not want it never loads.
 */

export { serveControl, type ControlService, type ServeControlOptions } from './serve-control.js';
export type { AnsweredCall, ControlStatistics } from './server.js';
