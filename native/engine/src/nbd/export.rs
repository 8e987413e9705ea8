//! What a client can be given: one disk, live or of a restore point, behind a few calls.

use std::sync::{Arc, RwLock};

use crate::error::Result;

/// A run of bytes with the same flags of one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusExtent {
    /// How long; never 0.
    pub length: u64,
    /// What the context says of them.
    pub flags: u64,
}

/// What does not change while an export is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its canonical name.
    pub name: String,
    /// What it is, for people; at most 4,096 bytes.
    pub description: String,
    /// In bytes.
    pub size: u64,
    /// Reads and writes are whole multiples of this; those of clients need not be.
    pub sector_bytes: u32,
    /// Nothing can be written.
    pub is_read_only: bool,
}

/// One disk as a block device. All calls may come from several threads; ranges lie inside the size and are whole sectors.
///
/// Errors are those of the disk: each becomes an error number of the protocol, with its code as text.
pub trait Export: Send + Sync {
    /// Name, size and kind.
    fn facts(&self) -> &Facts;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What reading gives.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Writes; durable when it returns if `durable`.
    ///
    /// # Errors
    /// What writing gives.
    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<()>;

    /// The range reads as zero afterwards.
    ///
    /// # Errors
    /// What writing gives.
    fn write_zeroes(&self, offset: u64, length: u64, durable: bool) -> Result<()>;

    /// The range need not be kept. It reads as zero afterwards.
    ///
    /// # Errors
    /// What writing gives.
    fn trim(&self, offset: u64, length: u64, durable: bool) -> Result<()>;

    /// All that was answered before, on whatever connection, is durable when it returns.
    ///
    /// # Errors
    /// What syncing gives.
    fn flush(&self) -> Result<()>;

    /// The range will be read soon, says the client. A hint.
    ///
    /// # Errors
    /// What reading gives.
    fn cache(&self, offset: u64, length: u64) -> Result<()>;

    /// The range will be read soon, by all that can be told. What takes longer than to read it when it is asked for is put at
    /// hand, which counts as no request.
    ///
    /// # Errors
    /// What reading gives.
    fn read_ahead(&self, offset: u64, length: u64) -> Result<()>;

    /// Held for reading by writers of whole sectors, for writing by those who read a sector, change a part and write it back:
    /// one lock for all who have this disk open.
    fn sector_lock(&self) -> &RwLock<()>;

    /// Whether reading this range can be expected not to wait for a disk, so that no other thread need be woken for it.
    fn is_at_hand(&self, offset: u64, length: u64) -> bool;

    /// Whether this export is over for good: every request fails, and who connects anew finds what is there now.
    fn has_ended(&self) -> bool {
        false
    }

    /// Contexts to list, in full (`base:allocation`).
    fn contexts(&self) -> Vec<String>;

    /// Whether a context can be asked for; it need not be among those that are listed.
    ///
    /// # Errors
    /// What finding it gives.
    fn has_context(&self, name: &str) -> Result<bool>;

    /// What a context says from `offset` on: at least one extent, at most `extents_max` of them. Together they may be shorter
    /// than `length`, or longer.
    ///
    /// # Errors
    /// What reading gives.
    fn status(&self, context: &str, offset: u64, length: u64, extents_max: usize) -> Result<Vec<StatusExtent>>;
}

/// An export in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
}

/// All that a server gives.
pub trait Exports: Send + Sync {
    /// Those that are shown, by name.
    ///
    /// # Errors
    /// What finding them gives.
    fn list(&self) -> Result<Vec<Listed>>;

    /// One by its name; the empty name is the default one, where there is one.
    ///
    /// # Errors
    /// What opening gives.
    fn open(&self, name: &str) -> Result<Option<Arc<dyn Export>>>;
}
