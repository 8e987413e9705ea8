//! The cuts of all logs that have a point, and what stands on them.
//!
//! What it is: a cut is here from the moment it is appended, or found in a log, until it is released or dropped. All that
//! time it can be read, compared, restored and cloned: through the layers that it pins, or by its maps once it is folded.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::closed::ClosedLogs;
use super::log::{LiveLog, pin};
use crate::background_copy::Folded;
use crate::block_map::{DiskVersion, LayerContent, LayerRange, LayerSource, MapReader, Overlay, VersionReader};
use crate::collect::{Lease, Leases};
use crate::control::Control;
use crate::cut::{Base, ExtentContent, Layer, Pin, View};
use crate::disk::{BaseReader, Group};
use crate::error::{Code, Error, Result};
use crate::format::node::Root;
use crate::format::superblock::BaseContent;
use crate::points::Points;
use crate::units::{Lsn, Uid};
use crate::write_log::CutBody;

/// Where ranges of a view are looked for at once; it doubles while there are none.
const LOOK_BYTES: u64 = 16 << 20;

/// A disk in a cut.
pub(super) struct CutDisk {
    pub(super) view: View,
    pub(super) size: u64,
    pub(super) sector_bytes: u32,
}

/// What a cut's disks became, held until the superblock names it.
pub(super) struct FoldedCut {
    /// The disks that its layer had anything of.
    pub(super) changed: BTreeMap<Uid, Folded>,
    /// All its disks.
    pub(super) versions: BTreeMap<Uid, DiskVersion>,
    pub(super) _pin: Lease,
}

/// A cut with a point.
pub(in crate::engine) struct TakenCut {
    pub(super) log: Arc<LiveLog>,
    pub(super) lsn: Lsn,
    pub(super) time_ms: u64,
    pub(super) body: CutBody,
    pub(super) layer: Arc<Layer>,
    pub(super) disks: BTreeMap<Uid, CutDisk>,
    /// A point in time: its layer is its own, and no record names it.
    pub(super) is_moment: bool,
    folded: Mutex<Option<Arc<FoldedCut>>>,
    overlays: Mutex<BTreeMap<Uid, Arc<Overlay>>>,
}

/// A cut as its caller sees it.
#[derive(Clone, Debug)]
pub struct PendingCut {
    /// The point.
    pub point_id: Uid,
    /// The machine.
    pub machine_id: Uid,
    /// The point's collection.
    pub collection: String,
    /// The point's name; empty for a hidden one.
    pub name: String,
    /// The cut.
    pub lsn: Lsn,
    /// When its record was made, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// Its disks: id, size, sector size.
    pub disks: Vec<(Uid, u64, u32)>,
    /// What the caller had it keep.
    pub detail: Vec<u8>,
    /// A disk of another log stands on it.
    pub pinned: bool,
}

impl TakenCut {
    pub(super) fn new(
        log: Arc<LiveLog>,
        (lsn, time_ms): (Lsn, u64),
        body: CutBody,
        layer: Arc<Layer>,
        disks: BTreeMap<Uid, CutDisk>,
    ) -> Self {
        let (folded, overlays) = (Mutex::default(), Mutex::default());
        Self { log, lsn, time_ms, body, layer, disks, is_moment: false, folded, overlays }
    }

    /// The points that its disks stand on by their ids.
    pub(super) fn points_named(&self) -> BTreeSet<Uid> {
        let contents = self.disks.values().filter_map(|disk| Some(disk.view.bottom()?.content));
        let named = contents.filter_map(|content| match content {
            BaseContent::Point { point_id, .. } => Some(point_id),
            BaseContent::Map(_) => None,
        });
        named.collect()
    }

    pub(super) fn described(&self, pinned: bool) -> PendingCut {
        PendingCut {
            point_id: self.body.point_id,
            machine_id: self.body.machine_id,
            collection: self.body.collection.clone(),
            name: self.body.point.clone(),
            lsn: self.lsn,
            time_ms: self.time_ms,
            disks: self.disks.iter().map(|(disk_id, disk)| (*disk_id, disk.size, disk.sector_bytes)).collect(),
            detail: self.body.detail.clone(),
            pinned,
        }
    }

    /// One of its disks.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID`.
    pub(super) fn disk(&self, disk_id: &Uid) -> Result<&CutDisk> {
        self.disks.get(disk_id).ok_or_else(|| {
            let message = format!("restore point {} does not hold disk {disk_id}", self.body.point_id);
            Error::new(Code::ArgumentInvalid, message).with("disk", disk_id.to_string())
        })
    }

    /// Waits until all its records are in the log. What is can be read even where the log is fenced.
    ///
    /// # Errors
    /// `LOG_FENCED`.
    pub(super) fn check_logged(&self) -> Result<()> {
        if self.log.log().watermark() < self.lsn { self.log.log().wait_until_logged(self.lsn) } else { Ok(()) }
    }

