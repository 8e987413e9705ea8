//! Disks in layers over a chunk store in memory, beside the simplest model of them: bytes, and which sectors are
//! allocated.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stillpoint_engine::background_copy::{Fold, Folded};
use stillpoint_engine::block_map::{
    DiskVersion, LayerContent, LayerRange, LayerSource, MapBuilder, MapReader, SPAN_CHUNKS,
};
use stillpoint_engine::chunk_store::identity::Identity;
use stillpoint_engine::chunk_store::index::IndexLimits;
use stillpoint_engine::chunk_store::writer::Writer;
use stillpoint_engine::chunk_store::{ChunkStore, Parameters, fill_value};
use stillpoint_engine::error::Result;
use stillpoint_engine::format::node::{Entry, Root};
use stillpoint_engine::format::{Codec, PackKind};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::io::reserve::Reserve;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::restore::read_range;
use stillpoint_engine::units::Uid;

pub(crate) const REGION: &str = "/region";
pub(crate) const CHUNK: usize = 16 << 10;
pub(crate) const SECTOR: usize = 512;

/// The largest disk that is drawn: more than one span.
pub(crate) const SIZE_MAX: usize = 80 * CHUNK;

/// The directories of a region.
pub(crate) fn region() -> MemoryIo {
    let memory = MemoryIo::new();
    memory.create_directory(Path::new(REGION)).unwrap();
    for below in ChunkStore::DIRECTORIES {
        memory.create_directory(&Path::new(REGION).join(below)).unwrap();
    }
    for above in [REGION, "/"] {
        memory.sync_directory(Path::new(above)).unwrap();
    }
    memory
}

/// Opens the store of a region through `io`. Small packs, so that a short copy has many.
pub(crate) fn open_through(io: Arc<dyn Io>, memory: &MemoryIo) -> Result<Arc<MapReader>> {
    let parameters = Parameters {
        store_id: Uid([1; 16]),
        chunk_bytes: CHUNK as u32,
        codec: Codec::Zstd,
        level: 1,
        identity: Identity::new(&[2; 32]),
        pack_bytes_target: 64 << 10,
        index_limits: IndexLimits::for_packs_of(64 << 10),
        reserve: Arc::new(Reserve::new(Arc::new(memory.clone()), Path::new(REGION).join("reserve"), 0)),
        follows: false,
    };
    let random = Arc::new(Mutex::new(Seeded::new(memory.digest())));
    let store = ChunkStore::open(io, random, PathBuf::from(REGION), parameters)?;
    Ok(Arc::new(MapReader::new(Arc::new(store))))
}

pub(crate) fn open(memory: &MemoryIo) -> Arc<MapReader> {
    open_through(Arc::new(memory.clone()), memory).unwrap()
}

/// A disk as it should be.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

/// What one layer does to a disk, sector by sector. Also the layer itself, as a copy sees it.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) size: usize,
    pub(crate) touched: Vec<Option<LayerContent>>,
    pub(crate) bytes: Vec<u8>,
}

impl Layer {
    /// A layer that only sets the size.
    pub(crate) fn new(size: usize) -> Self {
        assert!(size.is_multiple_of(SECTOR));
        Self { size, touched: vec![None; size / SECTOR], bytes: vec![0; size] }
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.touched[offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR)].fill(Some(LayerContent::Data));
    }

    pub(crate) fn clear(&mut self, offset: usize, length: usize, content: LayerContent) {
        self.bytes[offset..offset + length].fill(0);
        self.touched[offset / SECTOR..(offset + length).div_ceil(SECTOR)].fill(Some(content));
    }

    /// A layer on a disk of `before` bytes, which may grow by it.
    pub(crate) fn draw(random: &mut Seeded, before: &Model, size_max: usize) -> Self {
        let mut size = before.bytes.len();
        if size == 0 || random.one_in(4) {
            let room = (size_max - size) / SECTOR;
            size += SECTOR * (random.below(room as u64 + 1) as usize).max(usize::from(size == 0));
        }
        let mut layer = Self::new(size);
        for _ in 0..random.below(24) {
            let sectors = (size / SECTOR) as u64;
            let first = random.below(sectors);
            let count_max = match random.below(4) {
                0 => 8,
                1 => 40,
                2 => 200,
                _ => 2_000,
            };
            let count = (1 + random.below(count_max)).min(sectors - first);
            let (mut first, mut count) = (first as usize, count as usize);
            if random.one_in(2) {
                first -= first % (CHUNK / SECTOR); // whole chunks, or nearly
                count = count.next_multiple_of(CHUNK / SECTOR).min(size / SECTOR - first);
            }
            let (offset, length) = (first * SECTOR, count * SECTOR);
            match random.below(8) {
                0 => layer.clear(offset, length, LayerContent::Hole),
                1 => layer.clear(offset, length, LayerContent::Zero),
                2 => layer.write(offset, &vec![random.below(3) as u8; length]),
                3 => {
                    // What stands there already, or nearly.
                    let mut bytes: Vec<u8> = before.bytes.iter().copied().skip(offset).take(length).collect();
                    bytes.resize(length, 0);
                    if random.one_in(2) {
                        bytes[random.below(length as u64) as usize] ^= 1;
                    }
                    layer.write(offset, &bytes);
                }
                4 => {
                    let place = random.below(size as u64) as usize;
                    let bytes: Vec<u8> = before.bytes.iter().copied().cycle().skip(place).take(length).collect();
                    if bytes.len() == length {
                        layer.write(offset, &bytes);
                    }
                }
                _ => {
                    let mut bytes = vec![0; length];
                    random.fill(&mut bytes);
                    layer.write(offset, &bytes);
                }
            }
        }
        layer
    }
}

