//! Live disks: the disks of one log, which are one consistency group.
//!
//! ```text
//! submit: check -> checksums -> debt -> | LSN, layer, effect at that LSN | -> append -> insert -> complete -> watermark
//!         outside every lock            | under the sequencer's lock     |    outside, any order        acknowledged
//! ```
//!
//! What it is: [`Group`] takes writes, zeros, trims, resizes, resets and cuts, and reads through the layers and the base. Each
//! change has two forms: `submit_*`, [`Group::append`] and [`Group::is_done`] for simulations and for many requests in
//! flight, and one that blocks until it is acknowledged.
//! What it guarantees: what is acknowledged is in the log after everything with a lower LSN; a cut is one record, so every
//! point is a prefix of the log (write-order consistent); a record whose disk is not attached, or is too small for it, at its
//! LSN has no effect, live and after a replay (I-33).
//! What it costs: a change is one positional write and one insert; a cut waits for nobody.
//! What it must not import: the engine's top, which alone writes the superblock and folds layers.

mod cutting;
mod reading;
mod replay;
mod source;
mod space;
mod submission;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::cut::{Base, Layer, Member, Pin, Stack, View, not_found};
use crate::error::Result;
use crate::format::superblock::BaseContent;
use crate::units::Uid;
use crate::write_log::WriteLog;

pub use cutting::Cut;
pub use replay::LeaveCounts;
pub use source::ViewSource;
pub use space::{NoGate, SpaceGate};
pub use submission::Submission;

/// Reads what layers stand on: block maps and chunks, or another machine's view of a point whose copy still runs.
pub trait BaseReader: Send + Sync {
    /// Fills `buffer` from `offset` on; the range lies inside the base.
    ///
    /// # Errors
    /// What reading chunks and nodes gives.
    fn read(&self, base: &Base, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Keeps what a base names from being collected.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, and what reading gives.
    fn pin(&self, content: &BaseContent) -> Result<Pin>;
}

/// What a group is given.
#[derive(Clone)]
pub struct GroupParts {
    /// The log.
    pub log: Arc<WriteLog>,
    /// Reads bases.
    pub bases: Arc<dyn BaseReader>,
    /// Says whether there is space.
    pub gate: Arc<dyn SpaceGate>,
    /// Chunk size of the store.
    pub chunk_bytes: u64,
}

/// The live disks of one log.
pub struct Group {
    parts: GroupParts,
    /// Replaced as a whole, for the moment that takes. Never held while anything else is locked or waited for but the
    /// sequencer, which calls in.
    stack: RwLock<Arc<Stack>>,
    /// One cut, merge or fold at a time; never taken under the sequencer's lock.
    reshaping: Mutex<()>,
}

impl Group {
    /// The log that it writes.
    #[must_use]
    pub fn log(&self) -> &Arc<WriteLog> {
        &self.parts.log
    }

    /// A snapshot of all layers.
    #[must_use]
    pub fn stack(&self) -> Arc<Stack> {
        Arc::clone(&self.stack_guard())
    }

    /// The disks that are attached.
    #[must_use]
    pub fn disks(&self) -> Vec<Arc<Member>> {
        self.stack_guard().members().values().cloned().collect()
    }

    /// A disk that is attached.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`.
    pub fn disk(&self, disk_id: &Uid) -> Result<Arc<Member>> {
        self.stack_guard().members().get(disk_id).cloned().ok_or_else(|| not_found(disk_id))
    }

    /// A pinned view of a disk as it is; it shows what is written until the next cut.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`.
    pub fn view(&self, disk_id: &Uid) -> Result<View> {
        let stack = self.stack();
        if !stack.members().contains_key(disk_id) {
            return Err(not_found(disk_id));
        }
        Ok(stack.view(disk_id))
    }

    /// What folding all its layers takes at most.
    #[must_use]
    pub fn debt_bytes(&self) -> u64 {
        self.stack().newest_first().map(|layer| layer.debt_bytes()).sum()
    }

    /// Its layers, the active one among them.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.stack_guard().sealed().len() + 1
    }

    /// About how much memory the extents of its layers take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.stack().newest_first().map(|layer| layer.memory_bytes()).sum()
    }

    /// All acknowledged changes survive a power cut once it returns.
    ///
    /// # Errors
    /// `LOG_FENCED`, and the failure of a sync, which fences.
    pub fn flush(&self) -> Result<()> {
        self.parts.log.flush(self.parts.log.watermark())
    }

    /// Forgets all disks and layers, because the log was opened anew: views that were taken show what they showed.
    pub fn forget(&self) {
        let forgotten = self.stack();
        self.change_stack(|stack| {
            *stack = Stack::new(Layer::new(self.parts.log.watermark(), self.parts.chunk_bytes), BTreeMap::new())
        });
        for layer in forgotten.newest_first() {
            self.parts.gate.repay(layer.settle());
        }
    }

    fn stack_guard(&self) -> RwLockReadGuard<'_, Arc<Stack>> {
        self.stack.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> Arc<Layer> {
        Arc::clone(self.stack_guard().active())
    }

    /// Replaces the stack by a changed one.
    fn change_stack<T>(&self, change: impl FnOnce(&mut Stack) -> T) -> T {
        let mut stack = self.stack.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = (**stack).clone();
        let result = change(&mut changed);
        *stack = Arc::new(changed);
        result
    }

    /// A point's copy ended: what stands on the point stands on its maps from here on. The superblock says so already.
    ///
    /// # Errors
    /// What pinning gives.
    pub fn resolve_point(&self, point_id: &Uid, maps: &BTreeMap<Uid, BaseContent>) -> Result<()> {
        let mut pins = BTreeMap::new();
        for (disk_id, content) in maps {
            pins.insert(*disk_id, (*content, self.parts.bases.pin(content)?));
        }
        self.change_stack(|stack| {
            stack.exchange_bases(&|base| match base.content {
                BaseContent::Point { point_id: named, disk_id } if named == *point_id => {
                    let (content, pin) = pins.get(&disk_id)?;
                    Some(Base { content: *content, pin: Arc::clone(pin), ..base.clone() })
                }
                _ => None,
            });
        });
        Ok(())
    }
}

/// A log that is closed owes nothing any more; who opens it again counts anew.
impl Drop for Group {
    fn drop(&mut self) {
        for layer in self.stack().newest_first() {
            self.parts.gate.repay(layer.settle());
        }
    }
}
