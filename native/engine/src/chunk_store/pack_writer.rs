//! Frames into packs: one growing file at a time, durable before anyone may hear of it.
//!
//! A pack is written under a temporary name. When it is full its trailer is appended and writing it back is started;
//! it is synced and renamed when the next one is full (by then the disk has most of it), or at the end. The caller
//! makes the names durable with one directory sync ([`PackWriter::finish`]).

use std::path::PathBuf;
use std::sync::Arc;

use super::pack_set::Pack;
use crate::error::Result;
use crate::format::PackKind;
use crate::format::pack::{PackEntry, PackHeader, encode_trailer};
use crate::io::{Io, IoFile, OpenMode};
use crate::limits::PACK_BYTES_TARGET;
use crate::random::Random;
use crate::units::{Uid, u64_from};

/// Frames are handed to the file in pieces of this size.
const WRITE_BYTES: usize = 1 << 20;

/// What a stream of packs needs to know.
#[derive(Clone)]
pub struct PackTarget {
    /// Files.
    pub io: Arc<dyn Io>,
    /// Pack ids.
    pub random: Arc<dyn Random>,
    /// Where packs lie.
    pub directory: PathBuf,
    /// The store.
    pub store_id: Uid,
    /// Its chunk size.
    pub chunk_bytes: u32,
    /// A pack is closed once it is this long; tests make it small.
    pub pack_bytes_target: u64,
}

impl PackTarget {
    /// The usual length of packs.
    pub const PACK_BYTES_TARGET: u64 = PACK_BYTES_TARGET;
}

/// A durable pack with its frames.
#[derive(Clone, Debug)]
pub struct SealedPack {
    /// The pack.
    pub pack: Pack,
    /// Its frames.
    pub entries: Vec<PackEntry>,
}

struct OpenPack {
    id: Uid,
    file: Arc<dyn IoFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
    entries: Vec<PackEntry>,
}

/// Writes frames of one kind.
pub struct PackWriter {
    target: PackTarget,
    kind: PackKind,
    open: Option<OpenPack>,
    full: Option<OpenPack>, // complete, not yet synced
    sealed: Vec<SealedPack>,
    sealed_entry_count: u64,
    is_named: bool, // a name that is not durable
}

impl PackWriter {
    /// A writer that has no file yet.
    #[must_use]
    pub fn new(target: PackTarget, kind: PackKind) -> Self {
        Self { target, kind, open: None, full: None, sealed: Vec::new(), sealed_entry_count: 0, is_named: false }
    }

    /// Appends an encoded frame; `entry.offset` is filled in here.
    ///
    /// # Errors
    /// What writing gives.
    pub fn append(&mut self, frame: &[u8], mut entry: PackEntry) -> Result<()> {
        debug_assert_eq!(u64_from(frame.len()), entry.frame_bytes());
        let mut pack = match self.open.take() {
            Some(pack) => pack,
            None => self.create()?,
        };
        let at = pack.written + u64_from(pack.buffer.len());
        entry.offset = u32::try_from(at).expect("a pack is shorter than 4 GiB");
        pack.buffer.extend_from_slice(frame);
        pack.entries.push(entry);
        let length = entry.end();
        let pack = self.open.insert(pack);
        if pack.buffer.len() >= WRITE_BYTES {
            pack.flush()?;
        }
        if length >= self.target.pack_bytes_target {
            self.close_open()?;
        }
        Ok(())
    }

    /// Makes all packs durable and returns them.
    ///
    /// # Errors
    /// What writing, syncing and renaming give. The packs are then still this writer's, to be discarded.
    pub fn finish(&mut self) -> Result<()> {
        self.close_open()?;
        self.seal_full()?;
        if self.is_named {
            self.target.io.sync_directory(&self.target.directory)?;
            self.is_named = false;
        }
        Ok(())
    }

    /// The packs that are complete. Their bytes are durable; their names are after the next [`PackWriter::finish`].
    pub fn take_sealed(&mut self) -> Vec<SealedPack> {
        self.sealed_entry_count = 0;
        std::mem::take(&mut self.sealed)
    }

    /// Frames of the packs that [`PackWriter::take_sealed`] would give.
    #[must_use]
    pub const fn sealed_entry_count(&self) -> u64 {
        self.sealed_entry_count
    }

    /// Removes whatever was written. Errors are not of interest: what stays is garbage for the collector, or a
    /// temporary file that the next open removes.
    pub fn discard(&mut self) {
        for pack in [self.open.take(), self.full.take()].into_iter().flatten() {
            let _ = self.target.io.remove_file(&pack.path);
        }
        for sealed in self.take_sealed() {
            let _ = self.target.io.remove_file(&self.target.directory.join(sealed.pack.file_name()));
        }
    }

    fn create(&self) -> Result<OpenPack> {
        let mut id = [0; 16];
        self.target.random.fill(&mut id);
        let id = Uid(id);
        let path = self.target.directory.join(format!("{id}.{}.tmp", self.kind.extension()));
        let file = self.target.io.open(&path, OpenMode::CreateNew)?;
        let header = PackHeader {
            kind: self.kind,
            chunk_bytes: self.target.chunk_bytes,
            pack_id: id,
            store_id: self.target.store_id,
        };
        let mut buffer = Vec::with_capacity(WRITE_BYTES + (128 << 10));
        buffer.extend_from_slice(&header.encode());
        Ok(OpenPack { id, file, path, buffer, written: 0, entries: Vec::new() })
    }

    fn close_open(&mut self) -> Result<()> {
        self.seal_full()?;
        let Some(pack) = &mut self.open else { return Ok(()) };
        let trailer_at = pack.written + u64_from(pack.buffer.len());
        pack.buffer.extend_from_slice(&encode_trailer(&pack.entries, trailer_at));
        pack.flush()?;
        pack.file.start_writeback(0, pack.written)?;
        self.full = self.open.take();
        Ok(())
    }

    fn seal_full(&mut self) -> Result<()> {
        let Some(full) = &self.full else { return Ok(()) };
        full.file.sync()?;
        let pack = Pack { id: full.id, kind: self.kind, bytes: full.written };
        self.target.io.rename_new(&full.path, &self.target.directory.join(pack.file_name()))?;
        self.is_named = true;
        let entries = self.full.take().map(|full| full.entries).unwrap_or_default();
        self.sealed_entry_count += u64_from(entries.len());
        self.sealed.push(SealedPack { pack, entries });
        Ok(())
    }
}

impl OpenPack {
    fn flush(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += u64_from(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }
}
