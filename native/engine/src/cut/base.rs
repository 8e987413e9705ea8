//! What layers stand on.

use std::sync::Arc;

use crate::format::superblock::BaseContent;
use crate::units::Lsn;

/// Keeps what a base names from being collected for as long as anyone has it.
pub type Pin = Arc<dyn Send + Sync>;

/// What a disk's content stands on: a block map, or a point whose copy still runs, and the LSN from which on that is so.
#[derive(Clone)]
pub struct Base {
    /// Where its bytes are.
    pub content: BaseContent,
    /// Size of the disk there; what a larger disk has behind it is a hole.
    pub size: u64,
    /// Records up to here are in it.
    pub lsn: Lsn,
    /// Keeps the content.
    pub pin: Pin,
}
