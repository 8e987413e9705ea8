//! Short ways to make, open and use a store in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{CreateOptions, DiskReference, Engine, OpenOptions, Parts, ScanDisk, WindowLimits};
use stillpoint_engine::error::Result;
use stillpoint_engine::format::Codec;
use stillpoint_engine::io::Io;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::limits::{CHUNK_CACHE_BYTES, LOG_BYTES_MAX};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::scan::SourceRequest;
use stillpoint_engine::units::Uid;
use stillpoint_engine::write_log::LogParameters;

/// Where the store lies.
pub(crate) const STORE: &str = "/stores/one";

/// The time of every simulation: long after the sources were written.
pub(crate) const NOW_NS: i128 = 1_000_000_000_000;

pub(crate) const CHUNK: usize = 16 << 10;

/// Small packs, so that a short history has many.
pub(crate) const OPEN: OpenOptions = OpenOptions {
    read_only: false,
    thread_count: 1,
    pack_bytes_target: 64 << 10,
    reserve_bytes_max: RESERVE_BYTES,
    copy_bytes_per_second: None,
    log: LogParameters { segment_bytes: 64 << 10 },
    window: WindowLimits::DEFAULT,
    log_bytes_max: LOG_BYTES_MAX,
    chunk_cache_bytes: CHUNK_CACHE_BYTES,
};

/// A few pages set aside, so that every crash and fault also meets the reserve.
pub(crate) const RESERVE_BYTES: u64 = 16 << 10;

pub(crate) const READ_ONLY: OpenOptions = OpenOptions { read_only: true, ..OPEN };

pub(crate) const CREATE: CreateOptions = CreateOptions { chunk_bytes: CHUNK as u32, codec: Codec::Zstd, level: 1 };

/// Reaches the world through `io`. The same seed gives the same ids.
pub(crate) fn parts(io: Arc<dyn Io>, seed: u64) -> Parts {
    Parts { io, clock: Arc::new(ManualClock::new(NOW_NS)), random: Arc::new(Mutex::new(Seeded::new(seed))) }
}

pub(crate) fn memory_parts(io: &MemoryIo, seed: u64) -> Parts {
    parts(Arc::new(io.clone()), seed)
}

/// Opens for writing. New ids follow from what the store holds, so that no two openings give the same ones.
pub(crate) fn open(io: &MemoryIo) -> Arc<Engine> {
    Engine::open(memory_parts(io, io.digest()), Path::new(STORE), OPEN).unwrap()
}

/// An id made of one number.
pub(crate) fn uid(number: u64) -> Uid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Uid(bytes)
}

/// The disk's id.
pub(crate) fn disk_id(disk: usize) -> Uid {
    uid(1_000 + disk as u64)
}

/// The path of a disk's image.
pub(crate) fn image_path(disk: usize) -> PathBuf {
    PathBuf::from(format!("/images/{disk}.raw"))
}

pub(crate) fn scan_disk(disk: usize, parent: Option<Uid>) -> ScanDisk {
    let source = SourceRequest { path: image_path(disk), sector_bytes: 512, frozen: false };
    ScanDisk { disk_id: disk_id(disk), source, parent }
}

/// Captures the disks as one point.
pub(crate) fn capture(engine: &Arc<Engine>, point_id: Uid, disks: &[usize], parent: Option<Uid>) -> Result<()> {
    let disks: Vec<ScanDisk> = disks.iter().map(|disk| scan_disk(*disk, parent)).collect();
    engine.scan(&disks, &Control::default())?.publish(point_id, 5, b"{}".to_vec())
}

pub(crate) fn version(point_id: Uid, disk: usize) -> DiskReference {
    DiskReference { point_id, disk_id: disk_id(disk) }
}

/// All bytes of a disk of a point.
pub(crate) fn read_all(engine: &Engine, version: &DiskReference) -> Result<Vec<u8>> {
    let size = engine
        .manifests()
        .iter()
        .find(|manifest| manifest.point_id == version.point_id)
        .and_then(|manifest| manifest.disks.iter().find(|disk| disk.disk_id == version.disk_id))
        .map_or(0, |disk| disk.size);
    engine.read(version, 0, size)
}

/// The paths of the store's files in a directory of the home region.
pub(crate) fn files_in(io: &MemoryIo, directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(STORE).join("home").join(directory);
    io.files().into_iter().filter(|path| path.parent() == Some(&directory)).collect()
}

/// The paths of all files of the store but the reserve, whose bytes mean nothing.
pub(crate) fn store_files(io: &MemoryIo) -> Vec<PathBuf> {
    let reserve = Path::new(STORE).join("reserve");
    io.files().into_iter().filter(|path| path.starts_with(STORE) && *path != reserve).collect()
}
