//! Ranges of disk versions, into the caller's memory.
//!
//! What it is: what live disks read of their base, and points that are read a little at a time. Chunks that a range covers
//! whole go where they are wanted at once; of the others the whole is decoded and kept in a cache, since the next reading
//! is likely to want more of it. Whoever knows what will be read next has it put there before.
//! What it guarantees: as all that leaves the store, every byte was proven (I-1). What lies past the version's end, and
//! what is not allocated, is zero. Any number of threads may read.
//! What it costs: the entries of a range are looked up together, its chunks too. Part of a cached chunk: the look-up of its
//! entry, a lock and a copy.

use std::sync::{Arc, Mutex, PoisonError};

use super::{DiskVersion, Geometry, MapReader};
use crate::chunk_store::chunk_cache::{CachedChunk, ChunkCache, Presence};
use crate::chunk_store::{Batch, WantedChunk};
use crate::error::Result;
use crate::format::node::Entry;
use crate::units::{ContentId, u64_from, usize_from};

/// What is read in one piece: entries and places of longer ranges are not in memory all at once.
const PIECE_BYTES: usize = 4 << 20;

/// What is read ahead in one piece: whoever wants some of it waits for all of it.
const AHEAD_PIECE_BYTES: u64 = 256 << 10;

/// Of what the cache keeps whatever comes, half of it, this part is read ahead at most: more would push out what was just read.
const AHEAD_SHARE: u64 = 4;

/// Buffers and contexts that are kept for the next reader.
const IDLE_MAX: usize = 8;

/// Reads disk versions through a cache of decoded chunks.
pub struct VersionReader {
    maps: Arc<MapReader>,
    cache: Arc<ChunkCache>,
    idle: Mutex<Vec<Batch>>,
}

/// Part of a chunk, and where it goes.
struct Part {
    id: ContentId,
    skip: usize,
    place: std::ops::Range<usize>,
}

impl VersionReader {
    /// A reader by these maps; readers of one store share the cache.
    #[must_use]
    pub fn new(maps: Arc<MapReader>, cache: Arc<ChunkCache>) -> Self {
        Self { maps, cache, idle: Mutex::default() }
    }

    /// The maps that it reads by.
    #[must_use]
    pub fn maps(&self) -> &Arc<MapReader> {
        &self.maps
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Missing or damaged nodes and chunks, what reading gives. The buffer then holds anything.
    pub fn read(&self, version: &DiskVersion, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.with_batch(|batch| {
            let mut at = offset;
            for piece in buffer.chunks_mut(PIECE_BYTES) {
                self.read_piece(version, at, piece, batch)?;
                at += u64_from(piece.len());
            }
            Ok(())
        })
    }

    fn with_batch(&self, read: impl FnOnce(&mut Batch) -> Result<()>) -> Result<()> {
        let mut batch = self.idle().pop().unwrap_or_default();
        read(&mut batch)?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(batch);
        }
        Ok(())
    }

    /// How much of what is read ahead at once is kept; 0 where that is less than a chunk.
    #[must_use]
    pub fn ahead_bytes_max(&self) -> u64 {
        let chunk_bytes = u64::from(self.maps.store().parameters().chunk_bytes);
        let bytes = self.cache.room_for(chunk_bytes) / AHEAD_SHARE;
        if bytes < chunk_bytes { 0 } else { bytes }
    }

    /// Puts the chunks of a range into the cache, for who will read it soon: as many of the first ones as there is room for.
    ///
    /// # Errors
    /// As [`VersionReader::read`].
    pub fn read_ahead(&self, version: &DiskVersion, offset: u64, length: u64) -> Result<()> {
        let chunk_bytes = u64::from(self.maps.store().parameters().chunk_bytes);
        let end = (offset + length.min(self.ahead_bytes_max())).min(version.size);
        if offset >= end {
            return Ok(());
        }
        let chunks: Vec<u64> = (offset / chunk_bytes..end.div_ceil(chunk_bytes)).collect();
        let id_of = |entry| match entry {
            Entry::Id(id) => Some(id),
            Entry::Hole | Entry::Fill(_) => None,
        };
        let ids: Vec<ContentId> = self.maps.entries(version, &chunks)?.into_iter().filter_map(id_of).collect();
        let piece = usize_from((AHEAD_PIECE_BYTES / chunk_bytes).max(1));
        self.with_batch(|batch| {
            ids.chunks(piece).try_for_each(|ids| self.cache.get_each(ids, &mut |ids| self.load(ids, batch)).map(drop))
        })
    }

