//! The hot paths one by one, for benches only: nothing that ships calls this module.
//!
//! What it is: a store in memory with a sample of chunks in hand. Each call does one stage's work on the whole sample,
//! on the caller's thread, so that a bench times that work and one call.
//! What it guarantees: it runs the code that captures and restores run; nothing is rewritten for the sake of measuring.
//! What it costs: the sample four times over, and the nodes of the maps (550 MB for 1 TiB at 64 KiB) up to twice.
//! Who may import it: the binding's probe handle and the engine's own bench alone.

mod scale;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::block_map::{DiskVersion, MapBuilder, MapReader, chunks_below};
use crate::chunk_store::codec::{Decoder, Encoded, Encoder};
use crate::chunk_store::identity::Identity;
use crate::chunk_store::index::IndexLimits;
use crate::chunk_store::writer::{EncodedFrame, Writer};
use crate::chunk_store::{Batch, ChunkStore, Parameters};
use crate::clock::ManualClock;
use crate::control::Control;
use crate::diff::DiffCursor;
use crate::error::{Code, Error, Result};
use crate::format::node::{Entry, Node, Root};
use crate::format::{Codec, PackKind};
use crate::io::memory::MemoryIo;
use crate::io::reserve::Reserve;
use crate::io::{Io, OpenMode};
use crate::limits::{CHUNK_BYTES_ALLOWED, DIFF_PAGE_EXTENTS_MAX, NODE_FAN_OUT, PACK_BYTES_TARGET, STILL_NS};
use crate::random::Seeded;
use crate::scan::{ScanRequest, Scanner, SourceRequest};
use crate::units::{ContentId, Uid, u64_from, usize_from};

pub use scale::ScaleProbe;

const REGION: &str = "/region";
const IMAGE: &str = "/image";
const SEED: u64 = 1;

/// Where the changed chunks of the second map lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// One after the other, in the middle.
    Clustered,
    /// Each at a random place of its own stretch of the disk.
    Random,
}

struct SampleChunk {
    plain: Vec<u8>,
    fresh: Vec<u8>, // the same but for its first bytes: content that the store never holds
    id: ContentId,
    codec: Codec,
    stored: Vec<u8>,
}

/// A store in memory and what is measured on it.
pub struct Probe {
    io: Arc<dyn Io>,
    memory: MemoryIo,
    clock: ManualClock,
    store: Arc<ChunkStore>,
    encoder: Encoder,
    decoder: Decoder,
    batch: Batch,
    buffer: Vec<u8>,
    sample: Vec<SampleChunk>,
    image: Option<DiskVersion>,
    pair: Option<(DiskVersion, DiskVersion)>,
}

impl Probe {
    /// An empty store with this chunk size, and zstd at this level.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` for a chunk size or level that stores do not have.
    pub fn new(chunk_bytes: u32, level: i32) -> Result<Self> {
        if !CHUNK_BYTES_ALLOWED.contains(&chunk_bytes) || !(1..=19).contains(&level) {
            return Err(invalid("a probe takes a chunk size and a level that a store may have"));
        }
        let memory = MemoryIo::new();
        let io: Arc<dyn Io> = Arc::new(memory.clone());
        let region = PathBuf::from(REGION);
        io.create_directory(&region)?;
        for directory in ChunkStore::DIRECTORIES {
            io.create_directory(&region.join(directory))?;
        }
        let parameters = Parameters {
            store_id: Uid([1; 16]),
            chunk_bytes,
            codec: Codec::Zstd,
            level,
            identity: Identity::new(&[2; 32]),
            pack_bytes_target: PACK_BYTES_TARGET,
            index_limits: IndexLimits::default(),
            reserve: Arc::new(Reserve::new(Arc::clone(&io), region.join("reserve"), 0)),
            follows: false,
        };
        let random = Arc::new(Mutex::new(Seeded::new(SEED)));
        Ok(Self {
            store: Arc::new(ChunkStore::open(Arc::clone(&io), random, region, parameters)?),
            io,
            memory,
            clock: ManualClock::new(STILL_NS * 2),
            encoder: Encoder::new(Codec::Zstd, level),
            decoder: Decoder::new(),
            batch: Batch::default(),
            buffer: vec![0; chunk_bytes as usize],
            sample: Vec::new(),
            image: None,
            pair: None,
        })
    }

