//! New segments, and the records above the durable LSN that an opening writes anew into them.

use std::path::Path;
use std::sync::Arc;

use super::preparing::write_summary;
use super::segment::Segment;
use super::sequencer::Filling;
use super::ticket::write_together;
use super::walk::Found;
use super::window::Window;
use super::{LogIdentity, LogParts, Place, milliseconds};
use crate::error::{Code, Error, Result};
use crate::format::log_record::{RecordHeader, Salt, chain, record_bytes};
use crate::format::log_segment::{Incarnation, SegmentHeader, file_name};
use crate::io::OpenMode;
use crate::random::Random;

/// A salt that nobody can guess.
pub(super) fn new_salt(random: &dyn Random) -> Salt {
    let mut salt = Salt::default();
    random.fill(&mut salt);
    salt
}

/// A segment with its space taken and its header durable. Its name is durable after the directory's sync.
pub(super) fn make_segment(
    parts: &LogParts,
    directory: &Path,
    identity: LogIdentity,
    segment_bytes: u64,
    number: u64,
    incarnation: Incarnation,
) -> Result<Arc<Segment>> {
    let path = directory.join(file_name(number));
    let file = parts.io.open(&path, OpenMode::CreateNew)?;
    file.allocate(segment_bytes)?;
    let LogIdentity { store_id, log_id, .. } = identity;
    let created_ms = milliseconds(&*parts.clock);
    let header = SegmentHeader { store_id, log_id, number, segment_bytes, incarnation, created_ms };
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    Ok(Arc::new(Segment::new(number, incarnation.counter, incarnation.salt, segment_bytes, file)))
}

/// Writes records one after the other into as many new segments as it takes: at least one.
pub(super) struct Carrier<'a> {
    pub(super) parts: &'a LogParts,
    pub(super) directory: &'a Path,
    pub(super) identity: LogIdentity,
    pub(super) segment_bytes: u64,
    pub(super) incarnation: Incarnation,
    pub(super) next_number: u64,
    /// Header checksum of the last record.
    pub(super) predecessor: u64,
    /// All but the last are full.
    pub(super) filled: Vec<Filling>,
}

impl Carrier<'_> {
    /// Begins another segment.
    pub(super) fn begin_segment(&mut self) -> Result<()> {
        if let Some(full) = self.filled.last() {
            let last = full.entries.last().map_or(self.incarnation.predecessor_lsn, |entry| entry.lsn);
            full.segment.last.get_or_init(|| last);
            write_summary(full)?;
        }
        let Self { parts, directory, identity, segment_bytes, incarnation, next_number, .. } = self;
        let segment = make_segment(parts, directory, *identity, *segment_bytes, *next_number, *incarnation)?;
        self.next_number += 1;
        self.filled.push(Filling::new(segment));
        Ok(())
    }

    /// Writes a record again, under the LSN and with the time that it has, and tells where it lies now.
    pub(super) fn carry(&mut self, found: &Found, window: &mut Window<'_>) -> Result<Place> {
        let entry = &found.entry;
        let (bytes, position) = (record_bytes(entry.payload_bytes), u64::from(entry.position));
        if self.filled.last().is_none_or(|filling| !filling.has_room(bytes)) {
            self.begin_segment()?;
        }
        let changed = || Error::new(Code::LogDamaged, format!("record {} of the write log has changed", entry.lsn));
        let (mut header, payload) = window.record(position, entry.payload_bytes)?.ok_or_else(changed)?;
        let durable = self.incarnation.predecessor_lsn;
        let sum = chain(&mut header, &self.incarnation.salt, entry.lsn, entry.time_ms, durable, self.predecessor);
        let (fields, _) = RecordHeader::decode(&header, &self.incarnation.salt).map_err(|_| changed())?;
        let Some(filling) = self.filled.last_mut().filter(|filling| filling.has_room(bytes)) else {
            let message = format!("record {} does not fit into a segment of {} bytes", entry.lsn, self.segment_bytes);
            return Err(Error::new(Code::ArgumentInvalid, message).with("segmentBytes", self.segment_bytes));
        };
        let position = filling.push(&fields, bytes, sum);
        write_together(&filling.segment, &header, payload, u64::from(position))?;
        self.predecessor = sum;
        Ok(Place { segment: filling.segment.number, position, payload_bytes: entry.payload_bytes })
    }

    /// Makes all of it durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.filled
            .iter()
            .filter(|filling| filling.segment.is_dirty())
            .try_for_each(|filling| filling.segment.sync())?;
        self.parts.io.sync_directory(self.directory)
    }
}
