//! One open write log with the live disks on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::window::Window;
use crate::collect::{Lease, Leases, Purpose};
use crate::disk::Group;
use crate::error::Result;
use crate::format::node::Root;
use crate::format::superblock::{BaseContent, Superblock};
use crate::units::{Lsn, Uid};
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
    /// What is kept for points in time. Comes after the folding lock, before everything else.
    window: Mutex<Window>,
    /// Records up to here only the window needs.
    base: AtomicU64,
    /// Pins what the superblock names.
    pinned: Mutex<Option<Lease>>,
}

impl LiveLog {
    /// A log that is open, with what its superblock names pinned.
    pub(super) fn new(
        (machine_id, log_id): (Option<Uid>, Uid),
        directory: PathBuf,
        group: Arc<Group>,
        (window, base): (Window, Lsn),
        pin: Lease,
    ) -> Self {
        Self {
            log_id,
            machine_id,
            directory,
            group,
            folding: Mutex::default(),
            window: Mutex::new(window),
            base: AtomicU64::new(base.0),
            pinned: Mutex::new(Some(pin)),
        }
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn base(&self) -> Lsn {
        Lsn(self.base.load(Ordering::Relaxed))
    }

    pub(super) fn set_base(&self, base: Lsn) {
        self.base.store(base.0, Ordering::Relaxed);
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
