//! Layers to maps: the background copy of one layer, and the base that moves on after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::Engine;
use super::cuts::{FoldedCut, TakenCut, ViewSource};
use super::log::{LiveLog, pin};
use crate::background_copy::{Fold, Pace};
use crate::block_map::DiskVersion;
use crate::chunk_store::writer::Writer;
use crate::collect::Purpose;
use crate::control::Control;
use crate::cut::{Base, Layer, View};
use crate::error::{Code, Error, Result};
use crate::format::manifest::ManifestDisk;
use crate::format::superblock::{BaseContent, Resolution, Superblock, WindowBase};
use crate::limits::{AVAILABLE_BYTES_PRESSED, LAYERS_PRESSED, LOG_PRESSED_SHARE};
use crate::units::{Lsn, Uid};

impl Engine {
    /// Folds a cut's layer, after the older ones. The caller holds the log's folding lock.
    ///
    /// # Errors
    /// `STORE_BUSY` while an older point waits for its copy; else as [`Engine::fold_layer`].
    pub(super) fn fold_cut(&self, cut: &TakenCut, control: &Control) -> Result<Arc<FoldedCut>> {
        if let Some(folded) = cut.folded() {
            return Ok(folded);
        }
        let layer = loop {
            let Some(oldest) = cut.log.group.oldest_sealed() else { return Err(gone(cut)) };
            match oldest.sealed() {
                Some(sealed) if sealed.cut == cut.lsn => break oldest,
                Some(sealed) if sealed.cut > cut.lsn => return Err(gone(cut)),
                Some(sealed) if sealed.has_point() => {
                    let message = "an older restore point of the machine waits for its copy";
                    return Err(Error::new(Code::StoreBusy, message).with("point", sealed.body.point_id.to_string()));
                }
                _ => self.fold_away(&cut.log, &oldest, control)?,
            }
        };
        let folded = Arc::new(self.fold_layer(&cut.log, &layer, control)?);
        cut.set_folded(&folded);
        self.live().exported.settle();
        Ok(folded)
    }

    /// Folds the oldest layer, which no point needs, into the bases. The caller holds the log's folding lock.
    ///
    /// # Errors
    /// As [`Engine::fold_layer`] and [`Engine::install`].
    pub(super) fn fold_away(&self, log: &LiveLog, layer: &Arc<Layer>, control: &Control) -> Result<()> {
        let folded = self.fold_layer(log, layer, control)?;
        self.install(log, layer, &folded)
    }

    /// Makes maps of a layer's disks, durably.
    ///
    /// # Errors
    /// `CANCELLED`, `NO_SPACE`, `LOG_FENCED`, what reading and writing give.
    fn fold_layer(&self, log: &LiveLog, layer: &Arc<Layer>, control: &Control) -> Result<FoldedCut> {
        match self.relieved(|| self.fold_layer_into_what_is_free(log, layer, control)) {
            // Others took what was kept free for this; paying a debt frees log and gives the collector its garbage.
            Err(error) if error.code() == Code::NoSpace => {
                let _loan = self.borrow_reserve_at_once();
                self.fold_layer_into_what_is_free(log, layer, control)
            }
            ended => ended,
        }
    }

    fn fold_layer_into_what_is_free(&self, log: &LiveLog, layer: &Arc<Layer>, control: &Control) -> Result<FoldedCut> {
        let Some(sealed) = layer.sealed() else { unreachable!("only sealed layers are folded") };
        log.log().flush(sealed.cut)?; // no point may hold what a power cut can take back
        let mut views = Vec::with_capacity(sealed.members.len());
        for disk_id in sealed.members.keys() {
            views.extend(log.group.view_at(layer, disk_id));
        }
        self.fold_views(log, views, Writer::paying_debt(&self.store), control)
    }

