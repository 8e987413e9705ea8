/** What property tests of Stillpoint, and of programs on it, are made of. docs/property-testing.md shows how. */

export { checkDiff, checkStore, sameBytes, type DiffSide } from './check.js';
export { manualClock, type ManualClock } from './clock.js';
export { contentBytes, type Content } from './content.js';
export { describeHistory, diskHistories, type Action, type History, type HistoryOptions } from './histories.js';
export { liveHistories, type LiveAction, type LiveHistory, type LiveHistoryOptions } from './live-histories.js';
export { LiveModel, type ModelDisk, type ModelMoment } from './live-model.js';
export { checkLive, runLiveHistory, type LiveStage } from './live-run.js';
export { memoryEngine, type MemoryEngineFactory, type MemoryEngineOptions } from './memory-engine.js';
export { DiskModel, type ModelPoint } from './model.js';
export { seededRandom } from './random.js';
export { historyMachine, runHistory, type Images, type Stage } from './run.js';
export { World, type CrashChoice, type Failure, type Fault, type WorldOptions } from './world.js';
