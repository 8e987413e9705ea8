//! Bytes to structures and back, pure: `docs/format.md` in code, one file a section.
//!
//! What it guarantees: `decode(encode(x)) == x`; decoding never panics and never reads past its input; a byte that
//! the document calls *zero* is checked. What it must not import: `io` or any stage.
//! Something decoded here has its checksum verified; what it *says* (an offset in a pack, an id) is for its reader to prove.

pub mod condemned;
pub mod config;
pub mod frame;
pub mod index_list;
pub mod index_segment;
pub mod log_body;
pub mod log_record;
pub mod log_segment;
pub mod manifest;
pub mod node;
pub mod pack;
pub mod superblock;

mod fields;

pub use fields::{Defect, Fields, FieldsMut, RunningChecksum, checksum};

/// The format version that this code writes, and the highest it reads.
pub const VERSION: u16 = 1;

/// What a pack or frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PackKind {
    /// Chunks.
    Chunks,
    /// Block map nodes.
    Nodes,
}

impl PackKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Chunks, Self::Nodes];

    /// Its number in files.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Chunks => 1,
            Self::Nodes => 2,
        }
    }

    /// The ending of such a pack's file name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Chunks => "chunks",
            Self::Nodes => "nodes",
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Chunks),
            2 => Some(Self::Nodes),
            _ => None,
        }
    }
}

/// How a frame's stored bytes relate to its plain bytes (format.md 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The plain bytes.
    None,
    /// One zstd frame.
    Zstd,
    /// One LZ4 block.
    Lz4,
    /// One zstd frame made with the base chunk as raw prefix.
    ZstdDelta,
}

impl Codec {
    /// Its number in files.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
            Self::Lz4 => 2,
            Self::ZstdDelta => 3,
        }
    }

    /// The codec with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            2 => Some(Self::Lz4),
            3 => Some(Self::ZstdDelta),
            _ => None,
        }
    }
}
