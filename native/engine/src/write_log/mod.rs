//! One write log a machine: everything that changes what a reader of its disks sees, in one order.
#![expect(unused_variables, dead_code, missing_docs, reason = "signatures first")]

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::format::superblock::{Superblock, SuperblockDisk};
use crate::io::Io;
use crate::random::Random;
use crate::units::{Lsn, Uid};

pub use crate::format::log_record::{CutBody, Membership, Record, RecordKind, ResetDisk, ResetList};

/// What a log is given.
#[derive(Clone)]
pub struct LogParts {
    pub io: Arc<dyn Io>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

#[derive(Clone, Copy, Debug)]
pub struct LogParameters {
    pub segment_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    pub store_id: Uid,
    pub log_id: Uid,
    pub machine_id: Uid,
}

/// Where a record lies: enough to read any part of its payload, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u64,
    pub position: u32,
    pub payload_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedRecord {
    pub lsn: Lsn,
    pub time_ms: u64,
    pub kind: RecordKind,
    pub disk_id: Uid,
    pub offset: u64,
    pub length: u64,
    pub place: Place,
    /// Payload of a reset, join, leave or cut.
    pub body: Option<Vec<u8>>,
}

/// What an unclean stop took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The last LSN that is left.
    pub durable: Lsn,
    /// Records at least.
    pub records: u64,
    /// Bytes of payload at least.
    pub bytes: u64,
    /// Time of the last of them that can be told.
    pub last_time_ms: u64,
}

pub struct Replay {
    pub superblock: Superblock,
    /// Records above the oldest base, in order.
    pub records: Vec<ReplayedRecord>,
    pub dropped: Option<Dropped>,
    /// `LOG_DAMAGED`: the log is open for reading only, and `records` ends before the damage.
    pub damage: Option<Error>,
}

/// A record that has its LSN and its place and is on its way into the log.
pub struct Ticket {
    log: Arc<WriteLog>,
    lsn: Lsn,
    time_ms: u64,
}

impl Ticket {
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }
    pub fn place(&self) -> Place {
        unimplemented!()
    }
}

/// Records above an LSN stay while it lives.
pub struct Hold {
    log: Arc<WriteLog>,
    lsn: Lsn,
}

pub struct WriteLog {}

impl WriteLog {
    pub fn create(
        parts: LogParts,
        directory: PathBuf,
        identity: LogIdentity,
        parameters: LogParameters,
        disks: Vec<SuperblockDisk>,
    ) -> Result<Arc<Self>> {
        unimplemented!()
    }
    pub fn open(
        parts: LogParts,
        directory: PathBuf,
        identity: LogIdentity,
        parameters: LogParameters,
    ) -> Result<(Arc<Self>, Replay)> {
        unimplemented!()
    }
    /// The largest payload of one record: larger requests are several.
    pub fn record_bytes_max(&self) -> u32 {
        unimplemented!()
    }
    pub fn sequence<T>(self: &Arc<Self>, record: Record<'_>, under_lock: impl FnOnce(Lsn) -> T) -> Result<(Ticket, T)> {
        unimplemented!()
    }
    /// `payload` is what the record was made of, unchanged since; empty for reset, join, leave, cut, whose payload the ticket has.
    pub fn append(&self, ticket: &Ticket, payload: &[u8]) -> Result<Place> {
        unimplemented!()
    }
    pub fn complete(&self, ticket: Ticket) {
        unimplemented!()
    }
    pub fn watermark(&self) -> Lsn {
        unimplemented!()
    }
    pub fn durable(&self) -> Lsn {
        unimplemented!()
    }
    pub fn is_logged(&self, lsn: Lsn) -> Result<bool> {
        unimplemented!()
    }
    pub fn wait_until_logged(&self, lsn: Lsn) -> Result<()> {
        unimplemented!()
    }
    pub fn flush(&self, lsn: Lsn) -> Result<()> {
        unimplemented!()
    }
    pub fn try_flush(&self) -> Result<Lsn> {
        unimplemented!()
    }
    pub fn read(&self, place: &Place, skip: u64, buffer: &mut [u8]) -> Result<()> {
        unimplemented!()
    }
    pub fn change_superblock(&self, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        unimplemented!()
    }
    pub fn superblock(&self) -> Superblock {
        unimplemented!()
    }
    pub fn hold(self: &Arc<Self>, lsn: Lsn) -> Hold {
        unimplemented!()
    }
    pub fn release(&self, lsn: Lsn) -> Result<u64> {
        unimplemented!()
    }
    pub fn retained_bytes(&self) -> u64 {
        unimplemented!()
    }
    pub fn prepare(&self) -> Result<()> {
        unimplemented!()
    }
    pub fn is_fenced(&self) -> Option<Error> {
        unimplemented!()
    }
}