    pub(super) fn folded(&self) -> Option<Arc<FoldedCut>> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_folded(&self, folded: &Arc<FoldedCut>) {
        *self.folded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(folded));
        self.overlays().clear();
    }

    fn overlays(&self) -> MutexGuard<'_, BTreeMap<Uid, Arc<Overlay>>> {
        self.overlays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A point on which something stood by its id: views that were taken then still name it when it is gone.
struct Resolved {
    folded: Arc<FoldedCut>,
    needed_by: Vec<Weak<TakenCut>>,
}

/// All cuts with a point, by its id.
pub(super) struct Cuts {
    points: Arc<Points>,
    closed: Arc<ClosedLogs>,
    by_point: RwLock<BTreeMap<Uid, Arc<TakenCut>>>,
    resolved: RwLock<BTreeMap<Uid, Resolved>>,
}

impl Cuts {
    pub(super) fn new(points: Arc<Points>, closed: Arc<ClosedLogs>) -> Self {
        Self { points, closed, by_point: RwLock::default(), resolved: RwLock::default() }
    }

    pub(super) fn get(&self, point_id: &Uid) -> Option<Arc<TakenCut>> {
        self.by_point.read().unwrap_or_else(PoisonError::into_inner).get(point_id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<TakenCut>> {
        self.by_point.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Points in time.
    pub(super) fn moments(&self) -> Vec<Arc<TakenCut>> {
        self.all().into_iter().filter(|cut| cut.is_moment).collect()
    }

    pub(super) fn insert(&self, cut: TakenCut) {
        let mut by_point = self.by_point.write().unwrap_or_else(PoisonError::into_inner);
        by_point.insert(cut.body.point_id, Arc::new(cut));
    }

    pub(super) fn remove(&self, point_id: &Uid) -> Option<Arc<TakenCut>> {
        self.by_point.write().unwrap_or_else(PoisonError::into_inner).remove(point_id)
    }

    /// Keeps the maps of a point that something stood on by its id, for as long as there is a cut that may name it: one that is
    /// pending, or is held though its point was deleted.
    pub(super) fn keep_resolved(&self, point_id: Uid, folded: &Arc<FoldedCut>, held: &[Arc<TakenCut>]) {
        let needed_by = self.all().iter().chain(held).map(Arc::downgrade).collect();
        let mut resolved = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
        resolved.retain(|_, resolved| resolved.needed_by.iter().any(|cut| cut.strong_count() > 0));
        resolved.insert(point_id, Resolved { folded: Arc::clone(folded), needed_by });
    }

    /// The map of a disk of a point that something stood on.
    fn resolved(&self, point_id: &Uid, disk_id: &Uid) -> Option<DiskVersion> {
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        resolved.get(point_id)?.folded.versions.get(disk_id).copied()
    }

    /// Forgets all: cuts and the bases that stand on them keep each other.
    pub(super) fn clear(&self) {
        self.by_point.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.resolved.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A disk of a cut as a map, with who can read it: the one that its copy made, or one that is made for this now, in
    /// memory (block_map/overlay.rs).
    ///
    /// # Errors
    /// `ARGUMENT_INVALID`, `CANCELLED`, what reading gives.
    pub(super) fn version(
        &self,
        cut: &TakenCut,
        disk_id: &Uid,
        maps: &Arc<MapReader>,
        control: &Control,
    ) -> Result<(DiskVersion, Arc<MapReader>)> {
        let disk = cut.disk(disk_id)?;
        if let Some(version) = cut.folded().and_then(|folded| folded.versions.get(disk_id).copied()) {
            return Ok((version, Arc::clone(maps)));
        }
        cut.check_logged()?;
        let cached = cut.overlays().get(disk_id).cloned();
        let (base, maps) = self.base_version(&disk.view, maps, control)?;
        let overlay = match cached {
            Some(overlay) => overlay,
            None => {
                let source = Arc::new(ViewSource::new(Arc::clone(&cut.log.group), disk.view.clone(), disk.size));
                let built = Arc::new(Overlay::build(Arc::clone(&maps), base, disk.size, source, control)?);
                Arc::clone(cut.overlays().entry(*disk_id).or_insert(built))
            }
        };
        Ok((overlay.version(), Arc::new(maps.with_overlay(overlay))))
    }

    /// What a view's layers stand on, as a map.
    ///
    /// # Errors
    /// As [`Cuts::version`].
    pub(super) fn base_version(
        &self,
        view: &View,
        maps: &Arc<MapReader>,
        control: &Control,
    ) -> Result<(DiskVersion, Arc<MapReader>)> {
        let chunk_bytes = maps.store().parameters().chunk_bytes;
        let Some(base) = view.bottom() else {
            return Ok((DiskVersion { root: Root::empty(0, chunk_bytes), size: 0 }, Arc::clone(maps)));
        };
        match base.content {
            BaseContent::Map(root) => Ok((DiskVersion { root, size: base.size }, Arc::clone(maps))),
            BaseContent::Point { point_id, disk_id } => match (self.get(&point_id), self.resolved(&point_id, &disk_id))
            {
                (Some(cut), _) => self.version(&cut, &disk_id, maps, control),
                (None, Some(version)) => Ok((version, Arc::clone(maps))),
                // A log that takes no more writes names it still; it has a manifest.
                (None, None) => {
                    let version = self.points.disk(&point_id, &disk_id).map_err(|error| self.closed.explain(error))?;
                    Ok((version, Arc::clone(maps)))
                }
            },
        }
    }
}

/// What the layers of a view have, over what they stand on.
pub(super) struct ViewSource {
    group: Arc<Group>,
    view: View,
    size: u64,
}

impl ViewSource {
    pub(super) fn new(group: Arc<Group>, view: View, size: u64) -> Self {
        Self { group, view, size }
    }
}

impl LayerSource for ViewSource {
    fn ranges(&self, from: u64, count_max: usize) -> Result<Vec<LayerRange>> {
        let (mut at, mut look_bytes) = (from, LOOK_BYTES);
        while at < self.size {
            let end = self.size.min(at.saturating_add(look_bytes));
            let mut extents = self.view.resolve(at..end).extents;
            if !extents.is_empty() {
                extents.sort_unstable_by_key(|(range, _)| range.start);
                extents.truncate(count_max);
                let ranges = extents.into_iter().map(|(range, content)| LayerRange {
                    offset: range.start,
                    length: range.end - range.start,
                    content: match content {
                        ExtentContent::Data { .. } => LayerContent::Data,
                        ExtentContent::Zero => LayerContent::Zero,
                        ExtentContent::Hole => LayerContent::Hole,
                    },
                });
                return Ok(ranges.collect());
            }
            at = end;
            look_bytes = look_bytes.saturating_mul(2);
        }
        Ok(Vec::new())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.group.read_view(&self.view, offset, buffer)
    }
}

/// Reads what live disks stand on.
pub(super) struct Bases {
    pub(super) reader: VersionReader,
    pub(super) leases: Arc<Leases>,
    pub(super) points: Arc<Points>,
    pub(super) cuts: Arc<Cuts>,
    pub(super) closed: Arc<ClosedLogs>,
    /// While logs are opened a point may be named before its cut is found. Nothing is collected then.
    pub(super) is_opening: AtomicBool,
}

impl Bases {
    /// Whether a range can be expected to be read without waiting for a device.
    pub(super) fn is_at_hand(&self, base: &Base, range: &Range<u64>) -> bool {
        let (offset, end) = (range.start, range.end.min(base.size));
        match base.content {
            _ if offset >= end => true,
            BaseContent::Map(root) => {
                self.reader.is_at_hand(&DiskVersion { root, size: base.size }, offset, end - offset)
            }
            BaseContent::Point { .. } => false,
        }
    }

    /// Puts what a range reads of a map into memory. Of a point whose copy runs that is nothing: most of it is in a log.
    ///
    /// # Errors
    /// What reading gives.
    pub(super) fn read_ahead(&self, base: &Base, range: &Range<u64>) -> Result<()> {
        let (offset, end) = (range.start, range.end.min(base.size));
        let version = match base.content {
            _ if offset >= end => return Ok(()),
            BaseContent::Map(root) => DiskVersion { root, size: base.size },
            BaseContent::Point { point_id, .. } if self.cuts.get(&point_id).is_some() => return Ok(()),
            BaseContent::Point { point_id, disk_id } => self.settled_version(&point_id, &disk_id)?,
        };
        self.reader.read_ahead(&version, offset, end - offset)
    }

    /// The map of a disk of a point that waits for no copy any more.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `LOG_UNAVAILABLE`.
    pub(super) fn settled_version(&self, point_id: &Uid, disk_id: &Uid) -> Result<DiskVersion> {
        let published = || self.points.disk(point_id, disk_id).map_err(|error| self.closed.explain(error));
        self.cuts.resolved(point_id, disk_id).map_or_else(published, Ok)
    }
}

impl BaseReader for Bases {
    fn read(&self, base: &Base, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match base.content {
            BaseContent::Map(root) => self.reader.read(&DiskVersion { root, size: base.size }, offset, buffer),
            BaseContent::Point { point_id, disk_id } => {
                if let Some(cut) = self.cuts.get(&point_id) {
                    return cut.log.group.read_view(&cut.disk(&disk_id)?.view, offset, buffer);
                }
                self.reader.read(&self.settled_version(&point_id, &disk_id)?, offset, buffer)
            }
        }
    }

    fn pin(&self, content: &BaseContent) -> Result<Pin> {
        match content {
            BaseContent::Map(root) => Ok(Arc::new(pin(&self.leases, vec![*root]))),
            BaseContent::Point { point_id, disk_id } => {
                if let Some(cut) = self.cuts.get(point_id) {
                    return Ok(cut);
                }
                match self.points.disk(point_id, disk_id) {
                    Ok(version) => Ok(Arc::new(pin(&self.leases, vec![version.root]))),
                    Err(_) if self.is_opening.load(Ordering::Acquire) => Ok(Arc::new(())),
                    Err(error) => Err(error),
                }
            }
        }
    }
}
