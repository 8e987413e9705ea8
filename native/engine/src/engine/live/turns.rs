//! Whose request is next: the disks take turns.
//!
//! What it is: a queue for each disk and a ring of those that have any. Pure; who has threads takes from it.
//! What it guarantees: of a disk's requests the order is kept; between two requests of one disk every other disk that waits has
//! one; a disk never has more than its share of all that are under way, so another's first request finds a thread
//! (I-65). So however many requests one disk has waiting, another's waits for at most one of each disk.

use std::collections::{BTreeMap, VecDeque};

struct Line<T> {
    waiting: VecDeque<T>,
    running: usize,
}

/// Requests that wait, by their disk.
pub struct Turns<K, T> {
    lines: BTreeMap<K, Line<T>>,
    ring: VecDeque<K>, // those with requests that may begin, each once
    share: usize,
    waiting_count: usize,
}

impl<K: Ord + Clone, T> Turns<K, T> {
    /// None wait. At most `share` of one disk are under way at once.
    #[must_use]
    pub fn new(share: usize) -> Self {
        assert!(share > 0, "else nothing is ever done");
        Self { lines: BTreeMap::new(), ring: VecDeque::new(), share, waiting_count: 0 }
    }

    /// Adds a request of a disk.
    pub fn push(&mut self, disk: K, request: T) {
        let line = self.lines.entry(disk.clone()).or_insert_with(|| Line { waiting: VecDeque::new(), running: 0 });
        let was_idle = line.waiting.is_empty();
        line.waiting.push_back(request);
        self.waiting_count += 1;
        if was_idle && line.running < self.share {
            self.ring.push_back(disk);
        }
    }

    /// The next request that may begin. Its disk is to be given back with [`Turns::done`].
    pub fn begin(&mut self) -> Option<(K, T)> {
        let disk = self.ring.pop_front()?;
        let line = self.lines.get_mut(&disk)?;
        let request = line.waiting.pop_front()?;
        line.running += 1;
        self.waiting_count -= 1;
        if !line.waiting.is_empty() && line.running < self.share {
            self.ring.push_back(disk.clone());
        }
        Some((disk, request))
    }

    /// One of a disk's requests has ended; returns whether another may begin because of that.
    pub fn done(&mut self, disk: &K) -> bool {
        let Some(line) = self.lines.get_mut(disk) else { return false };
        let was_full = line.running == self.share;
        line.running -= 1;
        if line.waiting.is_empty() {
            if line.running == 0 {
                self.lines.remove(disk);
            }
            return false;
        }
        if was_full {
            self.ring.push_back(disk.clone());
        }
        was_full
    }

    /// How many wait, those among them that may not begin yet.
    #[must_use]
    pub const fn waiting_count(&self) -> usize {
        self.waiting_count
    }

    /// How many could begin now, at least: one of each disk that has a turn.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.ring.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_thousands_of_requests_lets_every_other_go_in_between() {
        let mut turns = Turns::new(2);
        for request in 0..5000 {
            turns.push("busy", request);
        }
        assert_eq!(turns.begin(), Some(("busy", 0)));
        turns.push("quiet", 7);
        turns.push("other", 8);
        let mut between = Vec::new();
        for _ in 0..3 {
            between.extend(turns.begin());
        }
        assert_eq!(between, [("busy", 1), ("quiet", 7), ("other", 8)]);
        assert_eq!(turns.begin(), None, "two of the busy disk are under way already");
        assert!(turns.done(&"busy"));
        assert_eq!(turns.begin(), Some(("busy", 2)));
    }

    #[test]
    fn every_request_is_taken_once_in_its_disks_order_and_none_is_passed_over() {
        let mut turns = Turns::new(3);
        let (mut taken, mut running, mut seed) = (vec![Vec::new(); 4], Vec::new(), 9u64);
        for request in 0..4000usize {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let disk = (seed >> 60) as usize % 4;
            turns.push(disk, request);
            if seed >> 33 & 3 != 0
                && let Some((disk, request)) = turns.begin()
            {
                taken[disk].push(request);
                running.push(disk);
            }
            if running.len() > 5 {
                turns.done(&running.remove((seed >> 40) as usize % 6));
            }
        }
        while turns.waiting_count() > 0 {
            match turns.begin() {
                Some((disk, request)) => {
                    taken[disk].push(request);
                    running.push(disk);
                }
                None => {
                    turns.done(&running.remove(0));
                }
            }
        }
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 4000);
        assert!(taken.iter().all(|of_disk| of_disk.is_sorted()));
    }
}
