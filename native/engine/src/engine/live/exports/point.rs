//! A disk of a restore point as an export.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::super::super::{DiskReference, Engine, Pinned};
use super::super::cuts::{Cuts, TakenCut};
use super::stretches::{Stretch, Stretches, status_of};
use super::{ALLOCATION, BITMAP_PREFIX, CACHE_BYTES_MAX, DEPTH, ExportBitmap, ExportLabel, touch};
use crate::block_map::{DiskVersion, MapReader};
use crate::collect::Purpose;
use crate::control::Control;
use crate::cut::Pin;
use crate::diff::DiffCursor;
use crate::error::{Code, Error, Result};
use crate::nbd::{Export, Facts, StatusExtent};
use crate::units::Uid;

/// Where the bytes of an exported point are.
#[derive(Clone)]
enum Place {
    /// In maps, which the pin keeps.
    Version { version: DiskVersion, pin: Pin },
    /// In layers of a log, while the copy runs.
    Cut(Arc<TakenCut>),
}

/// The bytes of one disk of a point.
pub(super) struct PointSource {
    disk: DiskReference,
    place: RwLock<Place>,
    changes: Mutex<KnownChanges>,
}

/// What was asked of the bitmaps.
#[derive(Default)]
struct KnownChanges {
    by_name: BTreeMap<String, Arc<Changes>>,
    /// The disks as the bitmaps' points have them, from when they were chosen: the points may be deleted since.
    before: BTreeMap<String, Place>,
    /// How many copies have ended: what was looked up before one of them may hold a log.
    epoch: u64,
}

impl Place {
    /// The cut whose layers it holds.
    fn held(&self) -> Option<&Arc<TakenCut>> {
        match self {
            Self::Cut(cut) => Some(cut),
            Self::Version { .. } => None,
        }
    }

    /// Lets go of the log's layers where the cut has maps.
    fn settle(&mut self, disk_id: &Uid) {
        let Some(folded) = self.held().and_then(|cut| cut.folded()) else { return };
        if let Some(version) = folded.versions.get(disk_id).copied() {
            *self = Self::Version { version, pin: folded };
        }
    }

    /// Reads the cut as it is registered now.
    fn readdress(&mut self, cuts: &Cuts) {
        if let Self::Cut(cut) = self
            && let Some(registered) = cuts.get(&cut.body.point_id)
        {
            *cut = registered;
        }
    }

    /// The disk as a map, to be read by `maps` and what it takes besides.
    fn pinned(&self, engine: &Engine, disk_id: &Uid, maps: &Arc<MapReader>, control: &Control) -> Result<Pinned> {
        let (version, maps, pin) = match self {
            Self::Version { version, pin } => (*version, Arc::clone(maps), Arc::clone(pin)),
            Self::Cut(cut) => engine.cut_version(cut, disk_id, maps, control)?,
        };
        Ok(Pinned { version, maps, pin })
    }
}

impl PointSource {
    /// The cuts whose layers it holds, of its own point and of those whose changes were asked for.
    pub(super) fn held(&self) -> Vec<Arc<TakenCut>> {
        let mut held: Vec<Arc<TakenCut>> = self.changes().before.values().filter_map(Place::held).cloned().collect();
        held.extend(self.place().held().cloned());
        held
    }

    fn changes(&self) -> MutexGuard<'_, KnownChanges> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy has ended: lets go of the log's layers where the point has its maps, and where they were looked up for bitmaps, which
    /// are looked up anew when they are asked for.
    pub(super) fn settle(&self) {
        self.change_places(|place| place.settle(&self.disk.disk_id));
    }

    /// A log was opened anew: its cuts are read there.
    pub(super) fn readdress(&self, cuts: &Cuts) {
        self.change_places(|place| place.readdress(cuts));
    }

