/**
 * Operating errors of the library: one class, one table of codes.
 *
 * The codes that the engine gives are fixed in `native/engine/src/error.rs`; a parity test compares the two tables.
 * Codes and kinds are part of the API, message texts are not.
 */

/** What the caller should do about an error. */
export type ErrorKind = 'retry' | 'fix-call' | 'fix-data' | 'reopen' | 'report';

interface CodeRow {
  readonly kind: ErrorKind;
  /** Where the code comes from: the engine, or the TypeScript side alone. */
  readonly origin: 'engine' | 'control';
  /** What to do, in words; the command line prints it below the message. */
  readonly action: string;
}

/** Every error code, with what to do about it. `docs/errors.md` has a heading for each. */
export const errorTable = {
  ARGUMENT_INVALID: { kind: 'fix-call', origin: 'engine', action: 'Correct the argument.' },
  CANCELLED: {
    kind: 'retry',
    origin: 'engine',
    action: 'Call again if it was not meant to stop; nothing was left half done.',
  },
  CAPTURE_IN_PROGRESS: {
    kind: 'retry',
    origin: 'control',
    action: 'Wait until the running capture of this machine has ended.',
  },
  CATALOG_DAMAGED: {
    kind: 'fix-data',
    origin: 'control',
    action: 'Open the store for writing; the catalog is then rebuilt from the manifests and its dump.',
  },
  CHUNK_DAMAGED: {
    kind: 'fix-data',
    origin: 'engine',
    action:
      'Run verify --read-data to see which points are hit, and bring the pack back from a copy of the store; other points and disks stay usable.',
  },
  CHUNK_MISSING: {
    kind: 'fix-data',
    origin: 'engine',
    action: 'A pack file is missing; bring it back, or run verify to see which points are hit.',
  },
  COLLECTION_NOT_FOUND: { kind: 'fix-call', origin: 'control', action: 'List the machine to see its collections.' },
  DISKS_DIFFER: {
    kind: 'fix-call',
    origin: 'control',
    action: 'Name the disks to put back, or attach those that the point has and detach the others.',
  },
  DISK_ATTACHED: { kind: 'fix-call', origin: 'control', action: 'Detach the disk first.' },
  DISK_BUSY: {
    kind: 'retry',
    origin: 'control',
    action: 'Wait until the disk is no longer being created, moved or deleted.',
  },
  DISK_DETACHED: { kind: 'fix-call', origin: 'control', action: 'Attach the disk to a machine first.' },
  DISK_EXISTS: {
    kind: 'fix-call',
    origin: 'control',
    action: 'Choose another role or name; the disks of a machine are called MACHINE-ROLE.',
  },
  DISK_EXPORTED: {
    kind: 'retry',
    origin: 'engine',
    action: 'Disconnect the NBD clients that have the disk open, then try again.',
  },
  DISK_LOST: {
    kind: 'fix-data',
    origin: 'control',
    action: "Bring the disk's log back from a copy of the store, or delete the disk.",
  },
  DISK_NOT_FOUND: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Show the point or machine to see the roles of its disks, or list the disks.',
  },
  FILE_SYSTEM_UNSUPPORTED: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Keep managed disks in a store on a local file system: ext4, xfs or btrfs.',
  },
  IMAGE_CONVERSION_FAILED: {
    kind: 'fix-data',
    origin: 'control',
    action: 'The message has what qemu-img said; check the image with qemu-img check, or the space at the target.',
  },
  IMAGE_UNSUPPORTED: {
    kind: 'fix-call',
    origin: 'control',
    action:
      'Make one file of it with qemu-img convert, without encryption, where you trust the image; then import that.',
  },
  INDEX_DAMAGED: {
    kind: 'fix-data',
    origin: 'engine',
    action: 'Nothing needs to be done: the index is rebuilt from the packs by the next capture or gc.',
  },
  INTERNAL: {
    kind: 'report',
    origin: 'engine',
    action: 'This is a defect; report it with the message and the command.',
  },
  IO_FAILED: {
    kind: 'report',
    origin: 'engine',
    action: 'The message has what the operating system said; for a failing device, look at the kernel log.',
  },
  LAYERS_FULL: {
    kind: 'retry',
    origin: 'engine',
    action: 'Wait until the copy of an older point of this machine has ended, or delete one.',
  },
  LOG_DAMAGED: {
    kind: 'fix-data',
    origin: 'engine',
    action: 'Bring the write log back from a copy of the store; points, and the disks of other machines, stay usable.',
  },
  LOG_FENCED: {
    kind: 'reopen',
    origin: 'engine',
    action:
      'Put right what failed, then call reopenLogs (stillpoint reopen) or open the store again; nothing that was flushed is lost, and other machines go on.',
  },
  LOG_UNAVAILABLE: {
    kind: 'retry',
    origin: 'engine',
    action:
      'Put right what the message says (a full disk, a device, permissions), then call reopenLogs or open the store again; other machines go on.',
  },
  MACHINE_BUSY: {
    kind: 'retry',
    origin: 'control',
    action: 'Wait until the machine is no longer being created or deleted, or delete it again.',
  },
  MACHINE_EXISTS: { kind: 'fix-call', origin: 'control', action: 'Choose another name.' },
  MACHINE_NOT_EMPTY: { kind: 'fix-call', origin: 'control', action: 'Delete its restore points first.' },
  MACHINE_NOT_FOUND: { kind: 'fix-call', origin: 'control', action: 'List the store to see its machines.' },
  MACHINE_NOT_MANAGED: {
    kind: 'fix-call',
    origin: 'control',
    action: 'Use a machine whose disks the store holds; make one with restore --to-vm.',
  },
  MANIFEST_DAMAGED: {
    kind: 'fix-data',
    origin: 'engine',
    action: 'Bring the manifest file back from a copy of the store, or delete the point.',
  },
  MANIFEST_UNKNOWN: {
    kind: 'report',
    origin: 'control',
    action:
      "Nothing: the manifest was put into quarantine. If its point is missed, bring the store's files back from a copy.",
  },
  MOMENT_NOT_KEPT: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Name a moment that the write log still holds, or the restore point before it.',
  },
  NAME_AMBIGUOUS: { kind: 'fix-call', origin: 'control', action: 'Name the collection too: VM/COLLECTION/POINT.' },
  NAME_INVALID: {
    kind: 'fix-call',
    origin: 'control',
    action: 'Use 1 to 80 of A-Z a-z 0-9 _ . - with a letter or digit at both ends.',
  },
  NODE_DAMAGED: { kind: 'fix-data', origin: 'engine', action: 'Run verify --read-data to see which points are hit.' },
  NODE_MISSING: {
    kind: 'fix-data',
    origin: 'engine',
    action: 'A pack file is missing; bring it back, or run verify to see which points are hit.',
  },
  NO_SPACE: {
    kind: 'retry',
    origin: 'engine',
    action: 'Free space on the file system (delete points, then gc), then call again.',
  },
  NO_WRITERS: {
    kind: 'fix-call',
    origin: 'control',
    action: 'Ask for a crash-consistent point, or leave the mode out.',
  },
  PERMISSION_DENIED: {
    kind: 'fix-call',
    origin: 'engine',
    action:
      'Run as a user that may open the file, or change its permissions. A store on a read-only file system opens with --read-only.',
  },
  POINT_BUSY: {
    kind: 'retry',
    origin: 'control',
    action: 'Wait until the point is no longer being captured or deleted.',
  },
  POINT_EXISTS: { kind: 'fix-call', origin: 'control', action: 'Choose another name or leave it out.' },
  POINT_HELD: { kind: 'fix-call', origin: 'control', action: 'Take the hold away first, if nobody needs it.' },
  POINT_LIMIT_REACHED: { kind: 'fix-call', origin: 'control', action: 'Delete restore points of this machine first.' },
  POINT_NOT_FOUND: { kind: 'fix-call', origin: 'engine', action: 'List the machine to see its points.' },
  QEMU_IMG_MISSING: {
    kind: 'fix-call',
    origin: 'control',
    action: 'Install qemu-img (in Debian the package qemu-utils) and have it in the PATH, or use a raw image.',
  },
  RESTORE_POINT_LOST: {
    kind: 'fix-data',
    origin: 'control',
    action: "The point's manifest is gone; delete the point, or bring the manifest back from a copy.",
  },
  RESTORE_POINT_RETURNED: {
    kind: 'report',
    origin: 'control',
    action: "Nothing: the point's manifest is back and the point can be read again.",
  },
  SERVER_BUSY: {
    kind: 'retry',
    origin: 'control',
    action: 'Try again when fewer commands run at once.',
  },
  SERVER_LOST: {
    kind: 'retry',
    origin: 'control',
    action: 'Look whether it was done (list, status), then run it again.',
  },
  SOURCE_CHANGED: {
    kind: 'retry',
    origin: 'engine',
    action: 'Stop whatever writes to the image, or capture a snapshot or copy of it.',
  },
  SOURCE_NOT_A_DISK: { kind: 'fix-call', origin: 'engine', action: 'Name an image file or a block device.' },
  SOURCE_NOT_EXCLUSIVE: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Unmount the device, or freeze its file system and say --frozen.',
  },
  SOURCE_NOT_FOUND: { kind: 'fix-call', origin: 'engine', action: 'Check the path of the disk, or exclude the disk.' },
  SOURCE_NOT_STILL: { kind: 'retry', origin: 'engine', action: 'Stop whatever writes to the image and call again.' },
  SOURCE_SIZE_INVALID: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Check the image: its length must be a whole number of sectors; the copy may have been cut off.',
  },
  STORE_BUSY: { kind: 'retry', origin: 'engine', action: 'Wait until the running capture or gc has ended.' },
  STORE_CLOSED: { kind: 'reopen', origin: 'control', action: 'Open the store again.' },
  STORE_DAMAGED: { kind: 'fix-data', origin: 'engine', action: 'Bring the named file back from a copy of the store.' },
  STORE_EXISTS: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Use the store that is there, or choose another directory.',
  },
  STORE_FENCED: {
    kind: 'reopen',
    origin: 'engine',
    action: 'Close and open the store again; nothing acknowledged was lost.',
  },
  STORE_LOCKED: {
    kind: 'retry',
    origin: 'engine',
    action: 'Wait until the other process has closed the store, or open it for reading only.',
  },
  STORE_NEWER_FORMAT: { kind: 'fix-call', origin: 'engine', action: 'Upgrade Stillpoint.' },
  STORE_NOT_FOUND: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Make a store with init, or name its directory with --store or STILLPOINT_STORE.',
  },
  STORE_READ_ONLY: { kind: 'fix-call', origin: 'engine', action: 'Open the store for writing.' },
  TARGET_EXISTS: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Choose another target, or overwrite it in place with --overwrite.',
  },
  TARGET_INVALID: {
    kind: 'fix-call',
    origin: 'engine',
    action: 'Name a file in an existing directory, or a block device that is not in use.',
  },
  TARGET_TOO_SMALL: { kind: 'fix-call', origin: 'engine', action: 'Use a target at least as large as the disk.' },
  UNCLEAN_STOP: {
    kind: 'report',
    origin: 'control',
    action: 'Nothing: what was flushed is there. Check what the guest had not flushed, as after any power cut.',
  },
  WORK_INTERRUPTED: {
    kind: 'report',
    origin: 'control',
    action: 'Nothing: opening the store put it right. Capture again if a point is missed.',
  },
} as const;