    /// Makes maps of what a cut shows of its disks, durably.
    ///
    /// # Errors
    /// As [`Engine::fold_layer`].
    pub(super) fn fold_views(
        &self,
        log: &LiveLog,
        views: Vec<View>,
        mut writer: Writer<'_>,
        control: &Control,
    ) -> Result<FoldedCut> {
        let mut bases = Vec::with_capacity(views.len());
        for view in &views {
            let (version, maps) = self.live().cuts.base_version(view, &self.maps, control)?;
            if !Arc::ptr_eq(&maps, &self.maps) {
                // What it stands on has no stored map yet (`settle_origins` sees to that).
                return Err(Error::new(Code::StoreBusy, "a disk stands on a restore point whose copy still runs"));
            }
            bases.push(version);
        }
        let roots = bases.iter().map(|version| version.root).collect();
        // Before the first look-up, and until what comes of it is pinned: a collection waits for this lease.
        let ((), lease) = self.leases.open(Purpose::Write, || Ok(((), roots)))?;
        let is_pressed = || self.is_pressed(log);
        let mut pace = Pace::new(self.parts.clock.as_ref(), control, &self.live().load, &is_pressed);
        let (mut changed, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for (view, base) in views.into_iter().zip(bases) {
            let (disk_id, size) = (view.disk_id, view.size());
            if view.layers().iter().all(|layer| layer.disk(&disk_id).is_none()) {
                versions.insert(disk_id, base);
                continue;
            }
            let source = Arc::new(ViewSource::new(Arc::clone(&log.group), view, size));
            let mut fold = Fold::new(Arc::clone(&self.maps), base, size, source, None)?;
            control.add_total(fold.progress().total_bytes);
            while fold.run(u64::MAX, &mut writer, &mut pace)? {}
            let folded = fold.finish(&mut writer)?;
            versions.insert(disk_id, folded.version);
            changed.insert(disk_id, folded);
        }
        writer.commit()?;
        let pin = pin(&self.leases, versions.values().map(|version| version.root).collect());
        drop(lease);
        Ok(FoldedCut { changed, versions, _pin: pin })
    }

    /// Whether a copy must not wait: its log takes much of what it may, few layers are left, or space is short.
    fn is_pressed(&self, log: &LiveLog) -> bool {
        log.needed_bytes(self.options.window) > self.options.log_bytes_max / LOG_PRESSED_SHARE
            || log.group.layer_count() > LAYERS_PRESSED
            || self.live().space.available_bytes().is_ok_and(|bytes| bytes < AVAILABLE_BYTES_PRESSED)
    }

    /// Lets the log's disks stand on what was folded, durably, and gives up its records. The caller holds the folding lock.
    ///
    /// # Errors
    /// What writing the superblock and removing segments give.
    pub(super) fn install(&self, log: &LiveLog, layer: &Arc<Layer>, folded: &FoldedCut) -> Result<()> {
        let Some(sealed) = layer.sealed() else { unreachable!("only sealed layers are folded") };
        let cut = sealed.cut;
        let change = |superblock: &mut Superblock| {
            for disk in superblock.disks.iter_mut().filter(|disk| disk.base_lsn < cut) {
                if let Some(version) = folded.versions.get(&disk.disk_id) {
                    (disk.base, disk.size) = (BaseContent::Map(version.root), version.size);
                    disk.base_lsn = cut;
                }
            }
            // One that has left since was there at the cut (I-61).
            for (disk_id, version) in &folded.versions {
                if !superblock.disks.iter().any(|disk| disk.disk_id == *disk_id && disk.base_lsn == cut) {
                    let DiskVersion { root, size } = *version;
                    superblock.window.push(WindowBase { disk_id: *disk_id, root, size, lsn: cut });
                }
            }
            superblock.cursors.retain(|cursor| cursor.cut > cut);
        };
        let mut bases = BTreeMap::new();
        for (disk_id, version) in &folded.versions {
            let content = BaseContent::Map(version.root);
            let pinned = Arc::new(pin(&self.leases, vec![version.root]));
            bases.insert(*disk_id, Base { content, size: version.size, lsn: cut, pin: pinned });
        }
        let installed = || {
            log.group.replace_base(layer, bases);
        };
        let record = log.log().records(Lsn(cut.0 - 1), cut)?; // its layer holds it
        let time_ms = record.last().map_or(0, |record| record.time_ms);
        self.move_base(log, (cut, time_ms), change, installed)
    }

    /// Lets everything that stands on a point by its id stand on the maps that its copy made, durably. A log that takes no
    /// more writes goes on naming it.
    ///
    /// # Errors
    /// What writing superblocks gives.
    pub(super) fn resolve_cut(&self, cut: &TakenCut, folded: &Arc<FoldedCut>) -> Result<()> {
        let point_id = cut.body.point_id;
        if self.is_point_pinned(&point_id) {
            self.live().cuts.keep_resolved(point_id, folded, &self.live().exported.held());
            self.resolve_point(point_id, &folded.versions)?;
        }
        Ok(())
    }

    /// As [`Engine::resolve_cut`], by what the point's disks are.
    ///
    /// # Errors
    /// What writing superblocks gives.
    pub(super) fn resolve_point(&self, point_id: Uid, versions: &BTreeMap<Uid, DiskVersion>) -> Result<()> {
        let mut failed = None;
        for log in self.live().all_logs() {
            if points_named(&log, Lsn(u64::MAX)).contains(&point_id)
                && let Err(error) = self.resolve_in(&log, point_id, versions)
                && log.log().is_fenced().is_none()
            {
                failed = Some(error); // a machine's failed log is no other's matter
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn resolve_in(&self, log: &LiveLog, point_id: Uid, versions: &BTreeMap<Uid, DiskVersion>) -> Result<()> {
        let maps: BTreeMap<Uid, BaseContent> =
            versions.iter().map(|(disk_id, version)| (*disk_id, BaseContent::Map(version.root))).collect();
        log.change_superblock(&self.leases, |superblock| {
            for disk in &mut superblock.disks {
                if let BaseContent::Point { point_id: named, disk_id } = disk.base
                    && named == point_id
                    && let Some(map) = maps.get(&disk_id)
                {
                    disk.base = *map;
                }
            }
            superblock.resolutions.retain(|resolution| resolution.point_id != point_id);
            superblock.resolutions.extend(versions.iter().map(|(disk_id, version)| Resolution {
                point_id,
                disk_id: *disk_id,
                root: version.root,
                size: version.size,
            }));
        })?;
        log.group.resolve_point(&point_id, &maps)?;
        log.note_resolved(point_id);
        log.window().exchange(&point_id, &maps, &*self.live().bases)?;
        Ok(())
    }

    /// As [`Engine::resolve_point`], of a point that has a manifest and no cut any more; without either nothing happens.
    ///
    /// # Errors
    /// What writing superblocks gives.
    pub(super) fn resolve_published(&self, point_id: Uid) -> Result<()> {
        let Ok(manifest) = self.points.get(&point_id) else { return Ok(()) };
        let version = |disk: &ManifestDisk| (disk.disk_id, DiskVersion { root: disk.root, size: disk.size });
        self.resolve_point(point_id, &manifest.disks.iter().map(version).collect())
    }

    /// Gives stored maps to all points on which a log's disks stood by their ids before `before`. Nobody's folding lock is
    /// held: each point only stands on older ones, in whatever logs they are.
    ///
    /// # Errors
    /// As [`Engine::fold_cut`].
    pub(super) fn settle_origins(&self, log: &LiveLog, before: Lsn, control: &Control) -> Result<()> {
        points_named(log, before).iter().try_for_each(|point_id| self.settle_origin(point_id, control))
    }

    /// Gives stored maps to a point, if it is a cut yet, and to what stands on it by its id.
    ///
    /// # Errors
    /// As [`Engine::fold_cut`].
    pub(super) fn settle_origin(&self, point_id: &Uid, control: &Control) -> Result<()> {
        let Some(origin) = self.live().cuts.get(point_id) else {
            return self.resolve_published(*point_id); // what kept it from that before may be over
        };
        self.settle_origins(&origin.log, origin.lsn, control)?;
        let _alone = origin.log.folding_unless_cancelled(control)?;
        let folded = self.fold_cut(&origin, control)?;
        self.resolve_cut(&origin, &folded)
    }

    /// Whether a point's manifest may go: a cut that is pending sees to those who stand on it by its id, else nobody would.
    ///
    /// # Errors
    /// `STORE_BUSY`.
    pub(in crate::engine) fn check_not_stood_on(&self, point_id: &Uid) -> Result<()> {
        if self.live().cuts.get(point_id).is_some() || !self.is_named_in_a_log(point_id) {
            return Ok(());
        }
        self.resolve_published(*point_id)?;
        if !self.is_named_in_a_log(point_id) {
            return Ok(());
        }
        Err(stood_on(point_id))
    }

    /// Whether a log names a point by its id: a disk stands on it, or stood on it at a moment that is kept. A log that could not
    /// be opened may.
    pub(super) fn is_named_in_a_log(&self, point_id: &Uid) -> bool {
        let live = self.live();
        live.all_logs().iter().any(|log| points_named(log, Lsn(u64::MAX)).contains(point_id))
            || live.closed.may_name(point_id, self.points.get(point_id).ok().as_deref())
    }

    /// The same, or a moment that is in use stands on it, or a cut that an export holds: those find its maps in memory once there are
    /// such.
    pub(super) fn is_point_pinned(&self, point_id: &Uid) -> bool {
        self.is_named_in_a_log(point_id)
            || self.live().cuts.moments().iter().any(|moment| moment.points_named().contains(point_id))
            || self.live().exported.held().iter().any(|cut| cut.points_named().contains(point_id))
    }
}

/// The points that a log's disks stand on by their ids, or stood on at a moment that is kept, as far as that began before an
/// LSN.
pub(super) fn points_named(log: &LiveLog, before: Lsn) -> BTreeSet<Uid> {
    let mut named = points_stood_on(log, before);
    named.extend(log.window().points_named(before));
    named
}

/// The points that a log's disks stand on by their ids, as far as that began before an LSN.
pub(super) fn points_stood_on(log: &LiveLog, before: Lsn) -> BTreeSet<Uid> {
    let stack = log.group.stack();
    let mut named = BTreeSet::new();
    let mut note = |base: Option<Arc<Base>>| {
        let content = base.filter(|base| base.lsn < before).map(|base| base.content);
        if let Some(BaseContent::Point { point_id, .. }) = content {
            named.insert(point_id);
        }
    };
    for layer in stack.newest_first() {
        for disk_id in layer.disk_ids() {
            note(layer.disk(&disk_id).and_then(|disk| disk.bottom()));
        }
    }
    for disk in &log.log().superblock().disks {
        note(stack.base(&disk.disk_id).cloned());
    }
    named
}

/// Something stands on a point, or may do so, and cannot be told where it stands now.
pub(super) fn stood_on(point_id: &Uid) -> Error {
    let message = format!(
        "a disk stands, or may stand, on restore point {point_id}, and its write log takes no writes or could not be opened"
    );
    Error::new(Code::StoreBusy, message).with("point", point_id.to_string())
}

fn gone(cut: &TakenCut) -> Error {
    if let Some(fenced) = cut.log.log().is_fenced() {
        return fenced; // the log was opened anew, and the cut is there
    }
    Error::new(Code::Internal, format!("the layer of restore point {} is gone", cut.body.point_id))
}
