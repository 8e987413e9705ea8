//! Block maps: the Merkle tree from a disk's chunk indexes to hole, fill or chunk id (format.md section 6).
//!
//! What it is: [`MapReader`] reads trees and the chunks that they name, [`VersionReader`] ranges of disks through a cache of
//! decoded chunks. [`MapBuilder`] makes a tree from its leaves in order, [`MapEditor`] a new one from an old one and changes.
//! [`LayerChunks`] makes the chunks that a layer changes, [`Overlay`] the map of a layer that is not copied yet.
//! What it guarantees: equal content makes equal trees; unchanged subtrees are shared because nodes are named by
//! their content. A point costs its changed path.
//! What it must not import: `scan`, `diff`, `restore`, the engine's top.

mod builder;
mod edit;
mod layer_chunks;
mod layer_source;
mod overlay;
mod reach;
mod reader;
mod version_reader;

pub use builder::MapBuilder;
pub use edit::{AddNode, MapEditor, edited};
pub use layer_chunks::{LayerChunk, LayerChunks, Lot};
pub use layer_source::{LayerContent, LayerRange, LayerSource};
pub use overlay::Overlay;
pub use reach::{Reached, ranges_on};
pub use reader::{MapReader, Span, SpanEntries};
pub use version_reader::VersionReader;

use crate::format::node::Root;
use crate::limits::NODE_FAN_OUT;
use crate::units::u64_from;

/// One disk's content at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskVersion {
    /// Its block map.
    pub root: Root,
    /// Its size in bytes.
    pub size: u64,
}

/// Chunks that a scan or a copy looked at, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkCounts {
    /// Unallocated.
    pub hole: u64,
    /// Of one byte value.
    pub fill: u64,
    /// Equal to what stood there.
    pub unchanged: u64,
    /// Changed, but known to the store.
    pub known: u64,
    /// Stored anew.
    pub stored: u64,
}

/// Chunks of a span, the unit of work: what one node of level 1 holds.
pub const SPAN_CHUNKS: u64 = u64_from(NODE_FAN_OUT);

/// Where chunks and spans of a disk lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Bytes of a whole chunk.
    pub chunk_bytes: u64,
}

impl Geometry {
    /// Chunks of the disk.
    #[must_use]
    pub const fn chunk_count(&self) -> u64 {
        self.size.div_ceil(self.chunk_bytes)
    }

    /// Spans of the disk.
    #[must_use]
    pub const fn span_count(&self) -> u64 {
        self.chunk_count().div_ceil(SPAN_CHUNKS)
    }

    /// Chunks in a span.
    #[must_use]
    pub fn chunks_in_span(&self, span: u64) -> u64 {
        (self.chunk_count() - span * SPAN_CHUNKS).min(SPAN_CHUNKS)
    }

    /// Where a chunk begins.
    #[must_use]
    pub const fn chunk_offset(&self, chunk: u64) -> u64 {
        chunk * self.chunk_bytes
    }

    /// True length of a chunk: the last one may be short.
    #[must_use]
    pub fn chunk_length(&self, chunk: u64) -> u64 {
        (self.size - self.chunk_offset(chunk)).min(self.chunk_bytes)
    }

    /// Bytes of a run of chunks, cut off at the disk's end.
    #[must_use]
    pub fn range(&self, chunk: u64, chunk_count: u64) -> std::ops::Range<u64> {
        let end = chunk.saturating_add(chunk_count).saturating_mul(self.chunk_bytes).min(self.size);
        self.chunk_offset(chunk).min(self.size)..end
    }
}

/// Chunks below an entry of this level.
#[must_use]
pub const fn chunks_below(level: u8) -> u64 {
    1 << (6 * level as u32)
}

const _: () = assert!(NODE_FAN_OUT == 1 << 6);
