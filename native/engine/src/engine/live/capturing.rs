//! Cuts and their copies, as the coordinator asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::Engine;
use super::cuts::{CutDisk, FoldedCut, PendingCut, TakenCut};
use super::fold_lock::Folding;
use super::folding::stood_on;
use super::log::LiveLog;
use super::upkeep::give_back;
use crate::background_copy::Folded;
use crate::control::Control;
use crate::disk;
use crate::error::{Code, Error, Result};
use crate::format::manifest::{Manifest, ManifestDisk};
use crate::limits::DETAIL_BYTES_MAX;
use crate::units::{Lsn, Uid};
use crate::write_log::{CutBody, ResetDisk};

use super::super::DiskReference;

/// What a cut is to be.
#[derive(Clone, Debug)]
pub struct CutRequest {
    /// The machine.
    pub machine_id: Uid,
    /// The new point.
    pub point_id: Uid,
    /// Its collection.
    pub collection: String,
    /// Its name; empty for a hidden one.
    pub name: String,
    /// Kept in the record as it is.
    pub detail: Vec<u8>,
}

/// What a copy is to make.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// The point, which has a cut.
    pub point_id: Uid,
    /// For the manifest.
    pub created_ms: u64,
    /// The manifest's detail.
    pub detail: Vec<u8>,
    /// The disks of the manifest, in its order: the cut's, or some of them.
    pub disks: Vec<Uid>,
}

/// A copied disk with its counts.
#[derive(Clone, Copy, Debug)]
pub struct CopiedDisk {
    /// The disk.
    pub disk_id: Uid,
    /// Its size.
    pub size: u64,
    /// What the copy did; all 0 for a disk that had not changed.
    pub folded: Option<Folded>,
}

impl Engine {
    /// Cuts: all disks of a machine at one LSN. When it returns the cut is in the log, and the point can be read.
    ///
    /// # Errors
    /// `LAYERS_FULL`, `NO_SPACE`, `LOG_FENCED`, `LOG_DAMAGED`, `STORE_READ_ONLY`, `ARGUMENT_INVALID`.
    pub fn cut(&self, request: CutRequest) -> Result<PendingCut> {
        self.check_writable()?;
        let log = self.live().log(&request.machine_id)?;
        if log.machine_id.is_none() {
            let message = format!("disk {} is attached to no machine that could be captured", request.machine_id);
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", request.machine_id.to_string()));
        }
        let _steady = log.steady();
        let CutRequest { machine_id, point_id, collection, name, detail } = request;
        self.check_new_point(&point_id)?;
        if log.group.disks().is_empty() {
            let message = format!("the machine {machine_id} has no disks to capture");
            return Err(Error::new(Code::ArgumentInvalid, message).with("machine", machine_id.to_string()));
        }
        let body = CutBody { point_id, machine_id, collection, point: name, detail };
        let cut = log.group.cut(body.clone())?;
        log.log().wait_until_logged(cut.lsn)?;
        let taken = taken_cut(&log, cut, body);
        let described = taken.described(false);
        self.live().cuts.insert(taken);
        Ok(described)
    }

    /// # Errors
    /// `ARGUMENT_INVALID`: the id is no point's, or one's already.
    pub(super) fn check_new_point(&self, point_id: &Uid) -> Result<()> {
        if *point_id == Uid::default() || self.live().cuts.get(point_id).is_some() || self.points.get(point_id).is_ok()
        {
            let message = format!("a new point needs an id of its own, not {point_id}");
            return Err(Error::new(Code::ArgumentInvalid, message).with("point", point_id.to_string()));
        }
        Ok(())
    }

    /// The log is durable past a cut when it returns.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `LOG_FENCED`, a failed sync.
    pub fn make_cut_durable(&self, point_id: &Uid) -> Result<()> {
        match self.live().cuts.get(point_id) {
            Some(cut) => cut.log.log().flush(cut.lsn),
            None => self.points.get(point_id).map(drop), // it is copied already
        }
    }

    /// The cuts that wait for their copy or its release.
    #[must_use]
    pub fn pending_cuts(&self) -> Vec<PendingCut> {
        let Some(live) = &self.live else { return Vec::new() };
        let mut cuts = live.cuts.all();
        cuts.retain(|cut| !cut.is_moment);
        cuts.sort_by_key(|cut| (cut.log.log_id, cut.lsn));
        cuts.iter().map(|cut| cut.described(self.is_point_pinned(&cut.body.point_id))).collect()
    }

