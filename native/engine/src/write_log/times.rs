//! Which LSN a time means.

use super::WriteLog;
use super::segment::Segment;
use super::window::Window;
use crate::error::{Code, Error, Result};
use crate::format::log_record::record_bytes;
use crate::format::log_segment::HEADER_BYTES;
use crate::units::{Lsn, u64_from};

impl WriteLog {
    /// The last record that is complete and not after a time (milliseconds since 1970-01-01 UTC); `None` when all that are
    /// left came after it. Reads the headers of one segment, unless that is the one being filled.
    ///
    /// # Errors
    /// `LOG_DAMAGED`: a header that is needed does not check. What files give.
    pub fn lsn_at(&self, time_ms: u64) -> Result<Option<Lsn>> {
        let watermark = self.watermark();
        let has_begun = |segment: &Segment| segment.first.get().is_some_and(|first| first.lsn <= watermark);
        for segment in self.segments.pick(has_begun).iter().rev() {
            let known = self.in_memory(segment, |entries| {
                let complete = &entries[..entries.partition_point(|entry| entry.lsn <= watermark)];
                let count = complete.partition_point(|entry| entry.time_ms <= time_ms);
                count.checked_sub(1).map(|at| complete[at].lsn)
            });
            let found = match known {
                Some(found) => found,
                // Of a segment that an earlier incarnation left, what lies behind its last record does not count.
                None => {
                    let last = segment.last.get().map_or(watermark, |last| watermark.min(*last));
                    last_not_after(segment, last, time_ms)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The last record up to `last` that is not after the time.
fn last_not_after(segment: &Segment, last: Lsn, time_ms: u64) -> Result<Option<Lsn>> {
    let mut position = u64_from(HEADER_BYTES);
    let Some((first, _)) = Window::narrow(segment).header(position, &segment.salt)? else {
        return Err(damaged(segment, position));
    };
    if first.time_ms > time_ms {
        return Ok(None); // so are all behind it: times never fall
    }
    let mut found = None;
    let mut window = Window::new(segment);
    while found.is_none_or(|lsn| lsn < last) {
        // All up to `last` are complete, and in this segment.
        let header = window.header(position, &segment.salt)?.filter(|(header, _)| header.lsn <= last);
        let Some((header, _)) = header else { return Err(damaged(segment, position)) };
        if header.time_ms > time_ms {
            break;
        }
        found = Some(header.lsn);
        position += record_bytes(header.payload_bytes);
    }
    Ok(found)
}

fn damaged(segment: &Segment, position: u64) -> Error {
    let message = format!("byte {position} of log segment {:016x} is not a record's beginning", segment.number);
    Error::new(Code::LogDamaged, message).with("segment", segment.number).with("offset", position)
}
