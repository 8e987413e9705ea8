//! The write log of one machine: everything that changes what a reader of its disks sees, in one order.
//!
//! ```text
//! Record -> sequence: LSN, place, chain -> append: one write -> complete -> watermark -> acknowledged
//!                                                                  flush -> durable  -> FLUSH and FUA answered
//! ```
//!
//! What it guarantees (docs/durability.md, I-21 to I-27): an LSN is given between a request's coming and its
//! acknowledgement, so the order of LSNs extends the order that requesters can see; a record is acknowledged only when every
//! lower one is in the log, so any prefix of the log is a state that the disks could have had; what is replayed is a prefix
//! that holds everything acknowledged, after a power cut everything up to the last acknowledged flush; nothing is served
//! that a power cut could still take back.
//! What it costs: under the sequencer's lock the checksum of one header and no I/O; a record one positional write without
//! any lock; a flush one sync for all who wait. A full segment costs one sync, and its successor's
//! allocation and four, in the background when somebody calls [`WriteLog::prepare_when_due`] and [`WriteLog::write_back`] in time.
//! What it must not import: chunks, maps, disks. It knows disks by id only.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::format::log_segment::payload_bytes_max;
use crate::format::superblock::{Superblock, SuperblockDisk};
use crate::io::Io;
use crate::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::random::Random;
use crate::units::{Lsn, Uid};

mod carrying;
mod creating;
mod durability;
mod fence;
mod holds;
mod opening;
mod preparing;
mod reading;
mod record;
mod releasing;
mod replay;
mod retained;
mod segment;
mod segments;
mod sequencer;
mod superblock_slots;
mod ticket;
mod times;
mod walk;
mod watermark;
mod window;
mod writing_back;

pub use crate::format::log_body::{CutBody, Membership, ResetDisk, ResetList};
pub use crate::format::log_record::RecordKind;
pub use holds::Hold;
pub use record::Record;
pub use replay::{Dropped, Place, Replay, ReplayedRecord};
pub use ticket::Ticket;

use durability::Durability;
use fence::Fence;
use holds::Holds;
use segments::Segments;
use sequencer::Sequencer;
use superblock_slots::SuperblockSlots;
use watermark::Watermark;
use writing_back::WritingBack;

/// What a log needs of the world.
#[derive(Clone)]
pub struct LogParts {
    /// Files.
    pub io: Arc<dyn Io>,
    /// The time that records carry.
    pub clock: Arc<dyn Clock>,
    /// Where salts come from.
    pub random: Arc<dyn Random>,
    /// Called in the middle of a write when it is time for [`WriteLog::write_back`], and after a
    /// rollover.
    pub writeback_due: Option<WritebackDue>,
}

/// Tells somebody else than the writer, whose request would last as long as the disk is busy.
pub type WritebackDue = Arc<dyn Fn() + Send + Sync>;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogParameters {
    /// Length of new segments: a multiple of 4096 from 16 KiB to 1 GiB.
    pub segment_bytes: u64,
}

impl Default for LogParameters {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES_DEFAULT }
    }
}

impl LogParameters {
    fn check(&self) -> Result<()> {
        let bytes = self.segment_bytes;
        if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(4096) {
            return Ok(());
        }
        let message = format!("a log's segments cannot be {bytes} bytes long");
        Err(Error::new(Code::ArgumentInvalid, message).with("segmentBytes", bytes))
    }
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The store.
    pub store_id: Uid,
    /// The machine, or the detached disk.
    pub log_id: Uid,
    /// The machine; zero for a detached disk's log.
    pub machine_id: Uid,
}

/// An open write log.
pub struct WriteLog {
    parts: LogParts,
    directory: PathBuf,
    identity: LogIdentity,
    parameters: LogParameters,
    fence: Fence,
    sequencer: Mutex<Sequencer>,
    watermark: Watermark,
    durability: Durability,
    segments: Segments,
    /// One preparation at a time; held while files are made. Comes before the slots' lock.
    preparing: Mutex<()>,
    /// Held while full segments get their summaries. Comes after `preparing`, before every other lock.
    finishing: Mutex<()>,
    /// Held while the superblock is written. Comes before the sequencer's lock.
    slots: Mutex<SuperblockSlots>,
    /// Held while a part is written back. Comes before `finishing`.
    writing_back: WritingBack,
    holds: Holds,
    /// How long the last cut kept everybody else from getting an LSN, nanoseconds.
    cut_held_ns: AtomicU64,
    room: OnceLock<RoomCheck>,
}

