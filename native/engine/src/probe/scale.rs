//! A store of terabytes, as far as its index, its packs' number and its maps' nodes go, for benches only.
//!
//! What it is: a region in a directory of the real file system, filled with chunks of eight bytes (their number), so
//! that the index is that of a big store while the data is small. Ids are true ids; everything that is read is proven.
//! What it guarantees: chunks come in and are found by the calls that captures and restores use.
//! What it costs: 180 bytes of disk for each chunk, and what is measured.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{SEED, Spread, build, change, count_extents, invalid, places};
use crate::block_map::{DiskVersion, MapReader};
use crate::chunk_store::codec::Encoded;
use crate::chunk_store::identity::Identity;
use crate::chunk_store::index::IndexLimits;
use crate::chunk_store::writer::{EncodedFrame, Writer};
use crate::chunk_store::{Batch, ChunkStore, Parameters};
use crate::error::Result;
use crate::format::frame::FrameHeader;
use crate::format::node::Root;
use crate::format::{Codec, PackKind};
use crate::io::Io;
use crate::io::file::FileIo;
use crate::io::reserve::Reserve;
use crate::limits::PACK_BYTES_TARGET;
use crate::random::Seeded;
use crate::units::{ContentId, Uid, u64_from};

const CHUNK_BYTES: u32 = 64 << 10;

/// Bytes of a stored chunk: its number.
const CONTENT_BYTES: usize = 8;

/// Frames of a pack: 64 MiB of chunks that do not compress, so as many packs as a store of that size can have.
const PACK_FRAMES: u64 = 1024;

/// A big store and what is measured on it.
pub struct ScaleProbe {
    io: Arc<dyn Io>,
    directory: PathBuf,
    thread_count: usize,
    store: Option<Arc<ChunkStore>>,
    opened_count: u64,
    added: u64,
    wanted: Vec<ContentId>,
    pair: Option<(DiskVersion, DiskVersion)>,
}

impl ScaleProbe {
    /// The store in a directory, closed; an empty one when the directory does not exist. `added` chunks are in it.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` without threads; what making the directories gives.
    pub fn new(directory: &Path, thread_count: usize, added: u64) -> Result<Self> {
        if thread_count == 0 {
            return Err(invalid("a probe needs a thread"));
        }
        let io: Arc<dyn Io> = Arc::new(FileIo);
        if io.identify(directory)?.is_none() {
            io.create_directory(directory)?;
            for below in ChunkStore::DIRECTORIES {
                io.create_directory(&directory.join(below))?;
            }
        }
        Ok(Self {
            io,
            directory: directory.to_owned(),
            thread_count,
            store: None,
            opened_count: 0,
            added,
            wanted: Vec::new(),
            pair: None,
        })
    }

    /// Opens the store, as a new process would.
    ///
    /// # Errors
    /// What reading gives.
    pub fn open(&mut self) -> Result<()> {
        self.close();
        let pack_bytes_target = PACK_FRAMES * FrameHeader::frame_bytes(Codec::None, CONTENT_BYTES as u32);
        self.store = Some(self.opened(pack_bytes_target)?);
        Ok(())
    }

    /// Gives up what the store holds in memory.
    pub fn close(&mut self) {
        self.store = None;
    }

    /// Stores so many new chunks and commits them, as a capture does.
    ///
    /// # Errors
    /// What writing gives.
    pub fn add(&mut self, count: u64) -> Result<()> {
        let store = self.store()?;
        let mut writer = Writer::new(&store);
        for number in self.added..self.added + count {
            let content = number.to_le_bytes();
            let id = store.parameters().identity.id(PackKind::Chunks, &content);
            let encoded = Encoded { codec: Codec::None, base: None, stored: &content };
            let frame = EncodedFrame::new(PackKind::Chunks, id, CONTENT_BYTES as u32, encoded);
            writer.add_chunk(&frame)?;
        }
        writer.commit()?;
        self.added += count;
        Ok(())
    }

    /// Removes the index. The store must be closed.
    ///
    /// # Errors
    /// What removing gives.
    pub fn remove_index(&self) -> Result<()> {
        let index = self.directory.join(ChunkStore::DIRECTORIES[1]);
        for entry in self.io.list_directory(&index)? {
            self.io.remove_file(&index.join(entry.name))?;
        }
        Ok(())
    }

    /// Chooses so many ids for [`ScaleProbe::look_up`]: of chunks that were added, anywhere, or of none.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when known ids are wanted from an empty store.
    pub fn choose(&mut self, count: u64, known: bool, seed: u64) -> Result<()> {
        if known && self.added == 0 {
            return Err(invalid("an empty store knows no ids"));
        }
        let mut random = Seeded::new(seed);
        let first = if known { 0 } else { 1 << 40 };
        let range = if known { self.added } else { 1 << 40 };
        let identity = self.store()?.parameters().identity.clone();
        let id = |number: u64| identity.id(PackKind::Chunks, &number.to_le_bytes());
        self.wanted = (0..count).map(|_| id(first + random.below(range))).collect();
        Ok(())
    }

    /// Looks the chosen ids up, one by one. Returns how many the store holds.
    ///
    /// # Errors
    /// What reading gives.
    pub fn look_up(&self) -> Result<u64> {
        let store = self.store()?;
        let mut found = 0;
        for id in &self.wanted {
            found += u64::from(store.contains(id)?);
        }
        Ok(found)
    }

