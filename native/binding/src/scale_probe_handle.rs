//! A store of terabytes for the scale bench, synchronous: the bench times one call and nothing waits for a thread.

use std::path::Path;

use napi::Result;
use napi_derive::napi;
use stillpoint_engine::probe::{ScaleProbe, Spread};

use crate::convert::{number, unsigned};

/// For benches only: no part of the library uses it, and it may change at any time. Each method is described in the
/// engine's module `probe::scale`.
#[napi]
pub struct NativeScaleProbe {
    probe: ScaleProbe,
}

#[napi]
impl NativeScaleProbe {
    /// The store in a directory, closed; an empty one when the directory does not exist. `added` chunks are in it.
    ///
    /// # Errors
    /// The directory cannot be made.
    #[napi(constructor)]
    pub fn new(directory: String, threads: u32, added: f64) -> Result<Self> {
        let added = unsigned(added, "added").map_err(to_napi)?;
        Ok(Self { probe: ScaleProbe::new(Path::new(&directory), threads as usize, added).map_err(to_napi)? })
    }

    /// Opens the store, as a new process would.
    ///
    /// # Errors
    /// What reading gives.
    #[napi]
    pub fn open(&mut self) -> Result<()> {
        self.probe.open().map_err(to_napi)
    }

    /// Gives up what the store holds in memory.
    #[napi]
    pub fn close(&mut self) {
        self.probe.close();
    }

    /// Stores so many new chunks and commits them.
    ///
    /// # Errors
    /// What writing gives.
    #[napi]
    pub fn add(&mut self, count: f64) -> Result<()> {
        let count = unsigned(count, "count").map_err(to_napi)?;
        self.probe.add(count).map_err(to_napi)
    }

    /// Removes the index of the closed store.
    ///
    /// # Errors
    /// What removing gives.
    #[napi]
    pub fn remove_index(&self) -> Result<()> {
        self.probe.remove_index().map_err(to_napi)
    }

    /// Chooses the ids to look up: of chunks that were added, or of none.
    ///
    /// # Errors
    /// The store is empty or closed.
    #[napi]
    pub fn choose(&mut self, count: f64, known: bool, seed: f64) -> Result<()> {
        let (count, seed) = (unsigned(count, "count").map_err(to_napi)?, unsigned(seed, "seed").map_err(to_napi)?);
        self.probe.choose(count, known, seed).map_err(to_napi)
    }

    /// Looks them up one by one; returns how many there are.
    ///
    /// # Errors
    /// What reading gives.
    #[napi]
    pub fn look_up(&self) -> Result<f64> {
        self.probe.look_up().map(number).map_err(to_napi)
    }

    /// Looks them up so many at a time; returns how many there are.
    ///
    /// # Errors
    /// What reading gives.
    #[napi]
    pub fn look_up_batched(&self, batch_count: u32) -> Result<f64> {
        self.probe.look_up_batched(batch_count as usize).map(number).map_err(to_napi)
    }

    /// Reads and proves them one by one; returns their bytes.
    ///
    /// # Errors
    /// What reading gives.
    #[napi]
    pub fn read(&self) -> Result<f64> {
        self.probe.read().map(number).map_err(to_napi)
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

    /// Bytes of the index.
    ///
    /// # Errors
    /// The store is closed.
    #[napi]
    pub fn index_bytes(&self) -> Result<f64> {
        self.probe.index_bytes().map(number).map_err(to_napi)
    }

    /// Segments of the index.
    ///
    /// # Errors
    /// The store is closed.
    #[napi]
    pub fn segment_count(&self) -> Result<f64> {
        self.probe.segment_count().map(number).map_err(to_napi)
    }
}

/// A mistake of the bench: thrown.
fn to_napi(error: stillpoint_engine::error::Error) -> napi::Error {
    napi::Error::from_reason(error.to_string())
}
