//! What one scan (or copy) adds: chunks and nodes that nobody has yet, into packs of its own.
//!
//! Frames added here are known to this writer alone until they are durable and the store adopts them. A writer that
//! is dropped before [`Writer::commit`] removes what it wrote, so a failed or cancelled call leaves the store as it
//! was; after a crash the next open removes unfinished packs, and finished ones are garbage for the collector (or are
//! found again when the scan is repeated).
//!
//! What it costs: the entries of a bounded number of frames in memory. Those of packs that are complete go into
//! staged segments of the index, from time to time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::codec::Encoded;
use super::index::Staged;
use super::pack_writer::{PackWriter, SealedPack};
use super::store::ChunkStore;
use crate::error::Result;
use crate::format::frame::FrameHeader;
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind, checksum};
use crate::units::{ContentId, u64_from};

/// A frame ready to be appended.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    entry: PackEntry,
    bytes: Vec<u8>,
}

impl EncodedFrame {
    /// Makes a frame of encoded content.
    #[must_use]
    pub fn new(kind: PackKind, id: ContentId, plain_bytes: u32, encoded: Encoded<'_>) -> Self {
        let Encoded { codec, base, stored } = encoded;
        let stored_bytes = stored.len() as u32;
        let header =
            FrameHeader { kind, codec, id, plain_bytes, stored_bytes, stored_checksum: checksum(stored), base };
        let mut bytes = Vec::with_capacity(FrameHeader::header_bytes(codec) + stored.len());
        header.encode_into(&mut bytes);
        bytes.extend_from_slice(stored);
        Self { entry: PackEntry { id, offset: 0, stored_bytes, plain_bytes, codec, base }, bytes }
    }

    /// Appends the frame to a pack.
    ///
    /// # Errors
    /// What writing gives.
    pub fn append_to(&self, packs: &mut PackWriter) -> Result<()> {
        packs.append(&self.bytes, self.entry)
    }

    /// The content's id.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.entry.id
    }

    /// Bytes of the content.
    #[must_use]
    pub const fn plain_bytes(&self) -> u32 {
        self.entry.plain_bytes
    }

    /// Bytes that it takes in a pack.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        u64_from(self.bytes.len())
    }
}

/// What a writer added so far. The threads that make its frames ask here, while another one appends.
#[derive(Clone, Default)]
pub struct Added {
    ids: Arc<Mutex<HashSet<ContentId>>>, // but for what is staged
    staged: Arc<RwLock<Vec<Arc<Staged>>>>,
}

impl Added {
    /// Whether the writer added the content already.
    #[must_use]
    pub fn contains(&self, id: &ContentId) -> bool {
        // In this order: what is staged leaves the ids only once it is found in the staged segment.
        self.ids().contains(id) || self.staged().iter().any(|staged| staged.holds(id))
    }

    fn insert(&self, id: ContentId) -> bool {
        self.ids().insert(id)
    }

    /// Takes over a staged segment, and forgets the ids that it holds.
    fn stage(&self, staged: Staged, sealed: &[SealedPack]) {
        self.staged.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(staged));
        let mut ids = self.ids();
        for entry in sealed.iter().flat_map(|sealed| &sealed.entries) {
            ids.remove(&entry.id);
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<ContentId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn staged(&self) -> RwLockReadGuard<'_, Vec<Arc<Staged>>> {
        self.staged.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_staged(&self) -> Vec<Arc<Staged>> {
        std::mem::take(&mut *self.staged.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds chunks and nodes.
pub struct Writer<'a> {
    store: &'a ChunkStore,
    chunks: PackWriter,
    nodes: PackWriter,
    added: Added,
    pays_debt: bool,
}

impl<'a> Writer<'a> {
    /// A writer that has added nothing yet.
    #[must_use]
    pub fn new(store: &'a ChunkStore) -> Self {
        Self {
            store,
            chunks: PackWriter::new(store.pack_target(), PackKind::Chunks),
            nodes: PackWriter::new(store.pack_target(), PackKind::Nodes),
            added: Added::default(),
            pays_debt: false,
        }
    }

    /// A writer that pays what was charged when it was logged, and may take of the reserve for it: folding a layer frees log.
    #[must_use]
    pub fn paying_debt(store: &'a ChunkStore) -> Self {
        let mut writer = Self::new(store);
        writer.pays_debt = true;
        writer
    }

    /// What this writer added so far, for other threads to ask.
    #[must_use]
    pub fn added(&self) -> Added {
        self.added.clone()
    }

    /// Appends a chunk unless this writer has it. Returns whether it was appended.
    ///
    /// # Errors
    /// What writing gives.
    pub fn add_chunk(&mut self, frame: &EncodedFrame) -> Result<bool> {
        if self.added.contains(frame.id()) {
            return Ok(false);
        }
        self.added.insert(*frame.id());
        adding(self.store, self.pays_debt, || self.chunks.append(&frame.bytes, frame.entry))?;
        self.stage_when_many()?;
        Ok(true)
    }

    /// Appends a node unless this writer or the store has it. Returns the bytes that it took.
    ///
    /// # Errors
    /// What looking up and writing give.
    pub fn add_node(&mut self, id: ContentId, plain: &[u8]) -> Result<u64> {
        if self.added.contains(&id) || self.store.contains(&id)? {
            return Ok(0);
        }
        self.added.insert(id);
        // Ids do not compress, and a node is mostly ids.
        let encoded = Encoded { codec: Codec::None, base: None, stored: plain };
        let frame = EncodedFrame::new(PackKind::Nodes, id, plain.len() as u32, encoded);
        adding(self.store, self.pays_debt, || self.nodes.append(&frame.bytes, frame.entry))?;
        self.stage_when_many()?;
        Ok(frame.frame_bytes())
    }

    /// Makes everything added durable, then lets the store index it.
    ///
    /// # Errors
    /// What writing gives; what was added is then removed again.
    pub fn commit(mut self) -> Result<()> {
        adding(self.store, self.pays_debt, || {
            self.chunks.finish()?;
            self.nodes.finish()
        })?;
        let mut sealed = self.chunks.take_sealed();
        sealed.extend(self.nodes.take_sealed());
        let staged = self.added.staged().clone();
        self.store.adopt(&sealed, &staged).inspect_err(|_| self.store.discard(&sealed))?;
        self.added.take_staged(); // they are the index's now, and not to be removed
        Ok(())
    }

    /// Moves the entries of complete packs into a staged segment once there are many.
    fn stage_when_many(&mut self) -> Result<()> {
        let entry_count = self.chunks.sealed_entry_count() + self.nodes.sealed_entry_count();
        if entry_count == 0 || entry_count < self.store.index().limits().staged_entries {
            return Ok(());
        }
        let mut sealed = self.chunks.take_sealed();
        sealed.extend(self.nodes.take_sealed());
        let staged = adding(self.store, self.pays_debt, || self.store.index().stage(self.store.packs(), &sealed));
        self.added.stage(staged.inspect_err(|_| self.store.discard(&sealed))?, &sealed);
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.chunks.discard();
        self.nodes.discard();
        for staged in self.added.take_staged() {
            self.store.index().discard(&staged);
            for pack in staged.packs() {
                let _ = self.store.io().remove_file(&self.store.packs().path(pack)); // else garbage for the collector
            }
        }
    }
}

/// Adds to the store; while the reserve is lent only what pays a debt.
fn adding<T>(store: &ChunkStore, pays_debt: bool, write: impl FnOnce() -> Result<T>) -> Result<T> {
    if pays_debt { store.guarded(write) } else { store.adding(write) }
}
