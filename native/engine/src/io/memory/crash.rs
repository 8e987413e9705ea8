//! What a file system looks like after a crash.
//!
//! After a power cut a name and a content are durable apart from each other: each file keeps what was synced and
//! some of its unsynced changes, each name what its directory's sync covered and some of the later moves
//! ([`names`](super::names) says which sets are possible). A file that lost its name is gone. The model allows
//! everything that ALICE (OSDI 2014) found on real file systems within these rules: writes out of order, torn at
//! sectors, a length without its bytes, a rename before the bytes of what was renamed.

use std::sync::Arc;

use super::content::Content;
use super::names::{Names, Tree};
use super::node::{Change, Node};
use super::state::{ROOT, State};
use crate::io::FileKind;
use crate::io::tear::arrived_parts;
use crate::random::Seeded;
use crate::units::u64_from;

/// What a crash does to everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashChoice {
    /// The process dies, the machine runs on: nothing is lost, and what was unsynced still is. Locks are free.
    ProcessKilled,
    /// A power cut; nothing unsynced reached the disk.
    LoseUnsynced,
    /// A power cut; everything unsynced reached the disk.
    KeepAll,
    /// A power cut; this seed decides, change by change, what was kept, lost or torn.
    Seeded(u64),
}

/// The state after the crash.
pub(super) fn crashed(before: &State, choice: CrashChoice) -> State {
    match choice {
        CrashChoice::ProcessKilled => killed(before),
        CrashChoice::LoseUnsynced => {
            after_power_cut(before, before.tree.durable.clone(), |node| Arc::clone(&node.durable))
        }
        CrashChoice::KeepAll => after_power_cut(before, before.tree.visible.clone(), Node::all_kept),
        CrashChoice::Seeded(seed) => {
            let mut random = Seeded::new(seed);
            let luck = Luck::draw(&mut random);
            let names = before.tree.with_some(|| luck.keeps(&mut random));
            after_power_cut(before, names, |node| some_kept(node, &mut random))
        }
    }
}

fn killed(before: &State) -> State {
    let mut after = before.clone();
    for node in after.nodes.values_mut() {
        (node.holders, node.held_exclusively, node.locked) = (0, false, false);
    }
    let inodes: Vec<u64> = after.nodes.keys().copied().collect();
    for inode in inodes {
        after.forget_if_unreachable(inode);
    }
    after
}

/// Keeps what `names` leads to, with the content that `survivor` gives. Nodes are asked in the order of their inodes.
fn after_power_cut(before: &State, names: Names, mut survivor: impl FnMut(&Node) -> Arc<Content>) -> State {
    let mut after = before.emptied();
    for (&inode, node) in &before.nodes {
        // Asked even when its name is lost, so that one name more or less does not change what other files keep.
        let content = survivor(node);
        if is_reachable(&names, inode) {
            let mut kept = Node::new(node.kind, content, node.modified_ns);
            kept.changed_ns = node.changed_ns;
            after.nodes.insert(inode, kept);
        }
    }
    let mut reachable = Names::default();
    for &inode in after.nodes.keys() {
        reachable.put(inode, names.place_of(inode).cloned());
    }
    after.tree = Tree::settled(reachable);
    after
}

fn is_reachable(names: &Names, mut inode: u64) -> bool {
    while inode != ROOT {
        match names.place_of(inode) {
            Some(place) => inode = place.directory,
            None => return false,
        }
    }
    true
}

/// How a file, or all names together, fare. Drawn first, because with many changes an even choice over each would
/// almost never give the two states that matter most: all of it and nothing.
enum Luck {
    All,
    Nothing,
    Mixed,
}

impl Luck {
    fn draw(random: &mut Seeded) -> Self {
        match random.below(4) {
            0 => Self::All,
            1 => Self::Nothing,
            _ => Self::Mixed,
        }
    }

    fn keeps(&self, random: &mut Seeded) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Mixed => random.one_in(2),
        }
    }
}

fn some_kept(node: &Node, random: &mut Seeded) -> Arc<Content> {
    if node.unsynced.is_empty() || node.kind == FileKind::Directory {
        return Arc::clone(&node.durable);
    }
    match Luck::draw(random) {
        Luck::All => node.all_kept(),
        Luck::Nothing => Arc::clone(&node.durable),
        Luck::Mixed => {
            let mut content = Arc::clone(&node.durable);
            let changed = Arc::make_mut(&mut content);
            for change in &node.unsynced {
                survive(change, changed, random);
            }
            content
        }
    }
}

/// Applies what is left of one change.
fn survive(change: &Change, content: &mut Content, random: &mut Seeded) {
    let Change::Write { offset, bytes } = change else {
        if random.one_in(2) {
            change.apply(content);
        }
        return;
    };
    match random.below(4) {
        0 => change.apply(content),
        1 => {}
        2 => {
            for part in arrived_parts(*offset, bytes.len(), random) {
                let at = *offset + u64_from(part.start);
                content.write(&bytes[part], at, u64::MAX);
            }
        }
        // The length was recorded, the bytes never came.
        _ => content.set_length(content.length().max(*offset + u64_from(bytes.len()))),
    }
}