    /// Looks the chosen ids up, so many at a time. Returns how many the store holds.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` for batches of none; what reading gives.
    pub fn look_up_batched(&self, batch_count: usize) -> Result<u64> {
        if batch_count == 0 {
            return Err(invalid("a batch has at least one id"));
        }
        let store = self.store()?;
        let mut found = 0;
        for ids in self.wanted.chunks(batch_count) {
            found += u64_from(store.contains_each(ids)?.into_iter().filter(|known| *known).count());
        }
        Ok(found)
    }

    /// Reads and proves the chosen chunks, one by one. Returns their bytes.
    ///
    /// # Errors
    /// What reading gives.
    pub fn read(&self) -> Result<u64> {
        let store = self.store()?;
        let mut batch = Batch::default();
        let mut bytes = 0;
        for id in &self.wanted {
            bytes += u64_from(black_box(store.get(PackKind::Chunks, id, &mut batch)?).len());
        }
        Ok(bytes)
    }

    /// Makes the two maps that [`ScaleProbe::diff`] compares: one of so many different chunks, and one that shares all
    /// of its nodes but those above the changed chunks.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when there are fewer chunks than changes; what the store gives.
    pub fn make_maps(&mut self, chunk_count: u64, changed_count: u64, spread: Spread) -> Result<()> {
        if changed_count == 0 || changed_count > chunk_count {
            return Err(invalid("at least one chunk changes, and at most all"));
        }
        self.close();
        let store = self.opened(PACK_BYTES_TARGET)?;
        let size = chunk_count * u64::from(CHUNK_BYTES);
        let before = match self.pair {
            Some((before, _)) if before.size == size => before,
            _ => {
                let mut writer = Writer::new(&store);
                let root = build(&store, chunk_count, &mut writer)?;
                writer.commit()?;
                DiskVersion { root, size }
            }
        };
        let changed = places(chunk_count, changed_count, spread);
        let mut writer = Writer::new(&store);
        let maps = MapReader::new(Arc::clone(&store));
        let mut random = Seeded::new(SEED + 1);
        let entry = change(&maps, &mut writer, before.root.entry, before.root.height, 0, &changed, &mut random)?;
        writer.commit()?;
        self.pair = Some((before, DiskVersion { root: Root { entry, ..before.root }, ..before }));
        drop(store);
        self.open()
    }

    /// The extents in which the two maps differ, found with no node in memory. Returns how many there are.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` before [`ScaleProbe::make_maps`]; what the store gives.
    pub fn diff(&self) -> Result<u64> {
        let (before, after) = self.pair.ok_or_else(|| invalid("there are no maps to compare yet"))?;
        count_extents(&Arc::new(MapReader::with_threads(self.store()?, self.thread_count)), before, after)
    }

    /// Bytes of the index's segments.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when the store is closed.
    pub fn index_bytes(&self) -> Result<u64> {
        Ok(self.store()?.index().bytes())
    }

    /// Segments of the index.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when the store is closed.
    pub fn segment_count(&self) -> Result<u64> {
        Ok(u64_from(self.store()?.index().segments().len()))
    }

    fn store(&self) -> Result<Arc<ChunkStore>> {
        self.store.clone().ok_or_else(|| invalid("the store is closed"))
    }

    fn opened(&mut self, pack_bytes_target: u64) -> Result<Arc<ChunkStore>> {
        let parameters = Parameters {
            store_id: Uid([1; 16]),
            chunk_bytes: CHUNK_BYTES,
            codec: Codec::Zstd,
            level: 2,
            identity: Identity::new(&[2; 32]),
            pack_bytes_target,
            index_limits: IndexLimits::default(),
            reserve: Arc::new(Reserve::new(Arc::clone(&self.io), self.directory.join("reserve"), 0)),
            follows: false,
        };
        // So that no pack id is drawn twice, in another process on the same store either.
        self.opened_count += 1;
        let random = Arc::new(Mutex::new(Seeded::new((self.added << 20) + SEED + self.opened_count)));
        let store = ChunkStore::open(Arc::clone(&self.io), random, self.directory.clone(), parameters)?;
        Ok(Arc::new(store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_after_every_way_to_open() {
        let directory = std::env::temp_dir().join(format!("stillpoint-scale-{}", std::process::id()));
        let mut probe = ScaleProbe::new(&directory, 2, 0).unwrap();
        probe.open().unwrap();
        probe.add(3_000).unwrap();
        probe.add(10).unwrap();
        probe.close();
        probe.remove_index().unwrap();
        probe.open().unwrap();
        probe.choose(500, true, 1).unwrap();
        assert_eq!((probe.look_up().unwrap(), probe.look_up_batched(64).unwrap()), (500, 500));
        assert_eq!(probe.read().unwrap(), 500 * 8);
        probe.choose(500, false, 2).unwrap();
        assert_eq!((probe.look_up().unwrap(), probe.look_up_batched(7).unwrap()), (0, 0));
        probe.make_maps(10_000, 50, Spread::Clustered).unwrap();
        assert_eq!(probe.diff().unwrap(), 1);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
