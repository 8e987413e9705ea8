//! An open store.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{Object, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::clock::SystemClock;
use stillpoint_engine::engine::{
    Codec, CollectOptions, CreateOptions, DiskReference, Engine, Loan, OpenOptions, Parts, ScanDisk, SourceRequest,
    TargetRequest,
};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::io::file::FileIo;
use stillpoint_engine::random::SystemRandom;

use crate::convert::{optional_uid, uid, unsigned, unsigned_32};
use crate::diff_handle::NativeDiff;
use crate::failure::Failure;
use crate::operation::NativeOperation;
use crate::records::{
    CollectRecord, FindingRecord, InfoRecord, ManifestRecord, RestoredRecord, ScanDiskRecord, UsageRecord, VerifyRecord,
};
use crate::scan_handle::NativeScan;
use crate::task::{Outcome, Running, RunningCall, start, start_both};

/// An open store. Calls after `close` settle with `STORE_CLOSED`.
#[napi]
pub struct NativeEngine {
    engine: Mutex<Option<Arc<Engine>>>,
    running: Running,
}

/// Makes a store.
///
/// # Errors
/// No thread could be started.
#[napi(ts_return_type = "Promise<undefined | Failure>")]
pub fn create_store<'env>(
    env: &'env Env,
    path: String,
    chunk_bytes: f64,
    compression: String,
    level: i32,
) -> Result<Object<'env>> {
    start(env, move || {
        let options = create_options(chunk_bytes, &compression, level)?;
        Engine::create(&parts(), Path::new(&path), &options).map_err(|error| Failure::boxed(&error))
    })
}

/// Opens a store; `copy_bytes_per_second` 0 knows no limit; without `chunk_cache_bytes` the cache is as long as it usually is.
///
/// # Errors
/// No thread could be started.
#[napi(ts_return_type = "Promise<NativeEngine | Failure>")]
pub fn open_store<'env>(
    env: &'env Env,
    path: String,
    read_only: bool,
    threads: u32,
    copy_bytes_per_second: f64,
    chunk_cache_bytes: Option<f64>,
) -> Result<Object<'env>> {
    start(env, move || {
        let rate = unsigned(copy_bytes_per_second, "copyBytesPerSecond").map_err(|error| Failure::boxed(&error))?;
        let cache = chunk_cache_bytes.map(|bytes| unsigned(bytes, "chunkCacheBytes")).transpose();
        let defaults = OpenOptions::default();
        let options = OpenOptions {
            read_only,
            thread_count: threads as usize,
            copy_bytes_per_second: (rate > 0).then_some(rate),
            chunk_cache_bytes: cache.map_err(|error| Failure::boxed(&error))?.unwrap_or(defaults.chunk_cache_bytes),
            ..defaults
        };
        let opened = NativeEngine::open_with(parts(), Path::new(&path), options)?;
        opened.opened()?.start_upkeep().map_err(|error| Failure::boxed(&error))?;
        Ok(opened)
    })
}

/// The borrowed reserve.
#[napi]
pub struct NativeLoan {
    loan: Mutex<Option<Loan>>,
}

#[napi]
impl NativeLoan {
    /// Gives it back, where that takes no time; whether it did.
    #[napi]
    #[must_use]
    pub fn end_at_once(&self) -> bool {
        let mut loan = self.loan.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = loan.as_ref().is_none_or(Loan::ends_at_once);
        if ends {
            *loan = None;
        }
        ends
    }

    /// Gives it back; nothing happens the second time.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn end<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let loan = self.loan.lock().unwrap_or_else(PoisonError::into_inner).take();
        start(env, move || {
            drop(loan);
            Ok(())
        })
    }
}

#[napi]
impl NativeEngine {
    /// The store's parameters; null once closed.
    #[napi]
    #[must_use]
    pub fn info(&self) -> Option<InfoRecord> {
        self.opened().ok().map(|engine| InfoRecord::of(engine.config()))
    }

    /// What opening, and reading since, found; empty once closed.
    #[napi]
    #[must_use]
    pub fn findings(&self) -> Vec<FindingRecord> {
        self.opened().map(|engine| engine.findings().iter().map(FindingRecord::of).collect()).unwrap_or_default()
    }

