//! Live disks of an open store: conversion only. What moves bytes goes through [`crate::requests`].

use std::sync::Arc;

use napi::bindgen_prelude::{Function, Object, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::buffers::Buffers;
use stillpoint_engine::engine::{
    CopyRequest, Cost, CutRequest, DiskLimits, DiskReference, DiskRequest, Engine, LiveDisk, Moment, NewDisk,
    PendingCut, SourceRequest, UncleanLog,
};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::limits::READ_BYTES_MAX;
use stillpoint_engine::units::{Lsn, Uid, u64_from, usize_from};

use crate::convert::{number, uid, unsigned, unsigned_32};
use crate::engine_handle::NativeEngine;
use crate::failure::Failure;
use crate::operation::NativeOperation;
use crate::records::{ManifestDiskRecord, ScannedDiskRecord};
use crate::requests::{Answer, CompletionRecord, Request, Requests, Work};

/// From here on a write's bytes are copied into memory that was used before: getting new memory from the system, and giving it
/// back, takes about as long as the copy.
const REUSED_FROM_BYTES: usize = 64 << 10;

type EngineResult<T> = stillpoint_engine::error::Result<T>;

/// A live disk.
#[napi(object)]
pub struct LiveDiskRecord {
    pub disk_id: String,
    pub machine_id: Option<String>,
    pub name: String,
    pub role: String,
    pub size_bytes: f64,
    pub sector_bytes: u32,
    pub generation: f64,
}

/// What opening a log dropped.
#[napi(object)]
pub struct UncleanLogRecord {
    pub log_id: String,
    pub machine_id: Option<String>,
    pub durable_lsn: String,
    pub dropped_records: f64,
    pub dropped_bytes: f64,
    pub last_time_ms: Option<f64>,
}

/// A cut that waits for its copy or its release.
#[napi(object)]
pub struct PendingCutRecord {
    pub point_id: String,
    pub machine_id: String,
    pub collection: String,
    pub name: String,
    pub lsn: String,
    pub time_ms: f64,
    pub disks: Vec<ManifestDiskRecord>,
    pub detail: String,
    pub pinned: bool,
}

/// A new disk.
#[napi(object)]
pub struct NewDiskRecord {
    pub disk_id: String,
    pub name: String,
    pub role: String,
    pub sector_bytes: f64,
}

/// How far writers are ahead of the copies.
#[napi(object)]
pub struct PressureRecord {
    pub debt_bytes: f64,
    pub available_bytes: f64,
    pub log_bytes: f64,
    pub layers: f64,
}

/// One request of a batch: `read`, `write`, `zero`, `trim` or `flush`.
#[napi(object)]
pub struct DiskRequestRecord {
    pub kind: String,
    pub offset: Option<f64>,
    pub length: Option<f64>,
    pub bytes: Option<Uint8Array>,
    pub fua: Option<bool>,
}

/// Requests to the live disks of one store.
#[napi]
pub struct NativeDisks {
    requests: Requests,
    /// For the bytes of large writes.
    buffers: Arc<Buffers>,
}

/// A batch's request, with bytes of its own.
enum Owned {
    Read(u64, usize),
    Write(u64, Vec<u8>, bool),
    Zero(u64, u64, bool),
    Flush,
}

#[napi]
impl NativeDisks {
    /// An empty queue; `callback` is called when there is something to take.
    ///
    /// # Errors
    /// The callback cannot be kept.
    #[napi(constructor)]
    pub fn new(callback: Function<'_, (), ()>) -> Result<Self> {
        Ok(Self { requests: Requests::new(&callback)?, buffers: Arc::default() })
    }

    /// What is done since the last call.
    #[napi]
    pub fn take_done(&self) -> Vec<CompletionRecord> {
        self.requests.take_done()
    }

    /// Takes a request back that has not begun; false when it has. One that was taken back never ends.
    #[napi]
    pub fn take_back(&self, disk_id: String, request: f64) -> bool {
        self.requests.take_back(&disk_id, request)
    }

    /// Rates count no more: everything that waits begins. For a store that is being closed.
    #[napi]
    pub fn lift_limits(&self) {
        self.requests.lift_limits();
    }

    /// Reads.
    #[napi]
    pub fn read(&self, engine: &NativeEngine, request: f64, disk_id: String, offset: f64, length: f64) {
        self.add(engine, request, disk_id.clone(), one(length), move |engine| {
            let (disk_id, offset) = (uid(&disk_id, "diskId")?, unsigned(offset, "offset")?);
            let mut bytes = vec![0; readable(length)?];
            engine.read_disk(&disk_id, offset, &mut bytes)?;
            Ok(Answer::Bytes(bytes))
        });
    }

    /// Writes; the bytes are copied before this returns.
    #[napi]
    pub fn write(&self, engine: &NativeEngine, request: f64, disk_id: String, offset: f64, bytes: &[u8], fua: bool) {
        let cost = Cost { operations: 1, bytes: u64_from(bytes.len()) };
        let write = move |engine: &Engine, disk_id: &str, bytes: &[u8]| {
            let (disk_id, offset) = (uid(disk_id, "diskId")?, unsigned(offset, "offset")?);
            Ok(Answer::Logged(engine.write_disk(&disk_id, offset, bytes, fua)?.0))
        };
        if bytes.len() < REUSED_FROM_BYTES {
            let bytes = bytes.to_vec();
            return self.add(engine, request, disk_id.clone(), cost, move |engine| write(engine, &disk_id, &bytes));
        }
        let (bytes, buffers) = (self.buffers.copy_of(bytes), Arc::clone(&self.buffers));
        self.add(engine, request, disk_id.clone(), cost, move |engine| {
            let answer = write(engine, &disk_id, &bytes);
            buffers.give(bytes);
            answer
        });
    }

    /// Makes a range zero.
    #[napi]
    #[allow(clippy::too_many_arguments)] // one request, flat
    pub fn zero(
        &self,
        engine: &NativeEngine,
        request: f64,
        disk_id: String,
        offset: f64,
        length: f64,
        trim: bool,
        fua: bool,
    ) {
        self.add(engine, request, disk_id.clone(), one(0.0), move |engine| {
            let (disk_id, offset) = (uid(&disk_id, "diskId")?, unsigned(offset, "offset")?);
            let length = unsigned(length, "length")?;
            Ok(Answer::Logged(engine.zero_disk(&disk_id, offset, length, trim, fua)?.0))
        });
    }

    /// Makes all that was acknowledged durable.
    #[napi]
    pub fn flush(&self, engine: &NativeEngine, request: f64, disk_id: String) {
        self.add(engine, request, disk_id.clone(), Cost::default(), move |engine| {
            engine.flush_disk(&uid(&disk_id, "diskId")?)?;
            Ok(Answer::Done)
        });
    }

    /// Carries out requests in their order. What the reads read comes in one piece, one after the other.
    #[napi]
    pub fn batch(&self, engine: &NativeEngine, request: f64, disk_id: String, records: Vec<DiskRequestRecord>) {
        let owned = records.into_iter().map(owned).collect::<EngineResult<Vec<_>>>();
        let cost = owned.as_deref().map_or_else(|_| Cost::default(), cost_of);
        self.add(engine, request, disk_id.clone(), cost, move |engine| {
            let (disk_id, owned) = (uid(&disk_id, "diskId")?, owned?);
            let mut read: Vec<u8> = vec![0; readable_in_all(&owned)?];
            let mut rest = read.as_mut_slice();
            let mut requests = Vec::with_capacity(owned.len());
            for request in &owned {
                requests.push(match request {
                    Owned::Read(offset, length) => {
                        let (buffer, behind) = rest.split_at_mut(*length);
                        rest = behind;
                        DiskRequest::Read { offset: *offset, buffer }
                    }
                    Owned::Write(offset, bytes, fua) => DiskRequest::Write { offset: *offset, bytes, fua: *fua },
                    Owned::Zero(offset, length, trims) => {
                        DiskRequest::Zero { offset: *offset, length: *length, trims: *trims }
                    }
                    Owned::Flush => DiskRequest::Flush,
                });
            }
            engine.batch_disk(&disk_id, &mut requests)?;
            drop(requests);
            Ok(Answer::Bytes(read))
        });
    }

    fn add(
        &self,
        engine: &NativeEngine,
        request: f64,
        disk_id: String,
        cost: Cost,
        work: impl FnOnce(&Engine) -> EngineResult<Answer> + Send + 'static,
    ) {
        let (opened, call) = engine.enter();
        let engine = opened.as_ref().ok().cloned();
        let work: Work = Box::new(move || work(&*opened?).map_err(|error| Failure::boxed(&error)));
        self.requests.add(disk_id, Request { number: request, cost, engine, work, call });
    }
}

#[napi]
impl NativeEngine {
    /// Rates count no more, for clients of an NBD server either.
    #[napi]
    pub fn lift_limits(&self) {
        if let Ok(engine) = self.opened() {
            engine.lift_limits();
        }
    }

    /// All live disks; empty once closed.
    #[napi]
    #[must_use]
    pub fn live_disks(&self) -> Vec<LiveDiskRecord> {
        self.opened().map(|engine| engine.live_disks().iter().map(LiveDiskRecord::of).collect()).unwrap_or_default()
    }

    /// What opening the logs dropped; empty once closed.
    #[napi]
    #[must_use]
    pub fn unclean(&self) -> Vec<UncleanLogRecord> {
        self.opened().map(|engine| engine.unclean_logs().iter().map(UncleanLogRecord::of).collect()).unwrap_or_default()
    }

    /// Cuts that wait; empty once closed.
    #[napi]
    #[must_use]
    pub fn pending_cuts(&self) -> Vec<PendingCutRecord> {
        self.opened().map(|engine| engine.pending_cuts().iter().map(PendingCutRecord::of).collect()).unwrap_or_default()
    }

    /// How long the last cut kept writers waiting, nanoseconds. For benches: no part of the library uses it.
    #[napi]
    #[must_use]
    pub fn last_cut_held_ns(&self) -> f64 {
        self.opened().map(|engine| number(engine.last_cut_held_ns())).unwrap_or_default()
    }

    /// How far writers are ahead; null once closed, or when the file system does not say.
    #[napi]
    #[must_use]
    pub fn live_pressure(&self) -> Option<PressureRecord> {
        let pressure = self.opened().ok()?.pressure().ok()?;
        Some(PressureRecord {
            debt_bytes: number(pressure.debt_bytes),
            available_bytes: number(pressure.available_bytes),
            log_bytes: number(pressure.log_bytes),
            layers: pressure.layer_count as f64,
        })
    }

    /// Makes a detached disk, with the content of a point's disk where one is named.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn create_disk<'env>(
        &self,
        env: &'env Env,
        disk: NewDiskRecord,
        size_bytes: f64,
        from_point_id: Option<String>,
        from_disk_id: Option<String>,
    ) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            let size = unsigned(size_bytes, "sizeBytes")?;
            let from = match (from_point_id, from_disk_id) {
                (Some(point_id), Some(disk_id)) => Some(reference(&point_id, &disk_id)?),
                _ => None,
            };
            engine.create_disk(&new_disk(disk)?, size, from.as_ref())
        })
    }

    /// Makes a detached disk with the content of an image.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<ScannedDiskRecord | Failure>")]
    pub fn import_disk<'env>(
        &self,
        env: &'env Env,
        disk: NewDiskRecord,
        path: String,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let disk = new_disk(disk)?;
            let source = SourceRequest { path: path.into(), sector_bytes: disk.sector_bytes, frozen: false };
            let scanned = engine.import_disk(&disk, &source, &control)?;
            Ok(ScannedDiskRecord::of_scanned(disk.disk_id, &scanned))
        })
    }

    /// Makes a machine's log.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn create_machine_log<'env>(&self, env: &'env Env, machine_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.create_machine_log(&uid(&machine_id, "machineId")?))
    }

    /// Removes a machine's log.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn delete_machine_log<'env>(&self, env: &'env Env, machine_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.delete_machine_log(&uid(&machine_id, "machineId")?))
    }

    /// Moves a detached disk into a machine's log.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn attach_disk<'env>(
        &self,
        env: &'env Env,
        disk_id: String,
        machine_id: String,
        role: String,
    ) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            engine.attach_disk(&uid(&disk_id, "diskId")?, &uid(&machine_id, "machineId")?, &role)
        })
    }

    /// Moves a disk into a log of its own.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn detach_disk<'env>(&self, env: &'env Env, disk_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.detach_disk(&uid(&disk_id, "diskId")?))
    }

    /// Removes a detached disk.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn delete_disk<'env>(&self, env: &'env Env, disk_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.delete_disk(&uid(&disk_id, "diskId")?))
    }

    /// Makes a disk larger.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn grow_disk<'env>(&self, env: &'env Env, disk_id: String, size_bytes: f64) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            engine.grow_disk(&uid(&disk_id, "diskId")?, unsigned(size_bytes, "sizeBytes")?).map(drop)
        })
    }

    /// Cuts, and then makes the log durable past the cut, without a turn of the event loop in between.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "{ cut: Promise<PendingCutRecord | Failure>, durable: Promise<undefined | Failure> }")]
    pub fn cut<'env>(
        &self,
        env: &'env Env,
        machine_id: String,
        point_id: String,
        collection: String,
        name: String,
        detail: String,
    ) -> Result<Object<'env>> {
        let (cut, durable) = self.call_both(
            env,
            {
                let point_id = point_id.clone();
                move |engine| {
                    let request = cut_request(&machine_id, &point_id, collection, name, detail)?;
                    Ok(PendingCutRecord::of(&engine.cut(request)?))
                }
            },
            move |engine| engine.make_cut_durable(&uid(&point_id, "pointId")?),
        )?;
        let mut both = Object::new(env)?;
        both.set("cut", cut)?;
        both.set("durable", durable)?;
        Ok(both)
    }

    /// Makes a machine's disks, as they were at a moment, a hidden point: after an LSN, else after a time.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<PendingCutRecord | Failure>")]
    #[allow(clippy::too_many_arguments)] // one request, flat
    pub fn point_in_time<'env>(
        &self,
        env: &'env Env,
        machine_id: String,
        point_id: String,
        collection: String,
        name: String,
        detail: String,
        at_lsn: Option<String>,
        at_time_ms: Option<f64>,
    ) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            let request = cut_request(&machine_id, &point_id, collection, name, detail)?;
            Ok(PendingCutRecord::of(&engine.point_in_time(request, moment(at_lsn.as_deref(), at_time_ms)?)?))
        })
    }

    /// Gives a live disk rates; without one, it has none.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn limit_disk<'env>(
        &self,
        env: &'env Env,
        disk_id: String,
        operations_per_second: Option<f64>,
        bytes_per_second: Option<f64>,
    ) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            let rate =
                |rate: Option<f64>, name: &'static str| match rate.map(|rate| unsigned(rate, name)).transpose()? {
                    Some(0) => Err(invalid(&format!("{name} is at least 1; none means no limit"))),
                    rate => Ok(rate),
                };
            let limits = DiskLimits {
                operations_per_second: rate(operations_per_second, "operationsPerSecond")?,
                bytes_per_second: rate(bytes_per_second, "bytesPerSecond")?,
            };
            engine.limit_disk(&uid(&disk_id, "diskId")?, limits)
        })
    }

    /// Copies a cut and publishes its manifest.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<ScannedDiskRecord[] | Failure>")]
    pub fn copy<'env>(
        &self,
        env: &'env Env,
        point_id: String,
        created_ms: f64,
        detail: String,
        disk_ids: Vec<String>,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| {
            let disks = disk_ids.iter().map(|id| uid(id, "diskIds"));
            let request = CopyRequest {
                point_id: uid(&point_id, "pointId")?,
                created_ms: unsigned(created_ms, "createdMs")?,
                detail: detail.into_bytes(),
                disks: disks.collect::<EngineResult<Vec<_>>>()?,
            };
            let copied = engine.copy(&request, &control)?;
            Ok(copied.iter().map(ScannedDiskRecord::of_copied).collect::<Vec<_>>())
        })
    }

    /// Gives up the layer of a published cut.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn release_cut<'env>(&self, env: &'env Env, point_id: String) -> Result<Object<'env>> {
        self.call(env, move |engine| engine.release_cut(&uid(&point_id, "pointId")?))
    }

    /// Ends a cut without a point.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn drop_cut<'env>(
        &self,
        env: &'env Env,
        point_id: String,
        operation: &NativeOperation,
    ) -> Result<Object<'env>> {
        let control = operation.control();
        self.call(env, move |engine| engine.drop_cut(&uid(&point_id, "pointId")?, &control))
    }

    /// Resets disks of a machine; the lists are of one length. Resolves with the LSN.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<string | Failure>")]
    pub fn reset_disks<'env>(
        &self,
        env: &'env Env,
        machine_id: String,
        disk_ids: Vec<String>,
        from_point_ids: Vec<String>,
        from_disk_ids: Vec<String>,
    ) -> Result<Object<'env>> {
        self.call(env, move |engine| {
            let sources = from_point_ids.iter().zip(&from_disk_ids);
            let pairs = disk_ids.iter().zip(sources).map(|(disk_id, (from_point, from_disk))| {
                Ok((uid(disk_id, "diskId")?, reference(from_point, from_disk)?))
            });
            let disks = pairs.collect::<EngineResult<Vec<_>>>()?;
            Ok(engine.reset_disks(&uid(&machine_id, "machineId")?, &disks)?.to_string())
        })
    }
}

