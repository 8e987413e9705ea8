//! A write log on a file system in memory, beside the simplest model of it: the list of what was sequenced, how far it was
//! acknowledged and how far flushed.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::error::{Code, Error, Result};
use stillpoint_engine::format::node::{Entry, Root};
use stillpoint_engine::format::superblock::{BaseContent, SuperblockDisk};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{FaultIo, FaultPlan, is_simulated_crash};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, Uid};
use stillpoint_engine::write_log::{
    CutBody, Hold, LogIdentity, LogParameters, LogParts, Membership, Record, RecordKind, Replay, ReplayedRecord,
    ResetDisk, ResetList, Ticket, WriteLog,
};

pub(crate) const DIRECTORY: &str = "/store/live/log";
pub(crate) const IDENTITY: LogIdentity =
    LogIdentity { store_id: Uid([1; 16]), log_id: Uid([2; 16]), machine_id: Uid([2; 16]) };
pub(crate) const DISK: Uid = Uid([3; 16]);
/// Small enough that a short history fills several.
pub(crate) const SEGMENT_BYTES: u64 = 32 << 10;

pub(crate) fn parts(io: Arc<dyn Io>, seed: u64) -> LogParts {
    let clock = Arc::new(ManualClock::new(1_000_000_000_000_000_000));
    LogParts { io, clock, random: Arc::new(Mutex::new(Seeded::new(seed))), writeback_due: None }
}

pub(crate) fn parameters() -> LogParameters {
    LogParameters { segment_bytes: SEGMENT_BYTES }
}

pub(crate) fn disk() -> SuperblockDisk {
    SuperblockDisk {
        disk_id: DISK,
        generation: 1,
        name: "disk".to_owned(),
        role: "data".to_owned(),
        sector_bytes: 512,
        size: 1 << 30,
        base: BaseContent::Map(Root { entry: Entry::Hole, height: 3 }),
        base_lsn: Lsn::ZERO,
    }
}

pub(crate) fn create(io: Arc<dyn Io>) -> Result<Arc<WriteLog>> {
    WriteLog::create(parts(io, 7), PathBuf::from(DIRECTORY), IDENTITY, parameters(), vec![disk()])
}

pub(crate) fn open(io: Arc<dyn Io>, seed: u64) -> Result<(Arc<WriteLog>, Replay)> {
    WriteLog::open(parts(io, seed), PathBuf::from(DIRECTORY), IDENTITY, parameters())
}

pub(crate) fn open_memory(memory: &MemoryIo) -> (Arc<WriteLog>, Replay) {
    open(Arc::new(memory.clone()), 99).unwrap()
}

/// Sequences, appends and completes.
pub(crate) fn log_one(log: &Arc<WriteLog>, payload: &[u8]) -> Lsn {
    let (ticket, lsn) = log.sequence(Record::write(DISK, 0, payload), |lsn| lsn).unwrap();
    log.append(&ticket, payload).unwrap();
    log.complete(ticket);
    lsn
}

pub(crate) fn segment_files(memory: &MemoryIo) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "segment");
    memory.files().into_iter().filter(is_segment).collect()
}

pub(crate) fn slot(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// What was sequenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) lsn: Lsn,
    pub(crate) time_ms: u64,
    pub(crate) kind: RecordKind,
    pub(crate) disk_id: Uid,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) payload: Vec<u8>,
}

/// What must hold of a log, whatever happens to it.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) sequenced: Vec<Sequenced>,
    /// Acknowledged: the watermark stood here.
    pub(crate) acknowledged: Lsn,
    /// A flush said so, or an opening.
    pub(crate) flushed: Lsn,
    /// No LSN up to here may be given again.
    pub(crate) highest: Lsn,
    /// What the base may be: the last that is certain, and one that an error left open.
    pub(crate) bases: Vec<Lsn>,
}

impl Default for Model {
    fn default() -> Self {
        let nothing = Lsn::ZERO;
        Self { sequenced: Vec::new(), acknowledged: nothing, flushed: nothing, highest: nothing, bases: vec![nothing] }
    }
}