impl LayerSource for Layer {
    fn ranges(&self, from: u64, count_max: usize) -> Result<Vec<LayerRange>> {
        assert!(count_max > 0);
        let mut found: Vec<LayerRange> = Vec::new();
        let mut sector = from as usize / SECTOR;
        // The first may begin before `from`.
        while sector > 0 && sector < self.touched.len() && self.touched[sector - 1] == self.touched[sector] {
            sector -= 1;
        }
        while sector < self.touched.len() {
            let Some(content) = self.touched[sector] else {
                sector += 1;
                continue;
            };
            let first = sector;
            // Neighbours of one content are several ranges now and then.
            while sector < self.touched.len() && self.touched[sector] == Some(content) && (sector - first) < 100 {
                sector += 1;
            }
            let range =
                LayerRange { offset: (first * SECTOR) as u64, length: ((sector - first) * SECTOR) as u64, content };
            if range.end() > from {
                found.push(range);
            }
            if found.len() == count_max {
                break;
            }
        }
        Ok(found)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let offset = offset as usize;
        let sectors = offset / SECTOR..(offset + buffer.len()).div_ceil(SECTOR);
        assert!(self.touched[sectors].iter().all(|touched| *touched == Some(LayerContent::Data)));
        buffer.copy_from_slice(&self.bytes[offset..offset + buffer.len()]);
        Ok(())
    }
}

impl Model {
    /// The disk with a layer on it.
    pub(crate) fn with(&self, layer: &Layer, maps: &MapReader) -> Self {
        assert!(layer.size >= self.bytes.len());
        let mut bytes = self.bytes.clone();
        bytes.resize(layer.size, 0);
        for (sector, touched) in layer.touched.iter().enumerate() {
            if touched.is_some() {
                let place = sector * SECTOR..(sector + 1) * SECTOR;
                bytes[place.clone()].copy_from_slice(&layer.bytes[place]);
            }
        }
        let mut entries = self.entries.clone();
        entries.resize(layer.size.div_ceil(CHUNK), Entry::Hole);
        for (chunk, entry) in entries.iter_mut().enumerate() {
            let end = ((chunk + 1) * CHUNK).min(layer.size);
            let touched = &layer.touched[chunk * CHUNK / SECTOR..end / SECTOR];
            if touched.iter().all(Option::is_none) {
                continue;
            }
            let is_hole = |touched: &Option<LayerContent>| match touched {
                Some(content) => *content == LayerContent::Hole,
                None => *entry == Entry::Hole,
            };
            let plain = &bytes[chunk * CHUNK..end];
            *entry = if touched.iter().all(is_hole) {
                Entry::Hole
            } else if let Some(value) = fill_value(plain, CHUNK as u64) {
                Entry::Fill(value)
            } else {
                Entry::Id(maps.store().parameters().identity.id(PackKind::Chunks, plain))
            };
        }
        Self { bytes, entries }
    }

    /// The version that a map builder makes of it; the nodes are not kept.
    pub(crate) fn version(&self, maps: &MapReader) -> DiskVersion {
        let size = self.bytes.len() as u64;
        DiskVersion { root: built(maps, size, &self.entries), size }
    }
}

/// The root of a map with these entries.
pub(crate) fn built(maps: &MapReader, size: u64, entries: &[Entry]) -> Root {
    let height = Root::height_for(size, CHUNK as u32);
    let mut builder = MapBuilder::new(&maps.store().parameters().identity, height);
    let mut forget = |_, _: &[u8]| Ok(());
    for span in entries.chunks(SPAN_CHUNKS as usize) {
        builder.push_span(span, &mut forget).unwrap();
    }
    builder.finish(&mut forget).unwrap()
}

/// A disk on which nothing was ever written.
pub(crate) fn empty() -> DiskVersion {
    DiskVersion { root: Root::empty(0, CHUNK as u32), size: 0 }
}

/// Folds all at once.
pub(crate) fn fold(maps: &Arc<MapReader>, base: DiskVersion, layer: &Arc<Layer>) -> Result<Folded> {
    let source = Arc::clone(layer) as Arc<dyn LayerSource>;
    let mut fold = Fold::new(Arc::clone(maps), base, layer.size as u64, source, None)?;
    let mut writer = Writer::new(maps.store());
    while fold.step(1 << 20, &mut writer)?.is_some() {}
    let folded = fold.finish(&mut writer)?;
    writer.commit()?;
    Ok(folded)
}

/// All bytes of a version.
pub(crate) fn bytes_of(maps: &MapReader, version: &DiskVersion) -> Vec<u8> {
    read_range(maps, version, 0, version.size).unwrap()
}