    /// Copies a cut: maps of all its disks, durable, then its manifest. Resolves too when the manifest is there.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`; `STORE_BUSY` while an older cut waits, here or where a disk of the cut came from; `CANCELLED`, `NO_SPACE`, what reading and writing give.
    pub fn copy(&self, request: &CopyRequest, control: &Control) -> Result<Vec<CopiedDisk>> {
        self.check_writable()?;
        if !(2..=DETAIL_BYTES_MAX).contains(&request.detail.len()) {
            let message = format!("a point's detail is {} bytes; it may be {DETAIL_BYTES_MAX}", request.detail.len());
            return Err(Error::new(Code::ArgumentInvalid, message));
        }
        let Some(cut) = self.live().cuts.get(&request.point_id) else {
            return self.points.get(&request.point_id).map(|_| Vec::new());
        };
        check_copied(&cut, &request.disks)?;
        let (folded, _alone) = self.folded(&cut, control)?;
        control.check()?;
        if self.points.get(&request.point_id).is_err() {
            self.publish_cut(&cut, &folded, request)?;
        }
        self.resolve_cut(&cut, &folded)?;
        copied_disks(&cut, &folded, &request.disks)
    }

    /// The first part of a copy: maps of all disks of a cut, durable, without a manifest. What it took is known then, so that
    /// the manifest can say so; [`Engine::copy`] finds the maps made.
    ///
    /// # Errors
    /// As [`Engine::copy`].
    pub fn fold(&self, point_id: &Uid, disks: &[Uid], control: &Control) -> Result<Vec<CopiedDisk>> {
        self.check_writable()?;
        let Some(cut) = self.live().cuts.get(point_id) else {
            return self.points.get(point_id).map(|_| Vec::new());
        };
        check_copied(&cut, disks)?;
        let (folded, _) = self.folded(&cut, control)?;
        copied_disks(&cut, &folded, disks)
    }

    /// Maps of all disks of a cut, made or found; with the log's folding lock unless the cut is a moment, whose layer is its own.
    fn folded<'a>(&self, cut: &'a TakenCut, control: &Control) -> Result<(Arc<FoldedCut>, Option<Folding<'a>>)> {
        if cut.is_moment {
            return Ok((self.fold_moment(cut, control)?, None));
        }
        self.settle_origins(&cut.log, cut.lsn, control)?;
        let alone = cut.log.folding_unless_cancelled(control)?;
        Ok((self.fold_cut(cut, control)?, Some(alone)))
    }

    /// Gives up the layer of a cut whose point has a manifest. Nothing to give up is no error.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND` without a manifest; else as [`Engine::copy`].
    pub fn release_cut(&self, point_id: &Uid) -> Result<()> {
        self.check_writable()?;
        let Some(cut) = self.live().cuts.get(point_id) else { return Ok(()) };
        self.points.get(point_id)?; // or the point would be nowhere
        if cut.is_moment {
            self.forget_cut(&cut);
            return Ok(());
        }
        let control = Control::default();
        self.settle_origins(&cut.log, cut.lsn, &control)?;
        let own = Arc::clone(&cut.log);
        let alone = own.folding();
        let folded = self.fold_cut(&cut, &control)?;
        self.resolve_cut(&cut, &folded)?;
        if let Some(oldest) = cut.log.group.oldest_sealed()
            && oldest.sealed().is_some_and(|sealed| sealed.cut == cut.lsn)
        {
            self.install(&cut.log, &oldest, &folded)?;
        }
        // Who still stands on it by its id does so in a log that takes no more writes; the manifest is there for that.
        let unnamed = self.live().nothing_named();
        self.resolve_cut(&cut, &folded)?;
        self.forget_cut(&cut);
        drop(unnamed);
        drop((alone, cut));
        give_back(&own).map(drop)
    }

    /// Ends a cut that has no point any more. What stands on it by its id is first given its maps.
    ///
    /// # Errors
    /// As [`Engine::copy`], only where something stands on it; `STORE_BUSY` where that cannot be written down any more before
    /// the store is opened again.
    pub fn drop_cut(&self, point_id: &Uid, control: &Control) -> Result<()> {
        self.check_writable()?;
        let Some(cut) = self.live().cuts.get(point_id) else { return Ok(()) };
        if cut.is_moment {
            self.forget_cut(&cut); // nothing stands on it by its id
            return Ok(());
        }
        let fold = || {
            self.settle_origins(&cut.log, cut.lsn, control)?;
            let _alone = cut.log.folding_unless_cancelled(control)?;
            self.fold_cut(&cut, control)
        };
        if cut.folded().is_none() && self.live().exported.has(point_id) {
            // Clients that have it open hold the log else. Where this is not possible now, behind a point that is not copied yet or
            // without space, the upkeep does it.
            let _ = fold();
        }
        while !self.is_let_go(&cut)? {
            fold()?;
        }
        cut.log.group.merge_layers(true);
        Ok(())
    }

    /// Lets a cut go unless something stands on it by its id that it has no maps for yet.
    fn is_let_go(&self, cut: &TakenCut) -> Result<bool> {
        let _unnamed = self.live().nothing_named();
        let point_id = &cut.body.point_id;
        if self.is_point_pinned(point_id) {
            let Some(folded) = cut.folded() else { return Ok(false) };
            self.resolve_cut(cut, &folded)?;
            if self.is_named_in_a_log(point_id) {
                return Err(stood_on(point_id));
            }
        }
        self.forget_cut(cut);
        Ok(true)
    }

    /// Gives disks of one machine the content and size of disks of points: one record, all or none.
    ///
    /// # Errors
    /// `DISK_EXPORTED`, `DISK_NOT_FOUND`, `POINT_NOT_FOUND`, `ARGUMENT_INVALID`, `LOG_FENCED`, `LOG_DAMAGED`, `NO_SPACE`.
    pub fn reset_disks(&self, machine_id: &Uid, disks: &[(Uid, DiskReference)]) -> Result<Lsn> {
        self.check_writable()?;
        let log = self.live().log(machine_id)?;
        disks.iter().try_for_each(|(_, from)| self.settle_moment(from))?;
        let ids: Vec<Uid> = disks.iter().map(|(disk_id, _)| *disk_id).collect();
        self.keep_unexported(&ids, || self.reset_unexported(&log, disks))
    }

    fn reset_unexported(&self, log: &Arc<LiveLog>, disks: &[(Uid, DiskReference)]) -> Result<Lsn> {
        let _naming = self.live().naming();
        let mut list = Vec::with_capacity(disks.len());
        let mut pins = Vec::with_capacity(disks.len());
        for (disk_id, from) in disks {
            let origin = self.origin(from)?;
            list.push(ResetDisk { disk_id: *disk_id, base: origin.content, size: origin.size });
            pins.push(origin.pin);
        }
        let lsn = self.relieved(|| log.group.reset(&list))?;
        self.note_reset(log, lsn, &list)?;
        Ok(lsn)
    }

    fn publish_cut(&self, cut: &TakenCut, folded: &FoldedCut, request: &CopyRequest) -> Result<()> {
        let mut disks = Vec::new();
        for disk_id in &request.disks {
            let disk = cut.disk(disk_id)?;
            let Some(version) = folded.versions.get(disk_id) else {
                return Err(Error::new(Code::Internal, format!("disk {disk_id} of a cut was not folded")));
            };
            let (size, sector_bytes, root) = (disk.size, disk.sector_bytes, version.root);
            disks.push(ManifestDisk { disk_id: *disk_id, size, sector_bytes, root, lsn: cut.lsn.0 });
        }
        let manifest = Manifest {
            point_id: cut.body.point_id,
            store_id: self.config.store_id,
            created_ms: request.created_ms,
            chunk_bytes: self.config.chunk_bytes,
            disks,
            detail: request.detail.clone(),
        };
        self.store.adding(|| self.points.publish(manifest))
    }

    fn forget_cut(&self, cut: &TakenCut) {
        if let Some(sealed) = cut.layer.sealed() {
            sealed.release_point();
        }
        // Where the log was opened anew meanwhile, it is the cut that was found in it.
        let removed = self.live().cuts.remove(&cut.body.point_id);
        if let Some(sealed) = removed.as_ref().and_then(|removed| removed.layer.sealed()) {
            sealed.release_point();
        }
    }
}

