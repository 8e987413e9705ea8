//! Every upper bound of the engine, with its reason. `stillpoint` exports them through the binding so that the
//! TypeScript side has no numbers of its own.

/// Chunk sizes a store may have: powers of four from a database page's neighbourhood to an archive's.
pub const CHUNK_BYTES_ALLOWED: [u32; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// The largest chunk.
pub const CHUNK_BYTES_MAX: u32 = 1 << 20;

/// Entries of a block map node. 64 entries of 32 bytes make 2 KiB: an isolated change rewrites little, and a leaf
/// spans 4 MiB at 64 KiB chunks, the unit in which scans and restores work.
pub const NODE_FAN_OUT: usize = 64;

/// Levels of nodes: 64^6 chunks of 16 KiB are 1 PiB, beyond [`DISK_BYTES_MAX`].
pub const NODE_LEVEL_MAX: u8 = 6;

/// The longest plain node: header, 64 tags, and 64 values or ids.
pub const NODE_BYTES_MAX: usize = 8 + NODE_FAN_OUT + NODE_FAN_OUT * 32;

/// The largest disk: 64 TiB, what ext4 images and clouds' largest disks stop at.
pub const DISK_BYTES_MAX: u64 = 64 << 40;

/// A pack is closed once it is this long.
pub const PACK_BYTES_TARGET: u64 = 64 << 20;

/// Or once it takes this part of its file system: of 256 MiB packs of 2 MiB, of 8 GiB those of full length. The reserve, an
/// eighth at most, holds several.
pub const PACK_CAPACITY_SHARE: u64 = 128;

/// But never before it could hold so many whole chunks.
pub const PACK_FRAMES_MIN: u64 = 32;

/// No pack is longer. Above the target by the largest frame and the longest trailer of a pack of tiny frames.
pub const PACK_BYTES_MAX: u64 = 128 << 20;

/// Index entries of a segment, beyond which it is not merged: a merge takes half a second and 6 MiB of memory, and 1 TiB of
/// unique chunks of 64 KiB is in four to eight segments.
pub const INDEX_SEGMENT_ENTRIES_MAX: u64 = 4 << 20;

/// Index entries that a writer, or the reading of trailers, holds in memory before it writes a segment of them: 64 MiB
/// with all that belongs to them.
pub const INDEX_STAGED_ENTRIES: u64 = 512 << 10;

/// What a store sets aside for deleting and collecting on a full disk, where an eighth of the file system is not less: the
/// catalog's log and the table made of it (4 MiB each), its dump, and the index of some hundred thousand chunks.
pub const RESERVE_BYTES_MAX: u64 = 12 << 20;

/// Disks of one restore point (Azure's largest machines take 65).
pub const POINT_DISKS_MAX: usize = 256;

/// The detail of a manifest: a machine's configuration and names.
pub const DETAIL_BYTES_MAX: usize = 16 << 20;

/// The longest range that one `read` call returns.
pub const READ_BYTES_MAX: u64 = 64 << 20;

/// A source written to this shortly before a scan starts may carry a timestamp that a later write repeats (the
/// kernel's clock for timestamps ticks every 1 to 10 ms).
pub const STILL_NS: i128 = 20_000_000;

/// Smallest unit in which a diff can be refined, and sector sizes of disks.
pub const SECTOR_BYTES_ALLOWED: [u32; 2] = [512, 4096];

/// Threads that one engine may be given.
pub const THREADS_MAX: usize = 256;

/// Extents that one page of a diff holds at most: 24 bytes each across the boundary.
pub const DIFF_PAGE_EXTENTS_MAX: usize = 65_536;

/// Payload of one record of a write log: larger requests are several records.
pub const RECORD_BYTES_MAX: u32 = 1 << 20;

/// What one checksum of a record's payload covers: reading a sector of a disk from the log reads no more than this.
pub const RECORD_BLOCK_BYTES: u32 = 4096;

/// A segment of a write log unless the opener says otherwise: small enough that forgetting one frees space soon, large
/// enough that a rollover, which costs six syncs in the background, comes once in tenths of a second at full speed.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// The first segment of a log; each next one is twice as long, up to what was asked for. So thousands of disks that are hardly
/// written to take little, and one that is written to soon has few segments. Holds the largest record.
pub const SEGMENT_BYTES_FIRST: u64 = 2 << 20;

/// The shortest segment: room for its header, the largest record and the summary.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// The longest segment: positions in it are u32.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// A slot of a superblock: hundreds of disks with long names, and a window of 64 cuts over all of them.
pub const SUPERBLOCK_BYTES_MAX: u64 = 16 << 20;

/// Opaque text of a cut record.
pub const CUT_DETAIL_BYTES_MAX: usize = 64 << 10;

/// Names in records and superblocks.
pub const NAME_BYTES_MAX: usize = 1024;

/// What a frame of a fold takes beside its content, at most: header and base id (104), its place in the trailer and its base
/// there (80), in an index segment the 77th part of a page, of a fence and of the filter, and its base (57 + 32), and its
/// part of what each further pack of [`PACK_FRAMES_MIN`] takes whole (133).
pub const FOLD_FRAME_BYTES_MAX: u64 = 104 + 80 + 89 + 133;

/// What the file system takes to say where a file's bytes lie is at most this part of them: ext4 has 12 bytes for each run of
/// blocks, and each block may be a run of its own.
pub const FOLD_EXTENTS_SHARE: u64 = 256;

/// What folding a layer takes however little was touched, at most: the ends of a pack of chunks and of one of nodes, and an
/// index segment and the list that names it, each up to whole blocks; a block that says where each lies; three blocks for
/// each directory that gets a name.
pub const FOLD_LAYER_BYTES_MAX: u64 = 18 * 4096;

/// Sealed layers of one log: a read that nothing covers looks into all of them.
pub const LAYERS_SEALED_MAX: usize = 8;

/// Where a larger request is split into records the split falls on a multiple of this, so that no such block is torn.
pub const ATOMIC_BLOCK_BYTES: u64 = 4096;

/// Decoded chunks that all readers of an open store keep together, unless they are given another room.
pub const CHUNK_CACHE_BYTES: u64 = 64 << 20;

/// A layer that has logged this part of the longest log (256 MiB) is sealed and folded without a point, so that a machine that
/// nobody captures keeps a short log, and opening it takes no longer than reading so much. While one is folded the next one
/// fills, and there is room for more.
pub const LAYER_LOG_SHARE: u64 = 4;

/// And when less space is left than a layer has logged, it is sealed and folded beyond this.
pub const LAYER_LOGGED_BYTES_MIN: u64 = 1 << 20;

/// Beyond this length of its log a machine's writers wait for the copy.
pub const LOG_BYTES_MAX: u64 = 1 << 30;

/// Where space is short a layer is sealed and folded once it owes more than is left, and no less than this: what a fold takes
/// besides is then a small part of what it gives back.
pub const RELIEF_DEBT_BYTES_MIN: u64 = 1 << 20;

/// How many folds a writer without space waits for before it is refused.
pub const RELIEF_FOLDS_MAX: u32 = 8;

/// From half of that on each write is delayed, with the cube of what is above up to this, so that writers come down to the rate of
/// the copy before they stand still for as long as a layer is folded.
pub const PACE_DELAY_NS_MAX: u64 = 50_000_000;

/// A shorter delay than this is none: a timer takes about as long.
pub const PACE_DELAY_NS_MIN: u64 = 50_000;

/// Beyond this part of the longest log a copy makes no room for writers any more: it is halfway to where they would wait for it.
pub const LOG_PRESSED_SHARE: u64 = 2;

/// Beyond so many layers of its log likewise: two more captures, and one is refused.
pub const LAYERS_PRESSED: usize = LAYERS_SEALED_MAX - 2;

/// And where less than this is neither taken nor owed: what is folded gives it back.
pub const AVAILABLE_BYTES_PRESSED: u64 = 2 * LOG_BYTES_MAX / LAYER_LOG_SHARE;

/// How long a writer waits before it looks again.
pub const PACE_WAIT_NS: u64 = 1_000_000;

/// How often it does before it gives up: for a minute nothing shortened the log.
pub const PACE_WAITS_MAX: u32 = 60_000;

/// What a log keeps for points in time unless the opener says otherwise: as much as writers may be ahead of the copy, so
/// that a log is at most twice as long as without.
pub const WINDOW_BYTES_DEFAULT: u64 = 1 << 30;

/// And for how long: what went wrong yesterday can be looked up today.
pub const WINDOW_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;

/// Cuts of which the window keeps the bases. More would make nothing reachable that is not, but a moment is found by replaying
/// what was logged since the base before it.
pub const WINDOW_CUTS_MAX: usize = 64;

/// How long who waits for the rates of disks does not look whether something has changed.
pub const LIMIT_LOOK_NS: u64 = 5_000_000;

/// The longest payload of an NBD request or reply: what the protocol names as the most that is portable.
pub const NBD_PAYLOAD_BYTES_MAX: u64 = 32 << 20;

/// The block that NBD clients are asked to prefer.
pub const NBD_PREFERRED_BYTES: u32 = 4096;

/// Data of an option of the NBD handshake that is looked at: the longest name, and some dozen contexts.
pub const NBD_OPTION_BYTES_MAX: u32 = 128 << 10;

/// Data of an option that is skipped before the answer that it was too long; a client that sends more is left.
pub const NBD_OPTION_SCRAP_BYTES_MAX: u32 = 1 << 20;

/// Options of one NBD handshake: a client that lists every export and asks about each sends one per export.
pub const NBD_OPTIONS_MAX: u32 = 65_536;

/// Names of NBD exports and contexts, and texts about them: what the protocol allows.
pub const NBD_NAME_BYTES_MAX: usize = 4096;

/// Contexts that one NBD client may choose.
pub const NBD_CONTEXTS_MAX: usize = 64;

/// Extents of one context in one NBD reply: 64 KiB of them. A client asks again for the rest.
pub const NBD_EXTENTS_MAX: usize = 8192;

/// Memory that the requests in flight of one NBD client may take: two of the largest, so that one can be received while the
/// other is carried out. Its next request waits on the wire.
pub const NBD_CLIENT_BYTES_MAX: u64 = 2 * NBD_PAYLOAD_BYTES_MAX + (1 << 20);

/// What the kernel may keep of replies that a client on this machine has not read, as far as it allows (`net.core.wmem_max`): a whole
/// MiB is sent without waiting, where a socket takes 208 KiB by itself. Of a client on the network the kernel finds that out.
pub const NBD_SEND_BYTES: usize = 1 << 20;

/// Threads that carry out requests of one NBD client besides the one that reads them: as many as QEMU's driver has in flight.
pub const NBD_CLIENT_THREADS_MAX: usize = 16;

/// Encrypted bytes of one NBD client that are held in each direction: a whole number of the largest records, so that many are
/// received or sent with one call.
pub const NBD_TLS_BYTES: usize = 128 << 10;

/// Clients of an NBD server that were not taken yet.
pub const NBD_BACKLOG: i32 = 1024;

const _: () = {
    assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);
    assert!(RECORD_BYTES_MAX.is_multiple_of(RECORD_BLOCK_BYTES));
    assert!(CHUNK_BYTES_ALLOWED[3] == CHUNK_BYTES_MAX);
    assert!(PACK_BYTES_TARGET >= PACK_FRAMES_MIN * CHUNK_BYTES_MAX as u64); // as FOLD_FRAME_BYTES_MAX counts
    assert!(PACK_BYTES_TARGET + (CHUNK_BYTES_MAX as u64) * 2 < PACK_BYTES_MAX);
    assert!(PACK_BYTES_MAX < u32::MAX as u64); // offsets in a pack are u32
    // 64^6 chunks of the smallest size reach the largest disk.
    assert!((1u64 << (6 * NODE_LEVEL_MAX as u32)) * CHUNK_BYTES_ALLOWED[0] as u64 >= DISK_BYTES_MAX);
};

/// After it failed, giving maps to points that were deleted while clients read them is left alone for so long.
pub const DELETED_FOLD_REST_NS: i128 = 10_000_000_000;