    fn change_places(&self, change: impl Fn(&mut Place)) {
        let mut changes = self.changes();
        changes.by_name.retain(|_, known| !known.may_hold_log);
        changes.before.values_mut().for_each(&change);
        changes.epoch += 1;
        drop(changes);
        change(&mut self.place.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn place(&self) -> Place {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The changes between two points of a disk.
struct Changes {
    before: Pinned,
    after: Pinned,
    /// One of them was not copied when they were looked up.
    may_hold_log: bool,
}

/// One client's hold on a disk of a point.
pub(super) struct PointExport {
    engine: Arc<Engine>,
    source: Arc<PointSource>,
    facts: Facts,
    bitmaps: Vec<ExportBitmap>,
    sectors: RwLock<()>,
}

impl PointExport {
    pub(super) fn open(
        engine: Arc<Engine>,
        disk: DiskReference,
        label: ExportLabel,
        bitmaps: Vec<ExportBitmap>,
    ) -> Result<Self> {
        let (place, size, sector_bytes) = find(&engine, &disk)?;
        let source = Arc::new(PointSource { disk, place: RwLock::new(place), changes: Mutex::default() });
        engine.live().exported.add(&source);
        source.settle(); // its maps may have come before anybody knew of the source
        let facts = label.facts(size, sector_bytes, true);
        Ok(Self { engine, source, facts, bitmaps, sectors: RwLock::new(()) })
    }

    /// What changed since a bitmap's point, both sides pinned.
    fn changes_since(&self, name: &str) -> Result<Option<Arc<Changes>>> {
        let Some(bitmap) = self.bitmaps.iter().find(|bitmap| bitmap.name == name) else { return Ok(None) };
        let chosen = {
            let known = self.source.changes();
            if let Some(changes) = known.by_name.get(name) {
                return Ok(Some(Arc::clone(changes)));
            }
            known.before.get(name).cloned()
        };
        let (control, disk_id) = (Control::default(), &self.source.disk.disk_id);
        let before = match chosen {
            Some(before) => before,
            None => {
                let (found, ..) = find(&self.engine, &bitmap.since)?;
                self.source.changes().before.insert(name.to_owned(), found.clone());
                self.source.settle(); // its maps may have come before anybody knew of it
                found
            }
        };
        let epoch = self.source.changes().epoch; // before the places are looked at
        let before = self.source.changes().before.get(name).cloned().unwrap_or(before);
        let after = self.source.place();
        let may_hold_log = before.held().is_some() || after.held().is_some();
        let before = before.pinned(&self.engine, &bitmap.since.disk_id, &self.engine.maps, &control)?;
        let after = after.pinned(&self.engine, disk_id, &before.maps, &control)?;
        let changes = Arc::new(Changes { before, after, may_hold_log });
        let mut known = self.source.changes();
        if !may_hold_log || known.epoch == epoch {
            known.by_name.insert(name.to_owned(), Arc::clone(&changes));
        }
        Ok(Some(changes))
    }

    fn stretches(&self, range: Range<u64>) -> Result<Vec<Stretch>> {
        let stretches = Stretches::of(&self.engine.live().bases);
        match self.source.place() {
            Place::Version { version, .. } => stretches.of_version(version, range),
            Place::Cut(cut) => stretches.of_view(&cut.disk(&self.source.disk.disk_id)?.view, range),
        }
    }
}

/// Where a disk of a point is, its size and its sector size.
fn find(engine: &Engine, disk: &DiskReference) -> Result<(Place, u64, u32)> {
    let published = || {
        engine.leases.open(Purpose::Read, || {
            let manifest = engine.points.get(&disk.point_id)?;
            let version = engine.points.disk(&disk.point_id, &disk.disk_id)?;
            let sector_bytes = manifest.disks.iter().find(|each| each.disk_id == disk.disk_id);
            Ok(((version, sector_bytes.map_or(512, |each| each.sector_bytes)), vec![version.root]))
        })
    };
    let cut = engine.live().cut(&disk.point_id);
    let ((version, sector_bytes), lease) = match (published(), cut) {
        (Ok(found), _) => found,
        (Err(_), Some(cut)) => {
            let (size, sector_bytes) = cut.disk(&disk.disk_id).map(|disk| (disk.size, disk.sector_bytes))?;
            cut.check_logged()?;
            return Ok((Place::Cut(cut), size, sector_bytes));
        }
        // It became a point in between, or is none.
        (Err(_), None) => published().map_err(|error| engine.live().explain(error))?,
    };
    Ok((Place::Version { version, pin: Arc::new(lease) }, version.size, sector_bytes))
}

impl Export for PointExport {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self.source.place() {
            Place::Version { version, .. } => self.engine.live().bases.reader.read(&version, offset, buffer),
            Place::Cut(cut) => cut.log.group.read_view(&cut.disk(&self.source.disk.disk_id)?.view, offset, buffer),
        }
    }

    fn write(&self, _offset: u64, _bytes: &[u8], _durable: bool) -> Result<()> {
        Err(self.read_only())
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _durable: bool) -> Result<()> {
        Err(self.read_only())
    }

    fn trim(&self, _offset: u64, _length: u64, _durable: bool) -> Result<()> {
        Err(self.read_only())
    }

    /// Nothing was written that could be made durable.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn cache(&self, offset: u64, length: u64) -> Result<()> {
        let length = length.min(CACHE_BYTES_MAX);
        self.read_ahead(offset, length)?;
        match self.source.place() {
            Place::Version { .. } => Ok(()),
            Place::Cut(cut) => {
                let view = &cut.disk(&self.source.disk.disk_id)?.view;
                touch(view, offset, length, |at, scrap| cut.log.group.read_view(view, at, scrap))
            }
        }
    }

    fn read_ahead(&self, offset: u64, length: u64) -> Result<()> {
        match self.source.place() {
            Place::Version { version, .. } => self.engine.live().bases.reader.read_ahead(&version, offset, length),
            Place::Cut(cut) => {
                let view = &cut.disk(&self.source.disk.disk_id)?.view;
                self.engine.live().read_view_ahead(view, offset..offset + length)
            }
        }
    }

    fn sector_lock(&self) -> &RwLock<()> {
        &self.sectors
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        match self.source.place() {
            Place::Version { version, .. } => self.engine.live().bases.reader.is_at_hand(&version, offset, length),
            Place::Cut(cut) => cut
                .disk(&self.source.disk.disk_id)
                .is_ok_and(|disk| self.engine.live().is_view_at_hand(&disk.view, offset..offset + length)),
        }
    }

    fn contexts(&self) -> Vec<String> {
        let listed = self.bitmaps.iter().filter(|bitmap| bitmap.is_listed);
        let bitmaps = listed.map(|bitmap| format!("{BITMAP_PREFIX}{}", bitmap.name));
        [ALLOCATION.to_owned(), DEPTH.to_owned()].into_iter().chain(bitmaps).collect()
    }

    fn has_context(&self, name: &str) -> Result<bool> {
        match name.strip_prefix(BITMAP_PREFIX) {
            None => Ok([ALLOCATION, DEPTH].contains(&name)),
            Some(bitmap) => Ok(self.changes_since(bitmap)?.is_some()),
        }
    }

    fn status(&self, context: &str, offset: u64, length: u64, extents_max: usize) -> Result<Vec<StatusExtent>> {
        let range = offset..offset + length;
        let Some(name) = context.strip_prefix(BITMAP_PREFIX) else {
            let found = self.stretches(range)?;
            let flags = |kind: super::stretches::Kind| match context {
                DEPTH => u64::from(kind.depth() > 0), // a point stands on nothing
                _ => kind.allocation(),
            };
            return Ok(status_of(&found, extents_max, flags));
        };
        let Some(changes) = self.changes_since(name)? else {
            return Err(Error::new(Code::Internal, format!("the bitmap {name} was not chosen")));
        };
        changes.status(range, extents_max)
    }
}

impl PointExport {
    fn read_only(&self) -> Error {
        Error::new(Code::StoreReadOnly, format!("{} is a restore point, which nothing changes", self.facts.name))
    }
}

impl Changes {
    /// Flag 1 where the disk was changed.
    fn status(&self, range: Range<u64>, extents_max: usize) -> Result<Vec<StatusExtent>> {
        let (before, after) = (self.before.version, self.after.version);
        let mut cursor = DiffCursor::within(Arc::clone(&self.after.maps), before, after, None, range.clone());
        let page = cursor.next_page(2 * extents_max, &Control::default())?; // of two kinds, which are one to a bitmap
        let mut said: Vec<StatusExtent> = Vec::new();
        let mut say = |range: Range<u64>, flags: u64| match said.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.flags == flags => last.length += range.end - range.start,
            _ => said.push(StatusExtent { length: range.end - range.start, flags }),
        };
        let mut at = range.start;
        for extent in page.iter().take_while(|extent| extent.offset < range.end) {
            say(at..extent.offset.max(at), 0);
            say(extent.offset.max(at)..extent.end().min(range.end), 1);
            at = extent.end().clamp(at, range.end);
        }
        let is_whole = page.len() < 2 * extents_max;
        if is_whole || page.last().is_some_and(|last| last.offset >= range.end) {
            say(at..range.end, 0);
        }
        said.truncate(extents_max);
        Ok(said)
    }
}