/// Says whether there is room for a segment of so many bytes that nobody else counts on.
pub type RoomCheck = Box<dyn Fn(u64) -> Result<()> + Send + Sync>;

impl WriteLog {
    /// Makes a log of these disks; it is durable when this returns. A directory that a cut off `create` left is taken over.
    ///
    /// # Errors
    /// `STORE_EXISTS` when there is a log, `NO_SPACE`, what files give.
    pub fn create(
        parts: LogParts,
        directory: PathBuf,
        identity: LogIdentity,
        parameters: LogParameters,
        disks: Vec<SuperblockDisk>,
    ) -> Result<Arc<Self>> {
        creating::create(parts, directory, identity, parameters, disks)
    }

    /// Opens a log for writing: a new incarnation begins, and everything in the [`Replay`] is durable. A log that is damaged
    /// at or below what it says is durable is open for reading only: it is fenced with `LOG_DAMAGED`, which
    /// [`Replay::damage`] is too, and nothing of it was changed.
    ///
    /// # Errors
    /// `LOG_DAMAGED` when no superblock is whole or it is another log's, `NO_SPACE`, what files give.
    pub fn open(
        parts: LogParts,
        directory: PathBuf,
        identity: LogIdentity,
        parameters: LogParameters,
    ) -> Result<(Arc<Self>, Replay)> {
        opening::open(parts, directory, identity, parameters)
    }

    /// What a log that is not open holds, without changing anything: its superblock, and what is logged above its bases.
    ///
    /// # Errors
    /// As [`WriteLog::open`]; inside the pair, where the superblock can be told and the records cannot.
    pub fn look(io: &dyn Io, directory: &Path, identity: LogIdentity) -> Result<(Superblock, Result<Replay>)> {
        opening::look(io, directory, identity)
    }

    /// Has `check` asked before a segment is made; the first one that is given stays.
    pub fn ask_for_room(&self, check: RoomCheck) {
        let _ = self.room.set(check);
    }

    /// The largest payload of one record: larger requests are several records.
    #[must_use]
    pub fn record_bytes_max(&self) -> u32 {
        payload_bytes_max(self.parameters.segment_bytes)
    }

    /// Every record up to here is complete.
    #[must_use]
    pub fn watermark(&self) -> Lsn {
        self.watermark.value()
    }

    /// Every record up to here is known to be durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durability.value()
    }

    /// Whether every record up to `lsn` is in the log, so that it may be acknowledged. Never waits.
    ///
    /// # Errors
    /// The log is fenced.
    pub fn is_logged(&self, lsn: Lsn) -> Result<bool> {
        self.fence.check()?;
        Ok(self.watermark.value() >= lsn)
    }

    /// Waits until every record up to `lsn` is in the log.
    ///
    /// # Errors
    /// The log is fenced.
    pub fn wait_until_logged(&self, lsn: Lsn) -> Result<()> {
        self.watermark.wait(lsn, &self.fence)
    }

    /// Why nothing more is written; `None` while all is well.
    #[must_use]
    pub fn is_fenced(&self) -> Option<Error> {
        self.fence.check().err()
    }

    /// Ends all writing because of what is to become of the log: from here on nobody makes a file in its directory,
    /// or writes a summary.
    pub fn end(&self, why: &str) {
        let _preparing = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        let _finishing = self.finishing.lock().unwrap_or_else(PoisonError::into_inner);
        let _slots = self.slots();
        self.fence_with(&Error::new(Code::LogFenced, why));
    }

    /// The superblock as it stands in both slots.
    #[must_use]
    pub fn superblock(&self) -> Superblock {
        self.slots().current.clone()
    }

    /// How long the last cut kept everybody else from getting an LSN, nanoseconds; 0 before the first.
    #[must_use]
    pub fn cut_held_ns(&self) -> u64 {
        self.cut_held_ns.load(Ordering::Relaxed)
    }

    /// Bytes of files that the log takes.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.segments.bytes()
    }

    /// Ends all writing, for good, and wakes everybody who waits.
    fn fence_with(&self, cause: &Error) {
        self.fence.set(cause);
        self.watermark.wake();
        self.durability.wake();
    }

    /// Passes an outcome on; an error ends all writing.
    fn fencing<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| self.fence_with(error))
    }

    fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, SuperblockSlots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds of a clock's time; before 1970 they are 0.
fn milliseconds(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now_ns() / 1_000_000).unwrap_or(0)
}