/** A stable error code. */
export type ErrorCode = keyof typeof errorTable;

/** The same table under its rows' type: the type checker proves here that every row is complete. */
const rows: Readonly<Record<ErrorCode, CodeRow>> = errorTable;

/** Paths, ids, offsets and the like that say what an error is about. */
export type ErrorContext = Readonly<Record<string, string | number | readonly string[]>>;

/** An operating error: something outside the program went wrong, or a call was out of range. */
export class StillpointError extends Error {
  override readonly name = 'StillpointError';
  /** Stable code. */
  readonly code: ErrorCode;
  /** What the caller should do. */
  readonly kind: ErrorKind;
  /** What to do, in words. */
  readonly action: string;
  /** What it is about, as data. */
  readonly context: ErrorContext;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.kind = rows[code].kind;
    this.action = rows[code].action;
    this.context = context;
  }

  /** Code, message, action and context as the command line prints them with `--json`. */
  toJSON(): { code: ErrorCode; message: string; action: string; context: ErrorContext } {
    return { code: this.code, message: this.message, action: this.action, context: this.context };
  }
}

/** Whether a value is an error of this library, with the given code if one is named. */
export function isStillpointError(value: unknown, code?: ErrorCode): value is StillpointError {
  return value instanceof StillpointError && (code === undefined || value.code === code);
}