impl LiveDiskRecord {
    fn of(disk: &LiveDisk) -> Self {
        Self {
            disk_id: disk.disk_id.to_string(),
            machine_id: disk.machine_id.as_ref().map(Uid::to_string),
            name: disk.name.clone(),
            role: disk.role.clone(),
            size_bytes: number(disk.size),
            sector_bytes: disk.sector_bytes,
            generation: number(disk.generation),
        }
    }
}

impl UncleanLogRecord {
    fn of(log: &UncleanLog) -> Self {
        Self {
            log_id: log.log_id.to_string(),
            machine_id: log.machine_id.as_ref().map(Uid::to_string),
            durable_lsn: log.durable.to_string(),
            dropped_records: number(log.dropped_records),
            dropped_bytes: number(log.dropped_bytes),
            last_time_ms: Some(log.last_time_ms).filter(|time| *time > 0).map(number),
        }
    }
}

impl PendingCutRecord {
    fn of(cut: &PendingCut) -> Self {
        let disk = |(disk_id, size, sector_bytes): &(Uid, u64, u32)| ManifestDiskRecord {
            disk_id: disk_id.to_string(),
            size_bytes: number(*size),
            sector_bytes: *sector_bytes,
        };
        Self {
            point_id: cut.point_id.to_string(),
            machine_id: cut.machine_id.to_string(),
            collection: cut.collection.clone(),
            name: cut.name.clone(),
            lsn: cut.lsn.to_string(),
            time_ms: number(cut.time_ms),
            disks: cut.disks.iter().map(disk).collect(),
            detail: String::from_utf8_lossy(&cut.detail).into_owned(),
            pinned: cut.pinned,
        }
    }
}

