//! What an engine is given: its parts, and how to make and open a store.

use std::sync::Arc;

use super::live::WindowLimits;
use crate::chunk_store::pack_writer::PackTarget;
use crate::clock::Clock;
use crate::format::Codec;
use crate::io::Io;
use crate::limits::{CHUNK_CACHE_BYTES, LOG_BYTES_MAX, RESERVE_BYTES_MAX};
use crate::random::Random;
use crate::write_log::LogParameters;

/// What the engine reaches the world through.
#[derive(Clone)]
pub struct Parts {
    /// Files.
    pub io: Arc<dyn Io>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and keys.
    pub random: Arc<dyn Random>,
}

/// What a new store is to be.
#[derive(Clone, Copy, Debug)]
pub struct CreateOptions {
    /// One of [`CHUNK_BYTES_ALLOWED`](crate::limits::CHUNK_BYTES_ALLOWED).
    pub chunk_bytes: u32,
    /// `None`, `Zstd` or `Lz4`.
    pub codec: Codec,
    /// 1 to 19 for zstd, 0 for the others.
    pub level: i8,
}

/// How to open a store.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Take no lock and write nothing.
    pub read_only: bool,
    /// Threads for scans and restores; with 1 they run on the caller's.
    pub thread_count: usize,
    /// When packs are closed; tests make it small.
    pub pack_bytes_target: u64,
    /// What is set aside for deleting and collecting on a full disk; tests make it small.
    pub reserve_bytes_max: u64,
    /// How write logs are laid out; tests make segments small.
    pub log: LogParameters,
    /// How much write logs keep for points in time.
    pub window: WindowLimits,
    /// Bytes of chunks that all background copies together put together a second at most; without, they only make room for
    /// requests. Where a log comes near its limit, or space is short, they keep to nothing.
    pub copy_bytes_per_second: Option<u64>,
    /// Beyond this length of its log a machine's writers wait for the copy; a quarter of it is a layer that is folded. Tests make
    /// it small.
    pub log_bytes_max: u64,
    /// Decoded chunks that all readers of live disks and exports keep together, in bytes; 0: none.
    pub chunk_cache_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            thread_count: 1,
            pack_bytes_target: PackTarget::PACK_BYTES_TARGET,
            reserve_bytes_max: RESERVE_BYTES_MAX,
            log: LogParameters::default(),
            window: WindowLimits::default(),
            copy_bytes_per_second: None,
            log_bytes_max: LOG_BYTES_MAX,
            chunk_cache_bytes: CHUNK_CACHE_BYTES,
        }
    }
}
