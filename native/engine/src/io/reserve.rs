//! A file that does nothing but take space, so that there is some when a store has to shrink on a full disk.
//!
//! What it is: [`Reserve`], one file whose space is lent, that is given up, while something runs that frees more than it
//! needs (deleting, collecting, the catalog's changes for them), and taken again when the last borrower is done.
//! What it guarantees: it is never in the way. Whatever fails here is no error of the caller: the reserve is then
//! smaller than it should be, and the next loan or opening fills it up. Its bytes mean nothing, so nothing is synced.
//! While it is lent, [`Reserve::check_not_lent`] keeps away those who only add to the store.
//! What it must not import: any stage.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Io, IoFile, OpenMode};
use crate::error::{Code, Error, Result};

/// The reserve takes at most this part of its file system: one in eight.
const CAPACITY_SHARE: u64 = 8;

/// Space is taken in whole units of this size; less than one is not tried for.
const UNIT_BYTES: u64 = 4096;

#[derive(Default)]
struct State {
    borrowers: usize,
    given_up: bool,
}

/// The reserve in use; dropping it ends that.
pub struct Loan {
    reserve: Arc<Reserve>,
}

impl Loan {
    /// Whether ending it takes no time: nothing was given up that would have to be taken again.
    #[must_use]
    pub fn ends_at_once(&self) -> bool {
        self.reserve.state.try_lock().is_ok_and(|state| !state.given_up)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.reserve.end_loan();
    }
}

/// Space set aside in a file.
pub struct Reserve {
    io: Arc<dyn Io>,
    path: PathBuf,
    bytes_max: u64,
    state: Mutex<State>,
    /// What it holds less than it should, as far as is known.
    missing_bytes: AtomicU64,
}

impl Reserve {
    /// A reserve in the file at `path` of at most `bytes_max`, and at most an eighth of the file system. Nothing is done
    /// yet. With 0 there is none, and nothing is ever done.
    #[must_use]
    pub fn new(io: Arc<dyn Io>, path: PathBuf, bytes_max: u64) -> Self {
        Self { io, path, bytes_max, state: Mutex::default(), missing_bytes: AtomicU64::new(0) }
    }

    /// Takes what is missing, as far as there is space. Does nothing while it is lent.
    pub fn refill(&self) {
        let state = self.state();
        if state.borrowers == 0 {
            let _ = self.fill(); // what is missing is taken later
        }
    }

    /// Lends the reserve, giving it up when space is short.
    #[must_use]
    pub fn borrow(self: &Arc<Self>) -> Loan {
        let mut state = self.state();
        state.borrowers += 1;
        if !state.given_up && self.is_short() {
            state.given_up = self.give_up();
        }
        drop(state);
        Loan { reserve: Arc::clone(self) }
    }

    /// Lends the reserve where nothing has to be given up for it, which takes no time; `None` where something has to, or others
    /// are about to.
    #[must_use]
    pub fn borrow_unless_short(self: &Arc<Self>) -> Option<Loan> {
        let mut state = self.state.try_lock().ok()?;
        if !state.given_up && self.is_short() {
            return None;
        }
        state.borrowers += 1;
        drop(state);
        Some(Loan { reserve: Arc::clone(self) })
    }

    /// Lends the reserve and gives it up however much space there seems to be: something ran out of it.
    #[must_use]
    pub fn borrow_at_once(self: &Arc<Self>) -> Loan {
        let mut state = self.state();
        state.borrowers += 1;
        state.given_up = state.given_up || self.give_up();
        drop(state);
        Loan { reserve: Arc::clone(self) }
    }

    /// After the last loan what was given up is taken again, before anybody else may have it.
    fn end_loan(&self) {
        let mut state = self.state();
        state.borrowers -= 1;
        if state.borrowers == 0 && state.given_up {
            state.given_up = false;
            let _ = self.fill(); // with the state held: whoever adds to the store waits until this is done
        }
    }

    /// Refuses while the reserve is given up: what is free then is not for those who add to the store.
    ///
    /// # Errors
    /// `NO_SPACE`.
    pub fn check_not_lent(&self) -> Result<()> {
        if !self.state().given_up {
            return Ok(());
        }
        let message = format!(
            "the file system of {} is full; what is left is kept for deleting and collecting",
            self.path.parent().unwrap_or(&self.path).display()
        );
        Err(Error::new(Code::NoSpace, message).with("path", self.path.as_path()))
    }

    /// Whether less is free than the reserve would add.
    fn is_short(&self) -> bool {
        let Ok(available) = self.io.available_bytes(self.directory()) else { return false };
        self.bytes_max > 0 && self.bytes_wanted().is_ok_and(|wanted| available < wanted)
    }

    fn bytes_wanted(&self) -> Result<u64> {
        let share = self.io.capacity_bytes(self.directory())? / CAPACITY_SHARE;
        let wanted = self.bytes_max.min(share);
        Ok(wanted - wanted % UNIT_BYTES)
    }

    /// Whether there was anything to give up.
    fn give_up(&self) -> bool {
        if self.bytes_max == 0 {
            return false;
        }
        let Ok(file) = self.io.open(&self.path, OpenMode::ReadWrite) else { return false };
        let holds = file.identity().is_ok_and(|identity| identity.size > 0);
        let given_up = holds && file.set_length(0).is_ok();
        if given_up {
            self.missing_bytes.store(self.bytes_wanted().unwrap_or(0), Ordering::Relaxed);
        }
        given_up
    }

    /// How much is to be left free for it.
    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes.load(Ordering::Relaxed)
    }

    fn fill(&self) -> Result<()> {
        if self.bytes_max == 0 {
            return Ok(());
        }
        let wanted = self.bytes_wanted()?;
        let file = self.open_or_create()?;
        let mut size = file.identity()?.size;
        if size > wanted {
            return file.set_length(wanted); // the file system shrank, or somebody wrote into the file
        }
        let mut step = wanted - size;
        while step >= UNIT_BYTES {
            match file.allocate(size + step) {
                Ok(()) => {
                    size += step;
                    step = wanted - size;
                }
                // As much as there is: half of the step, and so on. A step that was taken is followed by what is left.
                Err(error) if error.code() == Code::NoSpace => {
                    step /= 2;
                    step -= step % UNIT_BYTES;
                }
                Err(error) => return Err(error),
            }
        }
        self.missing_bytes.store(wanted.saturating_sub(size), Ordering::Relaxed);
        Ok(())
    }

    fn open_or_create(&self) -> Result<Arc<dyn IoFile>> {
        match self.io.open(&self.path, OpenMode::ReadWrite) {
            Err(error) if error.is_not_found() => self.io.open(&self.path, OpenMode::CreateNew),
            opened => opened,
        }
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
