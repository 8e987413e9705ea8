//! Points in time: a machine as it was between its restore points.
//!
//! What it is: a hidden cut that no record names, made of the newest base at or below the moment and the records from there
//! to it. It is read, compared, restored, cloned and copied like any other; it holds its records, and pins its bases, until
//! it is dropped or the store is closed.
//! What it guarantees: what it shows is what the machine's disks were right after the last record at or below the moment, with the
//! disks and sizes of then, and is durable (I-61, I-63).
//! What it costs: the headers of the records between base and moment, and the index of where their bytes are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{DiskReference, Engine};
use super::capturing::{CutRequest, taken_cut};
use super::cuts::{FoldedCut, PendingCut, TakenCut};
use super::log::LiveLog;
use super::window::pin_bases;
use crate::chunk_store::writer::Writer;
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::superblock::{BaseContent, Superblock, SuperblockDisk};
use crate::units::{Lsn, Uid};
use crate::write_log::{CutBody, Membership};

/// A moment of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the last record at or below an LSN.
    Lsn(Lsn),
    /// After the last record not after a time, in milliseconds since 1970-01-01 UTC.
    TimeMs(u64),
}

impl Engine {
    /// Makes a machine's disks, as they were at a moment, a hidden point: what [`Engine::cut`] would have made then. The LSN and
    /// the time are those of the last record that it holds. [`Engine::drop_cut`] ends it, as closing the store does.
    ///
    /// # Errors
    /// `MOMENT_NOT_KEPT`: it lies outside the window, or above the log's end; the machine had no disks. `ARGUMENT_INVALID`,
    /// `LOG_FENCED`, `LOG_DAMAGED`, `STORE_READ_ONLY`, what reading and a sync give.
    pub fn point_in_time(&self, request: CutRequest, at: Moment) -> Result<PendingCut> {
        self.check_writable()?;
        let CutRequest { machine_id, point_id, collection, name, detail } = request;
        let log = self.live().log(&machine_id)?;
        if log.machine_id.is_none() {
            let message = format!("disk {machine_id} is attached to no machine that could be looked at");
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", machine_id.to_string()));
        }
        self.check_new_point(&point_id)?;
        let asked = match at {
            Moment::Lsn(lsn) => Some(lsn).filter(|lsn| *lsn <= log.log().watermark()),
            Moment::TimeMs(time_ms) => match log.log().lsn_at(time_ms)? {
                None => log.window().start_at(time_ms), // its record may be gone
                found => found,
            },
        };
        let asked = asked.ok_or_else(|| not_kept(&log, at, "it lies outside what the write log holds"))?;
        log.log().flush(asked)?; // nothing is shown that a power cut can take back (I-63)
        let body = CutBody { point_id, machine_id, collection, point: name, detail };
        // No disk moves, and what is looked up of points by their ids stays so until this moment is in the list.
        let (_steady, _naming) = (log.steady(), self.live().naming());
        let taken = self.seen_at(&log, at, asked, body)?;
        let described = taken.described(false);
        self.live().cuts.insert(taken);
        Ok(described)
    }

    fn seen_at(&self, log: &Arc<LiveLog>, at: Moment, asked: Lsn, body: CutBody) -> Result<TakenCut> {
        let window = log.window();
        let Some(from) = window.base_before(asked) else {
            return Err(not_kept(log, at, "it lies before the window"));
        };
        let hold = log.log().hold(from);
        let from_ms = window.time_at(from);
        let now = log.log().superblock();
        let disks = bases_between(&now, from, asked, |disk_id| window.sector_bytes(disk_id));
        let (void, bases, named) = (window.void_leaves(), pin_bases(self, &disks), window.pins(from, asked));
        drop(window);
        let records = log.log().records(from, asked)?;
        let Some(time_ms) = records.last().map(|record| record.time_ms).or(from_ms) else {
            return Err(not_kept(log, at, "no record at or below it is left"));
        };
        let superblock = Superblock { disks, window: Vec::new(), ..now };
        let leave_counts = |left: &Membership| !void.contains(&(left.disk_id, left.generation));
        let seen = log.group.as_it_was((from, time_ms), &superblock, &records, &leave_counts, body.clone())?;
        drop((hold, bases, named)); // what it needs of them it has itself now
        if seen.views.is_empty() {
            return Err(not_kept(log, at, "the machine had no disks then"));
        }
        let mut taken = taken_cut(log, seen, body);
        taken.is_moment = true;
        Ok(taken)
    }

