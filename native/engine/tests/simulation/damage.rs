//! A small store with everything in it, and a look at what is left of it after damage.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{CreateOptions, DiskReference, Engine, OpenOptions};
use stillpoint_engine::error::{Code, Kind};
use stillpoint_engine::format::Codec;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::units::Uid;
use stillpoint_engine::verify::Finding;

use super::content::Content;
use super::store::{CHUNK, CREATE, OPEN, STORE, capture, disk_id, image_path, memory_parts, uid};

/// What points hold, by point and disk.
pub(crate) type Contents = BTreeMap<(Uid, usize), Vec<u8>>;

/// A sound store.
pub(crate) struct Small {
    pub(crate) memory: MemoryIo,
    pub(crate) contents: Contents,
}

/// Three points of two disks: several packs and segments, content that disks and points share, fills and holes.
/// Almost everything compresses well, so that every byte can be tried.
pub(crate) fn small_store(seed: u64) -> Small {
    small_store_with(seed, &CREATE)
}

/// The same, with LZ4 blocks where the other one has zstd frames.
pub(crate) fn small_store_with_lz4(seed: u64) -> Small {
    small_store_with(seed, &CreateOptions { codec: Codec::Lz4, level: 0, ..CREATE })
}

fn small_store_with(seed: u64, create: &CreateOptions) -> Small {
    let memory = MemoryIo::new();
    let parts = memory_parts(&memory, seed);
    Engine::create(&parts, Path::new(STORE), create).unwrap();
    let engine = Engine::open(parts, Path::new(STORE), OpenOptions { pack_bytes_target: 3 << 10, ..OPEN }).unwrap();
    let text = |number: u64| Content::Text(number).bytes(1_500, &[], &[]);
    let mut images = vec![vec![0u8; 30 * CHUNK + 512], vec![0u8; 3 * CHUNK]];
    let mut contents = Contents::new();
    let put = |images: &mut Vec<Vec<u8>>, disk: usize, chunk: usize, bytes: &[u8]| {
        images[disk][chunk * CHUNK..][..bytes.len()].copy_from_slice(bytes);
    };
    put(&mut images, 0, 0, &text(1));
    put(&mut images, 0, 1, &vec![9; CHUNK]);
    put(&mut images, 0, 3, &text(2));
    put(&mut images, 0, 30, &text(3)[..512]);
    for chunk in 6..30 {
        put(&mut images, 0, chunk, &text(100 + chunk as u64)[..200]);
    }
    put(&mut images, 1, 1, &text(2));
    let mut publish = |images: &[Vec<u8>], number: u64, disks: &[usize]| {
        for disk in disks {
            memory.install_file(image_path(*disk), &images[*disk]).unwrap();
            contents.insert((uid(number), *disk), images[*disk].clone());
        }
        let parent = (number > 1).then(|| uid(1));
        capture(&engine, uid(number), disks, parent).unwrap();
    };
    publish(&images, 1, &[0, 1]);
    put(&mut images, 0, 2, &text(14)[..300]);
    put(&mut images, 1, 2, &text(24)[..300]);
    publish(&images, 2, &[0, 1]);
    put(&mut images, 0, 0, &text(4));
    publish(&images, 3, &[0]);
    // So few new frames that they were not merged into the first segment.
    assert_eq!(super::store::files_in(&memory, "index").len(), 3);
    drop(engine);
    Small { memory, contents }
}

/// What a damaged store says and gives.
pub(crate) struct Examined {
    pub(crate) findings: Vec<Finding>,
    /// Points that are listed.
    pub(crate) listed: Vec<Uid>,
    /// Ranges that cannot be read, by point and disk: found by reading, chunk by chunk.
    pub(crate) unreadable: BTreeMap<(Uid, Uid), Vec<Range<u64>>>,
}

/// Opens a store that may be damaged, verifies it and reads all of it. Without a value: opening gave a coded error.
///
/// # Panics
/// When wrong bytes are read, or an error does not say that data is damaged.
pub(crate) fn examine(memory: &MemoryIo, contents: &Contents, options: OpenOptions) -> Option<Examined> {
    let engine = match Engine::open(memory_parts(memory, 1), Path::new(STORE), options) {
        Ok(engine) => engine,
        Err(error) => {
            let says_so =
                error.kind() == Kind::FixData || matches!(error.code(), Code::StoreNewerFormat | Code::StoreNotFound);
            assert!(says_so, "opening gave {error}");
            return None;
        }
    };
    let listed: Vec<Uid> = engine.manifests().iter().map(|manifest| manifest.point_id).collect();
    let mut unreadable = BTreeMap::new();
    for ((point_id, disk), bytes) in contents.iter().filter(|((point_id, _), _)| listed.contains(point_id)) {
        let version = DiskReference { point_id: *point_id, disk_id: disk_id(*disk) };
        let bad = unreadable_ranges(&engine, &version, bytes);
        if !bad.is_empty() {
            unreadable.insert((*point_id, disk_id(*disk)), bad);
        }
    }
    let report = engine.verify(true, &Control::default()).unwrap();
    Some(Examined { findings: report.findings, listed, unreadable })
}

fn unreadable_ranges(engine: &Engine, version: &DiskReference, bytes: &[u8]) -> Vec<Range<u64>> {
    let mut bad: Vec<Range<u64>> = Vec::new();
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        let (at, length) = ((index * CHUNK) as u64, chunk.len() as u64);
        match engine.read(version, at, length) {
            Ok(read) => assert!(read == chunk, "wrong bytes at {at} of {version:?}"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::FixData, "{error}");
                match bad.last_mut() {
                    Some(last) if last.end == at => last.end += length,
                    _ => bad.push(at..at + length),
                }
            }
        }
    }
    bad
}

impl Examined {
    /// What the findings say is hit, all together.
    pub(crate) fn hits(&self) -> BTreeMap<(Uid, Uid), Vec<Range<u64>>> {
        let mut all: BTreeMap<(Uid, Uid), Vec<Range<u64>>> = BTreeMap::new();
        for hit in self.findings.iter().flat_map(|finding| &finding.hits) {
            all.entry((hit.point_id, hit.disk_id)).or_default().extend(hit.ranges.iter().cloned());
        }
        for ranges in all.values_mut() {
            ranges.sort_by_key(|range| (range.start, range.end));
            let mut merged: Vec<Range<u64>> = Vec::new();
            for range in ranges.drain(..) {
                match merged.last_mut() {
                    Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                    _ => merged.push(range),
                }
            }
            *ranges = merged;
        }
        all
    }
}
