//! Opening a log anew whose writing failed, while the store stays open.
//!
//! What it is: after a failed append, sync or superblock write a log takes no more writes (write_log/fence.rs). Here it is closed
//! and opened as at the start of a process, and everybody else goes on.
//! What it guarantees: everything acknowledged as durable is there. What was acknowledged without a flush may be lost as by a
//! power cut: Linux counts pages as clean that it failed to write, so nobody knows whether what is read of them is on the disk.
//! Therefore nothing is synced again, and opening writes what is above the last sync that succeeded anew, into new
//! files, before anything of it is served (write_log/opening.rs). Nobody goes on as if nothing had happened: exports that were open
//! have ended, and whoever reads through one is told so (I-66). Where opening fails nothing has changed, and the log is read on.
//! What it costs: requests on the log's disks, its captures and folds wait for an opening. What still reads old views keeps the old
//! files, which are removed, until it is done.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use super::super::Engine;
use super::closed::UnavailableLog;
use super::log::LiveLog;
use super::{DiskSeat, Live};
use crate::error::{Code, Result};
use crate::units::Uid;

impl Engine {
    /// The logs that take no more writes because writing failed, and that can be read. [`Engine::reopen_logs`] opens them anew.
    #[must_use]
    pub fn fenced_logs(&self) -> Vec<UnavailableLog> {
        let logs = self.live.as_ref().map(Live::all_logs).unwrap_or_default();
        let fenced = logs.iter().filter_map(|log| Some((log, log.failure()?)));
        let described = fenced.map(|(log, message)| UnavailableLog {
            log_id: log.log_id,
            disk_ids: log.group.disks().iter().map(|disk| disk.disk_id).collect(),
            code: Code::LogFenced,
            message,
        });
        described.collect()
    }

    /// Tries again to open the logs that could not be opened, and opens those anew that take no more writes. Those of which
    /// that fails stay as they are, and say why now.
    ///
    /// # Errors
    /// `STORE_READ_ONLY`, what bringing superblocks up to date gives.
    pub fn reopen_logs(&self) -> Result<()> {
        self.check_writable()?;
        let live = self.live();
        // A copy that runs ends first, while nobody waits for it: no other gets far on a log that is fenced.
        live.fenced().iter().for_each(|log| drop(log.folding()));
        let _alone = live.moving();
        match live.closed.ids() {
            closed if closed.is_empty() => {}
            closed => self.open_logs(closed)?,
        }
        let fenced = live.fenced();
        if fenced.is_empty() {
            return Ok(());
        }
        for log in fenced {
            match live.half_moved(&log) {
                Some(disk_id) => log.note_not_reopened(format!(
                    "a move of its disk {disk_id} failed half-way; close the store and open it again"
                )),
                None => self.reopen_fenced(&log),
            }
        }
        self.resolve_all_published()
    }

    fn reopen_fenced(&self, before: &Arc<LiveLog>) {
        let live = self.live();
        let log_id = before.log_id;
        let seats: Vec<(Uid, Arc<DiskSeat>)> = before
            .group
            .disks()
            .iter()
            .filter_map(|disk| {
                let seat = live.seats().get(&disk.disk_id).cloned();
                seat.map(|seat| (disk.disk_id, seat))
            })
            .collect();
        // Nobody writes, cuts or folds; in the order of these locks.
        let mut places: Vec<RwLockWriteGuard<'_, _>> =
            seats.iter().map(|(_, seat)| seat.log.write().unwrap_or_else(PoisonError::into_inner)).collect();
        let (_cuts, _folds) = (before.moving(), before.folding());
        before.log().end("it is opened anew");
        let opened = match self.open_log(log_id) {
            Ok(Some(opened)) => opened,
            Ok(None) => unreachable!("a log that was served was finished"),
            Err(error) => return before.note_not_reopened(error.message().to_owned()),
        };
        live.bases.is_opening.store(true, Ordering::Release);
        self.serve(vec![opened]);
        live.bases.is_opening.store(false, Ordering::Release);
        for ((disk_id, seat), place) in seats.iter().zip(&mut places) {
            let mut seats = live.seats_mut();
            if seats.get(disk_id).is_some_and(|now| Arc::ptr_eq(now, seat)) {
                seats.remove(disk_id); // no log has it, or none that is open
            }
            drop(seats);
            seat.has_ended.store(true, Ordering::Release);
            **place = None;
        }
        let mut logs = live.logs_mut();
        if logs.get(&log_id).is_some_and(|now| Arc::ptr_eq(now, before)) {
            logs.remove(&log_id); // it waits for another one
        }
        drop(logs);
        for cut in live.cuts.all().into_iter().filter(|cut| Arc::ptr_eq(&cut.log, before) && !cut.is_moment) {
            drop(live.cuts.remove(&cut.body.point_id)); // the log has it no more
        }
        live.exported.readdress(&live.cuts);
        // Cuts and the bases that stand on them keep each other.
        before.window().forget_named();
        before.group.forget();
    }
}

impl Live {
    fn fenced(&self) -> Vec<Arc<LiveLog>> {
        self.all_logs().into_iter().filter(|log| log.failure().is_some()).collect()
    }

    /// A disk of a log that may be in another one, because a move failed so that only an opening of both can tell.
    fn half_moved(&self, log: &LiveLog) -> Option<Uid> {
        let listed = log.log().superblock().disks.into_iter().map(|disk| disk.disk_id);
        let attached = log.group.disks().into_iter().map(|disk| disk.disk_id);
        listed.chain(attached).find(|disk_id| {
            let Some(seat) = self.seats().get(disk_id).cloned() else { return false };
            let place = seat.log.read().unwrap_or_else(PoisonError::into_inner);
            let is_listed =
                |log: &Arc<LiveLog>| log.log().superblock().disks.iter().any(|disk| disk.disk_id == *disk_id);
            !place.as_ref().is_some_and(is_listed)
        })
    }
}
