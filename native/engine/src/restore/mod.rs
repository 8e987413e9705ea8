//! Giving a disk back: to a new file, or over an existing file or block device.
//!
//! What it is: spans are taken from a counter by several threads; each assembles its span in memory and writes its
//! data runs. What it guarantees: a new file gets its name only when it is whole; every byte passed the five checks
//! of format.md section 11. What it costs: each stored chunk is read once, in the order in which it lies in its pack; the
//! target passes through the system's cache without staying there.
//! What it must not import: `scan`, `diff`, the engine's top.

mod data_runs;
mod target;
mod trail;
mod worker;

pub use target::TargetRequest;
pub use worker::read_range;

use std::sync::Arc;

use crate::block_map::{DiskVersion, MapReader};
use crate::control::Control;
use crate::error::Result;
use crate::io::Io;
use crate::random::Random;
use target::Target;

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Size of the disk.
    pub size: u64,
    /// Bytes written as data.
    pub bytes_written: u64,
}

/// What restoring needs.
pub struct Restorer<'a> {
    /// Files.
    pub io: &'a Arc<dyn Io>,
    /// Names of temporary files.
    pub random: &'a dyn Random,
    /// Block maps, and the store behind them.
    pub maps: &'a MapReader,
    /// Threads that decode and write.
    pub thread_count: usize,
}

impl Restorer<'_> {
    /// Writes a disk version to a target.
    ///
    /// # Errors
    /// `TARGET_*`, `CANCELLED`, missing or damaged content, what writing gives. A new file is then gone; what was
    /// written over is part old, part new.
    pub fn restore(&self, version: DiskVersion, request: &TargetRequest, control: &Control) -> Result<Restored> {
        control.add_total(version.size);
        let target = Target::open(self.io, self.random, request, version.size)?;
        let bytes_written = worker::run(self.maps, version, &target, self.thread_count, control)?;
        target.finish()?;
        Ok(Restored { size: version.size, bytes_written })
    }
}