    /// Takes whole chunks as the sample: stores them, and makes an image of them that was captured once. Returns the
    /// bytes that their encoded forms take.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when `bytes` is not one or more whole chunks.
    pub fn load(&mut self, bytes: &[u8]) -> Result<u64> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(self.buffer.len()) {
            return Err(invalid("a sample is one or more whole chunks"));
        }
        self.sample.clear();
        for plain in bytes.chunks(self.buffer.len()) {
            let encoded = self.encoder.encode(plain)?;
            let (codec, stored) = (encoded.codec, encoded.stored.to_vec());
            let mut fresh = plain.to_vec();
            fresh[0] ^= 0xff;
            let id = self.identity().id(PackKind::Chunks, plain);
            self.sample.push(SampleChunk { plain: plain.to_vec(), fresh, id, codec, stored });
        }
        let mut writer = Writer::new(&self.store);
        for chunk in &self.sample {
            let plain_bytes = chunk.plain.len() as u32;
            let encoded = Encoded { codec: chunk.codec, base: None, stored: &chunk.stored };
            let frame = EncodedFrame::new(PackKind::Chunks, chunk.id, plain_bytes, encoded);
            writer.add_chunk(&frame)?;
        }
        writer.commit()?;
        self.memory.install_file(IMAGE, bytes)?;
        let mut writer = Writer::new(&self.store);
        self.image = Some(self.scan_into(&mut writer, None)?);
        writer.commit()?;
        Ok(self.sample.iter().map(|chunk| u64_from(chunk.stored.len())).sum())
    }

    /// Ids of all chunks.
    pub fn hash(&self) {
        for chunk in &self.sample {
            black_box(self.identity().id(PackKind::Chunks, black_box(&chunk.plain)));
        }
    }

    /// All chunks compressed, decoded again and compared.
    ///
    /// # Errors
    /// What encoding gives.
    pub fn encode(&mut self) -> Result<()> {
        for chunk in &self.sample {
            black_box(self.encoder.encode(black_box(&chunk.plain))?);
        }
        Ok(())
    }

    /// All chunks decoded from what is stored of them; ids and checksums are not looked at.
    ///
    /// # Errors
    /// `INTERNAL` when one does not decode.
    pub fn decode(&mut self) -> Result<()> {
        for chunk in &self.sample {
            self.decoder
                .decode(chunk.codec, black_box(&chunk.stored), None, &mut self.buffer)
                .map_err(|why| Error::new(Code::Internal, why))?;
            black_box(&self.buffer);
        }
        Ok(())
    }

    /// The image read chunk by chunk: what every scan below pays to the memory that stands in for a disk.
    ///
    /// # Errors
    /// What reading gives.
    pub fn read_image(&mut self) -> Result<()> {
        let file = self.io.open(Path::new(IMAGE), OpenMode::Read)?;
        let chunk_bytes = self.chunk_bytes();
        for index in 0..u64_from(self.sample.len()) {
            file.read_at(&mut self.buffer, index * chunk_bytes)?;
            black_box(&self.buffer);
        }
        Ok(())
    }

    /// The image captured again: each chunk is read, tested for a fill, hashed and compared with its parent's. In a
    /// sample of fills the test is all there is after the read.
    ///
    /// # Errors
    /// What scanning gives.
    pub fn scan_unchanged(&mut self) -> Result<()> {
        let mut writer = Writer::new(&self.store);
        black_box(self.scan_into(&mut writer, self.image)?);
        Ok(())
    }

    /// As many chunks that the store does not hold: hashed, looked up, encoded, appended to a pack. The pack is dropped,
    /// so that every call finds the store the same; making it durable is the disk's time and is not here.
    ///
    /// # Errors
    /// What the store gives.
    pub fn put(&mut self) -> Result<()> {
        let mut writer = Writer::new(&self.store);
        for chunk in &self.sample {
            let id = self.store.parameters().identity.id(PackKind::Chunks, &chunk.fresh);
            if self.store.contains(&id)? {
                return Err(Error::new(Code::Internal, "the store holds what was never stored"));
            }
            let encoded = self.encoder.encode(&chunk.fresh)?;
            let plain_bytes = chunk.fresh.len() as u32;
            writer.add_chunk(&EncodedFrame::new(PackKind::Chunks, id, plain_bytes, encoded))?;
        }
        Ok(())
    }

    /// All chunks looked up, read, checked, decoded and proven by their id, one at a time.
    ///
    /// # Errors
    /// What the store gives.
    pub fn get(&mut self) -> Result<()> {
        for chunk in &self.sample {
            black_box(self.store.get(PackKind::Chunks, &chunk.id, &mut self.batch)?);
        }
        Ok(())
    }

    /// A block map of so many chunks, all different, with its nodes appended to a pack that is dropped.
    ///
    /// # Errors
    /// What the store gives.
    pub fn build_map(&self, chunk_count: u64) -> Result<()> {
        black_box(build(&self.store, chunk_count, &mut Writer::new(&self.store))?);
        Ok(())
    }

    /// Makes the two maps that [`Probe::diff`] compares: one of so many different chunks, and one that shares all of its
    /// nodes but those above `changed_count` changed chunks.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when there are fewer chunks than changes; what the store gives.
    pub fn make_maps(&mut self, chunk_count: u64, changed_count: u64, spread: Spread) -> Result<()> {
        if changed_count == 0 || changed_count > chunk_count {
            return Err(invalid("at least one chunk changes, and at most all"));
        }
        let before = match self.pair {
            Some((before, _)) if before.size == chunk_count * self.chunk_bytes() => before,
            _ => {
                let mut writer = Writer::new(&self.store);
                let root = build(&self.store, chunk_count, &mut writer)?;
                writer.commit()?;
                DiskVersion { root, size: chunk_count * self.chunk_bytes() }
            }
        };
        let changed = places(chunk_count, changed_count, spread);
        let mut writer = Writer::new(&self.store);
        let maps = MapReader::new(Arc::clone(&self.store));
        let mut random = Seeded::new(SEED + 1);
        let entry = change(&maps, &mut writer, before.root.entry, before.root.height, 0, &changed, &mut random)?;
        writer.commit()?;
        self.pair = Some((before, DiskVersion { root: Root { entry, ..before.root }, ..before }));
        Ok(())
    }

    /// The extents in which the two maps differ, found with no node in the cache, as by a process that just started.
    /// Returns how many there are.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` before [`Probe::make_maps`]; what the store gives.
    pub fn diff(&self) -> Result<u64> {
        let (before, after) = self.pair.ok_or_else(|| invalid("there are no maps to compare yet"))?;
        count_extents(&Arc::new(MapReader::new(Arc::clone(&self.store))), before, after)
    }

    /// The store, for what has no call here.
    #[must_use]
    pub const fn store(&self) -> &Arc<ChunkStore> {
        &self.store
    }

    fn identity(&self) -> &Identity {
        &self.store.parameters().identity
    }

    fn chunk_bytes(&self) -> u64 {
        u64_from(self.buffer.len())
    }

    fn scan_into(&self, writer: &mut Writer<'_>, parent: Option<DiskVersion>) -> Result<DiskVersion> {
        let maps = MapReader::new(Arc::clone(&self.store));
        let scanner = Scanner { io: &self.io, clock: &self.clock, maps: &maps, thread_count: 1 };
        let source = SourceRequest { path: IMAGE.into(), sector_bytes: 512, frozen: false };
        let scanned = scanner.scan(&[ScanRequest { source, parent }], writer, &Control::default())?;
        match scanned.first() {
            Some(disk) => Ok(disk.version),
            None => Err(Error::new(Code::Internal, "one disk was scanned and none came back")),
        }
    }
}

