//! One open write log with the live disks on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::collect::{Lease, Leases, Purpose};
use crate::disk::Group;
use crate::error::Result;
use crate::format::node::Root;
use crate::format::superblock::{BaseContent, Superblock};
use crate::units::Uid;
use crate::write_log::WriteLog;

/// A log and its disks.
pub(super) struct LiveLog {
    pub(super) log_id: Uid,
    /// None: a detached disk's.
    pub(super) machine_id: Option<Uid>,
    pub(super) directory: PathBuf,
    pub(super) group: Arc<Group>,
    /// Held by whoever folds a layer, moves a base or takes a disk away.
    folding: Mutex<()>,
    /// Pins what the superblock names.
    pinned: Mutex<Option<Lease>>,
}

impl LiveLog {
    /// A log that is open, with what its superblock names pinned.
    pub(super) fn new(machine_id: Option<Uid>, log_id: Uid, directory: PathBuf, group: Arc<Group>, pin: Lease) -> Self {
        Self { log_id, machine_id, directory, group, folding: Mutex::default(), pinned: Mutex::new(Some(pin)) }
    }

    pub(super) fn log(&self) -> &Arc<WriteLog> {
        self.group.log()
    }

    /// Becomes the only one who folds.
    pub(super) fn folding(&self) -> MutexGuard<'_, ()> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody folds.
    pub(super) fn is_folding(&self) -> bool {
        matches!(self.folding.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Gives up the records that are in all bases and that nobody holds.
    ///
    /// # Errors
    /// What writing the superblock and removing segments give.
    pub(super) fn release(&self) -> Result<()> {
        let bases = self.log().superblock().disks.iter().map(|disk| disk.base_lsn).min();
        // Without disks there is nothing that anybody reads but cuts, which hold what they need.
        self.log().release(bases.unwrap_or_else(|| self.log().durable())).map(drop)
    }

    /// Changes the superblock, durably. What it names before and after is pinned all the while; when it is not known which of
    /// them counts both stay pinned (I-51).
    pub(super) fn change_superblock(&self, leases: &Arc<Leases>, change: impl Fn(&mut Superblock)) -> Result<()> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.log().superblock();
        let mut after = before.clone();
        change(&mut after);
        let earlier = pinned.replace(pin(leases, [roots_of(&before), roots_of(&after)].concat()));
        self.log().change_superblock(|superblock| change(superblock))?;
        drop(earlier);
        *pinned = Some(pin(leases, roots_of(&after)));
        Ok(())
    }
}

/// The roots that a superblock names.
pub(super) fn roots_of(superblock: &Superblock) -> Vec<Root> {
    let bases = superblock.disks.iter().filter_map(|disk| match disk.base {
        BaseContent::Map(root) => Some(root),
        BaseContent::Point { .. } => None,
    });
    let window = superblock.window.iter().map(|base| base.root);
    let resolved = superblock.resolutions.iter().map(|resolution| resolution.root);
    let partial = superblock.cursors.iter().map(|cursor| cursor.root);
    bases.chain(window).chain(resolved).chain(partial).collect()
}

/// Pins roots, for a reader.
pub(super) fn pin(leases: &Arc<Leases>, roots: Vec<Root>) -> Lease {
    match leases.open(Purpose::Read, || Ok(((), roots))) {
        Ok(((), lease)) => lease,
        Err(_) => unreachable!("naming roots does not fail"),
    }
}
