//! Opening the logs of a store: which there are, which disk is whose, which cuts wait.
//!
//! A disk that two superblocks list is where its generation is the highest; the other log lets go of it, durably, before
//! anything of it is served. A directory without a superblock is what a creation or deletion left that was cut off. A log that
//! cannot be opened waits (`closed.rs`) and may be tried again; the others are served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::super::Engine;
use super::closed::{ClosedLog, ClosedLogs};
use super::cuts::{Bases, CutDisk, Cuts, TakenCut};
use super::disks::remove_log_files;
use super::exports::ExportedPoints;
use super::folding::{points_named, points_stood_on};
use super::log::{LiveLog, pin, roots_of};
use super::window::{Window, let_go};
use super::{DiskSeat, LIVE, Live};
use crate::background_copy::CopyLoad;
use crate::block_map::VersionReader;
use crate::chunk_store::chunk_cache::ChunkCache;
use crate::disk::Group;
use crate::engine::space::Space;
use crate::error::{Code, Error, Result};
use crate::format::superblock::{SLOT_NAMES, Superblock, SuperblockDisk};
use crate::io::{FileKind, Io, OpenMode};
use crate::units::{Lsn, Uid};
use crate::write_log::{LogIdentity, Membership, RecordKind, Replay, WriteLog};

/// A log that was not closed: what opening it dropped, because a power cut could have taken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncleanLog {
    /// The log.
    pub log_id: Uid,
    /// Its machine; none for a detached disk's.
    pub machine_id: Option<Uid>,
    /// The last LSN that is left.
    pub durable: Lsn,
    /// Records at least.
    pub dropped_records: u64,
    /// Bytes of payload at least.
    pub dropped_bytes: u64,
    /// Time of the last of them that can be told, milliseconds since 1970-01-01 UTC.
    pub last_time_ms: u64,
}

/// A log on the way to be served.
pub(super) struct Opened {
    pub(super) log_id: Uid,
    log: Arc<WriteLog>,
    replay: Replay,
}

impl Engine {
    /// Opens all logs. The engine serves nothing before this returned.
    ///
    /// # Errors
    /// What listing them gives. A damaged log is no error: it is open for reading only, and a finding. Nor is one that
    /// cannot be opened: its machine waits, and no other.
    pub(in crate::engine) fn open_live(self: &mut Arc<Self>) -> Result<()> {
        let live = self.new_live();
        let directory = live.directory.clone();
        let Some(engine) = Arc::get_mut(self) else { unreachable!("nobody has the engine yet") };
        engine.live = Some(live);
        let engine = &*self;
        let io = engine.parts.io.as_ref();
        if engine.options.read_only || io.identify(&directory)?.is_none() {
            return Ok(());
        }
        let entries = io.list_directory(&directory)?;
        let directories = entries.iter().filter(|entry| entry.kind == FileKind::Directory);
        engine.open_logs(directories.filter_map(|entry| Uid::parse(&entry.name)).collect())
    }

    pub(super) fn open_logs(&self, log_ids: Vec<Uid>) -> Result<()> {
        let live = self.live();
        live.bases.is_opening.store(true, Ordering::Release);
        let mut opened = Vec::new();
        for log_id in log_ids {
            match self.open_log(log_id) {
                Ok(Some(log)) => opened.push(log),
                Ok(None) => drop(live.closed.by_id().remove(&log_id)),
                Err(error) => self.close_log(log_id, &error),
            }
        }
        self.serve(opened);
        live.bases.is_opening.store(false, Ordering::Release);
        self.resolve_all_published()
    }

    /// Remembers why a log could not be opened. What it names stays as far as that can be told.
    fn close_log(&self, log_id: Uid, error: &Error) {
        let live = self.live();
        let directory = live.directory.join(log_id.to_string());
        let closed = ClosedLog::look(self.parts.io.as_ref(), &directory, self.log_identity(log_id), error);
        self.keep_closed(log_id, closed);
    }

    fn keep_closed(&self, log_id: Uid, mut closed: ClosedLog) {
        closed.pin = closed.names.as_ref().map(|names| pin(&self.leases, names.roots.clone()));
        drop(self.live().closed.by_id().insert(log_id, closed));
    }

    fn new_live(&self) -> Live {
        let closed: Arc<ClosedLogs> = Arc::default();
        let cuts = Arc::new(Cuts::new(Arc::clone(&self.points), Arc::clone(&closed)));
        let cache = Arc::new(ChunkCache::new(self.options.chunk_cache_bytes));
        let bases = Bases {
            reader: VersionReader::new(Arc::clone(&self.maps), cache),
            leases: Arc::clone(&self.leases),
            points: Arc::clone(&self.points),
            cuts: Arc::clone(&cuts),
            closed: Arc::clone(&closed),
            is_opening: AtomicBool::new(true),
        };
        Live {
            directory: self.directory.join(LIVE),
            logs: RwLock::default(),
            closed,
            seats: RwLock::default(),
            cuts,
            bases: Arc::new(bases),
            exported: ExportedPoints::default(),
            space: Arc::new(Space::new(Arc::clone(&self.parts.io), self.directory.clone(), Arc::clone(&self.reserve))),
            are_limits_lifted: AtomicBool::new(false),
            load: CopyLoad::new(self.options.copy_bytes_per_second, self.parts.clock.now_ns()),
            moving: Mutex::default(),
            naming: RwLock::default(),
            unknown: Mutex::default(),
            generations: Mutex::default(),
            upkeep: Arc::default(),
            writeback: Arc::default(),
            unclean: Mutex::default(),
            findings: Mutex::default(),
        }
    }