impl Model {
    /// Checks a replay after a crash, and makes it what the model knows. `is_power_cut`: only what was flushed must be there.
    pub(crate) fn check(&mut self, log: &WriteLog, replay: &Replay, is_power_cut: bool, context: &str) {
        assert!(replay.damage.is_none(), "{context}: {:?}", replay.damage);
        let base = replay.superblock.disks[0].base_lsn;
        assert!(self.bases.contains(&base), "{context}: base {base}");
        // The record at the base may still be there.
        let (at_base, records) = match replay.records.split_first() {
            Some((first, rest)) if first.lsn == base => (Some(first), rest),
            _ => (None, replay.records.as_slice()),
        };
        if let Some(record) = at_base {
            assert!(self.sequenced.contains(&read_back(log, record)), "{context}: at the base");
        }
        let expected: Vec<&Sequenced> = self.sequenced.iter().filter(|each| each.lsn > base).collect();
        assert!(records.len() <= expected.len(), "{context}: more than was sequenced");
        for (record, expected) in records.iter().zip(&expected) {
            assert_eq!(&read_back(log, record), *expected, "{context}");
        }
        let reached = replay.records.last().map_or(base, |record| record.lsn);
        let must = if is_power_cut { self.flushed } else { self.acknowledged.max(self.flushed) };
        let missing = expected.iter().find(|each| each.lsn > reached && each.lsn <= must);
        assert!(missing.is_none(), "{context}: record {} of {must} is missing", missing.unwrap().lsn);
        assert!(replay.durable <= self.highest, "{context}: durable {} was never given", replay.durable);
        if let Some(dropped) = replay.dropped {
            assert_eq!(dropped.durable.max(base), reached.max(dropped.durable), "{context}");
            let lost = expected.iter().filter(|each| each.lsn > reached).count() as u64;
            assert!((1..=lost).contains(&dropped.records), "{context}: {dropped:?} of {lost}");
        }
        self.sequenced.retain(|each| each.lsn <= reached);
        (self.acknowledged, self.flushed) = (reached, reached);
        self.bases = vec![base];
    }
}

/// A replayed record with its payload, read in pieces too.
pub(crate) fn read_back(log: &WriteLog, record: &ReplayedRecord) -> Sequenced {
    let payload_bytes = record.place.payload_bytes as usize;
    let mut payload = vec![0; payload_bytes];
    log.read(&record.place, 0, &mut payload).unwrap();
    if payload_bytes > 3 {
        let middle = payload_bytes / 3..payload_bytes - 1;
        let mut piece = vec![0; middle.len()];
        log.read(&record.place, middle.start as u64, &mut piece).unwrap();
        assert_eq!(piece, payload[middle]);
    }
    assert_eq!(record.body.is_some(), record.kind.has_body());
    if let Some(body) = &record.body {
        assert_eq!(body, &payload);
    }
    let ReplayedRecord { lsn, time_ms, kind, disk_id, offset, length, .. } = *record;
    Sequenced { lsn, time_ms, kind, disk_id, offset, length, payload }
}

/// One process that writes a log by a seed: any number of records in flight, completed in any order.
pub(crate) struct Writer {
    pub(crate) log: Arc<WriteLog>,
    pub(crate) model: Model,
    random: Seeded,
    /// Sequenced, not yet appended, then appended and not yet complete.
    flying: Vec<(Ticket, Vec<u8>, bool)>,
    holds: Vec<Hold>,
}

/// Whether the file system is full as far as a history can tell.
pub(crate) fn is_full_disk(error: &Error) -> bool {
    error.code() == Code::NoSpace
}

impl Writer {
    pub(crate) fn new(log: Arc<WriteLog>, model: Model, seed: u64) -> Self {
        Self { log, model, random: Seeded::new(seed), flying: Vec::new(), holds: Vec::new() }
    }

    /// Takes a step.
    pub(crate) fn step(&mut self) -> Result<()> {
        let outcome = match self.random.below(21) {
            0..8 => self.sequence(),
            8..13 => self.append(),
            13..16 => self.complete(),
            16 => self.log.try_flush().map(|durable| self.model.flushed = self.model.flushed.max(durable)),
            17 => self.log.prepare(),
            18 => self.release(),
            19 => self.log.write_back().map(drop),
            _ => self.hold(),
        };
        self.model.acknowledged = self.model.acknowledged.max(self.log.watermark());
        assert!(self.log.durable() <= self.log.watermark());
        outcome
    }

    pub(crate) fn model(self) -> Model {
        self.model
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = u64::from(self.log.record_bytes_max());
        let length = match self.random.below(6) {
            0 => 1 + self.random.below(600),
            1 => 1 + self.random.below(most),
            2 => most,
            _ => 512 * (1 + self.random.below(10)),
        };
        let mut bytes = vec![0; length as usize];
        self.random.fill(&mut bytes);
        bytes
    }