    /// All points.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<ManifestRecord[] | Failure>")]
    pub fn manifests<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        self.call(env, |engine| {
            Ok(engine.manifests().iter().map(|manifest| ManifestRecord::of(manifest)).collect::<Vec<_>>())
        })
    }

    /// Scans disks.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<NativeScan | Failure>")]
    pub fn scan<'env>(
        &self,
        env: &'env Env,
        disks: Vec<ScanDiskRecord>,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let disks = disks.iter().map(scan_disk).collect::<stillpoint_engine::error::Result<Vec<_>>>()?;
            Ok(NativeScan::new(engine.scan(&disks, &control)?))
        })
    }

    /// Removes a point's manifest.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn remove_point<'env>(&self, env: &'env Env, point_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.remove_point(&uid(&point_id, "pointId")?))
    }

    /// Moves a point's manifest into quarantine.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn quarantine_point<'env>(&self, env: &'env Env, point_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.quarantine_point(&uid(&point_id, "pointId")?))
    }

    /// Reads bytes of a disk of a point.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<Uint8Array | Failure>")]
    pub fn read<'env>(
        &self,
        env: &'env Env,
        point_id: String,
        disk_id: String,
        offset: f64,
        length: f64,
    ) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            let disk = disk_reference(&point_id, &disk_id)?;
            let bytes = engine.read(&disk, unsigned(offset, "offset")?, unsigned(length, "length")?)?;
            Ok(Uint8Array::from(bytes))
        })
    }

    /// Begins a diff; `granularity_bytes` 0 compares whole chunks.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<NativeDiff | Failure>")]
    #[allow(clippy::too_many_arguments)] // two disks, flat
    pub fn diff<'env>(
        &self,
        env: &'env Env,
        before_point_id: String,
        before_disk_id: String,
        after_point_id: String,
        after_disk_id: String,
        granularity_bytes: f64,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let (control, running) = (operation.control(), self.running.clone());
        self.call(env, move |engine| {
            let before = disk_reference(&before_point_id, &before_disk_id)?;
            let after = disk_reference(&after_point_id, &after_disk_id)?;
            let granularity = unsigned(granularity_bytes, "granularityBytes")?;
            let diff = engine.diff(&before, &after, (granularity > 0).then_some(granularity))?;
            Ok(NativeDiff::new(engine, diff, control, running))
        })
    }

    /// Restores a disk of a point.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<RestoredRecord | Failure>")]
    #[allow(clippy::too_many_arguments)] // one request, flat
    pub fn restore<'env>(
        &self,
        env: &'env Env,
        point_id: String,
        disk_id: String,
        target_path: String,
        overwrite: bool,
        sync: bool,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let target = TargetRequest { path: target_path.into(), overwrite, sync };
            Ok(RestoredRecord::of(engine.restore(&disk_reference(&point_id, &disk_id)?, &target, &control)?))
        })
    }

    /// Checks the store.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<VerifyRecord | Failure>")]
    pub fn verify<'env>(&self, env: &'env Env, read_data: bool, operation: &NativeOperation) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| Ok(VerifyRecord::of(&engine.verify(read_data, &control)?)))
    }

    /// Collects garbage; `bytes_per_second` 0 knows no limit.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<CollectRecord | Failure>")]
    pub fn collect<'env>(
        &self,
        env: &'env Env,
        dry_run: bool,
        bytes_per_second: f64,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let rate = unsigned(bytes_per_second, "bytesPerSecond")?;
            let options = CollectOptions { dry_run, bytes_per_second: (rate > 0).then_some(rate) };
            Ok(CollectRecord::of(&engine.collect_with(options, &control)?))
        })
    }

    /// Borrows the reserve of space, where that takes no time; null where it does.
    #[napi]
    #[must_use]
    pub fn borrow_reserve_at_once(&self) -> Option<NativeLoan> {
        let loan = self.opened().ok()?.borrow_reserve_unless_short()?;
        Some(NativeLoan { loan: Mutex::new(Some(loan)) })
    }

    /// Borrows the reserve of space.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<NativeLoan | Failure>")]
    pub fn borrow_reserve<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        self.call(env, |engine| Ok(NativeLoan { loan: Mutex::new(Some(engine.borrow_reserve())) }))
    }

    /// What the store takes.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<UsageRecord | Failure>")]
    pub fn usage<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        self.call(env, |engine| Ok(UsageRecord::of(&engine.usage()?)))
    }

    /// Waits for running calls and releases the store.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        let running = self.running.clone();
        start(env, move || {
            running.wait();
            if let Some(engine) = &engine {
                engine.close();
            }
            drop(engine); // the last one, unless a scan was neither published nor abandoned
            Ok(())
        })
    }

    pub(crate) fn open_with(parts: Parts, path: &Path, options: OpenOptions) -> Outcome<Self> {
        let engine = Engine::open(parts, path, options).map_err(|error| Failure::boxed(&error))?;
        Ok(Self { engine: Mutex::new(Some(engine)), running: Running::default() })
    }

    /// The engine, and that a call of it is under way.
    pub(crate) fn enter(&self) -> (Outcome<Arc<Engine>>, RunningCall) {
        (self.opened(), self.running.enter())
    }

    pub(crate) fn opened(&self) -> Outcome<Arc<Engine>> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.clone().ok_or_else(|| Failure::closed("the store"))
    }

    pub(crate) fn call<'env, T>(
        &self,
        env: &'env Env,
        work: impl FnOnce(&Arc<Engine>) -> stillpoint_engine::error::Result<T> + Send + 'static,
    ) -> Result<Object<'env>>
    where
        T: napi::bindgen_prelude::ToNapiValue + Send + 'static,
    {
        let (engine, call) = (self.opened(), self.running.enter());
        start(env, move || {
            let result = work(&engine?).map_err(|error| Failure::boxed(&error));
            drop(call);
            result
        })
    }

    /// Two calls, one after the other on one thread. The second is not made when the first fails.
    pub(crate) fn call_both<'env, A, B>(
        &self,
        env: &'env Env,
        first: impl FnOnce(&Arc<Engine>) -> stillpoint_engine::error::Result<A> + Send + 'static,
        second: impl FnOnce(&Arc<Engine>) -> stillpoint_engine::error::Result<B> + Send + 'static,
    ) -> Result<(Object<'env>, Object<'env>)>
    where
        A: napi::bindgen_prelude::ToNapiValue + Send + 'static,
        B: napi::bindgen_prelude::ToNapiValue + Send + 'static,
    {
        let (first_engine, second_engine, call) = (self.opened(), self.opened(), self.running.enter());
        start_both(
            env,
            move || first(&first_engine?).map_err(|error| Failure::boxed(&error)),
            move || {
                let result = second(&second_engine?).map_err(|error| Failure::boxed(&error));
                drop(call);
                result
            },
        )
    }
}

