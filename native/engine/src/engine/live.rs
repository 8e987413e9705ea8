//! The engine's top, continued: live disks. One write log for each machine, and one for each detached disk.
//!
//! The order of syncs, which is the order of everything that must survive a crash:
//!
//! | call | durable, in this order |
//! | --- | --- |
//! | `create_disk`, `create_machine_log` | the log's directory with its first segment; then its superblock: it exists |
//! | `attach_disk`, `detach_disk` | the records that the disk's log holds are folded, and released; the records by which it leaves and joins, which name the next generation; the superblock of the log that receives it: it has moved; the other log lets go of it |
//! | `cut`, `make_durable` | the log past the cut: the caller may be answered |
//! | `copy` | packs, index; the manifest: the point needs its log no more; then what stands on the point by its id stands on its roots |
//! | `release_cut` | the bases, in both slots of the superblock; then segments go |
//!
//! A fold holds a writer's lease from before its first look-up until the superblock names its result. What superblocks and
//! retained records name is pinned by a reader's lease for each log.

mod capturing;
mod cuts;
mod disks;
mod folding;
mod log;
mod opening;
mod requests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Code, Error, Result};
use crate::units::Uid;
use cuts::Cuts;
use log::LiveLog;

pub use capturing::{Cut, CutRequest};
pub use cuts::PendingCut;
pub use disks::{LiveDisk, NewDisk};
pub use opening::UncleanLog;

/// The directory of the logs, below the store's.
pub const LIVE: &str = "live";

/// Where a live disk is. Requests hold the reader's side while they run; moving the disk takes the writer's.
struct DiskSeat {
    log: RwLock<Option<Arc<LiveLog>>>, // none: deleted
}

/// The live disks of an open store.
pub(super) struct Live {
    directory: PathBuf,
    logs: RwLock<BTreeMap<Uid, Arc<LiveLog>>>,
    seats: RwLock<BTreeMap<Uid, Arc<DiskSeat>>>,
    cuts: Arc<Cuts>,
    /// Held while logs and disks come, move and go.
    moving: Mutex<()>,
    unclean: Mutex<Vec<UncleanLog>>,
}

impl Live {
    fn log(&self, log_id: &Uid) -> Result<Arc<LiveLog>> {
        self.logs().get(log_id).cloned().ok_or_else(|| {
            Error::new(Code::LogNotFound, format!("the store has no write log {log_id}")).with("log", log_id.to_string())
        })
    }

    fn seat(&self, disk_id: &Uid) -> Result<Arc<DiskSeat>> {
        self.seats().get(disk_id).cloned().ok_or_else(|| no_disk(disk_id))
    }

    fn all_logs(&self) -> Vec<Arc<LiveLog>> {
        self.logs().values().cloned().collect()
    }

    fn logs(&self) -> RwLockReadGuard<'_, BTreeMap<Uid, Arc<LiveLog>>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Uid, Arc<LiveLog>>> {
        self.logs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> RwLockReadGuard<'_, BTreeMap<Uid, Arc<DiskSeat>>> {
        self.seats.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Uid, Arc<DiskSeat>>> {
        self.seats.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn moving(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_disk(disk_id: &Uid) -> Error {
    Error::new(Code::DiskNotFound, format!("the store has no live disk {disk_id}")).with("disk", disk_id.to_string())
}
