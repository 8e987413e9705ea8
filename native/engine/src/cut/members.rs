//! Which disks a log has, as its sequencer sees them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Code, Error, Result};
use crate::units::Uid;

/// The disks of a log. Replaced as a whole when one joins or leaves.
pub type Members = BTreeMap<Uid, Arc<Member>>;

/// A disk that is attached. What can change of it changes under the sequencer's lock, so that a record can be judged by
/// what holds at its LSN; memory order comes from that lock.
#[derive(Debug)]
pub struct Member {
    /// The disk.
    pub disk_id: Uid,
    /// How often it was attached; the highest wins.
    pub generation: u64,
    /// Its name, unique in the store.
    pub name: String,
    /// Its role, unique in the machine.
    pub role: String,
    /// Its sector size.
    pub sector_bytes: u32,
    size: AtomicU64,
    has_left: AtomicBool,
}

impl Member {
    /// A disk of this size that is attached now.
    #[must_use]
    pub fn new(disk_id: Uid, generation: u64, name: String, role: String, sector_bytes: u32, size: u64) -> Self {
        let (size, has_left) = (AtomicU64::new(size), AtomicBool::new(false));
        Self { disk_id, generation, name, role, sector_bytes, size, has_left }
    }

    /// Its size at the newest LSN. Readers see it a little later, when the record that changed it is in its layer.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Its size from the LSN on that is just given.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// It is attached no more from the LSN on that is just given.
    pub fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }

    /// Whether it left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }

    /// Whether a record that changes `range` has any effect at the newest LSN. One that was checked before can lose against a
    /// record that lets the disk leave or makes it smaller (I-33).
    #[must_use]
    pub fn takes(&self, range: &Range<u64>) -> bool {
        !self.has_left() && range.end <= self.size()
    }

    /// What [`Member::takes`] says, with the reason where it is no. Asked under the sequencer's lock, so that the reason is the
    /// one that holds at the record's LSN: a moment later the disk may be large enough again.
    ///
    /// # Errors
    /// As [`Member::range`].
    pub fn admit(&self, range: &Range<u64>) -> Result<()> {
        if self.takes(range) {
            return Ok(());
        }
        self.range(range.start, range.end - range.start).map(|_| ())
    }

    /// The range that a call names, checked: whole sectors, inside the disk.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID`, and `DISK_NOT_FOUND` once it left.
    pub fn range(&self, offset: u64, length: u64) -> Result<Range<u64>> {
        if self.has_left() {
            return Err(not_found(&self.disk_id));
        }
        let (sector, size) = (u64::from(self.sector_bytes), self.size());
        let end = offset.checked_add(length).filter(|end| *end <= size);
        let Some(end) = end.filter(|_| offset.is_multiple_of(sector) && length.is_multiple_of(sector)) else {
            let message = format!(
                "{length} bytes at {offset} are not whole sectors of {sector} bytes inside the disk {}, which has {size} bytes",
                self.name
            );
            let error = Error::new(Code::ArgumentInvalid, message).with("disk", self.name.as_str());
            return Err(error.with("offset", offset).with("length", length).with("sizeBytes", size));
        };
        Ok(offset..end)
    }
}

/// The error of a disk that the log doesn't have.
#[must_use]
pub fn not_found(disk_id: &Uid) -> Error {
    Error::new(Code::DiskNotFound, format!("no disk {disk_id} is attached here")).with("disk", disk_id.to_string())
}