fn copied_disks(cut: &TakenCut, folded: &FoldedCut, disks: &[Uid]) -> Result<Vec<CopiedDisk>> {
    let copied = |disk_id: &Uid| {
        let size = cut.disk(disk_id)?.size;
        Ok(CopiedDisk { disk_id: *disk_id, size, folded: folded.changed.get(disk_id).copied() })
    };
    disks.iter().map(copied).collect()
}

/// A manifest has one disk at least, each once, and all of them in the cut.
fn check_copied(cut: &TakenCut, disks: &[Uid]) -> Result<()> {
    let unique = disks.iter().enumerate().all(|(index, disk_id)| !disks[..index].contains(disk_id));
    if disks.is_empty() || !unique {
        let message = format!("the copy of restore point {} names no disk, or one twice", cut.body.point_id);
        return Err(Error::new(Code::ArgumentInvalid, message));
    }
    disks.iter().try_for_each(|disk_id| cut.disk(disk_id).map(drop))
}

/// A cut as the registry keeps it.
pub(super) fn taken_cut(log: &Arc<LiveLog>, cut: disk::Cut, body: CutBody) -> TakenCut {
    let disk::Cut { lsn, time_ms, layer, members, views } = cut;
    let mut disks = BTreeMap::new();
    for (disk_id, view) in views {
        if let Some(member) = members.get(&disk_id) {
            // The size at the cut: of records below it none is missing, for it is in the log.
            disks.insert(disk_id, CutDisk { size: view.size(), view, sector_bytes: member.sector_bytes });
        }
    }
    TakenCut::new(Arc::clone(log), (lsn, time_ms), body, layer, disks)
}
