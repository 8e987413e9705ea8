//! Whose request is next: the disks take turns.
//!
//! What it is: a queue for each disk and a ring of those that have any. Pure; who has threads takes from it.
//! What it guarantees: of a disk's requests the order is kept; between two requests of one disk every other disk that waits, and
//! may begin, has one; a disk never has more than its share of all that are under way, so another's first request finds
//! a thread (I-65). So however many requests one disk has waiting, or however long its rates make them wait, another's waits for
//! at most one of each disk.

use std::collections::{BTreeMap, VecDeque};

struct Line<T> {
    waiting: VecDeque<T>,
    running: usize,
}

/// Requests that wait, by their disk.
pub struct Turns<K, T> {
    lines: BTreeMap<K, Line<T>>,
    ring: VecDeque<K>, // those with requests that wait for no other one of their disk, each once
    share: usize,
    waiting_count: usize,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<K, T> {
    /// A request begins. Its disk is to be given back with [`Turns::done`].
    Begins(K, T),
    /// None may begin for so many nanoseconds.
    Later(u64),
    /// None waits but for others that are under way.
    Nothing,
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

    /// The next request. `wait_ns` says for how long the first one of a disk may not begin; where it says 0 that one begins.
    pub fn begin(&mut self, mut wait_ns: impl FnMut(&K, &T) -> u64) -> Turn<K, T> {
        let mut shortest_ns: Option<u64> = None;
        for _ in 0..self.ring.len() {
            let Some(disk) = self.ring.pop_front() else { break };
            let Some(line) = self.lines.get_mut(&disk) else { continue };
            let Some(request) = line.waiting.front() else { continue };
            let wait_ns = wait_ns(&disk, request);
            if wait_ns > 0 {
                shortest_ns = Some(shortest_ns.map_or(wait_ns, |shortest| shortest.min(wait_ns)));
                self.ring.push_back(disk);
                continue;
            }
            let Some(request) = line.waiting.pop_front() else { continue };
            line.running += 1;
            self.waiting_count -= 1;
            if !line.waiting.is_empty() && line.running < self.share {
                self.ring.push_back(disk.clone());
            }
            return Turn::Begins(disk, request);
        }
        shortest_ns.map_or(Turn::Nothing, Turn::Later)
    }

    /// Takes a request back that waits; none when it has begun.
    pub fn take_back(&mut self, disk: &K, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let line = self.lines.get_mut(disk)?;
        let place = line.waiting.iter().position(is_it)?;
        let request = line.waiting.remove(place);
        self.waiting_count -= 1;
        if line.waiting.is_empty() {
            self.ring.retain(|other| other != disk);
            if line.running == 0 {
                self.lines.remove(disk);
            }
        }
        request
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

    /// Any request that waits.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.ring.front().and_then(|disk| self.lines.get(disk)?.waiting.front())
    }

    /// How many wait, those among them that may not begin yet.
    #[must_use]
    pub const fn waiting_count(&self) -> usize {
        self.waiting_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once<K, T>(_: &K, _: &T) -> u64 {
        0
    }

    fn begun<K: Ord + Clone, T>(turns: &mut Turns<K, T>) -> Option<(K, T)> {
        match turns.begin(at_once) {
            Turn::Begins(disk, request) => Some((disk, request)),
            _ => None,
        }
    }

    #[test]
    fn a_disk_with_thousands_of_requests_lets_every_other_go_in_between() {
        let mut turns = Turns::new(2);
        for request in 0..5000 {
            turns.push("busy", request);
        }
        assert_eq!(begun(&mut turns), Some(("busy", 0)));
        turns.push("quiet", 7);
        turns.push("other", 8);
        let mut between = Vec::new();
        for _ in 0..3 {
            between.extend(begun(&mut turns));
        }
        assert_eq!(between, [("busy", 1), ("quiet", 7), ("other", 8)]);
        assert_eq!(turns.begin(at_once), Turn::Nothing, "two of the busy disk are under way already");
        assert!(turns.done(&"busy"));
        assert_eq!(begun(&mut turns), Some(("busy", 2)));
    }

    #[test]
    fn a_disk_whose_requests_may_not_begin_yet_is_in_nobodys_way() {
        let mut turns = Turns::new(2);
        for request in 0..100 {
            turns.push("slow", request);
            turns.push("slower", request);
        }
        turns.push("quick", 1);
        let wait_ns = |disk: &&str, _: &i32| match *disk {
            "slow" => 5,
            "slower" => 9,
            _ => 0,
        };
        assert_eq!(turns.begin(wait_ns), Turn::Begins("quick", 1));
        assert_eq!(turns.begin(wait_ns), Turn::Later(5));
        assert_eq!(turns.begin(at_once), Turn::Begins("slow", 0), "once it may, its oldest one begins");
    }

    #[test]
    fn what_is_taken_back_never_begins_and_leaves_the_others_in_order() {
        let mut turns = Turns::new(1);
        for request in 0..4 {
            turns.push("a", request);
        }
        assert_eq!(turns.take_back(&"a", |request| *request == 2), Some(2));
        assert_eq!(turns.take_back(&"a", |request| *request == 2), None);
        assert_eq!(begun(&mut turns), Some(("a", 0)));
        assert_eq!(turns.take_back(&"a", |request| *request == 0), None, "it has begun");
        assert_eq!((turns.take_back(&"a", |_| true), turns.take_back(&"a", |_| true)), (Some(1), Some(3)));
        assert_eq!((turns.waiting_count(), turns.done(&"a")), (0, false));
        turns.push("a", 5);
        assert_eq!(begun(&mut turns), Some(("a", 5)));
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
                && let Some((disk, request)) = begun(&mut turns)
            {
                taken[disk].push(request);
                running.push(disk);
            }
            if running.len() > 5 {
                turns.done(&running.remove((seed >> 40) as usize % 6));
            }
        }
        while turns.waiting_count() > 0 {
            match begun(&mut turns) {
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
