//! A store with live disks on a file system in memory, as the coordinator uses it.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{
    Codec, CopiedDisk, CopyRequest, CreateOptions, CutRequest, DiskReference, Engine, NewDisk, OpenOptions, Parts,
    WindowLimits,
};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{FaultIo, FaultPlan};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::limits::{CHUNK_CACHE_BYTES, LOG_BYTES_MAX};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;
use stillpoint_engine::write_log::LogParameters;

pub(crate) const STORE: &str = "/store";
pub(crate) const CHUNK_BYTES: u32 = 16 << 10;

/// A file system with a store, closed.
pub(crate) struct Store {
    pub(crate) memory: MemoryIo,
    pub(crate) faults: FaultIo,
    seed: u64,
    segment_bytes: u64,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) copy_bytes_per_second: Option<u64>,
    pub(crate) pack_bytes_target: u64,
    window: WindowLimits,
    pub(crate) reserve_bytes_max: u64,
    pub(crate) log_bytes_max: u64,
    pub(crate) chunk_cache_bytes: u64,
}

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        let store = Self::over(MemoryIo::new(), seed, FaultPlan::none());
        let options = CreateOptions { chunk_bytes: CHUNK_BYTES, codec: Codec::Zstd, level: 1 };
        Engine::create(&store.parts(), Path::new(STORE), &options).unwrap();
        store
    }

    fn over(memory: MemoryIo, seed: u64, plan: FaultPlan) -> Self {
        let faults = FaultIo::over_memory(&memory, plan);
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000_000));
        Self {
            memory,
            faults,
            seed,
            segment_bytes: 64 << 10,
            clock,
            copy_bytes_per_second: None,
            pack_bytes_target: 64 << 10,
            window: WindowLimits::DEFAULT,
            reserve_bytes_max: 0,
            log_bytes_max: LOG_BYTES_MAX,
            chunk_cache_bytes: CHUNK_CACHE_BYTES,
        }
    }

    /// What a crash leaves, on a file system that fails as planned.
    pub(crate) fn after(&self, choice: CrashChoice, plan: FaultPlan) -> Self {
        Self::over(self.memory.crash(choice), self.seed.wrapping_mul(31) + 7, plan)
    }

    pub(crate) fn killed(&self) -> Self {
        self.after(CrashChoice::ProcessKilled, FaultPlan::none())
    }

    /// The same for another seed.
    pub(crate) fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same with nothing kept for moments.
    pub(crate) fn without_window(mut self) -> Self {
        self.window = WindowLimits::NONE;
        self
    }

    fn parts(&self) -> Parts {
        Parts {
            io: Arc::new(self.faults.clone()) as Arc<dyn Io>,
            clock: Arc::clone(&self.clock) as Arc<_>,
            random: Arc::new(Mutex::new(Seeded::new(self.seed))),
        }
    }

    pub(crate) fn open(&self) -> Arc<Engine> {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Arc<Engine>> {
        let options = OpenOptions {
            pack_bytes_target: self.pack_bytes_target,
            reserve_bytes_max: self.reserve_bytes_max,
            log: LogParameters { segment_bytes: self.segment_bytes },
            window: self.window,
            copy_bytes_per_second: self.copy_bytes_per_second,
            log_bytes_max: self.log_bytes_max,
            chunk_cache_bytes: self.chunk_cache_bytes,
            ..OpenOptions::default()
        };
        Engine::open(self.parts(), Path::new(STORE), options)
    }
}

pub(crate) fn uid(number: u64) -> Uid {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes[0] = 1;
    Uid(bytes)
}

pub(crate) fn machine() -> Uid {
    uid(1)
}

pub(crate) fn other_machine() -> Uid {
    uid(2)
}

pub(crate) fn disk() -> Uid {
    uid(10)
}

pub(crate) fn point(number: u64) -> Uid {
    uid(100 + number)
}

#[track_caller]
pub(crate) fn code<T>(result: Result<T>) -> Code {
    result.err().expect("it fails").code()
}

pub(crate) fn no_control() -> Control {
    Control::default()
}

pub(crate) fn new_disk(disk_id: Uid) -> NewDisk {
    NewDisk { disk_id, name: format!("d{disk_id}"), role: "data".into(), sector_bytes: 512 }
}

/// A disk that is attached to a machine.
pub(crate) fn attached(engine: &Engine, disk_id: Uid, machine_id: Uid, size: u64) {
    engine.create_disk(&new_disk(disk_id), size, None).unwrap();
    engine.attach_disk(&disk_id, &machine_id, "data").unwrap();
}

pub(crate) fn cut_request(machine_id: Uid, point_id: Uid) -> CutRequest {
    let (collection, name) = ("default".to_owned(), format!("p{point_id}"));
    CutRequest { machine_id, point_id, collection, name, detail: b"{}".to_vec() }
}

/// Captures: the caller has its answer.
pub(crate) fn cut(engine: &Engine, machine_id: Uid, point_id: Uid) -> Result<()> {
    engine.cut(cut_request(machine_id, point_id))?;
    engine.make_cut_durable(&point_id)
}

pub(crate) fn copy(engine: &Engine, point_id: Uid) -> Result<Vec<CopiedDisk>> {
    let pending = engine.pending_cuts();
    let cut = pending.iter().find(|cut| cut.point_id == point_id);
    let disks = cut.map(|cut| cut.disks.iter().map(|(disk_id, _, _)| *disk_id).collect()).unwrap_or_default();
    let request = CopyRequest { point_id, created_ms: 1, detail: b"{}".to_vec(), disks };
    engine.copy(&request, &no_control())
}

/// Deletes a point in the coordinator's order.
pub(crate) fn delete(engine: &Engine, point_id: Uid) -> Result<()> {
    engine.remove_point(&point_id)?;
    engine.drop_cut(&point_id, &no_control())
}

pub(crate) fn read_disk(engine: &Engine, disk_id: Uid, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0xaa; usize::try_from(length).unwrap()];
    engine.read_disk(&disk_id, 0, &mut bytes)?;
    Ok(bytes)
}

pub(crate) fn read_point(engine: &Engine, point_id: Uid, disk_id: Uid, length: u64) -> Result<Vec<u8>> {
    engine.read(&DiskReference { point_id, disk_id }, 0, length)
}

pub(crate) fn random_bytes(seed: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    Seeded::new(seed).fill(&mut bytes);
    bytes
}
