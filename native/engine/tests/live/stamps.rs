//! Stamped writes that depend on each other, and what must hold of any point of them, checked without an oracle inside the
//! engine: every block says who wrote it, with which operation, and which operations its writer had seen acknowledged.
//!
//! A writer's operations come in threes, each submitted after the one before was acknowledged: a *log* block that is never
//! overwritten, *shared* blocks that others overwrite too, and its *private* block. Operation `k` of a writer, counted from
//! one, is of round `(k + 2) / 3`.

use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;

use super::uid;

pub(crate) const DISKS: u64 = 8;
pub(crate) const WRITERS: usize = 8;

/// Rounds that a writer has log blocks for.
pub(crate) const ROUNDS_MAX: u64 = 400;

const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
const LOG_SECTORS: u64 = WRITERS as u64 * ROUNDS_MAX.div_ceil(DISKS);
const LOG_BYTES: u64 = (LOG_SECTORS * SECTOR).next_multiple_of(BLOCK);
const PRIVATE_BYTES: u64 = WRITERS as u64 * BLOCK;
const SHARED_BLOCKS: u64 = 24;
pub(crate) const DISK_BYTES: u64 = LOG_BYTES + PRIVATE_BYTES + SHARED_BLOCKS * BLOCK;

const MAGIC: u32 = 0x57a_3b10;
const STAMP_BYTES: usize = 16 + 4 * WRITERS;

/// How many operations of each writer.
pub(crate) type Clock = [u32; WRITERS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    writer: u32,
    operation: u32,
    seen: Clock,
}

impl Stamp {
    fn sector(&self, number: u64) -> [u8; SECTOR as usize] {
        let mut words = vec![MAGIC, self.writer, self.operation, number as u32];
        words.extend(self.seen);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes.len(), STAMP_BYTES);
        let mut sector = [0x5a; SECTOR as usize];
        sector[..STAMP_BYTES].copy_from_slice(&bytes);
        sector
    }

    /// What a block says; `None` when it is zeros. Every sector must say the same.
    fn of(block: &[u8]) -> Option<Self> {
        if block.iter().all(|byte| *byte == 0) {
            return None;
        }
        let words: Vec<u32> =
            block[..STAMP_BYTES].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words[0], MAGIC, "a block that nobody wrote");
        let stamp = Self { writer: words[1], operation: words[2], seen: words[4..].try_into().unwrap() };
        for (number, sector) in (0u64..).zip(block.chunks(SECTOR as usize)) {
            assert!(*sector == stamp.sector(number), "a torn block: {stamp:?}, sector {number}");
        }
        Some(stamp)
    }
}

/// Where an operation goes, and its bytes. Empty bytes: a trim of that length.
pub(crate) struct Operation {
    pub(crate) disk_id: Uid,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn disk(number: u64) -> Uid {
    uid(500 + number % DISKS)
}

const fn rounds(operation: u32) -> u32 {
    operation.div_ceil(3)
}

/// Operation `number` of a writer, which has seen so much acknowledged.
pub(crate) fn operation(writer: usize, number: u32, seen: &Clock, random: &mut Seeded) -> Operation {
    assert_eq!(seen[writer], number - 1, "a writer submits after its last acknowledgement");
    let stamp = Stamp { writer: writer as u32, operation: number, seen: *seen };
    let (w, round) = (writer as u64, u64::from(rounds(number)) - 1);
    let (on, offset, blocks) = match number % 3 {
        1 => {
            let row = w * ROUNDS_MAX.div_ceil(DISKS) + round / DISKS;
            let bytes = stamp.sector(0).to_vec();
            return Operation { disk_id: disk(w + round), offset: row * SECTOR, length: SECTOR, bytes };
        }
        2 => {
            let blocks = 1 + random.below(6);
            let first = random.below(SHARED_BLOCKS - blocks + 1);
            (random.below(DISKS), LOG_BYTES + PRIVATE_BYTES + first * BLOCK, blocks)
        }
        _ => (w + 3, LOG_BYTES + w * BLOCK, 1),
    };
    let length = blocks * BLOCK;
    if number % 3 == 2 && random.one_in(6) {
        return Operation { disk_id: disk(on), offset, length, bytes: Vec::new() };
    }
    let block: Vec<u8> = (0..BLOCK / SECTOR).flat_map(|number| stamp.sector(number)).collect();
    Operation { disk_id: disk(on), offset, length, bytes: block.repeat(blocks as usize) }
}

/// What a point is checked against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// Operations acknowledged before the cut was asked for.
    pub(crate) acknowledged: Clock,
    /// Operations submitted before it was answered.
    pub(crate) submitted: Clock,
}