    /// Gives a moment stored maps, if a point is one, so that a disk may stand on it. The caller holds no lock.
    ///
    /// # Errors
    /// As [`Engine::copy`].
    pub(super) fn settle_moment(&self, from: &DiskReference) -> Result<()> {
        let Some(cut) = self.live().cuts.get(&from.point_id).filter(|cut| cut.is_moment) else { return Ok(()) };
        let _hurry = self.live().load.hurry(); // the caller waits for it
        self.fold_moment(&cut, &Control::default()).map(drop)
    }

    /// Gives a moment stored maps, so that something may stand on it that survives it; or a cut without a point, so that its layers
    /// can go.
    ///
    /// # Errors
    /// `CANCELLED`, `NO_SPACE`, `STORE_BUSY`, what reading and writing give.
    pub(super) fn fold_moment(&self, cut: &TakenCut, control: &Control) -> Result<Arc<FoldedCut>> {
        if let Some(folded) = cut.folded() {
            return Ok(folded);
        }
        for point_id in cut.points_named() {
            self.settle_origin(&point_id, control)?;
        }
        let views = || cut.disks.values().map(|disk| disk.view.clone()).collect();
        // Nothing of it was charged, and it frees no log: the reserve is not for it.
        let folded = self.relieved(|| self.fold_views(&cut.log, views(), Writer::new(&self.store), control))?;
        let folded = Arc::new(folded);
        cut.set_folded(&folded);
        self.live().exported.settle();
        Ok(folded)
    }
}

/// Of each disk the newest base from `from` up to `last`. At `from` every disk has one; above it those that joined.
fn bases_between(
    superblock: &Superblock,
    from: Lsn,
    last: Lsn,
    sector_bytes: impl Fn(&Uid) -> Option<u32>,
) -> Vec<SuperblockDisk> {
    let mut newest: BTreeMap<Uid, SuperblockDisk> = BTreeMap::new();
    let mut note = |disk_id: Uid, base: BaseContent, size: u64, base_lsn: Lsn| {
        let is_newer = newest.get(&disk_id).is_none_or(|other| other.base_lsn < base_lsn);
        if (from..=last).contains(&base_lsn) && is_newer {
            let (name, role) = (String::new(), String::new());
            let sector_bytes = sector_bytes(&disk_id).unwrap_or(512);
            newest.insert(
                disk_id,
                SuperblockDisk { disk_id, generation: 0, name, role, sector_bytes, size, base, base_lsn },
            );
        }
    };
    for base in &superblock.window {
        note(base.disk_id, BaseContent::Map(base.root), base.size, base.lsn);
    }
    for disk in &superblock.disks {
        note(disk.disk_id, disk.base, disk.size, disk.base_lsn);
    }
    newest.into_values().collect()
}

fn not_kept(log: &LiveLog, at: Moment, why: &str) -> Error {
    let (what, key, value) = match at {
        Moment::Lsn(lsn) => (format!("LSN {lsn}"), "lsn", lsn.0),
        Moment::TimeMs(time_ms) => (format!("time {time_ms} ms"), "timeMs", time_ms),
    };
    let message = format!("the machine cannot be seen as it was at {what}: {why}");
    Error::new(Code::MomentNotKept, message).with(key, value).with("machine", log.log_id.to_string())
}
