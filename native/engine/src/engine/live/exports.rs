//! Disks as what NBD clients are given: a live disk, or a disk of a point, also while its copy runs.
//!
//! What it guarantees: a point that is exported can be read to the end, whatever becomes of it meanwhile, and so can changes since
//! a point that were asked for. An export holds its log's records only until the point's copy has made maps, also when nobody asks
//! anything; of a point that is deleted before its copy, until the upkeep has (I-67). A live disk that somebody may
//! write through an export is neither reset nor deleted.
//! What it costs: an export of a point is a look-up; nothing is copied or decoded before it is read.

mod live_disk;
mod point;
mod stretches;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::super::{DiskReference, Engine};
use super::DiskSeat;
use super::cuts::{Cuts, TakenCut};
use crate::control::Control;
use crate::cut::{ExtentContent, View};
use crate::error::{Code, Error, Result};
use crate::limits::DELETED_FOLD_REST_NS;
use crate::nbd::{Export, Facts};
use crate::units::{Uid, u64_from, usize_from};
use live_disk::LiveExport;
use point::{PointExport, PointSource};

/// Where the bytes of a disk are, for those who copy it.
const ALLOCATION: &str = "base:allocation";

/// How far down they are: 1 in the write log, or a point's own; 2 below.
const DEPTH: &str = "qemu:allocation-depth";

/// What a bitmap's context is called before the name of the point that it begins at.
const BITMAP_PREFIX: &str = "qemu:dirty-bitmap:";

/// Of a log this much is read at once for a client's hint.
const CACHE_PIECE_BYTES: u64 = 1 << 20;

/// A hint counts for no more than this, whatever room there is: it is one request, which nobody can cancel.
const CACHE_BYTES_MAX: u64 = 16 << 20;

/// What an export is called, and what people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportLabel {
    /// Its canonical name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
}

/// Changes that an export of a point can tell: those since another point of the same disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportBitmap {
    /// The name behind `qemu:dirty-bitmap:`.
    pub name: String,
    /// The disk as the other point has it.
    pub since: DiskReference,
    /// Whether clients that ask what there is are told of it.
    pub is_listed: bool,
}

/// Sources of exported points.
#[derive(Default)]
pub(super) struct ExportedPoints {
    sources: Mutex<Vec<Weak<PointSource>>>,
    /// Before this time no deleted point is given maps: that failed.
    resting_until_ns: Mutex<i128>,
}

impl ExportedPoints {
    fn sources(&self) -> MutexGuard<'_, Vec<Weak<PointSource>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, source: &Arc<PointSource>) {
        let mut sources = self.sources();
        sources.retain(|source| source.strong_count() > 0);
        sources.push(Arc::downgrade(source));
    }

    /// A cut has its maps: exports of it, and of points whose changes since it were asked for, let go of its layers.
    pub(super) fn settle(&self) {
        let sources: Vec<Arc<PointSource>> = self.sources().iter().filter_map(Weak::upgrade).collect();
        sources.iter().for_each(|source| source.settle());
    }

    /// A log was opened anew: exports of its cuts read them there.
    pub(super) fn readdress(&self, cuts: &Cuts) {
        let sources: Vec<Arc<PointSource>> = self.sources().iter().filter_map(Weak::upgrade).collect();
        sources.iter().for_each(|source| source.readdress(cuts));
    }

    /// The cuts whose layers anybody holds through an export.
    pub(super) fn held(&self) -> Vec<Arc<TakenCut>> {
        let sources: Vec<Arc<PointSource>> = self.sources().iter().filter_map(Weak::upgrade).collect();
        sources.iter().flat_map(|source| source.held()).collect()
    }

    /// Whether anybody holds the layers of a point.
    pub(super) fn has(&self, point_id: &Uid) -> bool {
        self.held().iter().any(|cut| cut.body.point_id == *point_id)
    }
}

impl Engine {
    /// A live disk as an export that can be written, unless the store is open for reading only.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `LOG_UNAVAILABLE`.
    pub fn export_disk(self: &Arc<Self>, disk_id: &Uid, label: ExportLabel) -> Result<Arc<dyn Export>> {
        Ok(Arc::new(LiveExport::open(Arc::clone(self), *disk_id, label)?))
    }

    /// A disk of a point as an export that can be read only.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `ARGUMENT_INVALID` for a disk that the point does not hold, `LOG_FENCED`.
    pub fn export_point(
        self: &Arc<Self>,
        disk: DiskReference,
        label: ExportLabel,
        bitmaps: Vec<ExportBitmap>,
    ) -> Result<Arc<dyn Export>> {
        Ok(Arc::new(PointExport::open(Arc::clone(self), disk, label, bitmaps)?))
    }

    /// Gives maps to points that were deleted before their copies while clients read them, or changes since them: behind a point
    /// that is not copied yet nobody else does that, and the clients would hold the log for as long as they stay. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// As [`Engine::copy`]: to be tried again after a while.
    pub(super) fn fold_deleted(&self, control: &Control) -> Result<bool> {
        let live = self.live();
        let resting = || live.exported.resting_until_ns.lock().unwrap_or_else(PoisonError::into_inner);
        if self.parts.clock.now_ns() < *resting() {
            return Ok(false);
        }
        let mut did_something = false;
        for cut in live.exported.held() {
            let is_registered = live.cut(&cut.body.point_id).is_some_and(|registered| Arc::ptr_eq(&registered, &cut));
            if is_registered || cut.folded().is_some() {
                continue; // its copy sees to it, or one of its clients has just done so
            }
            let folded = self.fold_moment(&cut, control);
            if folded.is_err() {
                *resting() = self.parts.clock.now_ns() + DELETED_FOLD_REST_NS;
            }
            folded?;
            did_something = true;
        }
        Ok(did_something)
    }

    /// Does work during which nobody may write these disks through an export, and none may be opened.
    ///
    /// # Errors
    /// `DISK_EXPORTED`, those of the work. A disk that is none is no error of this.
    pub(super) fn keep_unexported<T>(&self, disks: &[Uid], work: impl FnOnce() -> Result<T>) -> Result<T> {
        let seats: BTreeMap<Uid, Arc<DiskSeat>> =
            disks.iter().filter_map(|disk_id| Some((*disk_id, self.live().seat(disk_id).ok()?))).collect();
        let mut held = Vec::with_capacity(seats.len()); // in the order of their ids, which is everybody's
        for (disk_id, seat) in &seats {
            let exports = seat.exports();
            if *exports > 0 {
                let message = format!("disk {disk_id} is exported: {} connections may write it", *exports);
                return Err(Error::new(Code::DiskExported, message).with("disk", disk_id.to_string()));
            }
            held.push(exports);
        }
        work()
    }
}

impl ExportLabel {
    fn facts(self, size: u64, sector_bytes: u32, is_read_only: bool) -> Facts {
        Facts { name: self.name, description: self.description, size, sector_bytes, is_read_only }
    }
}

/// Reads what layers say of a range, and forgets it: whoever reads it next finds the log's blocks in memory.
fn touch(view: &View, offset: u64, length: u64, read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let mut scrap = vec![0; usize_from(length.min(CACHE_PIECE_BYTES))];
    let resolved = view.resolve(offset..offset + length);
    for (range, content) in resolved.extents {
        if !matches!(content, ExtentContent::Data { .. }) {
            continue;
        }
        let mut at = range.start;
        while at < range.end {
            let piece = (range.end - at).min(u64_from(scrap.len()));
            read(at, &mut scrap[..usize_from(piece)])?;
            at += piece;
        }
    }
    Ok(())
}
