//! The engine's hot paths for benches, synchronous: a bench times one call and nothing waits for a thread.

use napi::Result;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use stillpoint_engine::probe::{Probe, Spread};

use crate::convert::{number, unsigned, unsigned_32};

/// For benches only: no part of the library uses it, and it may change at any time. Each method is described in the
/// engine's module `probe`.
#[napi]
pub struct NativeProbe {
    probe: Probe,
}

#[napi]
impl NativeProbe {
    /// A store in memory with this chunk size and zstd level.
    ///
    /// # Errors
    /// A value that no store has.
    #[napi(constructor)]
    pub fn new(chunk_bytes: f64, level: i32) -> Result<Self> {
        let chunk_bytes = unsigned_32(chunk_bytes, "chunkBytes").map_err(to_napi)?;
        Ok(Self { probe: Probe::new(chunk_bytes, level).map_err(to_napi)? })
    }

    /// Does nothing: the cost of a call.
    #[napi]
    pub fn nothing(&self) {}

    /// Takes the sample; returns the bytes that its encoded form takes.
    ///
    /// # Errors
    /// The bytes are not whole chunks.
    #[napi]
    pub fn load(&mut self, bytes: Uint8Array) -> Result<f64> {
        self.probe.load(&bytes).map(number).map_err(to_napi)
    }

    /// Ids of the sample.
    #[napi]
    pub fn hash(&self) {
        self.probe.hash();
    }

    /// The sample compressed and verified.
    ///
    /// # Errors
    /// What encoding gives.
    #[napi]
    pub fn encode(&mut self) -> Result<()> {
        self.probe.encode().map_err(to_napi)
    }

    /// The sample decoded.
    ///
    /// # Errors
    /// What decoding gives.
    #[napi]
    pub fn decode(&mut self) -> Result<()> {
        self.probe.decode().map_err(to_napi)
    }

    /// The sample's image read.
    ///
    /// # Errors
    /// What reading gives.
    #[napi]
    pub fn read_image(&mut self) -> Result<()> {
        self.probe.read_image().map_err(to_napi)
    }

    /// The sample's image captured again.
    ///
    /// # Errors
    /// What scanning gives.
    #[napi]
    pub fn scan_unchanged(&mut self) -> Result<()> {
        self.probe.scan_unchanged().map_err(to_napi)
    }

    /// As many chunks stored.
    ///
    /// # Errors
    /// What the store gives.
    #[napi]
    pub fn put(&mut self) -> Result<()> {
        self.probe.put().map_err(to_napi)
    }

    /// The sample read from the store.
    ///
    /// # Errors
    /// What the store gives.
    #[napi]
    pub fn get(&mut self) -> Result<()> {
        self.probe.get().map_err(to_napi)
    }

    /// A block map built.
    ///
    /// # Errors
    /// What the store gives.
    #[napi]
    pub fn build_map(&self, chunk_count: f64) -> Result<()> {
        let chunk_count = unsigned(chunk_count, "chunkCount").map_err(to_napi)?;
        self.probe.build_map(chunk_count).map_err(to_napi)
    }

    /// Makes the two maps of `diff`; the first is kept when only the changes differ.
    ///
    /// # Errors
    /// The counts contradict each other.
    #[napi]
    pub fn make_maps(&mut self, chunk_count: f64, changed_count: f64, clustered: bool) -> Result<()> {
        let chunk_count = unsigned(chunk_count, "chunkCount").map_err(to_napi)?;
        let changed_count = unsigned(changed_count, "changedCount").map_err(to_napi)?;
        let spread = if clustered { Spread::Clustered } else { Spread::Random };
        self.probe.make_maps(chunk_count, changed_count, spread).map_err(to_napi)
    }

    /// Extents in which the two maps differ.
    ///
    /// # Errors
    /// There are no maps yet.
    #[napi]
    pub fn diff(&self) -> Result<f64> {
        self.probe.diff().map(number).map_err(to_napi)
    }
}

/// A mistake of the bench: thrown.
fn to_napi(error: stillpoint_engine::error::Error) -> napi::Error {
    napi::Error::from_reason(error.to_string())
}
