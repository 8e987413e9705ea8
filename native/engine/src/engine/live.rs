//! The engine's top, continued: live disks. One write log for each machine, and one for each detached disk.
//!
//! The order of syncs, which is the order of everything that must survive a crash:
//!
//! | call | durable, in this order |
//! | --- | --- |
//! | `create_disk`, `create_machine_log` | the log's directory with its first segment; then its superblock: it exists |
//! | `attach_disk`, `detach_disk` | the records that the disk's log holds are folded, and released; the records by which it leaves and joins, which name the next generation; the superblock of the log that receives it: it has moved; the other log lets go of it |
//! | `cut`, `make_durable` | the log past the cut: the caller may be answered |
//! | `copy` | packs, index; the manifest: the point needs its log no more; then what stands on the point by its id stands on its roots |
//! | `release_cut` | the bases, and those of the window, in both slots of the superblock; then segments go |
//! | `point_in_time` | the log past the moment: what is seen of it no power cut can take back |
//!
//! A fold holds a writer's lease from before its first look-up until its maps are pinned. What a superblock names, before and
//! after a change, is pinned for each log, and so is what layers and views stand on.

mod capturing;
mod closed;
mod cuts;
mod disks;
mod exports;
mod fold_lock;
mod folding;
mod limiting;
mod log;
mod moments;
mod opening;
mod reopening;
mod requests;
mod turns;
mod upkeep;
mod window;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::space::Space;
use super::{Engine, Finding};
use crate::background_copy::CopyLoad;
use crate::block_map::{DiskVersion, MapReader};
use crate::control::Control;
use crate::cut::{Pin, View};
use crate::error::{Code, Error, Result};
use crate::units::Uid;
use closed::ClosedLogs;
use cuts::{Bases, Cuts, TakenCut};
use exports::ExportedPoints;
use limiting::Limiter;
use log::LiveLog;
use worker::Worker;

pub use capturing::{CopiedDisk, CopyRequest, CutRequest};
pub use closed::UnavailableLog;
pub use cuts::PendingCut;
pub use disks::{LiveDisk, NewDisk};
pub use exports::{ExportBitmap, ExportLabel};
pub use limiting::{Cost, DiskLimits};
pub use moments::Moment;
pub use opening::UncleanLog;
pub use requests::DiskRequest;
pub use turns::{Turn, Turns};
pub use window::{LogWindow, WindowLimits};

/// The directory of the logs, below the store's.
const LIVE: &str = "live";

/// Where a live disk is. Requests hold the reader's side while they run; moving the disk takes the writer's.
struct DiskSeat {
    log: RwLock<Option<Arc<LiveLog>>>, // none: deleted, or nobody knows
    /// A move failed so that only the next opening can tell which log has the disk.
    is_unknown: AtomicBool,
    /// Its log was opened anew, and the disk has another seat there. Who holds this one may miss what was lost.
    has_ended: AtomicBool,
    limiter: Limiter,
    /// Exports through which it may be written. Held while that must not change; taken before every lock of a log.
    exports: Mutex<u64>,
    /// For those of its exports that change parts of sectors.
    sectors: RwLock<()>,
}