    fn sequence(&mut self) -> Result<()> {
        let offset = 512 * self.random.below(1 << 20);
        let payload = self.bytes();
        let root = Root { entry: Entry::Fill(9), height: 2 };
        let membership = Membership {
            disk_id: Uid([9; 16]),
            generation: 2,
            name: "joined".to_owned(),
            role: String::new(),
            sector_bytes: 4096,
            size: 1 << 20,
            base: BaseContent::Point { point_id: Uid([4; 16]), disk_id: Uid([5; 16]) },
        };
        let reset = ResetList { disks: vec![ResetDisk { disk_id: DISK, base: BaseContent::Map(root), size: 1 << 30 }] };
        let cut = CutBody {
            point_id: Uid([6; 16]),
            machine_id: Uid([2; 16]),
            collection: "daily".to_owned(),
            point: "p1".to_owned(),
            detail: payload[..payload.len().min(900)].to_vec(),
        };
        let write = payload.clone();
        let none = Vec::new;
        let (record, kind, disk_id, offset, length, payload) = match self.random.below(24) {
            0 => (Record::zero(DISK, offset, 1 << 20), RecordKind::Zero, DISK, offset, 1 << 20, none()),
            1 => (Record::trim(DISK, offset, 4096), RecordKind::Trim, DISK, offset, 4096, none()),
            2 => (Record::grow(DISK, 2 << 30), RecordKind::Grow, DISK, 0, 2 << 30, none()),
            3 => (Record::reset(&reset), RecordKind::Reset, Uid::default(), 0, 0, reset.encode()),
            4 => (Record::join(&membership), RecordKind::Join, membership.disk_id, 0, 0, membership.encode()),
            5 => (Record::leave(&membership), RecordKind::Leave, membership.disk_id, 0, 0, membership.encode()),
            6 => (Record::cut(&cut), RecordKind::Cut, Uid::default(), 0, 0, cut.encode()),
            _ => {
                let length = write.len() as u64;
                (Record::write(DISK, offset, &write), RecordKind::Write, DISK, offset, length, write.clone())
            }
        };
        let (ticket, lsn) = self.log.sequence(record, |lsn| lsn)?;
        assert!(lsn > self.model.highest, "LSN {lsn} is given twice");
        assert_eq!(ticket.lsn(), lsn);
        self.model.highest = lsn;
        let time_ms = ticket.time_ms();
        let last = self.model.sequenced.last().map_or(0, |each| each.time_ms);
        assert!(time_ms >= last, "time never falls");
        let sequenced = Sequenced { lsn, time_ms, kind, disk_id, offset, length, payload: payload.clone() };
        self.model.sequenced.push(sequenced);
        let given = if kind.has_body() { Vec::new() } else { payload };
        self.flying.push((ticket, given, false));
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let waiting: Vec<usize> = (0..self.flying.len()).filter(|index| !self.flying[*index].2).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let index = waiting[self.random.below(waiting.len() as u64) as usize];
        let (ticket, payload, appended) = &mut self.flying[index];
        self.log.append(ticket, payload)?;
        *appended = true;
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let ready: Vec<usize> = (0..self.flying.len()).filter(|index| self.flying[*index].2).collect();
        if !ready.is_empty() {
            let index = ready[self.random.below(ready.len() as u64) as usize];
            let (ticket, _, _) = self.flying.swap_remove(index);
            self.log.complete(ticket);
        }
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let durable = self.log.durable();
        let below: Vec<Lsn> = self.model.sequenced.iter().map(|each| each.lsn).filter(|lsn| *lsn <= durable).collect();
        let held = self.holds.iter().map(Hold::lsn).min();
        let Some(&base) = below.get(below.len() / 2) else { return Ok(()) };
        let base = held.map_or(base, |held| held.min(base));
        self.model.bases.push(base);
        self.log.change_superblock(|superblock| superblock.disks[0].base_lsn = base)?;
        self.model.bases = vec![base];
        self.log.release(base)?;
        Ok(())
    }

    fn hold(&mut self) -> Result<()> {
        if self.holds.len() < 3 {
            let lsn = self.log.durable();
            self.holds.push(self.log.hold(lsn));
        } else {
            let index = self.random.below(self.holds.len() as u64) as usize;
            drop(self.holds.swap_remove(index));
        }
        Ok(())
    }
}

/// A run under a plan: what is left in memory, what the model knows, and how it ended.
pub(crate) struct Ended {
    pub(crate) memory: MemoryIo,
    pub(crate) fault: FaultIo,
    pub(crate) model: Model,
    pub(crate) error: Option<Error>,
}

/// Runs `steps` steps of a seed over `before`, under a plan, until the log is fenced or the process is gone. The log is
/// made first where `before` has none.
pub(crate) fn run(before: &MemoryIo, model: &Model, seed: u64, steps: u64, plan: FaultPlan) -> Ended {
    let memory = before.crash(CrashChoice::ProcessKilled);
    let fault = FaultIo::over_memory(&memory, plan);
    let io: Arc<dyn Io> = Arc::new(fault.clone());
    let is_there = !segment_files(&memory).is_empty();
    let opened = if is_there { open(io, seed).map(|(log, _)| log) } else { create(io) };
    let mut model = model.clone();
    let mut error = None;
    match opened {
        Err(failed) => error = Some(failed),
        Ok(log) => {
            let mut writer = Writer::new(log, model.clone(), seed);
            for _ in 0..steps {
                if let Err(failed) = writer.step() {
                    let goes_on = is_full_disk(&failed) && writer.log.is_fenced().is_none();
                    let is_over = is_simulated_crash(&failed) || !goes_on;
                    error = Some(failed);
                    if is_over {
                        break;
                    }
                }
            }
            model = writer.model();
        }
    }
    Ended { memory, fault, model, error }
}
