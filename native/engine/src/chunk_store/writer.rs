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

use super::index::Staged;
use super::pack_writer::PackWriter;
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
    /// Makes a frame of content that is not a delta.
    #[must_use]
    pub fn new(kind: PackKind, id: ContentId, plain_bytes: u32, codec: Codec, stored: &[u8]) -> Self {
        let stored_bytes = stored.len() as u32;
        let header =
            FrameHeader { kind, codec, id, plain_bytes, stored_bytes, stored_checksum: checksum(stored), base: None };
        let mut bytes = Vec::with_capacity(FrameHeader::header_bytes(codec) + stored.len());
        header.encode_into(&mut bytes);
        bytes.extend_from_slice(stored);
        Self { entry: PackEntry { id, offset: 0, stored_bytes, plain_bytes, codec, base: None }, bytes }
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

/// Adds chunks and nodes.
pub struct Writer<'a> {
    store: &'a ChunkStore,
    chunks: PackWriter,
    nodes: PackWriter,
    added: HashSet<ContentId>, // but for what is staged
    staged: Vec<Staged>,
}

impl<'a> Writer<'a> {
    /// A writer that has added nothing yet.
    #[must_use]
    pub fn new(store: &'a ChunkStore) -> Self {
        Self {
            store,
            chunks: PackWriter::new(store.pack_target(), PackKind::Chunks),
            nodes: PackWriter::new(store.pack_target(), PackKind::Nodes),
            added: HashSet::new(),
            staged: Vec::new(),
        }
    }

    /// Whether this writer added the content already.
    #[must_use]
    pub fn added(&self, id: &ContentId) -> bool {
        self.added.contains(id) || self.staged.iter().any(|staged| staged.holds(id))
    }

    /// Appends a chunk unless this writer has it. Returns whether it was appended.
    ///
    /// # Errors
    /// What writing gives.
    pub fn add_chunk(&mut self, frame: &EncodedFrame) -> Result<bool> {
        if self.added(frame.id()) {
            return Ok(false);
        }
        self.added.insert(*frame.id());
        self.store.guarded(|| self.chunks.append(&frame.bytes, frame.entry))?;
        self.stage_when_many()?;
        Ok(true)
    }

    /// Appends a node unless this writer or the store has it. Returns the bytes that it took.
    ///
    /// # Errors
    /// What looking up and writing give.
    pub fn add_node(&mut self, id: ContentId, plain: &[u8]) -> Result<u64> {
        if self.added(&id) || self.store.contains(&id)? {
            return Ok(0);
        }
        self.added.insert(id);
        // Ids do not compress, and a node is mostly ids.
        let frame = EncodedFrame::new(PackKind::Nodes, id, plain.len() as u32, Codec::None, plain);
        self.store.guarded(|| self.nodes.append(&frame.bytes, frame.entry))?;
        self.stage_when_many()?;
        Ok(frame.frame_bytes())
    }

    /// Makes everything added durable, then lets the store index it.
    ///
    /// # Errors
    /// What writing gives; what was added is then removed again.
    pub fn commit(mut self) -> Result<()> {
        self.store.guarded(|| {
            self.chunks.finish()?;
            self.nodes.finish()
        })?;
        let mut sealed = self.chunks.take_sealed();
        sealed.extend(self.nodes.take_sealed());
        let adopted = self.store.adopt(&sealed, &self.staged).inspect_err(|_| self.store.discard(&sealed));
        if adopted.is_ok() {
            self.staged.clear(); // they are the index's now, and not to be removed
        }
        adopted
    }

    /// Moves the entries of complete packs into a staged segment once there are many.
    fn stage_when_many(&mut self) -> Result<()> {
        let entry_count = self.chunks.sealed_entry_count() + self.nodes.sealed_entry_count();
        if entry_count == 0 || entry_count < self.store.index().limits().staged_entries {
            return Ok(());
        }
        let mut sealed = self.chunks.take_sealed();
        sealed.extend(self.nodes.take_sealed());
        let staged = self.store.guarded(|| self.store.index().stage(self.store.packs(), &sealed));
        self.staged.push(staged.inspect_err(|_| self.store.discard(&sealed))?);
        for entry in sealed.iter().flat_map(|sealed| &sealed.entries) {
            self.added.remove(&entry.id);
        }
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.chunks.discard();
        self.nodes.discard();
        for staged in &self.staged {
            self.store.index().discard(staged);
            for pack in staged.packs() {
                let _ = self.store.io().remove_file(&self.store.packs().path(pack)); // else garbage for the collector
            }
        }
    }
}