/// The options of a new store from what JavaScript said.
pub(crate) fn create_options(chunk_bytes: f64, compression: &str, level: i32) -> Outcome<CreateOptions> {
    let codec = match compression {
        "zstd" => Codec::Zstd,
        "lz4" => Codec::Lz4,
        "none" => Codec::None,
        other => return failed(invalid("compression", &format!("zstd, lz4 or none, not '{other}'"))),
    };
    let Ok(level) = i8::try_from(level) else { return failed(invalid("level", "from 0 to 19")) };
    let chunk_bytes = unsigned_32(chunk_bytes, "chunkBytes").map_err(|error| Failure::boxed(&error))?;
    Ok(CreateOptions { chunk_bytes, codec, level })
}

fn parts() -> Parts {
    Parts { io: Arc::new(FileIo), clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
}

fn disk_reference(point_id: &str, disk_id: &str) -> stillpoint_engine::error::Result<DiskReference> {
    Ok(DiskReference { point_id: uid(point_id, "pointId")?, disk_id: uid(disk_id, "diskId")? })
}

fn scan_disk(record: &ScanDiskRecord) -> stillpoint_engine::error::Result<ScanDisk> {
    Ok(ScanDisk {
        disk_id: uid(&record.disk_id, "diskId")?,
        source: SourceRequest {
            path: record.path.clone().into(),
            sector_bytes: unsigned_32(record.sector_bytes, "sectorBytes")?,
            frozen: record.frozen,
        },
        parent: optional_uid(record.parent_point_id.as_deref(), "parentPointId")?,
    })
}

fn invalid(what: &'static str, expected: &str) -> Error {
    Error::new(Code::ArgumentInvalid, format!("{what} must be {expected}")).with("argument", what)
}

fn failed<T>(error: Error) -> Outcome<T> {
    Err(Failure::boxed(&error))
}