impl DiskSeat {
    fn new(log: Arc<LiveLog>) -> Arc<Self> {
        let (is_unknown, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let (limiter, exports, sectors) = (Limiter::default(), Mutex::new(0), RwLock::new(()));
        Arc::new(Self { log: RwLock::new(Some(log)), is_unknown, has_ended, limiter, exports, sectors })
    }

    fn exports(&self) -> MutexGuard<'_, u64> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Why the disk has no log.
    fn missing(&self, disk_id: &Uid) -> Error {
        if self.has_ended() {
            let message = format!("the write log of disk {disk_id} was opened anew; what was not flushed may be gone");
            return Error::new(Code::LogFenced, message).with("disk", disk_id.to_string());
        }
        if !self.is_unknown.load(Ordering::Acquire) {
            return no_disk(disk_id);
        }
        let message = format!("a move of disk {disk_id} failed half-way; close the store and open it again");
        Error::new(Code::LogFenced, message).with("disk", disk_id.to_string())
    }
}

/// The live disks of an open store.
pub(super) struct Live {
    directory: PathBuf,
    logs: RwLock<BTreeMap<Uid, Arc<LiveLog>>>,
    /// Logs that could not be opened.
    closed: Arc<ClosedLogs>,
    seats: RwLock<BTreeMap<Uid, Arc<DiskSeat>>>,
    cuts: Arc<Cuts>,
    bases: Arc<Bases>,
    /// Exported points.
    exported: ExportedPoints,
    space: Arc<Space>,
    /// Rates count no more.
    are_limits_lifted: AtomicBool,
    /// What copies make room for.
    load: CopyLoad,
    /// Held while logs and disks come, move and go.
    moving: Mutex<()>,
    /// Read by whoever lets a disk stand on a point by its id, from the look at the point until the log has it; written by
    /// whoever lets a cut go, from the look at who stands on it. The last lock but those of a log.
    naming: RwLock<()>,
    /// Open logs of which it is not known what they name: nothing is collected meanwhile.
    unknown: Mutex<BTreeSet<Uid>>,
    /// The highest generation that was ever named of each disk.
    generations: Mutex<BTreeMap<Uid, u64>>,
    upkeep: Arc<Worker>,
    writeback: Arc<Worker>,
    unclean: Mutex<Vec<UncleanLog>>,
    findings: Mutex<Vec<Finding>>,
}

/// How far writers are ahead of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// What folding all layers takes at most.
    pub debt_bytes: u64,
    /// What writes may still take.
    pub available_bytes: u64,
    /// Segments of all logs.
    pub log_bytes: u64,
    /// Layers of the log that has most.
    pub layer_count: usize,
}

