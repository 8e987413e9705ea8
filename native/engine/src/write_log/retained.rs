//! What an open log still holds, read again: records for a point in time, and how much that is.

use super::WriteLog;
use super::replay::{Place, ReplayedRecord};
use super::segment::Segment;
use super::walk::read_summary;
use super::window::Window;
use crate::error::{Code, Error, Result};
use crate::format::log_record::record_bytes;
use crate::format::log_segment::{HEADER_BYTES, SummaryEntry};
use crate::units::{Lsn, u64_from};

impl WriteLog {
    /// The first record that the log holds; none before there is any.
    #[must_use]
    pub fn oldest_record(&self) -> Option<Lsn> {
        let begun = self.segments.pick(|segment| segment.first.get().is_some());
        begun.first().and_then(|segment| segment.first.get()).map(|first| first.lsn)
    }

    /// Bytes of the segments all of whose records are at or below `lsn`.
    #[must_use]
    pub fn bytes_up_to(&self, lsn: Lsn) -> u64 {
        self.segments.bytes_of(|segment| segment.last.get().is_some_and(|last| *last <= lsn))
    }

    /// The records above `after` up to `last`, in their order, as a replay gives them. Those above `after` must be held, and
    /// the watermark must have passed `last`. Full segments are read by their summaries.
    ///
    /// # Errors
    /// `LOG_DAMAGED`: a record that must be there does not check. What files give.
    pub fn records(&self, after: Lsn, last: Lsn) -> Result<Vec<ReplayedRecord>> {
        assert!(last <= self.watermark(), "only what is complete is read again");
        let holds_some = |segment: &Segment| {
            segment.first.get().is_some_and(|first| first.lsn <= last)
                && segment.last.get().is_none_or(|end| *end > after)
        };
        let mut records = Vec::new();
        for segment in self.segments.pick(holds_some) {
            let mut window = Window::new(&segment);
            for entry in self.entries(&segment, &mut window, after, last)? {
                records.push(replayed(&segment, &mut window, entry)?);
            }
        }
        Ok(records)
    }

    /// What a segment that is still being filled, or has no summary yet, holds.
    pub(super) fn in_memory<T>(&self, segment: &Segment, look: impl FnOnce(&[SummaryEntry]) -> T) -> Option<T> {
        let sequencer = self.sequencer();
        let mut filling = sequencer.active.iter().chain(&sequencer.full);
        let found = filling.find(|filling| filling.segment.number == segment.number)?;
        Some(look(&found.entries))
    }

    fn entries(&self, segment: &Segment, window: &mut Window<'_>, after: Lsn, last: Lsn) -> Result<Vec<SummaryEntry>> {
        let between = |entries: &[SummaryEntry], last: Lsn| {
            let from = entries.partition_point(|entry| entry.lsn <= after);
            let to = entries.partition_point(|entry| entry.lsn <= last);
            entries[from..to.max(from)].to_vec()
        };
        if let Some(entries) = self.in_memory(segment, |entries| between(entries, last)) {
            return Ok(entries);
        }
        let end = segment.last.get().copied().unwrap_or_default();
        if let Some((entries, _)) = read_summary(segment, window)? {
            return Ok(between(&entries, last.min(end)));
        }
        // An incarnation ended in the middle of it, or its summary is on its way.
        let (mut position, mut entries) = (u64_from(HEADER_BYTES), Vec::new());
        let mut reached = Lsn::ZERO;
        while reached < end.min(last) {
            let Some((header, _)) = window.header(position, &segment.salt)? else {
                if last < end && self.watermark() < end {
                    break; // what follows is above the watermark, and may not be written yet
                }
                return Err(damaged(segment, position));
            };
            reached = header.lsn;
            entries.push(SummaryEntry::new(&header, position as u32)); // segments are at most 1 GiB long
            position += record_bytes(header.payload_bytes);
        }
        Ok(between(&entries, last.min(end)))
    }
}

fn replayed(segment: &Segment, window: &mut Window<'_>, entry: SummaryEntry) -> Result<ReplayedRecord> {
    let position = u64::from(entry.position);
    let body = if entry.kind.has_body() {
        let header = window.header(position, &segment.salt)?;
        let is_same = header.is_some_and(|(header, _)| SummaryEntry::new(&header, entry.position) == entry);
        match window.payload(position, entry.payload_bytes)?.filter(|_| is_same) {
            Some(body) => Some(body.to_vec()),
            None => return Err(damaged(segment, position)),
        }
    } else {
        None
    };
    Ok(ReplayedRecord {
        lsn: entry.lsn,
        time_ms: entry.time_ms,
        kind: entry.kind,
        disk_id: entry.disk_id,
        offset: entry.offset,
        length: entry.length,
        place: Place { segment: segment.number, position: entry.position, payload_bytes: entry.payload_bytes },
        body,
    })
}

fn damaged(segment: &Segment, position: u64) -> Error {
    let message = format!("byte {position} of log segment {:016x} is not the record that it was", segment.number);
    Error::new(Code::LogDamaged, message).with("segment", segment.number).with("offset", position)
}
