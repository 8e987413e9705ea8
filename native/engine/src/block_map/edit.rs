//! A new map from an old one and sorted changes: only changed paths are read and written.
//!
//! What it is: [`MapEditor`] keeps the one path from the root to where it stands open, as entries in memory. A change
//! closes what lies before it, sets whole places where it fills them, and opens nodes down to where it does not.
//! What it guarantees: the root is what [`MapBuilder`](super::MapBuilder) makes of the same entries (I-41), at every
//! moment: [`MapEditor::root`] closes a copy of the path, so a copy that is cut off has a map of what it did so far.
//! What it costs: memory for one path; steps for the places that a change fills, not for its chunks; each old node on a
//! changed path is read once, and none below a place that is replaced whole.

use super::{DiskVersion, MapReader, chunks_below};
use crate::error::Result;
use crate::format::PackKind;
use crate::format::node::{Entry, Node, Root};
use crate::limits::NODE_FAN_OUT;
use crate::units::{ContentId, usize_from};

/// Changes whose old nodes are read together.
const WINDOW_CHANGES: usize = 128;

/// Who takes new nodes, children before parents.
pub type AddNode<'f> = dyn FnMut(ContentId, &[u8]) -> Result<()> + 'f;

/// The map of a disk of `size_after` bytes that has `changes` (first chunk, how many, what stands there) and is otherwise
/// as `before`. The changes are sorted and do not overlap; the disk may grow, and not shrink.
///
/// # Errors
/// What reading nodes and `add_node` give.
pub fn edited(
    maps: &MapReader,
    before: DiskVersion,
    size_after: u64,
    changes: impl IntoIterator<Item = (u64, u64, Entry)>,
    add_node: &mut AddNode<'_>,
) -> Result<Root> {
    let mut editor = MapEditor::new(maps, before, size_after);
    let mut changes = changes.into_iter();
    let mut window = Vec::with_capacity(WINDOW_CHANGES);
    loop {
        window.clear();
        window.extend(changes.by_ref().take(WINDOW_CHANGES));
        if window.is_empty() {
            return editor.root(maps, add_node);
        }
        let ends = window.iter().flat_map(|(first, count, _)| [*first, first + count.saturating_sub(1)]);
        // Into the cache, together. A node that cannot be read may lie below a place that is replaced, and if not, the
        // step that needs it says so.
        let _ = maps.entries(&before, &ends.collect::<Vec<_>>());
        for (first, count, entry) in &window {
            editor.set(maps, *first, *count, *entry, add_node)?;
        }
    }
}

/// Edits one map, from its front to its end.
#[derive(Clone)]
pub struct MapEditor {
    root: Entry, // without what is open
    height: u8,
    chunk_count: u64,
    next: u64,
    open: Vec<OpenNode>, // from the root downwards
}

/// A node whose entries may still change.
#[derive(Clone)]
struct OpenNode {
    level: u8,
    first: u64, // chunk
    before: Entry,
    entries: [Entry; NODE_FAN_OUT],
    is_changed: bool,
}

impl MapEditor {
    /// An editor in front of the first chunk.
    ///
    /// # Panics
    /// When the disk is to be smaller than before: a smaller disk stands on another base.
    #[must_use]
    pub fn new(maps: &MapReader, before: DiskVersion, size_after: u64) -> Self {
        assert!(before.size <= size_after, "a map is not cut off by editing it");
        let chunk_bytes = maps.store().parameters().chunk_bytes;
        let height = Root::height_for(size_after, chunk_bytes);
        let chunk_count = size_after.div_ceil(u64::from(chunk_bytes));
        let mut editor = Self { root: before.root.entry, height, chunk_count, next: 0, open: Vec::new() };
        if height > before.root.height && before.root.entry != Entry::Hole {
            // The old root becomes the first place of the level above it. Those nodes are open from the beginning, so that a
            // change below them makes each of them once.
            editor.root = Entry::Hole;
            for level in (before.root.height + 1..=height).rev() {
                let entries = [Entry::Hole; NODE_FAN_OUT];
                editor.open.push(OpenNode { level, first: 0, before: Entry::Hole, entries, is_changed: false });
            }
            editor.put(0, before.root.height, before.root.entry);
        }
        editor
    }

