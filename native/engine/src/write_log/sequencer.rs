//! The sequencer: gives records their LSN, their place and their link in the chain, one after the other.
//!
//! Everything here runs under one short lock and does no I/O. The place is reserved in an allocated segment before the LSN
//! exists, so a full disk is found out about before anybody has a number (I-21).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::record::Record;
use super::segment::Segment;
use super::ticket::Ticket;
use super::{WriteLog, milliseconds};
use crate::error::{Code, Error, Result};
use crate::format::log_record::{RecordHeader, RecordKind, chain};
use crate::format::log_segment::{HEADER_BYTES, SummaryEntry, end_bytes};
use crate::format::superblock::FirstRecord;
use crate::units::{Lsn, u64_from, usize_from};

/// What other records leave of a segment for a cut without a point and its entry: on a full disk, where no next segment can be
/// made, what was logged can still be sealed, and folded.
const CUT_ROOM_BYTES: u64 = 512;

/// Where the next record goes.
pub(super) struct Sequencer {
    pub(super) next: Lsn,
    /// Header checksum of the last record.
    pub(super) predecessor: u64,
    /// Time of the last record.
    pub(super) time_ms: u64,
    /// `None` only where the log is open for reading.
    pub(super) active: Option<Filling>,
    /// Comes next.
    pub(super) prepared: Option<Filling>,
    /// Full, and without their summary yet.
    pub(super) full: Vec<Filling>,
    /// A writer had to wait for a segment.
    pub(super) is_awaited: bool,
}

/// A segment that is filled, with what its summary will say.
pub(super) struct Filling {
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    pub(super) entries: Vec<SummaryEntry>,
    /// Header checksum of its last record.
    pub(super) last: u64,
}

impl Filling {
    /// With room for the summary of records of 8 KiB: it grows under the lock only where they are smaller.
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        let entries = Vec::with_capacity(usize_from(segment.segment_bytes / 8192));
        Self { segment, position: u64_from(HEADER_BYTES), entries, last: 0 }
    }

    /// Whether a record fits with its entry and all that ends the segment.
    pub(super) fn has_room(&self, record_bytes: u64) -> bool {
        let end = end_bytes(u64_from(self.entries.len()) + 1);
        self.position + record_bytes + end <= self.segment.segment_bytes
    }

    /// Takes the place that was found to be there; returns where it begins.
    pub(super) fn push(&mut self, header: &RecordHeader, record_bytes: u64, sum: u64) -> u32 {
        let position = self.position as u32; // segments are at most 1 GiB long
        if self.entries.is_empty() {
            let first = FirstRecord { lsn: header.lsn, predecessor: header.predecessor };
            assert!(self.segment.first.set(first).is_ok(), "a segment begins once");
        }
        self.entries.push(SummaryEntry::new(header, position));
        self.position += record_bytes;
        self.last = sum;
        position
    }
}

impl Sequencer {
    /// The segment that takes a record of this length, made active if it was only prepared.
    fn with_room(&mut self, kind: RecordKind, record_bytes: u64) -> Option<&mut Filling> {
        let is_full = self.active.as_ref().is_none_or(|active| {
            let leaves = if kind == RecordKind::Cut || active.entries.is_empty() { 0 } else { CUT_ROOM_BYTES };
            !active.has_room(record_bytes + leaves)
        });
        if is_full {
            let next = self.prepared.take()?;
            if let Some(full) = self.active.replace(next) {
                let last = full.entries.last().map_or(Lsn::ZERO, |entry| entry.lsn);
                assert!(full.segment.last.set(last).is_ok(), "a segment ends once");
                self.full.push(full);
            }
        }
        self.active.as_mut()
    }
}

impl WriteLog {
    /// Gives a record its LSN and its place. `under_lock` runs while nobody else can get an LSN. What is returned must be
    /// appended and completed; without that nothing above it is ever acknowledged.
    ///
    /// # Errors
    /// `NO_SPACE`: no segment could be made ready; no LSN was given, and the log goes on once there is space.
    /// `LOG_FENCED`, `LOG_DAMAGED`. `ARGUMENT_INVALID`: the payload is longer than [`WriteLog::record_bytes_max`].
    pub fn sequence<T>(self: &Arc<Self>, record: Record<'_>, under_lock: impl FnOnce(Lsn) -> T) -> Result<(Ticket, T)> {
        if record.payload_bytes() > self.record_bytes_max() {
            let message = format!("a record of this log has at most {} bytes", self.record_bytes_max());
            return Err(Error::new(Code::ArgumentInvalid, message).with("length", u64::from(record.payload_bytes())));
        }
        let (record_bytes, now_ms) = (record.record_bytes(), milliseconds(&*self.parts.clock));
        loop {
            let mut sequencer = self.sequencer();
            let began_ns = if record.kind == RecordKind::Cut { self.parts.clock.now_ns() } else { 0 };
            self.fence.check()?;
            let (lsn, predecessor) = (sequencer.next, sequencer.predecessor);
            let time_ms = sequencer.time_ms.max(now_ms);
            let full_count = sequencer.full.len();
            if let Some(active) = sequencer.with_room(record.kind, record_bytes) {
                let Record { kind, disk_id, offset, length, payload, mut header } = record;
                let (payload_bytes, durable) = (payload.len() as u32, self.durability.value());
                let fields =
                    RecordHeader { kind, lsn, disk_id, offset, length, payload_bytes, time_ms, durable, predecessor };
                let sum = chain(&mut header, &active.segment.salt, lsn, time_ms, durable, predecessor);
                let position = active.push(&fields, record_bytes, sum);
                let segment = Arc::clone(&active.segment);
                (sequencer.next, sequencer.predecessor, sequencer.time_ms) = (lsn.next(), sum, time_ms);
                let body = if kind.has_body() { Some(payload.into_owned()) } else { None };
                // From here on a panic fences the log: the ticket is dropped.
                let ticket = Ticket::new(Arc::clone(self), segment, &fields, position, header, body);
                let value = under_lock(lsn);
                if kind == RecordKind::Cut {
                    let held_ns = u64::try_from(self.parts.clock.now_ns() - began_ns).unwrap_or(0);
                    self.cut_held_ns.store(held_ns, Ordering::Relaxed);
                }
                let has_rolled = sequencer.full.len() > full_count;
                drop(sequencer);
                if has_rolled {
                    self.tell_writeback_due();
                }
                return Ok((ticket, value));
            }
            sequencer.is_awaited = true;
            drop(sequencer);
            self.prepare()?;
        }
    }
}

const _: () = assert!(!RecordKind::Write.has_body()); // so that `into_owned` copies no disk's bytes under the lock
