//! What the store takes on its disk: asked of lengths, nothing is read.

use super::Engine;
use crate::error::Result;

/// What a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Packs.
    pub pack_count: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes of the manifests.
    pub manifest_bytes: u64,
    /// Frames: chunks and nodes.
    pub frame_count: u64,
    /// Bytes free on the file system.
    pub available_bytes: u64,
}

impl Engine {
    /// What the store takes.
    ///
    /// # Errors
    /// What asking the file system gives.
    pub fn usage(&self) -> Result<Usage> {
        let packs = self.store.packs().all();
        Ok(Usage {
            pack_count: packs.len() as u64,
            pack_bytes: packs.iter().map(|(_, pack)| pack.bytes).sum(),
            index_bytes: self.store.index().bytes(),
            manifest_bytes: self.points.bytes(),
            frame_count: self.store.index().entry_count(),
            available_bytes: self.parts.io.available_bytes(&self.directory)?,
        })
    }
}