/// Checks a point, disk by disk, in order. Returns how many blocks have a stamp.
pub(crate) fn check_point(disks: &[Vec<u8>], bounds: &Bounds) -> u64 {
    let logs: Vec<Vec<Stamp>> = (0..WRITERS).map(|writer| log_of(disks, writer)).collect();
    let privates: Vec<Option<Stamp>> = (0..WRITERS).map(|writer| private_of(disks, writer)).collect();
    let mut stamps: Vec<Stamp> = logs.iter().flatten().copied().collect();
    stamps.extend(privates.iter().flatten());
    for disk in disks {
        let shared = &disk[(LOG_BYTES + PRIVATE_BYTES) as usize..];
        stamps.extend(shared.chunks(BLOCK as usize).filter_map(Stamp::of));
    }
    for writer in 0..WRITERS {
        let logged = logs[writer].len() as u32;
        let kept = privates[writer].map_or(0, |stamp| rounds(stamp.operation));
        assert!(
            kept == logged || kept + 1 == logged,
            "writer {writer}: {logged} log blocks, private block of round {kept}"
        );
        // Complete at the cut: what was acknowledged before it was asked for is there.
        let due = bounds.acknowledged[writer];
        assert!(
            logged >= rounds(due) && kept >= due / 3,
            "writer {writer}: {due} operations acknowledged before the cut"
        );
        for stamp in &stamps {
            // Closed: what is there saw nothing acknowledged that isn't.
            let seen = stamp.seen[writer];
            assert!(
                logged >= rounds(seen) && kept >= seen / 3,
                "{stamp:?} saw what writer {writer} had {logged} {kept} of"
            );
        }
    }
    for stamp in &stamps {
        // No future: nothing is there that was submitted after the cut was answered.
        assert!(stamp.operation <= bounds.submitted[stamp.writer as usize], "{stamp:?} is from the future");
    }
    stamps.len() as u64
}

/// A writer's log blocks, which must be all from the first to the last.
fn log_of(disks: &[Vec<u8>], writer: usize) -> Vec<Stamp> {
    let w = writer as u64;
    let mut stamps = Vec::new();
    let mut has_ended = false;
    for round in 0..ROUNDS_MAX {
        let at = (w * ROUNDS_MAX.div_ceil(DISKS) + round / DISKS) * SECTOR;
        let block = &disks[((w + round) % DISKS) as usize][at as usize..][..SECTOR as usize];
        match Stamp::of(block) {
            Some(stamp) => {
                assert!(!has_ended, "writer {writer}: log block {round} is there, one before is not");
                assert_eq!((stamp.writer, stamp.operation), (w as u32, round as u32 * 3 + 1));
                stamps.push(stamp);
            }
            None => has_ended = true,
        }
    }
    stamps
}

fn private_of(disks: &[Vec<u8>], writer: usize) -> Option<Stamp> {
    let w = writer as u64;
    let block = &disks[((w + 3) % DISKS) as usize][(LOG_BYTES + w * BLOCK) as usize..][..BLOCK as usize];
    let stamp = Stamp::of(block)?;
    assert_eq!((stamp.writer, stamp.operation % 3), (w as u32, 0));
    Some(stamp)
}

/// No block of what was read from the shared part of a disk, from its beginning on, is torn.
pub(crate) fn check_not_torn(shared: &[u8]) {
    for block in shared.chunks(BLOCK as usize) {
        Stamp::of(block);
    }
}

/// Where the shared part of each disk lies.
pub(crate) const fn shared_range() -> std::ops::Range<u64> {
    LOG_BYTES + PRIVATE_BYTES..DISK_BYTES
}