/// Reads a diff to its end and counts its extents.
fn count_extents(maps: &Arc<MapReader>, before: DiskVersion, after: DiskVersion) -> Result<u64> {
    let mut cursor = DiffCursor::new(Arc::clone(maps), before, after, None);
    let mut extent_count = 0;
    loop {
        let page = cursor.next_page(DIFF_PAGE_EXTENTS_MAX, &Control::default())?;
        if page.is_empty() {
            return Ok(extent_count);
        }
        extent_count += u64_from(page.len());
    }
}

/// A map of so many chunks, all different.
fn build(store: &ChunkStore, chunk_count: u64, writer: &mut Writer<'_>) -> Result<Root> {
    let Parameters { chunk_bytes, identity, .. } = store.parameters();
    let height = Root::height_for(chunk_count * u64::from(*chunk_bytes), *chunk_bytes);
    let mut builder = MapBuilder::new(identity, height);
    let mut random = Seeded::new(SEED);
    let mut left = usize_from(chunk_count);
    let mut span = Vec::with_capacity(NODE_FAN_OUT);
    let mut add_node = |id, plain: &[u8]| writer.add_node(id, plain).map(drop);
    while left > 0 {
        span.clear();
        span.extend((0..left.min(NODE_FAN_OUT)).map(|_| Entry::Id(random_id(&mut random))));
        left -= span.len();
        builder.push_span(&span, &mut add_node)?;
    }
    builder.finish(&mut add_node)
}

