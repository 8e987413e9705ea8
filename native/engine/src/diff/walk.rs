//! Two block maps side by side, down to the ranges whose entries differ.

use std::ops::Range;
use std::sync::Arc;

use super::{Extent, ExtentKind};
use crate::block_map::{DiskVersion, Geometry, MapReader, chunks_below};
use crate::error::Result;
use crate::format::node::{Entry, Node};
use crate::limits::NODE_FAN_OUT;
use crate::units::ContentId;

/// Steps whose nodes are read together: two nodes each, 2 MiB in all. A level below has up to 64 times as many steps.
const WINDOW_STEPS: usize = 512;

/// A place in one of the maps. Its own level may be below the level of the walk where the other map is higher: then
/// it stands in the first child's place, and what follows it is hole.
#[derive(Clone, Copy, Debug)]
struct Place {
    entry: Entry,
    level: u8,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    before: Place,
    after: Place,
    level: u8,
    chunk: u64,
}

/// A range whose entries differ: one chunk, or a run below two entries of which none is an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Differing {
    pub(super) extent: Extent,
    pub(super) chunk: u64,
    pub(super) chunk_count: u64,
    pub(super) before: Entry,
    pub(super) after: Entry,
}

pub(super) struct Walk {
    steps: Vec<Step>, // a stack: the next place is the last
    geometry: Geometry,
    first: u64, // chunks before it are left out
    end: u64,   // and those from it on
}

impl Walk {
    pub(super) fn new(before: DiskVersion, after: DiskVersion, geometry: Geometry, chunks: Range<u64>) -> Self {
        let place = |version: DiskVersion| Place { entry: version.root.entry, level: version.root.height };
        let level = before.root.height.max(after.root.height);
        let steps = vec![Step { before: place(before), after: place(after), level, chunk: 0 }];
        Self { steps, geometry, first: chunks.start, end: chunks.end.min(geometry.chunk_count()) }
    }

    pub(super) fn next(&mut self, maps: &MapReader) -> Result<Option<Differing>> {
        while let Some(step) = self.steps.last().copied() {
            if step.chunk >= self.end || equal(&step) || self.is_passed(step.chunk, step.level) {
                self.steps.pop();
            } else if decides(&step) {
                self.steps.pop();
                return Ok(Some(self.differing(&step)));
            } else {
                self.expand(maps)?;
            }
        }
        Ok(None)
    }

    /// Puts their children in the places of the next steps, which are many so that their nodes are read together.
    fn expand(&mut self, maps: &MapReader) -> Result<()> {
        let last = self.steps.len() - 1;
        let first = self.steps.len().saturating_sub(WINDOW_STEPS);
        match self.expand_from(first, maps) {
            // Damage further on must not hide what comes before it.
            Err(_) if first < last => self.expand_from(last, maps),
            expanded => expanded,
        }
    }

    fn expand_from(&mut self, first: usize, maps: &MapReader) -> Result<()> {
        let mut wanted = Vec::new();
        for step in self.steps[first..].iter().rev().filter(|step| !decides(step)) {
            wanted.extend(
                [step.before, step.after].iter().filter_map(|place| Some((node_of(place, step.level)?, step.level))),
            );
        }
        let mut nodes = maps.nodes(&wanted)?; // after an error the places are met again
        for step in self.steps.split_off(first) {
            if decides(&step) {
                self.steps.push(step);
                continue;
            }
            // From the end, and so in the reverse of the order in which they were wanted.
            let mut children_of =
                |place: Place| children(place, step.level, node_of(&place, step.level).and_then(|_| nodes.pop()));
            let after = children_of(step.after);
            let before = children_of(step.before);
            let level = step.level - 1;
            for index in (0..NODE_FAN_OUT).rev() {
                let chunk = step.chunk + index as u64 * chunks_below(level);
                let child = Step { before: before(index), after: after(index), level, chunk };
                if chunk < self.end && !equal(&child) && !self.is_passed(chunk, level) {
                    self.steps.push(child);
                }
            }
        }
        Ok(())
    }

    /// Whether all that is below a place lies before the first chunk.
    fn is_passed(&self, chunk: u64, level: u8) -> bool {
        chunk + chunks_below(level) <= self.first
    }

    fn differing(&self, step: &Step) -> Differing {
        let chunk_count = chunks_below(step.level).min(self.geometry.chunk_count() - step.chunk);
        let range = self.geometry.range(step.chunk, chunk_count);
        let kind = if step.after.entry.reads_zero() { ExtentKind::Zero } else { ExtentKind::Data };
        Differing {
            extent: Extent { offset: range.start, length: range.end - range.start, kind },
            chunk: step.chunk,
            chunk_count,
            before: step.before.entry,
            after: step.after.entry,
        }
    }
}

/// Whether the entry speaks for everything below this level of the walk.
fn whole(place: &Place, level: u8) -> bool {
    match place.entry {
        Entry::Hole => true,
        Entry::Fill(_) => place.level == level,
        Entry::Id(_) => false,
    }
}

fn equal(step: &Step) -> bool {
    let (before, after) = (&step.before, &step.after);
    if before.entry.reads_zero() && after.entry.reads_zero() {
        return true;
    }
    before.entry == after.entry && before.level == after.level
}

/// Whether the entries say all: below them nothing is looked for.
fn decides(step: &Step) -> bool {
    equal(step) || step.level == 0 || (whole(&step.before, step.level) && whole(&step.after, step.level))
}

/// The node that has to be read for what is below a place.
fn node_of(place: &Place, level: u8) -> Option<ContentId> {
    match place.entry {
        Entry::Id(id) if place.level == level => Some(id),
        _ => None,
    }
}

/// The places below one, by index.
fn children(place: Place, level: u8, node: Option<Arc<Node>>) -> impl Fn(usize) -> Place {
    move |index| match &node {
        Some(node) => Place { entry: node.entry(index), level: level - 1 },
        None if place.level == level => Place { entry: place.entry, level: level - 1 },
        None if index == 0 => place,
        None => Place { entry: Entry::Hole, level: level - 1 },
    }
}
