//! One open write log with the live disks on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::fold_lock::{FoldLock, Folding};
use super::window::Window;
use crate::collect::{Lease, Leases, Purpose};
use crate::control::Control;
use crate::disk::Group;
use crate::error::{Code, Result};
use crate::format::node::Root;
use crate::format::superblock::{BaseContent, Superblock};
use crate::units::{Lsn, Uid};
use crate::write_log::{Membership, WriteLog};

/// A log and its disks.
pub(super) struct LiveLog {
    pub(super) log_id: Uid,
    /// None: a detached disk's.
    pub(super) machine_id: Option<Uid>,
    pub(super) group: Arc<Group>,
    /// Held by whoever folds a layer, moves a base or takes a disk away.
    folding: FoldLock,
    /// Read by cuts, until theirs is known; written by moves, until the disk has moved: so no point sees half a move, and no
    /// move folds away what a point needs. Comes before `folding`.
    moving: RwLock<()>,
    /// What is kept for points in time. Comes after the folding lock, before everything else.
    window: Mutex<Window>,
    /// Records up to here only the window needs.
    base: AtomicU64,
    /// Records above this name no point that the superblock resolves: once bases and window are above it, the resolution
    /// can go.
    resolved: Mutex<BTreeMap<Uid, Lsn>>,
    /// Pins what the superblock names.
    pinned: Mutex<Option<Lease>>,
    /// Why it could not be opened anew, once that was tried.
    not_reopened: Mutex<Option<String>>,
}

impl LiveLog {
    /// A log that is open, with what its superblock names pinned.
    pub(super) fn new(
        (machine_id, log_id): (Option<Uid>, Uid),
        group: Arc<Group>,
        (window, base): (Window, Lsn),
        pin: Lease,
    ) -> Self {
        let resolutions = group.log().superblock().resolutions;
        let known = group.log().watermark();
        let resolved = resolutions.iter().map(|resolution| (resolution.point_id, known)).collect();
        Self {
            log_id,
            machine_id,
            group,
            folding: FoldLock::default(),
            moving: RwLock::default(),
            window: Mutex::new(window),
            base: AtomicU64::new(base.0),
            resolved: Mutex::new(resolved),
            pinned: Mutex::new(Some(pin)),
            not_reopened: Mutex::default(),
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

    /// No disk moves while it is held.
    pub(super) fn steady(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless a disk moves just now.
    pub(super) fn try_steady(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match self.moving.try_read() {
            Ok(steady) => Some(steady),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// No cut is made while it is held.
    pub(super) fn moving(&self) -> RwLockWriteGuard<'_, ()> {
        self.moving.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A point was resolved: what is logged from here on does not name it by its id any more.
    pub(super) fn note_resolved(&self, point_id: Uid) {
        let watermark = self.log().watermark();
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).insert(point_id, watermark);
    }

    /// Forgets the resolutions that no record can need which a replay of this superblock looks at, with a window from `start`.
    pub(super) fn forget_resolutions(&self, superblock: &mut Superblock, start: Lsn) {
        let bases = superblock.disks.iter().map(|disk| disk.base_lsn);
        let oldest = bases.chain(superblock.window.iter().map(|base| base.lsn)).min().map(|oldest| oldest.min(start));
        let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        superblock.resolutions.retain(|resolution| {
            let last = resolved.get(&resolution.point_id).copied().unwrap_or(Lsn(u64::MAX));
            oldest.is_none_or(|oldest| last > oldest)
        });
    }

    pub(super) fn log(&self) -> &Arc<WriteLog> {
        self.group.log()
    }

    /// A disk that left, which no other log got, is here again: its leave counts no more once a later opening finds that.
    pub(super) fn take_back(&self, left: &Membership) {
        let superblock = self.log().superblock();
        let Some(disk) = superblock.disks.iter().find(|disk| disk.disk_id == left.disk_id) else {
            unreachable!("its superblock lists it until another's does")
        };
        self.window().note_void_leave(left);
        self.group.take_back(&Membership { generation: disk.generation, role: disk.role.clone(), ..left.clone() });
    }

    /// Remembers why it could not be opened anew.
    pub(super) fn note_not_reopened(&self, why: String) {
        *self.not_reopened.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why it takes no writes that opening it anew would help against; `None` while all is well, and where it is damaged.
    pub(super) fn failure(&self) -> Option<String> {
        let fenced = self.log().is_fenced().filter(|error| error.code() == Code::LogFenced)?;
        let not_reopened = self.not_reopened.lock().unwrap_or_else(PoisonError::into_inner);
        let again = not_reopened.as_ref().map(|why| format!("; it could not be opened anew: {why}"));
        Some(format!("{}{}", fenced.message(), again.unwrap_or_default()))
    }

    /// Becomes the only one who folds.
    pub(super) fn folding(&self) -> Folding<'_> {
        self.folding.take()
    }

    /// As [`LiveLog::folding`], for a call that may be cancelled meanwhile.
    ///
    /// # Errors
    /// `CANCELLED`.
    pub(super) fn folding_unless_cancelled(&self, control: &Control) -> Result<Folding<'_>> {
        self.folding.take_unless_cancelled(control)
    }

    /// Whether somebody folds.
    pub(super) fn is_folding(&self) -> bool {
        self.folding.is_held()
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