    /// Whether a range can be read from memory: the nodes above it are in the cache, and what chunks it has are. A range of few
    /// chunks costs a look-up for each.
    #[must_use]
    pub fn is_at_hand(&self, version: &DiskVersion, offset: u64, length: u64) -> bool {
        let chunk_bytes = u64::from(self.maps.store().parameters().chunk_bytes);
        let end = (offset + length).min(version.size);
        let mut chunks = offset / chunk_bytes..end.div_ceil(chunk_bytes);
        chunks.all(|chunk| match self.maps.cached_entry(version, chunk) {
            Some(Entry::Hole | Entry::Fill(_)) => true,
            Some(Entry::Id(id)) => self.cache.get(&id).is_some(),
            None => false,
        })
    }

    fn read_piece(&self, version: &DiskVersion, offset: u64, buffer: &mut [u8], batch: &mut Batch) -> Result<()> {
        let chunk_bytes = u64::from(self.maps.store().parameters().chunk_bytes);
        let geometry = Geometry { size: version.size, chunk_bytes };
        let end = (offset + u64_from(buffer.len())).min(version.size).max(offset);
        let inside = usize_from(end - offset);
        buffer[inside..].fill(0);
        if inside == 0 {
            return Ok(());
        }
        let chunks: Vec<u64> = (offset / chunk_bytes..end.div_ceil(chunk_bytes)).collect();
        let entries = self.maps.entries(version, &chunks)?;
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for (chunk, entry) in chunks.into_iter().zip(entries) {
            let range = geometry.range(chunk, 1);
            let (start, stop) = (range.start.max(offset), range.end.min(end));
            let place = usize_from(start - offset)..usize_from(stop - offset);
            match entry {
                Entry::Hole => buffer[place].fill(0),
                Entry::Fill(value) => buffer[place].fill(value),
                Entry::Id(id) if (start, stop) == (range.start, range.end) => match self.cache.find(&id) {
                    Presence::Here(chunk) => buffer[place.clone()].copy_from_slice(&chunk[..place.len()]),
                    Presence::Coming => parts.push(Part { id, skip: 0, place }),
                    Presence::Absent => whole.push(WantedChunk { id, at: place.start, place_bytes: place.len() }),
                },
                Entry::Id(id) => parts.push(Part { id, skip: usize_from(start - range.start), place }),
            }
        }
        if !whole.is_empty() {
            self.maps.read_chunks(&whole, batch, buffer)?;
        }
        if !parts.is_empty() {
            let ids: Vec<ContentId> = parts.iter().map(|part| part.id).collect();
            let chunks = self.cache.get_each(&ids, &mut |ids| self.load(ids, batch))?;
            for (Part { skip, place, .. }, chunk) in parts.into_iter().zip(chunks) {
                let length = place.len();
                buffer[place].copy_from_slice(&chunk[skip..skip + length]);
            }
        }
        Ok(())
    }

    /// Whole chunks. A short one is filled up with zeros, so that it serves a disk that has grown.
    fn load(&self, ids: &[ContentId], batch: &mut Batch) -> Result<Vec<CachedChunk>> {
        let chunk_bytes = self.maps.store().parameters().chunk_bytes as usize;
        let place = |(index, id): (usize, &ContentId)| WantedChunk {
            id: *id,
            at: index * chunk_bytes,
            place_bytes: chunk_bytes,
        };
        let wanted: Vec<WantedChunk> = ids.iter().enumerate().map(place).collect();
        let mut bytes = vec![0; ids.len() * chunk_bytes];
        self.maps.read_chunks(&wanted, batch, &mut bytes)?;
        Ok(bytes.chunks(chunk_bytes).map(CachedChunk::from).collect())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
