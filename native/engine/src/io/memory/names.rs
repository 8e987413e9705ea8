//! Names: which directory entry leads to which inode, durably and now, and the moves between the two.
//!
//! Every change of names (create, rename, remove) is one [`Move`]: an inode's only name goes from a place, or from
//! nowhere, to a place, or to nowhere. There are no hard links. A move *depends* on an earlier one that concerns the
//! same inode or a place of its own. A power cut keeps any set of moves that holds with each move what it depends
//! on: independent names change in any order, and every state could have come about by calls that were made.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: u64,
    pub(super) name: Arc<str>,
}

/// One change of names.
#[derive(Clone)]
pub(super) struct Move {
    pub(super) inode: u64,
    pub(super) from: Option<Place>,
    pub(super) to: Option<Place>,
    /// Directories it touched that were not synced since; it is durable when none is left.
    unsynced: Vec<u64>,
}

impl Move {
    pub(super) fn new(inode: u64, from: Option<Place>, to: Option<Place>) -> Self {
        let mut unsynced: Vec<u64> = from.iter().chain(&to).map(|place| place.directory).collect();
        unsynced.dedup();
        Self { inode, from, to, unsynced }
    }

    fn depends_on(&self, earlier: &Self) -> bool {
        let concerned = |place: &Place| earlier.from.as_ref() == Some(place) || earlier.to.as_ref() == Some(place);
        self.inode == earlier.inode || self.from.iter().chain(&self.to).any(concerned)
    }
}

/// One state of all names.
#[derive(Clone, Default)]
pub(super) struct Names {
    /// Directory to its entries; a directory without any may be missing.
    entries: BTreeMap<u64, BTreeMap<Arc<str>, u64>>,
    places: BTreeMap<u64, Place>,
}

impl Names {
    pub(super) fn lookup(&self, directory: u64, name: &str) -> Option<u64> {
        self.entries.get(&directory)?.get(name).copied()
    }

    /// The entries of a directory, sorted by name.
    pub(super) fn children(&self, directory: u64) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.entries.get(&directory).into_iter().flatten().map(|(name, &inode)| (name, inode))
    }

    pub(super) fn place_of(&self, inode: u64) -> Option<&Place> {
        self.places.get(&inode)
    }

    /// Gives the inode its only name, taking it from whoever had it.
    pub(super) fn put(&mut self, inode: u64, to: Option<Place>) {
        if let Some(before) = self.places.remove(&inode)
            && let Some(siblings) = self.entries.get_mut(&before.directory)
        {
            siblings.remove(&before.name);
        }
        if let Some(place) = to {
            let siblings = self.entries.entry(place.directory).or_default();
            if let Some(replaced) = siblings.insert(Arc::clone(&place.name), inode) {
                self.places.remove(&replaced);
            }
            self.places.insert(inode, place);
        }
    }
}

/// Names now, names for certain, and the moves between.
#[derive(Clone, Default)]
pub(super) struct Tree {
    pub(super) visible: Names,
    pub(super) durable: Names,
    pub(super) unsynced: Vec<Move>,
}

impl Tree {
    /// Names whose state is durable.
    pub(super) fn settled(names: Names) -> Self {
        Self { visible: names.clone(), durable: names, unsynced: Vec::new() }
    }

    /// Makes a move; it can be seen at once.
    pub(super) fn make(&mut self, change: Move) {
        self.visible.put(change.inode, change.to.clone());
        self.unsynced.push(change);
    }

    /// Makes durable what touched this directory only (or the other one was synced too), and what that depends on.
    /// Returns the inodes concerned.
    pub(super) fn sync(&mut self, directory: u64) -> Vec<u64> {
        for change in &mut self.unsynced {
            change.unsynced.retain(|&unsynced| unsynced != directory);
        }
        let mut settled: Vec<bool> = self.unsynced.iter().map(|change| change.unsynced.is_empty()).collect();
        for later in (0..settled.len()).rev().filter(|&later| self.unsynced[later].unsynced.is_empty()) {
            settle_with_dependencies(&self.unsynced, &mut settled, later);
        }
        let mut inodes = Vec::new();
        let mut kept = Vec::new();
        for (change, is_settled) in std::mem::take(&mut self.unsynced).into_iter().zip(settled) {
            if is_settled {
                let replaced = change.to.as_ref().and_then(|place| self.durable.lookup(place.directory, &place.name));
                inodes.extend(replaced);
                inodes.push(change.inode);
                self.durable.put(change.inode, change.to);
            } else {
                kept.push(change);
            }
        }
        self.unsynced = kept;
        inodes
    }

    /// The durable names with those unsynced moves that `keeps` chooses; a move whose dependency is lost is lost.
    pub(super) fn with_some(&self, mut keeps: impl FnMut() -> bool) -> Names {
        let mut names = self.durable.clone();
        let mut lost: Vec<&Move> = Vec::new();
        for change in &self.unsynced {
            if keeps() && !lost.iter().any(|earlier| change.depends_on(earlier)) {
                names.put(change.inode, change.to.clone());
            } else {
                lost.push(change);
            }
        }
        names
    }

    /// Whether a power cut could still leave a name of this inode, or a reader see one.
    pub(super) fn mentions(&self, inode: u64) -> bool {
        self.visible.place_of(inode).is_some()
            || self.durable.place_of(inode).is_some()
            || self.unsynced.iter().any(|change| change.inode == inode)
    }
}

fn settle_with_dependencies(moves: &[Move], settled: &mut [bool], later: usize) {
    let mut open = vec![later];
    while let Some(later) = open.pop() {
        for earlier in 0..later {
            if !settled[earlier] && moves[later].depends_on(&moves[earlier]) {
                settled[earlier] = true;
                open.push(earlier);
            }
        }
    }
}