fn owned(record: DiskRequestRecord) -> EngineResult<Owned> {
    let offset = unsigned(record.offset.unwrap_or_default(), "offset");
    let length = unsigned(record.length.unwrap_or_default(), "length");
    Ok(match record.kind.as_str() {
        "read" => Owned::Read(offset?, readable(record.length.unwrap_or_default())?),
        "write" => {
            let bytes = record.bytes.map(|bytes| bytes.to_vec()).unwrap_or_default();
            Owned::Write(offset?, bytes, record.fua.unwrap_or_default())
        }
        kind @ ("zero" | "trim") => Owned::Zero(offset?, length?, kind == "trim"),
        "flush" => Owned::Flush,
        other => return Err(invalid(&format!("a request is read, write, zero, trim or flush, not '{other}'"))),
    })
}

/// A length that may be read at once.
fn readable(length: f64) -> EngineResult<usize> {
    let length = unsigned(length, "length")?;
    if length > READ_BYTES_MAX {
        return Err(invalid(&format!("one call reads {READ_BYTES_MAX} bytes at most, not {length}")));
    }
    Ok(usize_from(length))
}

fn readable_in_all(owned: &[Owned]) -> EngineResult<usize> {
    let lengths = owned.iter().map(|request| if let Owned::Read(_, length) = request { *length } else { 0 });
    let all: usize = lengths.sum();
    readable(all as f64)
}

