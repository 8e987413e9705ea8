//! A simulated world for property tests: a file system in memory, injected faults and time, seeded ids.
//!
//! Stores opened here run on one thread and reach nothing outside, so a run is decided by its seed and its calls.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{Object, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::engine::LogParameters;
use stillpoint_engine::engine::{Engine, OpenOptions, Parts};
use stillpoint_engine::io::fault::{Failure as FailureKind, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::random::Seeded;

use crate::convert::{number, unsigned};
use crate::engine_handle::{NativeEngine, create_options};
use crate::failure::Failure;
use crate::task::start;

/// Set aside in a simulated store: little, since every page of it is copied with the file system.
const RESERVE_BYTES: u64 = 64 << 10;

/// Length of a simulated log's segments: little, so that histories go through many.
const SEGMENT_BYTES: u64 = 64 << 10;

/// One thing that goes wrong while a store is open. Calls, syncs and reads are each counted from 0.
#[napi(object)]
pub struct FaultRecord {
    /// `failCall`, `failSync`, `crash` or `flipReadBit`.
    pub kind: String,
    /// Which call, sync or read.
    pub at: f64,
    /// `device`, `noSpace` or `access`, for the two that fail.
    pub failure: Option<String>,
    /// Every later one fails too.
    pub sticky: Option<bool>,
    /// For `crash`: the seed of what a torn write leaves; for `flipReadBit`: which bit.
    pub detail: Option<f64>,
}

/// How many calls the newest store made so far.
#[napi(object)]
pub struct CountsRecord {
    pub calls: f64,
    pub syncs: f64,
    pub reads: f64,
}

/// A world.
#[napi]
pub struct NativeWorld {
    memory: MemoryIo,
    clock: Arc<ManualClock>,
    random: Arc<Mutex<Seeded>>,
    newest: Mutex<Option<FaultIo>>,
}

#[napi]
impl NativeWorld {
    /// An empty world whose ids follow from `seed`.
    #[napi(constructor)]
    #[must_use]
    pub fn new(seed: f64, now_ms: f64) -> Self {
        let now_ns = now_ms as i128 * 1_000_000;
        Self::of(MemoryIo::new(), now_ns, Seeded::new(seed as u64))
    }

    /// Sets the time.
    #[napi]
    pub fn set_time_ms(&self, now_ms: f64) {
        let now_ns = now_ms as i128 * 1_000_000;
        self.clock.set_ns(now_ns);
        self.memory.set_time_ns(now_ns);
    }

    /// Limits the space of the file system; null lifts the limit.
    #[napi]
    pub fn set_capacity(&self, bytes: Option<f64>) {
        self.memory.set_capacity(bytes.map(|bytes| bytes as u64));
    }

    /// Puts a file there, durable, with its folders.
    ///
    /// # Errors
    /// The path leads through a file.
    #[napi]
    pub fn install_file(&self, path: String, bytes: Uint8Array) -> Result<()> {
        self.memory.install_file(path, &bytes).map_err(to_napi)
    }

    /// The bytes of a file; null when there is none.
    #[napi]
    #[must_use]
    pub fn read_file(&self, path: String) -> Option<Uint8Array> {
        self.memory.read_file(path).map(Uint8Array::from)
    }

    /// Sets the length of a file; what is added is a hole.
    ///
    /// # Errors
    /// There is no such file.
    #[napi]
    pub fn set_length(&self, path: String, length: f64) -> Result<()> {
        let file = self.memory.open(Path::new(&path), OpenMode::ReadWrite).map_err(to_napi)?;
        file.set_length(unsigned(length, "length").map_err(to_napi)?).and_then(|()| file.sync()).map_err(to_napi)
    }

    /// Writes bytes into a file, durable.
    ///
    /// # Errors
    /// There is no such file.
    #[napi]
    pub fn write_file(&self, path: String, offset: f64, bytes: Uint8Array) -> Result<()> {
        let file = self.memory.open(Path::new(&path), OpenMode::ReadWrite).map_err(to_napi)?;
        let offset = unsigned(offset, "offset").map_err(to_napi)?;
        file.write_at(&bytes, offset).and_then(|()| file.sync()).map_err(to_napi)
    }

    /// Makes a hole in a file, durable.
    ///
    /// # Errors
    /// There is no such file.
    #[napi]
    pub fn punch_hole(&self, path: String, offset: f64, length: f64) -> Result<()> {
        let file = self.memory.open(Path::new(&path), OpenMode::ReadWrite).map_err(to_napi)?;
        let (offset, length) = (unsigned(offset, "offset"), unsigned(length, "length"));
        let (offset, length) = (offset.map_err(to_napi)?, length.map_err(to_napi)?);
        file.zero_range(offset, length).and_then(|()| file.sync()).map_err(to_napi)
    }

    /// All files.
    #[napi]
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.memory.files().iter().map(|path| path.display().to_string()).collect()
    }

    /// Flips one bit of what is stored.
    ///
    /// # Errors
    /// There is no such byte.
    #[napi]
    pub fn flip_bit(&self, path: String, offset: f64, bit: u8) -> Result<()> {
        let offset = unsigned(offset, "offset").map_err(to_napi)?;
        self.memory.flip_bit(path, offset, bit).map_err(to_napi)
    }

    /// The world after the machine stopped now: `processKilled`, `loseUnsynced`, `keepAll` or `seeded`. This one
    /// stays as it is.
    ///
    /// # Errors
    /// The choice is unknown.
    #[napi]
    pub fn crash(&self, choice: String, seed: f64) -> Result<NativeWorld> {
        let choice = match choice.as_str() {
            "processKilled" => CrashChoice::ProcessKilled,
            "loseUnsynced" => CrashChoice::LoseUnsynced,
            "keepAll" => CrashChoice::KeepAll,
            "seeded" => CrashChoice::Seeded(seed as u64),
            other => return Err(napi::Error::from_reason(format!("unknown crash choice '{other}'"))),
        };
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let fork = Seeded::new(random.next_u64());
        Ok(Self::of(self.memory.crash(choice), self.clock_ns(), fork))
    }

    /// A number that is equal for equal file systems.
    #[napi]
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:016x}", self.memory.digest())
    }

    /// Whether the newest store's planned crash has come: nothing that it does has an effect any more.
    #[napi(getter)]
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().is_some_and(FaultIo::has_crashed)
    }

    /// What the newest store has called so far.
    #[napi]
    #[must_use]
    pub fn counts(&self) -> CountsRecord {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = newest.as_ref().map(FaultIo::counts).unwrap_or_default();
        CountsRecord { calls: number(counts.calls), syncs: number(counts.syncs), reads: number(counts.reads) }
    }

    /// The newest store's faults and calls, a line each.
    #[napi]
    #[must_use]
    pub fn log(&self) -> String {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map(FaultIo::log).unwrap_or_default()
    }

    /// Makes a store in this world.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn create_store<'env>(
        &self,
        env: &'env Env,
        path: String,
        chunk_bytes: f64,
        compression: String,
        level: i32,
    ) -> Result<Object<'env>> {
        let parts = self.parts(Arc::new(self.memory.clone()));
        start(env, move || {
            let options = create_options(chunk_bytes, &compression, level)?;
            Engine::create(&parts, Path::new(&path), &options).map_err(|error| Failure::boxed(&error))
        })
    }

    /// Opens a store of this world, with faults.
    ///
    /// # Errors
    /// A fault is unknown; no thread could be started.
    #[napi(ts_return_type = "Promise<NativeEngine | Failure>")]
    pub fn open_store<'env>(
        &self,
        env: &'env Env,
        path: String,
        read_only: bool,
        pack_bytes_target: f64,
        faults: Vec<FaultRecord>,
    ) -> Result<Object<'env>> {
        let faults = faults.iter().map(fault).collect::<Result<Vec<_>>>()?;
        let io = FaultIo::over_memory(&self.memory, FaultPlan { faults });
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(io.clone());
        let parts = self.parts(Arc::new(io));
        let pack_bytes_target = unsigned(pack_bytes_target, "packBytesTarget").map_err(to_napi)?;
        start(env, move || {
            let (thread_count, reserve_bytes_max) = (1, RESERVE_BYTES);
            let options = OpenOptions {
                read_only,
                thread_count,
                pack_bytes_target,
                reserve_bytes_max,
                log: LogParameters { segment_bytes: SEGMENT_BYTES },
                ..OpenOptions::default()
            };
            NativeEngine::open_with(parts, Path::new(&path), options)
        })
    }

    fn of(memory: MemoryIo, now_ns: i128, random: Seeded) -> Self {
        memory.set_time_ns(now_ns);
        let (clock, random) = (Arc::new(ManualClock::new(now_ns)), Arc::new(Mutex::new(random)));
        Self { memory, clock, random, newest: Mutex::default() }
    }

    fn clock_ns(&self) -> i128 {
        stillpoint_engine::clock::Clock::now_ns(self.clock.as_ref())
    }

    fn parts(&self, io: Arc<dyn Io>) -> Parts {
        Parts { io, clock: Arc::clone(&self.clock) as _, random: Arc::clone(&self.random) as _ }
    }
}

fn fault(record: &FaultRecord) -> Result<Fault> {
    let at = unsigned(record.at, "at").map_err(to_napi)?;
    let detail = record.detail.map(|detail| detail as u64);
    let lasting = if record.sticky == Some(true) { Lasting::Sticky } else { Lasting::Once };
    let failure = match record.failure.as_deref() {
        None | Some("device") => FailureKind::Device,
        Some("noSpace") => FailureKind::NoSpace,
        Some("access") => FailureKind::Access,
        Some(other) => return Err(napi::Error::from_reason(format!("unknown failure '{other}'"))),
    };
    Ok(match record.kind.as_str() {
        "failCall" => Fault::FailCall { call: at, failure, lasting },
        "failSync" => Fault::FailSync { sync: at, failure, lasting },
        "crash" => Fault::Crash { call: at, torn: detail },
        "flipReadBit" => Fault::FlipReadBit { read: at, bit: detail.unwrap_or(0) },
        other => return Err(napi::Error::from_reason(format!("unknown fault '{other}'"))),
    })
}

/// A mistake in a test's set-up: thrown, not returned.
fn to_napi(error: stillpoint_engine::error::Error) -> napi::Error {
    napi::Error::from_reason(error.to_string())
}
