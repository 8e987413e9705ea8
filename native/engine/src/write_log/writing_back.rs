//! What was written goes to the disk beside the writers, a bounded part at a time, and full segments are made durable behind that.

use std::sync::{Arc, Mutex, PoisonError};

use super::WriteLog;
use super::preparing::write_summary;
use super::segment::Segment;
use crate::error::Result;
use crate::format::log_segment::file_name;
use crate::io::{IoFile, OpenMode};

/// The segment that is written back, opened for that alone: whoever waits for its pages and is told that they failed has that
/// told in nobody else's place.
#[derive(Default)]
pub(super) struct WritingBack(Mutex<Option<(u64, Arc<dyn IoFile>)>>);

impl WriteLog {
    /// Has the disk begin with the next part of what was written, so that a flush finds little left to do, and waits for the part
    /// before it; returns whether there was one. Nothing is durable by it but full segments, once they are written back.
    ///
    /// # Errors
    /// What the file gives, which fences the log unless it could not be opened. A fenced log is left alone.
    pub fn write_back(&self) -> Result<bool> {
        let mut open = self.writing_back.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.finish_full(|segment| segment.is_written_back() || !segment.is_dirty())?;
        let dirty = self.segments.pick(|segment| segment.is_dirty() && !segment.is_written_back());
        let Some(segment) = dirty.first().filter(|_| !self.fence.is_set()) else {
            *open = None;
            return Ok(false);
        };
        let file = match open.take().filter(|(number, _)| *number == segment.number) {
            Some((_, file)) => file,
            None => match self.parts.io.open(&self.directory.join(file_name(segment.number)), OpenMode::Read) {
                Err(error) if error.is_not_found() => return Ok(false), // it was released
                opened => opened?,                                      // nothing was done to the log by that
            },
        };
        let did_something = self.fencing(segment.write_back(&*file))?;
        *open = Some((segment.number, file));
        Ok(did_something)
    }

    /// It is time for [`WriteLog::write_back`].
    pub(super) fn tell_writeback_due(&self) {
        if let Some(tell) = &self.parts.writeback_due {
            tell();
        }
    }

    /// Gives full segments their summaries, the oldest first for as long as they are `meant`, then syncs them.
    pub(super) fn finish_full(&self, meant: impl Fn(&Segment) -> bool) -> Result<()> {
        let _finishing = self.finishing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fence.is_set() {
            return Ok(());
        }
        let full: Vec<_> = {
            let mut sequencer = self.sequencer();
            let count = sequencer.full.iter().take_while(|filling| meant(&filling.segment)).count();
            sequencer.full.drain(..count).collect()
        };
        for filling in &full {
            self.fencing(write_summary(filling))?;
        }
        // Also those that a late append made dirty once more.
        let unsynced = self.segments.pick(|segment| segment.is_full() && segment.is_dirty());
        match unsynced.iter().take_while(|segment| meant(segment)).last().and_then(|segment| segment.last.get()) {
            Some(last) => self.sync_full(*last),
            None => Ok(()),
        }
    }
}