fn new_disk(record: NewDiskRecord) -> EngineResult<NewDisk> {
    Ok(NewDisk {
        disk_id: uid(&record.disk_id, "diskId")?,
        name: record.name,
        role: record.role,
        sector_bytes: unsigned_32(record.sector_bytes, "sectorBytes")?,
    })
}

fn cut_request(
    machine_id: &str,
    point_id: &str,
    collection: String,
    name: String,
    detail: String,
) -> EngineResult<CutRequest> {
    let (machine_id, point_id) = (uid(machine_id, "machineId")?, uid(point_id, "pointId")?);
    Ok(CutRequest { machine_id, point_id, collection, name, detail: detail.into_bytes() })
}

/// One operation that moves so many bytes; what no length is fails when it is carried out.
fn one(length: f64) -> Cost {
    Cost { operations: 1, bytes: unsigned(length, "length").unwrap_or(0) }
}

fn cost_of(requests: &[Owned]) -> Cost {
    let mut cost = Cost::default();
    for request in requests {
        cost.operations += u64::from(!matches!(request, Owned::Flush));
        cost.bytes += match request {
            Owned::Read(_, length) => u64_from(*length),
            Owned::Write(_, bytes, _) => u64_from(bytes.len()),
            Owned::Zero(..) | Owned::Flush => 0,
        };
    }
    cost
}

fn moment(lsn: Option<&str>, time_ms: Option<f64>) -> EngineResult<Moment> {
    match (lsn, time_ms) {
        (Some(lsn), None) => match lsn.parse() {
            Ok(lsn) => Ok(Moment::Lsn(Lsn(lsn))),
            Err(_) => Err(invalid(&format!("an LSN is a whole number from 0, not '{lsn}'"))),
        },
        (None, Some(time_ms)) => Ok(Moment::TimeMs(unsigned(time_ms, "timeMs")?)),
        _ => Err(invalid("a moment is an LSN or a time")),
    }
}

fn reference(point_id: &str, disk_id: &str) -> EngineResult<DiskReference> {
    Ok(DiskReference { point_id: uid(point_id, "pointId")?, disk_id: uid(disk_id, "diskId")? })
}

fn invalid(message: &str) -> Error {
    Error::new(Code::ArgumentInvalid, message.to_owned())
}
