//! Leases: who uses which content, as far as no manifest says it.
//!
//! A *writer* opens one before its first look-up and closes it once its manifest is published, or never will be. It
//! names the epoch in which it was opened, and the roots of its parents, whose chunks it takes over without looking
//! them up. A *reader* pins the roots that it reads, so that deleting the point does not stop it. The collector takes
//! the roots of all leases for roots of its own, and waits for writers of the epochs before it condemned something:
//! they may have counted on it just before. Nobody waits for readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::control::Control;
use crate::error::Result;
use crate::format::node::Root;

/// How often one who waits looks whether it was cancelled; nothing is decided by this time.
const LOOK: Duration = Duration::from_millis(50);

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Adds content and names what is there.
    Write,
    /// Reads what the roots reach.
    Read,
}

/// One moment in the life of a store: everything condemned bears one, and so does every lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

struct Hold {
    epoch: Epoch,
    purpose: Purpose,
    roots: Vec<Root>,
}

#[derive(Default)]
struct State {
    epoch: Epoch,
    next_number: u64,
    open: BTreeMap<u64, Hold>,
}

/// The leases of an open store.
#[derive(Default)]
pub struct Leases {
    state: Mutex<State>,
    closed: Condvar,
}

/// An open lease; dropping it closes it.
pub struct Lease {
    leases: Arc<Leases>,
    number: u64,
}

impl Leases {
    /// Opens a lease on the roots that `resolve` gives, with what else it gives. A point that it finds cannot be collected
    /// between the finding and the opening: both happen under one lock, which [`Leases::roots`] takes after the manifests
    /// were listed.
    ///
    /// # Errors
    /// What `resolve` gives.
    pub fn open<T>(
        self: &Arc<Self>,
        purpose: Purpose,
        resolve: impl FnOnce() -> Result<(T, Vec<Root>)>,
    ) -> Result<(T, Lease)> {
        let mut state = self.state();
        let (found, roots) = resolve()?;
        let number = state.next_number;
        state.next_number += 1;
        let epoch = state.epoch;
        state.open.insert(number, Hold { epoch, purpose, roots });
        drop(state);
        Ok((found, Lease { leases: Arc::clone(self), number }))
    }

    /// The roots of all open leases.
    #[must_use]
    pub fn roots(&self) -> Vec<Root> {
        self.state().open.values().flat_map(|hold| hold.roots.iter().copied()).collect()
    }

    /// Begins a new epoch and returns the one that ended.
    pub fn advance(&self) -> Epoch {
        let mut state = self.state();
        let ended = state.epoch;
        state.epoch.0 += 1;
        ended
    }

    /// Whether a writer of this epoch or an earlier one is still there.
    #[must_use]
    pub fn any_writer_of(&self, epoch: Epoch) -> bool {
        any_writer_of(&self.state(), epoch)
    }

    /// Waits until no writer of this epoch or an earlier one is there.
    ///
    /// # Errors
    /// `CANCELLED`.
    pub fn wait_for_writers_of(&self, epoch: Epoch, control: &Control) -> Result<()> {
        let mut state = self.state();
        while any_writer_of(&state, epoch) {
            control.check()?;
            (state, _) = self.closed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn any_writer_of(state: &State, epoch: Epoch) -> bool {
    state.open.values().any(|hold| hold.purpose == Purpose::Write && hold.epoch <= epoch)
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.state().open.remove(&self.number);
        self.leases.closed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Entry;

    fn root(value: u8) -> Root {
        Root { entry: Entry::Fill(value), height: 0 }
    }

    #[test]
    fn only_writers_of_the_ended_epoch_are_waited_for() {
        let leases = Arc::new(Leases::default());
        let open = |purpose, value| leases.open(purpose, || Ok(((), vec![root(value)]))).unwrap().1;
        let reader = open(Purpose::Read, 1);
        let older = open(Purpose::Write, 2);
        let ended = leases.advance();
        let younger = open(Purpose::Write, 3);
        assert!(leases.any_writer_of(ended));
        assert_eq!(leases.roots(), [root(1), root(2), root(3)]);
        drop(older);
        assert!(!leases.any_writer_of(ended), "neither the reader nor the younger writer counts");
        leases.wait_for_writers_of(ended, &Control::default()).unwrap();
        drop((reader, younger));
        assert!(leases.roots().is_empty());
    }

    #[test]
    fn who_waits_can_be_cancelled() {
        let leases = Arc::new(Leases::default());
        let _writer = leases.open(Purpose::Write, || Ok(((), Vec::new()))).unwrap().1;
        let control = Control::default();
        control.cancel();
        assert!(leases.wait_for_writers_of(leases.advance(), &control).is_err());
    }
}
