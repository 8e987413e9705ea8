//! What opening a log tells.

use crate::error::Error;
use crate::format::log_record::RecordKind;
use crate::format::superblock::Superblock;
use crate::units::{Lsn, Uid};

/// Where a record lies: enough to read any part of its payload, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Where the record begins in it.
    pub position: u32,
    /// Bytes of its payload.
    pub payload_bytes: u32,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedRecord {
    /// Its number.
    pub lsn: Lsn,
    /// Its time, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// What it does.
    pub kind: RecordKind,
    /// The disk; zero for resets and cuts.
    pub disk_id: Uid,
    /// Where on the disk.
    pub offset: u64,
    /// How much of the disk; with `Grow` the new size.
    pub length: u64,
    /// Where it lies.
    pub place: Place,
    /// The payload of a reset, join, leave or cut.
    pub body: Option<Vec<u8>>,
}

/// What an unclean stop took. Behind the end of the chain nobody can tell how much there was, so counts are the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The last LSN that is left.
    pub durable: Lsn,
    /// Records that were sequenced above it.
    pub records: u64,
    /// Bytes of their payload.
    pub bytes: u64,
    /// The latest time of one of them, milliseconds since 1970-01-01 UTC.
    pub last_time_ms: u64,
}

/// The outcome of an opening.
#[derive(Debug)]
pub struct Replay {
    /// The superblock as it was found.
    pub superblock: Superblock,
    /// What the log itself said was durable.
    pub durable: Lsn,
    /// Records from the oldest base on, in order: that at which it stands only if it is still there. All are durable now.
    pub records: Vec<ReplayedRecord>,
    /// What is missing behind them.
    pub dropped: Option<Dropped>,
    /// `LOG_DAMAGED`: the log is open for reading only, and `records` ends before the damage.
    pub damage: Option<Error>,
}
