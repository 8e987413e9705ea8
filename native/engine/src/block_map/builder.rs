//! A block map from its leaves, in order, in memory proportional to its height.

use super::{SPAN_CHUNKS, chunks_below};
use crate::chunk_store::identity::Identity;
use crate::error::Result;
use crate::format::PackKind;
use crate::format::node::{Entry, Node, Root};
use crate::limits::{NODE_FAN_OUT, NODE_LEVEL_MAX};
use crate::units::ContentId;

/// Builds one map. Nodes are handed out as they become complete, children before parents.
pub struct MapBuilder<'a> {
    identity: &'a Identity,
    height: u8,
    levels: Vec<Vec<Entry>>, // levels[k]: entries of level k whose node is not complete
}

impl<'a> MapBuilder<'a> {
    /// A builder for a map of this height.
    #[must_use]
    pub fn new(identity: &'a Identity, height: u8) -> Self {
        assert!(height <= NODE_LEVEL_MAX);
        Self { identity, height, levels: vec![Vec::new(); usize::from(height) + 1] }
    }

    /// Appends the chunk entries of the next span: 64, fewer only in the last one.
    ///
    /// # Errors
    /// What `add_node` gives.
    pub fn push_span(
        &mut self,
        entries: &[Entry],
        add_node: &mut dyn FnMut(ContentId, &[u8]) -> Result<()>,
    ) -> Result<()> {
        assert!(entries.len() <= NODE_FAN_OUT && self.levels[0].is_empty());
        if self.height == 0 {
            assert!(entries.len() <= 1);
            self.levels[0].extend_from_slice(entries);
            return Ok(());
        }
        let entry = self.close(1, entries, add_node)?;
        self.push(1, entry, add_node)
    }

    /// Appends so many spans that are all hole. Costs steps for the places that they fill, not for the spans.
    ///
    /// # Errors
    /// What `add_node` gives.
    pub fn push_hole_spans(
        &mut self,
        mut span_count: u64,
        add_node: &mut dyn FnMut(ContentId, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.height == 0 {
            assert!(span_count <= 1);
            return Ok(()); // what is left out of the root is hole
        }
        while span_count > 0 {
            // The highest place that begins here and that the run fills. Above it, something is open.
            let mut level = 1;
            while level < self.height
                && self.levels[usize::from(level)].is_empty()
                && span_count >= chunks_below(level + 1) / SPAN_CHUNKS
            {
                level += 1;
            }
            span_count -= chunks_below(level) / SPAN_CHUNKS;
            self.push(level, Entry::Hole, add_node)?;
        }
        Ok(())
    }

    /// Closes what is open and returns the root.
    ///
    /// # Errors
    /// What `add_node` gives.
    pub fn finish(mut self, add_node: &mut dyn FnMut(ContentId, &[u8]) -> Result<()>) -> Result<Root> {
        for level in 1..self.height {
            let open = std::mem::take(&mut self.levels[usize::from(level)]);
            if !open.is_empty() {
                let entry = self.close(level + 1, &open, add_node)?;
                self.levels[usize::from(level) + 1].push(entry);
            }
        }
        let top = &self.levels[usize::from(self.height)];
        assert!(top.len() <= 1, "a map of this height has one root");
        Ok(Root { entry: top.first().copied().unwrap_or(Entry::Hole), height: self.height })
    }

    /// Puts an entry into its place, and closes what is full with it.
    fn push(
        &mut self,
        mut level: u8,
        mut entry: Entry,
        add_node: &mut dyn FnMut(ContentId, &[u8]) -> Result<()>,
    ) -> Result<()> {
        loop {
            let siblings = &mut self.levels[usize::from(level)];
            siblings.push(entry);
            if level == self.height || siblings.len() < NODE_FAN_OUT {
                return Ok(());
            }
            let full = std::mem::take(siblings);
            level += 1;
            entry = self.close(level, &full, add_node)?;
        }
    }

    fn close(
        &self,
        level: u8,
        entries: &[Entry],
        add_node: &mut dyn FnMut(ContentId, &[u8]) -> Result<()>,
    ) -> Result<Entry> {
        match Node::canonical(level, entries) {
            Err(entry) => Ok(entry),
            Ok(node) => {
                let plain = node.encode();
                let id = self.identity.id(PackKind::Nodes, &plain);
                add_node(id, &plain)?;
                Ok(Entry::Id(id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Seeded;

    /// Root and nodes of a map: so many spans of holes, then one span of data, and so on.
    fn built(height: u8, runs: &[u64], at_once: bool) -> (Root, BTreeSet<ContentId>) {
        let identity = Identity::new(&[7; 32]);
        let mut builder = MapBuilder::new(&identity, height);
        let mut nodes = BTreeSet::new();
        let mut add_node = |id, _: &[u8]| {
            nodes.insert(id);
            Ok(())
        };
        for (number, run) in runs.iter().enumerate() {
            if at_once {
                builder.push_hole_spans(*run, &mut add_node).unwrap();
            } else {
                for _ in 0..*run {
                    builder.push_span(&[Entry::Hole; NODE_FAN_OUT], &mut add_node).unwrap();
                }
            }
            let data = Entry::Id(ContentId([number as u8; 32]));
            builder.push_span(&[data; NODE_FAN_OUT], &mut add_node).unwrap();
        }
        let root = builder.finish(&mut add_node).unwrap();
        (root, nodes)
    }

    #[test]
    fn holes_pushed_at_once_make_the_map_that_holes_pushed_one_by_one_make() {
        let mut random = Seeded::new(1);
        for runs in [vec![0], vec![63, 0, 64], vec![4095, 4096, 1], vec![100, 9_000, 64 * 64 - 1, 0, 1]] {
            assert_eq!(built(4, &runs, true), built(4, &runs, false), "{runs:?}");
        }
        for _ in 0..20 {
            let runs: Vec<u64> = (0..random.below(6) + 1).map(|_| random.below(6_000)).collect();
            assert_eq!(built(4, &runs, true), built(4, &runs, false), "{runs:?}");
        }
    }
}
