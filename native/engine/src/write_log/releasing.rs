//! Segments that nobody needs any more go: first from both slots, then from the directory.

use super::WriteLog;
use super::sequencer::Filling;
use crate::error::Result;
use crate::format::log_segment::file_name;
use crate::units::Lsn;

impl WriteLog {
    /// Forgets the segments all of whose records are at or below `lsn` and below every hold, and returns how many bytes
    /// that freed. The bases in the superblock must stand at `lsn` or above by now.
    ///
    /// # Errors
    /// `LOG_FENCED`, `LOG_DAMAGED`; what files give. When a file could not be removed the next opening does it.
    pub fn release(&self, lsn: Lsn) -> Result<u64> {
        let mut slots = self.slots();
        self.fence.check()?;
        let limit = self.holds.lowest().map_or(lsn, |hold| hold.min(lsn)).min(self.durable());
        let released = self.segments.pick(|segment| segment.last.get().is_some_and(|last| *last <= limit));
        if released.is_empty() {
            return Ok(0);
        }
        let mut next = self.refreshed(&slots.current);
        next.segments.retain(|listed| released.iter().all(|segment| segment.number != listed.number));
        next.incarnations.retain(|listed| {
            listed.end.is_none()
                || next.segments.iter().any(|segment| segment.incarnation == listed.incarnation.counter)
        });
        self.fencing(slots.write(next))?; // shorter than before: there is room
        // What is listed there is open, and takes its space until it is closed.
        let is_kept = |filling: &Filling| released.iter().all(|segment| segment.number != filling.segment.number);
        self.sequencer().full.retain(is_kept);
        let mut bytes = 0;
        for segment in released {
            self.segments.remove(segment.number);
            self.remove_segment(segment.number)?;
            bytes += segment.segment_bytes;
        }
        self.fencing(self.parts.io.sync_directory(&self.directory))?;
        Ok(bytes)
    }

    fn remove_segment(&self, number: u64) -> Result<()> {
        let removed = self.parts.io.remove_file(&self.directory.join(file_name(number)));
        removed.inspect_err(|error| {
            if error.leaves_unknown() {
                self.fence_with(error);
            }
        })
    }
}
