//! Waiting for work that mostly comes at once: who polls for some before it sleeps spares the other side waking it, which takes
//! longer than many a request.
//!
//! What it guarantees: one thread of the process polls at a time, so at most one processor is spent on it; and the less often it
//! finds something, the less often it is tried.

use std::sync::atomic::{AtomicBool, Ordering};

/// Each time nothing is found polling is left out twice as often in a row, up to this.
const SKIPS_MAX: u32 = 64;

/// A thread polls. Processors are the process's, and so is this.
static IS_POLLING: AtomicBool = AtomicBool::new(false);

/// Whether polling pays where somebody waits.
#[derive(Debug, Default)]
pub struct BusyPoll {
    skips: u32,
    skips_next: u32,
}

/// The right to poll, until it is dropped.
#[derive(Debug)]
pub struct Polling(());

impl BusyPoll {
    /// Whether to poll now. How it went is told to [`BusyPoll::end`].
    pub fn begin(&mut self) -> Option<Polling> {
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        (!IS_POLLING.swap(true, Ordering::Relaxed)).then(|| Polling(()))
    }

    /// Notes whether something was found.
    pub fn end(&mut self, polling: Polling, has_found: bool) {
        drop(polling);
        self.skips_next = if has_found { 0 } else { (2 * self.skips_next + 1).min(SKIPS_MAX) };
        self.skips = self.skips_next;
    }

    /// Polls up to so many times, if it pays. Whoever calls waits for what is polled for in any case.
    pub fn poll(&mut self, times: u32, is_there: impl FnMut() -> bool) {
        if let Some(polling) = self.begin() {
            let has_found = polling.polls(times, is_there);
            self.end(polling, has_found);
        }
    }
}

impl Polling {
    /// Polls up to so many times; whether it was there.
    pub fn polls(&self, times: u32, mut is_there: impl FnMut() -> bool) -> bool {
        (0..times).any(|_| {
            std::hint::spin_loop();
            is_there()
        })
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        IS_POLLING.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it polls, once no other test's thread does.
    fn polls(busy_poll: &mut BusyPoll, has_found: bool) -> bool {
        let may = busy_poll.skips == 0;
        loop {
            match busy_poll.begin() {
                Some(polling) => {
                    busy_poll.end(polling, has_found);
                    return true;
                }
                None if may => std::thread::yield_now(),
                None => return false,
            }
        }
    }

    #[test]
    fn what_finds_nothing_is_left_out_ever_more_often_and_no_more_once_it_finds_something() {
        let mut busy_poll = BusyPoll::default();
        let mut skips = Vec::new();
        for _ in 0..8 {
            assert!(polls(&mut busy_poll, false));
            skips.push((0..).take_while(|_| busy_poll.skips > 0 && !polls(&mut busy_poll, false)).count());
        }
        assert_eq!(skips, [1, 3, 7, 15, 31, 63, 64, 64]);
        for _ in 0..3 {
            assert!(polls(&mut busy_poll, true));
        }
    }

    #[test]
    fn one_at_a_time_polls_and_another_may_after_it() {
        let (mut one, mut other) = (BusyPoll::default(), BusyPoll::default());
        let polling = std::iter::repeat_with(|| one.begin()).find_map(|polling| polling).expect("endless");
        assert!(other.begin().is_none());
        assert!(other.begin().is_none(), "that it was refused gives nobody the right");
        assert!(!polling.polls(3, || false));
        one.end(polling, false);
        assert!(polls(&mut other, true), "it was not its fault");
    }

    #[test]
    fn polling_ends_with_the_first_find() {
        let mut calls = 0;
        let polling = std::iter::repeat_with(|| BusyPoll::default().begin()).find_map(|polling| polling);
        assert!(polling.expect("endless").polls(100, || {
            calls += 1;
            calls == 4
        }));
        assert_eq!(calls, 4);
    }
}