impl Engine {
    /// What opening the logs dropped.
    #[must_use]
    pub fn unclean_logs(&self) -> Vec<UncleanLog> {
        let Some(live) = &self.live else { return Vec::new() };
        live.unclean.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The logs that could not be opened. Their machines' disks answer `LOG_UNAVAILABLE`, or `LOG_DAMAGED`.
    #[must_use]
    pub fn unavailable_logs(&self) -> Vec<UnavailableLog> {
        self.live.as_ref().map(|live| live.closed.described()).unwrap_or_default()
    }

    /// How long the last cut of a log kept its writers waiting, nanoseconds: the longest of all logs. For benches.
    #[must_use]
    pub fn last_cut_held_ns(&self) -> u64 {
        let logs = self.live.as_ref().map(Live::all_logs).unwrap_or_default();
        logs.iter().map(|log| log.log().cut_held_ns()).max().unwrap_or_default()
    }

    /// How far writers are ahead of the copies.
    ///
    /// # Errors
    /// What asking the file system gives.
    pub fn pressure(&self) -> Result<Pressure> {
        let live = self.live();
        let logs = live.all_logs();
        Ok(Pressure {
            debt_bytes: live.space.debt_bytes(),
            available_bytes: live.space.available_bytes()?,
            log_bytes: logs.iter().map(|log| log.log().retained_bytes()).sum(),
            layer_count: logs.iter().map(|log| log.group.layer_count()).max().unwrap_or_default(),
        })
    }

    /// A disk of a cut as a map, with who reads it besides what `maps` reads, and what keeps it: the maps of its copy once it has
    /// them, else its layers.
    pub(super) fn cut_version(
        &self,
        cut: &Arc<TakenCut>,
        disk_id: &Uid,
        maps: &Arc<MapReader>,
        control: &Control,
    ) -> Result<(DiskVersion, Arc<MapReader>, Pin)> {
        if let Some(folded) = cut.folded()
            && let Some(version) = folded.versions.get(disk_id).copied()
        {
            return Ok((version, Arc::clone(maps), folded));
        }
        let (version, maps) = self.live().cuts.version(cut, disk_id, maps, control)?;
        Ok((version, maps, Arc::clone(cut) as Pin))
    }

    pub(super) fn live(&self) -> &Live {
        match &self.live {
            Some(live) => live,
            None => unreachable!("an engine that is open has its live disks"),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.upkeep.end();
        self.writeback.end();
        self.cuts.clear(); // cuts and the bases that stand on them keep each other
        self.all_logs().iter().for_each(|log| log.window().forget_named()); // and so do windows
    }
}

impl Live {
    /// A cut that waits for its copy or its release.
    pub(super) fn cut(&self, point_id: &Uid) -> Option<Arc<TakenCut>> {
        self.cuts.get(point_id)
    }

    /// Whether a range of a view can be expected to be read without waiting for a device: what was written lately is in the
    /// page cache.
    fn is_view_at_hand(&self, view: &View, range: Range<u64>) -> bool {
        let resolved = view.resolve(range);
        match &resolved.base {
            Some(base) => resolved.below.iter().all(|below| self.bases.is_at_hand(base, below)),
            None => true,
        }
    }

    /// Puts what a range of a view reads of maps into memory: of a range that is too long for that its first part.
    fn read_view_ahead(&self, view: &View, range: Range<u64>) -> Result<()> {
        let end = range.end.min(range.start + self.bases.reader.ahead_bytes_max());
        let resolved = view.resolve(range.start..end);
        let Some(base) = &resolved.base else { return Ok(()) };
        resolved.below.iter().try_for_each(|below| self.bases.read_ahead(base, below))
    }

    fn log(&self, log_id: &Uid) -> Result<Arc<LiveLog>> {
        self.logs().get(log_id).cloned().ok_or_else(|| {
            if let Some(error) = self.closed.error_of(log_id) {
                return error;
            }
            let message = format!("the machine {log_id} has no managed disks");
            Error::new(Code::ArgumentInvalid, message).with("machine", log_id.to_string())
        })
    }

    fn seat(&self, disk_id: &Uid) -> Result<Arc<DiskSeat>> {
        let seat = self.seats().get(disk_id).cloned();
        seat.ok_or_else(|| self.closed.error_of_disk(disk_id).unwrap_or_else(|| no_disk(disk_id)))
    }

    fn all_logs(&self) -> Vec<Arc<LiveLog>> {
        self.logs().values().cloned().collect()
    }

    fn logs(&self) -> RwLockReadGuard<'_, BTreeMap<Uid, Arc<LiveLog>>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Uid, Arc<LiveLog>>> {
        self.logs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> RwLockReadGuard<'_, BTreeMap<Uid, Arc<DiskSeat>>> {
        self.seats.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Uid, Arc<DiskSeat>>> {
        self.seats.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn generations(&self) -> MutexGuard<'_, BTreeMap<Uid, u64>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_unclean(&self, unclean: UncleanLog) {
        self.unclean.lock().unwrap_or_else(PoisonError::into_inner).push(unclean);
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let closed = self.closed.by_id();
        let closed = closed.iter().map(|(log_id, closed)| log_finding(log_id, &closed.error(log_id)));
        let noted = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        closed.chain(noted.iter().cloned()).collect()
    }

    /// Remembers what is wrong with a log.
    fn note(&self, log_id: &Uid, error: &Error) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let finding = log_finding(log_id, error);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    fn moving(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While it is held, what is looked up of points by their ids stays so until it is written down.
    fn naming(&self) -> RwLockReadGuard<'_, ()> {
        self.naming.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// While it is held, nothing new comes to stand on a point by its id.
    fn nothing_named(&self) -> RwLockWriteGuard<'_, ()> {
        self.naming.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self) -> MutexGuard<'_, BTreeSet<Uid>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A point that is not found may wait in a log that could not be opened.
    pub(super) fn explain(&self, error: Error) -> Error {
        self.closed.explain(error)
    }

    /// Whether all that logs name is pinned.
    ///
    /// # Errors
    /// `LOG_DAMAGED`, `LOG_UNAVAILABLE`.
    pub(super) fn check_known(&self) -> Result<()> {
        if let Some(error) = self.closed.first_unknown() {
            return Err(error);
        }
        match self.unknown().first() {
            None => Ok(()),
            Some(log_id) => {
                let message = format!(
                    "{LIVE}/{log_id} is damaged, so that nobody knows what it names; nothing more was collected"
                );
                Err(Error::new(Code::LogDamaged, message).with("log", log_id.to_string()))
            }
        }
    }
}

fn log_finding(log_id: &Uid, error: &Error) -> Finding {
    let (file, message) = (format!("{LIVE}/{log_id}"), error.message().to_owned());
    let code = if error.code() == Code::LogUnavailable { error.code() } else { Code::LogDamaged };
    Finding { file, place: None, code, message, hits: Vec::new() }
}

fn no_disk(disk_id: &Uid) -> Error {
    Error::new(Code::DiskNotFound, format!("the store has no live disk {disk_id}")).with("disk", disk_id.to_string())
}
