//! Histories: what happens to disks and store, as data, drawn from a seed.
//!
//! Operations name disks, points and places by numbers that are taken modulo what there is when they run, so any
//! part of a history is a history: a failing one can be shrunk by leaving operations out.

use stillpoint_engine::format::Codec;
use stillpoint_engine::random::Seeded;

use super::content::Content;

/// What stays the same throughout a history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) chunk_bytes: u32,
    pub(crate) sector_bytes: u32,
    pub(crate) codec: Codec,
    pub(crate) thread_count: usize,
    pub(crate) pack_bytes_target: u64,
    pub(crate) disk_count: usize,
    pub(crate) disk_bytes_max: u64,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write {
        disk: u64,
        at: u64,
        length: u64,
        content: Content,
    },
    Punch {
        disk: u64,
        at: u64,
        length: u64,
    },
    Resize {
        disk: u64,
        size: u64,
    },
    /// `exclude`: a bit for each disk. `parent`: compared with each disk's newest point, or an older one, or none.
    Capture {
        exclude: u64,
        parent: Parent,
    },
    Diff {
        before: u64,
        after: u64,
        granularity: Option<u64>,
        page: usize,
    },
    Restore {
        version: u64,
        to: Target,
    },
    Read {
        version: u64,
        at: u64,
        length: u64,
    },
    Delete {
        point: u64,
    },
    Collect {
        dry_run: bool,
    },
    /// Steps of a collection; a new one where none is under way.
    Advance {
        steps: u64,
    },
    /// A capture that waits before it publishes. It ends with the next one of these, published or not.
    Begin {
        exclude: u64,
        parent: Parent,
    },
    End {
        publish: bool,
    },
    /// Another frame of a chunk: full, or as a delta on another chunk.
    Reencode {
        version: u64,
        chunk: u64,
        base: Option<u64>,
    },
    Verify {
        read_data: bool,
    },
    Reopen {
        read_only: bool,
    },
    OpenSecond,
    RemoveIndex {
        keep_list: bool,
    },
}

/// Which point a capture is compared with first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    None,
    Newest,
    Any(u64),
}

/// Where a restore goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    NewFile,
    LargerFile(u64),
    Device(u64),
}

impl Settings {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Seeded::new(seed ^ 0x5e77_1465);
        let chunk_bytes = match random.below(16) {
            0 | 1 => 64 << 10,
            2 => 256 << 10,
            3 => 1 << 20,
            _ => 16 << 10,
        };
        Self {
            seed,
            chunk_bytes,
            sector_bytes: if random.one_in(4) { 4096 } else { 512 },
            codec: [Codec::None, Codec::Zstd, Codec::Zstd, Codec::Lz4][random.below(4) as usize],
            thread_count: if random.one_in(3) { 3 } else { 1 },
            pack_bytes_target: [1 << 10, 24 << 10, 64 << 10, 1 << 20][random.below(4) as usize],
            disk_count: 1 + random.below(3) as usize,
            // Above 1 MiB a map of 16 KiB chunks has two levels.
            disk_bytes_max: if random.one_in(3) { 5 << 19 } else { 300 << 10 },
        }
    }
}

/// The operations of a history.
pub(crate) fn draw(settings: &Settings, count: usize) -> Vec<Op> {
    let mut random = Seeded::new(settings.seed);
    (0..count).map(|_| draw_one(&mut random, settings)).collect()
}

fn draw_one(random: &mut Seeded, settings: &Settings) -> Op {
    let chunk = u64::from(settings.chunk_bytes);
    let number = random.next_u64();
    match random.below(50) {
        0..10 => {
            let length = match random.below(4) {
                0 => 1 + random.below(5_000),
                1 => chunk,
                2 => chunk * (1 + random.below(4)),
                _ => 1 + random.below(chunk * 3),
            };
            Op::Write { disk: number, at: place(random, chunk), length, content: Content::draw(random) }
        }
        10..12 => Op::Punch { disk: number, at: place(random, chunk), length: 1 + random.below(chunk * 6) },
        12..14 => Op::Resize { disk: number, size: random.next_u64() },
        14..21 => {
            let parent = match random.below(5) {
                0 => Parent::None,
                1 => Parent::Any(random.next_u64()),
                _ => Parent::Newest,
            };
            Op::Capture { exclude: if random.one_in(3) { number } else { 0 }, parent }
        }
        21..25 => {
            let granularity = [None, Some(4096), Some(512), Some(chunk)][random.below(4) as usize];
            let page = [1, 2, 100][random.below(3) as usize];
            Op::Diff { before: number, after: random.next_u64(), granularity, page }
        }
        25..28 => {
            let to = match random.below(3) {
                0 => Target::NewFile,
                1 => Target::LargerFile(random.next_u64()),
                _ => Target::Device(random.next_u64()),
            };
            Op::Restore { version: number, to }
        }
        28..30 => Op::Read { version: number, at: random.next_u64(), length: random.next_u64() },
        30..33 => Op::Delete { point: number },
        33..35 => Op::Collect { dry_run: random.one_in(4) },
        35 => Op::Verify { read_data: random.one_in(2) },
        36 | 37 => Op::Reopen { read_only: random.one_in(5) },
        38 => Op::OpenSecond,
        40..44 => Op::Advance { steps: 1 + random.below(3) },
        44 | 45 => Op::Begin { exclude: if random.one_in(3) { number } else { 0 }, parent: Parent::Newest },
        46 => Op::End { publish: !random.one_in(4) },
        47..50 => {
            let base = (!random.one_in(3)).then(|| random.next_u64());
            Op::Reencode { version: number, chunk: random.next_u64(), base }
        }
        _ => Op::RemoveIndex { keep_list: random.one_in(2) },
    }
}

/// A place on a disk: at a chunk's start half of the time.
fn place(random: &mut Seeded, chunk: u64) -> u64 {
    let at = random.below(1 << 40);
    if random.one_in(2) { at / chunk * chunk } else { at }
}
