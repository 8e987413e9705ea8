//! The next segment is made ready before the active one is full.
//!
//! Order: the new file is allocated, its header synced, its name synced, both slots list it; only then may a record be put
//! there. So every record that was ever acknowledged lies in a segment that is listed and allocated (I-21). Full segments get
//! their summaries and are synced while writers go on, once they are written back; where there are [`FULL_UNSYNCED_MAX`] of them,
//! before it. So at most so many and the active one are unsynced at any time.

use std::sync::{Arc, PoisonError};

use super::WriteLog;
use super::carrying::make_segment;
use super::sequencer::Filling;
use crate::error::{Error, Result};
use crate::format::log_segment::{Footer, encode_summary, file_name};
use crate::format::superblock::{ListedLogSegment, Superblock};
use crate::format::{checksum, log_segment::FOOTER_BYTES};
use crate::limits::SEGMENT_BYTES_FIRST;
use crate::units::u64_from;

/// So many full segments may be unsynced when the next one is made ready.
const FULL_UNSYNCED_MAX: usize = 2;

/// A segment is so many times as long as the one before it; the second where a writer had to wait for one.
const GROWTH: u64 = 2;
const GROWTH_AWAITED: u64 = 8;

impl WriteLog {
    /// Makes the next segment ready unless one is. Called in the background after a rollover; `sequence` waits for it
    /// otherwise.
    ///
    /// # Errors
    /// `NO_SPACE`: nothing has changed. `LOG_FENCED`, `LOG_DAMAGED`; what files give, which fences the log.
    pub fn prepare(&self) -> Result<()> {
        self.prepare_within(|| {
            self.room.get().map_or(Ok(()), |check| check(self.parameters.segment_bytes))?;
            Ok(self.next_segment_bytes())
        })
    }

    /// The same with a segment as short as the first, and without asking whether others count on the space: for a cut, by which a
    /// full log begins to be shortened, on space that is set aside for that.
    ///
    /// # Errors
    /// As [`WriteLog::prepare`].
    pub fn prepare_for_cut(&self) -> Result<()> {
        self.prepare_within(|| Ok(self.parameters.segment_bytes.min(SEGMENT_BYTES_FIRST)))
    }

    fn prepare_within(&self, segment_bytes: impl FnOnce() -> Result<u64>) -> Result<()> {
        let _preparing = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        self.fence.check()?;
        if self.sequencer().prepared.is_some() {
            return Ok(());
        }
        if self.segments.pick(|segment| segment.is_full() && segment.is_dirty()).len() >= FULL_UNSYNCED_MAX {
            self.finish_full(|_| true)?;
        }
        let bytes = segment_bytes()?;
        let mut slots = self.slots();
        self.fence.check()?; // who had them before may have failed: then none of them is to be touched
        let incarnation = slots.current.incarnations.last().map(|listed| listed.incarnation);
        let Some(incarnation) = incarnation else { return Ok(()) }; // decoding refuses such a superblock
        let number = self.next_number(&slots.current);
        let made =
            make_segment(&self.parts, &self.directory, self.identity, bytes, number, incarnation).and_then(|made| {
                self.parts.io.sync_directory(&self.directory)?;
                Ok(made)
            });
        let segment = match made {
            Ok(segment) => segment,
            Err(error) => return Err(self.gave_up(number, error)),
        };
        let mut next = self.refreshed(&slots.current);
        next.segments.push(ListedLogSegment { number, incarnation: incarnation.counter, first: None });
        if let Err(error) = slots.make_room(&next) {
            return Err(self.gave_up(number, error));
        }
        self.fencing(slots.write(next))?;
        drop(slots);
        self.segments.insert(Arc::clone(&segment));
        self.sequencer().prepared = Some(Filling::new(segment));
        Ok(())
    }

    /// Makes the next segment ready once the active one is half full. For who looks after logs that may never be written to.
    ///
    /// # Errors
    /// As [`WriteLog::prepare`].
    pub fn prepare_when_due(&self) -> Result<()> {
        let is_due = {
            let sequencer = self.sequencer();
            let half_full = |filling: &Filling| filling.position > filling.segment.segment_bytes / 2;
            sequencer.prepared.is_none() && sequencer.active.as_ref().is_none_or(half_full)
        };
        if is_due { self.prepare() } else { Ok(()) }
    }

    /// Longer than the active one, up to what was asked for.
    fn next_segment_bytes(&self) -> u64 {
        let mut sequencer = self.sequencer();
        let growth = if std::mem::take(&mut sequencer.is_awaited) { GROWTH_AWAITED } else { GROWTH };
        let active = sequencer.active.as_ref().map_or(0, |filling| filling.segment.segment_bytes);
        self.parameters.segment_bytes.min((growth * active).max(SEGMENT_BYTES_FIRST))
    }

    /// A number that no file has or had in this incarnation: also not one that was given up.
    fn next_number(&self, superblock: &Superblock) -> u64 {
        let listed = superblock.segments.last().map_or(0, |segment| segment.number);
        listed + 1
    }

    /// What failed concerned a file that nothing leads to. A device that fails ends all writing all the same.
    fn gave_up(&self, number: u64, error: Error) -> Error {
        if error.leaves_unknown() {
            self.fence_with(&error);
        } else if let Err(left) = self.parts.io.remove_file(&self.directory.join(file_name(number)))
            && !left.is_not_found()
        {
            self.fence_with(&left); // its number could not be used again
        }
        error
    }

    /// The superblock with what is known better by now.
    pub(super) fn refreshed(&self, current: &Superblock) -> Superblock {
        let mut next = current.clone();
        next.durable = self.durable();
        for listed in &mut next.segments {
            if let Some(segment) = self.segments.get(listed.number) {
                listed.first = segment.first.get().copied().or(listed.first);
            }
        }
        next
    }

    /// Changes what others keep in the superblock: disks, window, resolutions, cursors. Durable in both slots when it
    /// returns. What the log keeps itself stays as it is whatever `change` does to it.
    ///
    /// # Errors
    /// `NO_SPACE`: nothing has changed. `LOG_FENCED`, `LOG_DAMAGED`; what files give, which fences the log.
    pub fn change_superblock(&self, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        let mut slots = self.slots();
        self.fence.check()?;
        let kept = self.refreshed(&slots.current);
        let mut changed = kept.clone();
        change(&mut changed);
        let Superblock { disks, window, resolutions, cursors, .. } = changed;
        let next = Superblock { disks, window, resolutions, cursors, ..kept };
        slots.make_room(&next).inspect_err(|error| {
            if error.leaves_unknown() {
                self.fence_with(error);
            }
        })?;
        self.fencing(slots.write(next))
    }
}

/// Lists a full segment's records at its end.
pub(super) fn write_summary(filling: &Filling) -> Result<()> {
    let (segment, position) = (&filling.segment, filling.position);
    let Some(first) = segment.first.get() else { return Ok(()) };
    let summary = encode_summary(&filling.entries);
    let footer = Footer {
        position: position as u32, // segments are at most 1 GiB long
        count: filling.entries.len() as u32,
        summary_sum: checksum(&summary),
        predecessor: first.predecessor,
        last: filling.last,
    };
    segment.write(&summary, position)?;
    segment.write(&footer.encode(&segment.salt), segment.segment_bytes - u64_from(FOOTER_BYTES))?;
    Ok(())
}
