//! Two block maps side by side, down to the ranges whose entries differ.

use super::{Extent, ExtentKind};
use crate::block_map::{DiskVersion, Geometry, MapReader, chunks_below};
use crate::error::Result;
use crate::format::node::Entry;
use crate::limits::NODE_FAN_OUT;

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
}

impl Walk {
    pub(super) fn new(before: DiskVersion, after: DiskVersion, geometry: Geometry) -> Self {
        let place = |version: DiskVersion| Place { entry: version.root.entry, level: version.root.height };
        let level = before.root.height.max(after.root.height);
        Self { steps: vec![Step { before: place(before), after: place(after), level, chunk: 0 }], geometry }
    }

    pub(super) fn next(&mut self, maps: &MapReader) -> Result<Option<Differing>> {
        while let Some(step) = self.steps.last().copied() {
            if step.chunk >= self.geometry.chunk_count() || equal(&step) {
                self.steps.pop();
                continue;
            }
            if step.level == 0 || (whole(&step.before, step.level) && whole(&step.after, step.level)) {
                self.steps.pop();
                return Ok(Some(self.differing(&step)));
            }
            let level = step.level - 1;
            let before = children(maps, step.before, step.level)?;
            let after = children(maps, step.after, step.level)?;
            self.steps.pop(); // only now: after an error the place is met again
            for index in (0..NODE_FAN_OUT).rev() {
                let chunk = step.chunk + index as u64 * chunks_below(level);
                self.steps.push(Step { before: before(index), after: after(index), level, chunk });
            }
        }
        Ok(None)
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

/// The places below one, by index.
fn children(maps: &MapReader, place: Place, level: u8) -> Result<impl Fn(usize) -> Place + use<>> {
    let node = match place.entry {
        Entry::Id(id) if place.level == level => Some(maps.node(&id, level)?),
        _ => None,
    };
    Ok(move |index| match &node {
        Some(node) => Place { entry: node.entry(index), level: level - 1 },
        None if place.level == level => Place { entry: place.entry, level: level - 1 },
        None if index == 0 => place,
        None => Place { entry: Entry::Hole, level: level - 1 },
    })
}
