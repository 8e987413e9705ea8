//! Scanning external disks: image files and block devices into block maps.
//!
//! What it is: [`Scanner`] reads sources span by span on several threads, compares chunk ids with the parent's map
//! first, then with what the store has, encodes new chunks (as deltas on what the parent has at the same place, where that
//! is clearly smaller), and hands them to a [`Writer`] in the disk's order, whatever the number of threads. What it returns is a value: roots and counts; nothing here is a commit.
//! What it guarantees: all sources were still from before the first byte to after the last (DESIGN section 5), or the
//! scan fails. What it costs: each byte that is not a hole is read and hashed once; holes are not read.
//! What it must not import: the engine's top, manifests.

mod pipeline;
mod source;
mod span;

pub use crate::block_map::ChunkCounts;
pub use crate::chunk_store::fill_value;
pub use source::{Source, SourceRequest};

use std::sync::Arc;

use crate::block_map::{DiskVersion, Geometry, MapReader};
use crate::chunk_store::writer::Writer;
use crate::clock::Clock;
use crate::control::Control;
use crate::error::Result;
use crate::format::node::Root;
use crate::io::Io;

/// A disk to scan.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Where its bytes are.
    pub source: SourceRequest,
    /// What its content was, to compare with first.
    pub parent: Option<DiskVersion>,
}

/// A scanned disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Its content.
    pub version: DiskVersion,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Plain bytes of the chunks stored anew.
    pub bytes_new: u64,
    /// Bytes of all frames stored anew, nodes included.
    pub bytes_stored: u64,
    /// What became of the chunks.
    pub chunks: ChunkCounts,
}

/// What scanning needs.
pub struct Scanner<'a> {
    /// Files.
    pub io: &'a Arc<dyn Io>,
    /// Tells whether a source was written to just now.
    pub clock: &'a dyn Clock,
    /// The parents' maps, and the store behind them.
    pub maps: &'a MapReader,
    /// Threads that hash and compress.
    pub thread_count: usize,
}

impl Scanner<'_> {
    /// Scans all disks as one: each was still from before the first byte of any to after the last byte of any.
    ///
    /// # Errors
    /// `SOURCE_*` for what is wrong with a source, `CANCELLED`, what reading and writing give.
    pub fn scan(&self, requests: &[ScanRequest], writer: &mut Writer<'_>, control: &Control) -> Result<Vec<Scanned>> {
        let started_ns = self.clock.now_ns(); // before the first source is looked at
        let mut sources = Vec::with_capacity(requests.len());
        for request in requests {
            let source = Source::open(self.io, &request.source)?;
            sources.push(source);
        }
        let opened_ns = self.clock.now_ns();
        for source in &sources {
            source.check_still(started_ns, opened_ns)?;
        }
        for source in &sources {
            control.add_total(pipeline::bytes_with_data(source, &self.geometry(source))?);
        }
        let mut scanned = Vec::with_capacity(requests.len());
        for (request, source) in requests.iter().zip(&sources) {
            scanned.push(self.scan_one(source, request.parent, writer, control)?);
        }
        for source in &sources {
            source.check_unchanged(self.io.as_ref())?;
        }
        let ended_ns = self.clock.now_ns(); // after the last one was looked at again
        for source in &sources {
            source.check_still(started_ns, ended_ns)?;
        }
        Ok(scanned)
    }

    fn scan_one(
        &self,
        source: &Source,
        parent: Option<DiskVersion>,
        writer: &mut Writer<'_>,
        control: &Control,
    ) -> Result<Scanned> {
        let geometry = self.geometry(source);
        let job = span::Job { source, geometry, parent, maps: self.maps, control };
        let outcome = pipeline::run(&job, self.thread_count, writer)?;
        let root: Root = outcome.root;
        Ok(Scanned {
            version: DiskVersion { root, size: source.size() },
            bytes_read: outcome.bytes_read,
            bytes_new: outcome.bytes_new,
            bytes_stored: outcome.bytes_stored,
            chunks: outcome.chunks,
        })
    }

    fn geometry(&self, source: &Source) -> Geometry {
        Geometry { size: source.size(), chunk_bytes: u64::from(self.maps.store().parameters().chunk_bytes) }
    }
}