    /// Opens one log; `None` when what is there is left over.
    pub(super) fn open_log(&self, log_id: Uid) -> Result<Option<Opened>> {
        let io = self.parts.io.as_ref();
        let directory = self.live().directory.join(log_id.to_string());
        let is_unborn = is_unborn(io, &directory)?;
        let parameters = self.log_parameters()?;
        match WriteLog::open(self.log_parts(), directory.clone(), self.log_identity(log_id), parameters) {
            Ok((log, replay)) => Ok(Some(Opened { log_id, log, replay })),
            Err(error) if error.code() == Code::LogDamaged && is_unborn => {
                let _ = remove_log_files(io, &directory); // what cannot be removed is as unborn the next time
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn log_identity(&self, log_id: Uid) -> LogIdentity {
        LogIdentity { store_id: self.config.store_id, log_id, machine_id: Uid::default() }
    }

    pub(super) fn serve(&self, opened: Vec<Opened>) {
        let live = self.live();
        let (opened, highest) = self.with_own_disks(opened);
        for Opened { log_id, log, replay } in opened {
            if let Some(damage) = &replay.damage {
                live.note(&log_id, damage);
                live.unknown().insert(log_id); // records behind the damage may name roots
            }
            let served = match self.serve_log(log_id, log, replay, &highest) {
                Ok(served) => served,
                Err(error) => {
                    live.unknown().remove(&log_id);
                    self.close_log(log_id, &error);
                    continue;
                }
            };
            if let Some(served) = served {
                for disk in served.group.disks() {
                    live.seats_mut().insert(disk.disk_id, DiskSeat::new(Arc::clone(&served)));
                }
                live.logs_mut().insert(log_id, served);
            }
            drop(live.closed.by_id().remove(&log_id)); // in this order: whoever asks finds it in one of them
        }
    }

    /// The logs of which it is certain which disks are theirs, and the highest generation of each disk. The others wait until
    /// those are opened that may have got a disk of theirs (I-54).
    fn with_own_disks(&self, mut opened: Vec<Opened>) -> (Vec<Opened>, BTreeMap<Uid, u64>) {
        let live = self.live();
        loop {
            let mut highest: BTreeMap<Uid, u64> = BTreeMap::new();
            let served: Vec<Superblock> = live.all_logs().iter().map(|log| log.log().superblock()).collect();
            let listed = opened.iter().map(|opened| &opened.replay.superblock).chain(&served);
            for disk in listed.flat_map(|superblock| &superblock.disks) {
                let generation = highest.entry(disk.disk_id).or_default();
                *generation = disk.generation.max(*generation);
            }
            let opening: BTreeSet<Uid> = opened.iter().map(|opened| opened.log_id).collect();
            let waiting = opened.iter().enumerate().find_map(|(index, Opened { replay, .. })| {
                let (rival, disk_id) = live.closed.rival_of(replay, &highest, &opening)?;
                Some((index, ClosedLog::waiting(replay, &disk_id, &rival)))
            });
            let Some((index, closed)) = waiting else { return (opened, highest) };
            let Opened { log_id, log, .. } = opened.remove(index);
            drop(log);
            self.keep_closed(log_id, closed);
        }
    }

    /// Serves a log; `None` when nothing of it counts any more.
    fn serve_log(
        &self,
        log_id: Uid,
        log: Arc<WriteLog>,
        replay: Replay,
        highest: &BTreeMap<Uid, u64>,
    ) -> Result<Option<Arc<LiveLog>>> {
        let live = self.live();
        live.note_generations(&replay)?;
        let mut superblock = replay.superblock;
        let is_stale = superblock.disks.iter().any(|disk| highest[&disk.disk_id] > disk.generation);
        let machine_id = Some(superblock.machine_id).filter(|id| *id != Uid::default());
        if is_stale {
            if machine_id.is_none() {
                // The disk has moved, and this was its log. Where it cannot be removed now, it is found to be that again.
                drop(log);
                live.unknown().remove(&log_id);
                let _ = remove_log_files(self.parts.io.as_ref(), &live.directory.join(log_id.to_string()));
                return Ok(None);
            }
            let has_moved = |disk: &SuperblockDisk| highest[&disk.disk_id] > disk.generation;
            if replay.damage.is_none() {
                log.change_superblock(|superblock| let_go(superblock, has_moved))?;
            }
            let_go(&mut superblock, has_moved);
        }
        // Pinned before anything is collected.
        let pinned = pin(&self.leases, roots_of(&superblock));
        let leave_counts =
            |left: &Membership| highest.get(&left.disk_id).is_none_or(|highest| *highest >= left.generation);
        let reach = (log.oldest_record(), log.watermark());
        let records = &replay.records;
        let window = Window::replayed(&superblock, records, reach, &*live.bases)?;
        let bases = superblock.disks.iter().map(|disk| disk.base_lsn);
        let base = bases.min().or_else(|| superblock.window.iter().map(|base| base.lsn).max());
        let window = (window, base.unwrap_or_default());
        let parts = self.group_parts(log);
        let group = Group::from_replay(parts, &superblock, records, &leave_counts)?;
        let served = Arc::new(LiveLog::new((machine_id, log_id), group, window, pinned));
        if let Some(dropped) = replay.dropped {
            live.note_unclean(UncleanLog {
                log_id,
                machine_id,
                durable: dropped.durable,
                dropped_records: dropped.records,
                dropped_bytes: dropped.bytes,
                last_time_ms: dropped.last_time_ms,
            });
        }
        let cut_times = replay.records.iter().filter(|record| record.kind == RecordKind::Cut);
        let cut_times: BTreeMap<Lsn, u64> = cut_times.map(|record| (record.lsn, record.time_ms)).collect();
        self.find_cuts(&served, &cut_times);
        Ok(Some(served))
    }

    /// What stands by its id on a point that has a manifest by now, and no cut any more, stands on that. On a full disk that is
    /// done when there is space.
    pub(super) fn resolve_all_published(&self) -> Result<()> {
        let live = self.live();
        for log in live.all_logs() {
            for point_id in points_named(&log, Lsn(u64::MAX)) {
                if live.cuts.get(&point_id).is_some() {
                    continue; // its release sees to that
                }
                if let Err(error) = self.points.get(&point_id) {
                    let is_stood_on = points_stood_on(&log, Lsn(u64::MAX)).contains(&point_id); // else one moment is lost
                    if is_stood_on && !live.closed.may_hold_points() {
                        live.note(&log.log_id, &error);
                    }
                    continue;
                }
                match self.resolve_published(point_id) {
                    Err(error) if error.code() != Code::NoSpace => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Takes the cuts with a point into the registry.
    fn find_cuts(&self, log: &Arc<LiveLog>, cut_times: &BTreeMap<Lsn, u64>) {
        let stack = log.group.stack();
        for layer in stack.sealed() {
            let Some(sealed) = layer.sealed().filter(|sealed| sealed.has_point()) else { continue };
            let mut disks = BTreeMap::new();
            for (disk_id, member) in sealed.members.iter() {
                if let Some(view) = stack.view_at(layer, disk_id) {
                    disks.insert(*disk_id, CutDisk { size: view.size(), view, sector_bytes: member.sector_bytes });
                }
            }
            let time_ms = cut_times.get(&sealed.cut).copied().unwrap_or_default();
            let when = (sealed.cut, time_ms);
            self.live().cuts.insert(TakenCut::new(
                Arc::clone(log),
                when,
                sealed.body.clone(),
                Arc::clone(layer),
                disks,
            ));
        }
    }
}

/// Whether a log's creation was cut off: its second slot is written only once the first one is durable. Nothing of the log was
/// ever used.
fn is_unborn(io: &dyn Io, directory: &Path) -> Result<bool> {
    let second = match io.open(&directory.join(SLOT_NAMES[1]), OpenMode::Read) {
        Ok(second) => second,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut start = [0; 64];
    let length = second.read_at(&mut start, 0)?;
    Ok(start[..length].iter().all(|byte| *byte == 0))
}

impl Live {
    /// The generation for the next move of a disk: above its own, and above those that a move left which never counted.
    pub(super) fn next_generation(&self, disk_id: &Uid, generation: u64) -> u64 {
        let mut seen = self.generations();
        let highest = seen.entry(*disk_id).or_default();
        *highest = (*highest).max(generation) + 1;
        *highest
    }

    fn note_generations(&self, replay: &Replay) -> Result<()> {
        let mut seen = self.generations();
        let mut note = |disk_id: Uid, generation: u64| {
            let highest = seen.entry(disk_id).or_default();
            *highest = generation.max(*highest);
        };
        for record in &replay.records {
            if let (RecordKind::Join | RecordKind::Leave, Some(body)) = (record.kind, &record.body) {
                let membership = Membership::decode(body).map_err(|defect| {
                    Error::new(Code::LogDamaged, format!("the record with LSN {} is damaged: {defect}", record.lsn))
                })?;
                note(membership.disk_id, membership.generation);
            }
        }
        for disk in &replay.superblock.disks {
            note(disk.disk_id, disk.generation);
        }
        Ok(())
    }
}
