//! Chunks and nodes: content-addressed frames in packs, found through an index.
//!
//! What it is: bytes in, id out ([`writer::Writer`]); id in, bytes out ([`ChunkStore`]). It knows frames, packs and
//! the index, and nothing of disks or points.
//! What it guarantees: bytes leave only after the five checks of format.md section 11. A writer's frames are
//! invisible to everyone else until [`ChunkStore::adopt`], which the caller runs after they are durable.
//! What it costs: reading a chunk is one index page and one frame, unless the index filter says that it is not there.
//! What it must not import: `block_map`, `scan`, the engine's top.

pub mod chunk_cache;
pub mod codec;
pub mod condemned;
pub mod identity;
pub mod index;
pub mod pack_reader;
pub mod pack_set;
pub mod pack_writer;
pub mod writer;

mod changed;
mod delta_compressor;
mod delta_matches;
mod follow;
mod reading;
mod store;

pub use changed::{Changed, ChangedEncoder, fill_value};
pub use reading::{Batch, WantedChunk};
pub use store::{Anomaly, ChunkStore, Parameters, damaged_code, missing_code};