    /// Sets what stands at `count` chunks from `first` on, which lies behind all that was set before.
    ///
    /// # Errors
    /// What reading nodes and `add_node` give.
    pub fn set(
        &mut self,
        maps: &MapReader,
        first: u64,
        count: u64,
        entry: Entry,
        add_node: &mut AddNode<'_>,
    ) -> Result<()> {
        let end = first.checked_add(count).filter(|end| *end <= self.chunk_count);
        let end = end.expect("a change lies on the disk");
        assert!(first >= self.next, "changes are sorted and do not overlap");
        // Past the disk's end everything is hole, so a hole up to there fills the last places.
        let fills_to = match entry {
            Entry::Hole if end == self.chunk_count => u64::MAX,
            _ => end,
        };
        let mut chunk = first;
        while chunk < end {
            while self.open.last().is_some_and(|node| chunk - node.first >= chunks_below(node.level)) {
                self.close(maps, add_node)?;
            }
            let level = self.open.last().map_or(self.height, |node| node.level - 1);
            let below = chunks_below(level);
            let fills = chunk.is_multiple_of(below) && fills_to - chunk >= below && !matches!(entry, Entry::Id(_));
            if level == 0 || fills {
                self.put(chunk, level, entry);
                chunk += below;
            } else {
                self.open_at(maps, chunk - chunk % below, level)?;
            }
        }
        self.next = end;
        Ok(())
    }

    /// The root of the map as it is now: what was set, and behind it what was there before. The editor can go on.
    ///
    /// # Errors
    /// What `add_node` gives.
    pub fn root(&self, maps: &MapReader, add_node: &mut AddNode<'_>) -> Result<Root> {
        let mut closed = self.clone();
        while !closed.open.is_empty() {
            closed.close(maps, add_node)?;
        }
        Ok(Root { entry: closed.root, height: closed.height })
    }

    /// Puts an entry of this level into the lowest open node, or in the root's place.
    fn put(&mut self, chunk: u64, level: u8, entry: Entry) {
        match self.open.last_mut() {
            None => self.root = entry,
            Some(node) => {
                assert_eq!(node.level, level + 1, "an entry goes into the node above it");
                let place = &mut node.entries[index_of(chunk, level)];
                node.is_changed |= *place != entry;
                *place = entry;
            }
        }
    }

    /// Opens the place of this level that begins at `first`.
    fn open_at(&mut self, maps: &MapReader, first: u64, level: u8) -> Result<()> {
        let before = self.open.last().map_or(self.root, |node| node.entries[index_of(first, level)]);
        let mut entries = [before; NODE_FAN_OUT];
        if let Entry::Id(id) = before {
            let node = maps.node(&id, level)?;
            for (index, entry) in entries.iter_mut().enumerate() {
                *entry = node.entry(index);
            }
        }
        self.open.push(OpenNode { level, first, before, entries, is_changed: false });
        Ok(())
    }

    /// Closes the lowest open node.
    fn close(&mut self, maps: &MapReader, add_node: &mut AddNode<'_>) -> Result<()> {
        let Some(node) = self.open.last() else { return Ok(()) };
        let (first, level) = (node.first, node.level);
        let entry = match Node::canonical(level, &node.entries) {
            _ if !node.is_changed => node.before,
            Err(entry) => entry,
            Ok(node) => {
                let plain = node.encode();
                let id = maps.store().parameters().identity.id(PackKind::Nodes, &plain);
                add_node(id, &plain)?;
                Entry::Id(id)
            }
        };
        self.open.pop();
        self.put(first, level, entry);
        Ok(())
    }
}

/// Which entry of its node a place of this level is.
fn index_of(chunk: u64, level: u8) -> usize {
    usize_from(chunk / chunks_below(level)) % NODE_FAN_OUT
}
