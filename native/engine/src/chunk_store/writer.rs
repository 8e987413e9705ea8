//! What one scan (or copy) adds: chunks and nodes that nobody has yet, into packs of its own.
//!
//! Frames added here are known to this writer alone until they are durable and the store adopts them. A writer that
//! is dropped before [`Writer::commit`] removes what it wrote, so a failed or cancelled call leaves the store as it
//! was; after a crash the next open removes unfinished packs, and finished ones are garbage for the collector (or are
//! found again when the scan is repeated).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::Encoded;
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

    /// Makes a frame of a chunk that is a delta on `base`.
    #[must_use]
    pub fn delta(id: ContentId, plain_bytes: u32, base: ContentId, stored: &[u8]) -> Self {
        let (kind, codec, base) = (PackKind::Chunks, Codec::ZstdDelta, Some(base));
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
    ids: Arc<Mutex<HashSet<ContentId>>>,
}

impl Added {
    /// Whether the writer added the content already.
    #[must_use]
    pub fn contains(&self, id: &ContentId) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn insert(&self, id: ContentId) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }
}

/// Adds chunks and nodes.
pub struct Writer<'a> {
    store: &'a ChunkStore,
    chunks: PackWriter,
    nodes: PackWriter,
    added: Added,
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
        }
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
        if !self.added.insert(*frame.id()) {
            return Ok(false);
        }
        self.store.adding(|| self.chunks.append(&frame.bytes, frame.entry))?;
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
        self.store.adding(|| self.nodes.append(&frame.bytes, frame.entry))?;
        Ok(frame.frame_bytes())
    }

    /// Makes everything added durable, then lets the store index it.
    ///
    /// # Errors
    /// What writing gives; what was added is then removed again.
    pub fn commit(mut self) -> Result<()> {
        self.store.adding(|| {
            self.chunks.finish()?;
            self.nodes.finish()
        })?;
        let mut sealed = self.chunks.take_sealed();
        sealed.extend(self.nodes.take_sealed());
        self.store.adopt(&sealed).map(drop).inspect_err(|_| self.store.discard(&sealed))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.chunks.discard();
        self.nodes.discard();
    }
}