/// The entry in place of one that has `changed` chunks below it: nodes above them are made anew, all others shared.
fn change(
    maps: &MapReader,
    writer: &mut Writer<'_>,
    entry: Entry,
    level: u8,
    first: u64,
    changed: &[u64],
    random: &mut Seeded,
) -> Result<Entry> {
    if level == 0 {
        return Ok(Entry::Id(random_id(random)));
    }
    let Entry::Id(id) = entry else { return Err(invalid("a map of different chunks has a node at every place")) };
    let mut entries = maps.node(&id, level)?.entries().to_vec();
    let mut rest = changed;
    for (index, below) in entries.iter_mut().enumerate() {
        let start = first + u64_from(index) * chunks_below(level - 1);
        let here = rest.partition_point(|chunk| *chunk < start + chunks_below(level - 1));
        let (inside, later) = rest.split_at(here);
        rest = later;
        if !inside.is_empty() {
            *below = change(maps, writer, *below, level - 1, start, inside, random)?;
        }
    }
    match Node::canonical(level, &entries) {
        Err(entry) => Ok(entry),
        Ok(node) => {
            let plain = node.encode();
            let id = maps.store().parameters().identity.id(PackKind::Nodes, &plain);
            writer.add_node(id, &plain)?;
            Ok(Entry::Id(id))
        }
    }
}

/// The chunks that change, ascending.
fn places(chunk_count: u64, changed_count: u64, spread: Spread) -> Vec<u64> {
    let stretch = chunk_count / changed_count;
    let mut random = Seeded::new(SEED);
    let middle = (chunk_count - changed_count) / 2;
    let place = |index| match spread {
        Spread::Clustered => middle + index,
        Spread::Random => index * stretch + random.below(stretch),
    };
    (0..changed_count).map(place).collect()
}

fn random_id(random: &mut Seeded) -> ContentId {
    let mut id = [0; 32];
    random.fill(&mut id);
    ContentId(id)
}

fn invalid(message: &'static str) -> Error {
    Error::new(Code::ArgumentInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe::new(16 << 10, 2).unwrap()
    }

    #[test]
    fn every_call_can_be_repeated_on_one_sample() {
        let mut probe = probe();
        let mut bytes = vec![0; 4 * (16 << 10)];
        Seeded::new(7).fill(&mut bytes);
        let stored = probe.load(&bytes).unwrap();
        assert_eq!(stored, bytes.len() as u64, "random bytes do not compress");
        for _ in 0..2 {
            probe.hash();
            probe.encode().unwrap();
            probe.decode().unwrap();
            probe.read_image().unwrap();
            probe.scan_unchanged().unwrap();
            probe.put().unwrap();
            probe.get().unwrap();
            probe.build_map(1_000).unwrap();
        }
    }

    #[test]
    fn a_diff_finds_the_chunks_that_were_changed() {
        let mut probe = probe();
        probe.make_maps(10_000, 50, Spread::Clustered).unwrap();
        assert_eq!(probe.diff().unwrap(), 1);
        probe.make_maps(10_000, 50, Spread::Random).unwrap();
        let found = probe.diff().unwrap();
        assert!((45..=50).contains(&found), "50 chunks in stretches of 200 make about 50 extents, not {found}");
    }

    #[test]
    fn what_no_store_has_is_refused() {
        assert!(Probe::new(5, 2).is_err());
        assert!(probe().load(&[1, 2, 3]).is_err());
        assert!(probe().make_maps(10, 11, Spread::Random).is_err());
        assert!(probe().diff().is_err());
    }
}
