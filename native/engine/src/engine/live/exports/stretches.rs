//! What a disk is made of, from an offset on, without reading its bytes.
//!
//! What it guarantees: stretches cover what was asked for from its beginning on, in order; where there are very many they end
//! early, and never before the first. What reads as a hole has no space; a run of zeros in a map counts as one.
//! What it costs: of layers a look-up of so many extents, of maps the nodes of allocated places: not one of a hole.

use std::ops::Range;
use std::sync::Arc;

use super::super::cuts::Bases;
use crate::block_map::{DiskVersion, MapReader};
use crate::control::Control;
use crate::cut::{Base, ExtentContent, View};
use crate::diff::DiffCursor;
use crate::error::Result;
use crate::format::node::Root;
use crate::format::superblock::BaseContent;
use crate::nbd::StatusExtent;

/// Extents that are looked up at once: pages written one after the other are many extents and one stretch.
const LOOK_EXTENTS: usize = 4096;

/// What a stretch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes, in a layer or in a map.
    Data { in_layer: bool },
    /// Zeros that somebody wrote.
    Zero,
    /// Nothing. It reads as zero.
    Hole,
}

impl Kind {
    /// The flags of `base:allocation`: 1 a hole, 2 reads as zero.
    pub(super) const fn allocation(self) -> u64 {
        match self {
            Self::Data { .. } => 0,
            Self::Zero => 2,
            Self::Hole => 3,
        }
    }

    /// The number of `qemu:allocation-depth`: 0 for nothing.
    pub(super) const fn depth(self) -> u64 {
        match self {
            Self::Data { in_layer: true } | Self::Zero => 1,
            Self::Data { in_layer: false } => 2,
            Self::Hole => 0,
        }
    }
}

/// A run of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) range: Range<u64>,
    pub(super) kind: Kind,
}

/// Looks stretches up.
pub(super) struct Stretches<'a> {
    bases: &'a Bases,
    maps: &'a Arc<MapReader>,
}

impl<'a> Stretches<'a> {
    pub(super) fn of(bases: &'a Bases) -> Self {
        Self { bases, maps: bases.reader.maps() }
    }

    /// Of a map. `range` lies inside the disk, which may be larger than the map's.
    pub(super) fn of_version(&self, version: DiskVersion, range: Range<u64>) -> Result<Vec<Stretch>> {
        let chunk_bytes = self.maps.store().parameters().chunk_bytes;
        let nothing = DiskVersion { root: Root::empty(0, chunk_bytes), size: 0 };
        let mut cursor = DiffCursor::within(Arc::clone(self.maps), nothing, version, None, range.clone());
        let mut found = Vec::new();
        let mut at = range.start;
        let extents = cursor.next_page(LOOK_EXTENTS, &Control::default())?;
        for extent in &extents {
            if extent.offset >= range.end {
                break;
            }
            add(&mut found, at..extent.offset, Kind::Hole);
            add(&mut found, extent.offset.max(at)..extent.end().min(range.end), Kind::Data { in_layer: false });
            at = extent.end().clamp(at, range.end);
        }
        let is_whole = extents.len() < LOOK_EXTENTS;
        if is_whole || extents.last().is_some_and(|last| last.offset >= range.end) {
            add(&mut found, at..range.end, Kind::Hole); // nothing else is allocated
        }
        Ok(found)
    }

    /// Of a view, down through what it stands on.
    pub(super) fn of_view(&self, view: &View, range: Range<u64>) -> Result<Vec<Stretch>> {
        let layers = view.extents(range.start, LOOK_EXTENTS);
        let known = match layers.last() {
            Some((last, _)) if layers.len() == LOOK_EXTENTS => last.end.min(range.end),
            _ => range.end,
        };
        let below = match view.bottom() {
            None => vec![Stretch { range: range.start..known, kind: Kind::Hole }],
            Some(base) => self.of_base(&base, range.start..known)?,
        };
        let known = below.last().map_or(range.start, |last| last.range.end);
        let mut found = Vec::new();
        let mut at = range.start;
        let mut below = below.into_iter().peekable();
        let mut fill = |found: &mut Vec<Stretch>, gap: Range<u64>| {
            let mut at = gap.start;
            while let Some(stretch) = below.peek().filter(|_| at < gap.end).cloned() {
                let end = stretch.range.end.min(gap.end);
                if end > at {
                    add(found, at..end, stretch.kind);
                    at = end;
                }
                if stretch.range.end > gap.end {
                    break;
                }
                below.next();
            }
        };
        for (extent, content) in layers {
            if extent.start >= known {
                break;
            }
            fill(&mut found, at..extent.start);
            let kind = match content {
                ExtentContent::Data { .. } => Kind::Data { in_layer: true },
                ExtentContent::Zero => Kind::Zero,
                ExtentContent::Hole => Kind::Hole,
            };
            add(&mut found, extent.start.max(at)..extent.end.min(known), kind);
            at = extent.end.min(known);
        }
        fill(&mut found, at..known);
        Ok(found)
    }

    fn of_base(&self, base: &Base, range: Range<u64>) -> Result<Vec<Stretch>> {
        let inside = range.start..range.end.min(base.size).max(range.start);
        let mut found = match base.content {
            _ if inside.is_empty() => Vec::new(),
            BaseContent::Map(root) => self.of_version(DiskVersion { root, size: base.size }, inside.clone())?,
            BaseContent::Point { point_id, disk_id } => match self.bases.cuts.get(&point_id) {
                Some(cut) => self.of_view(&cut.disk(&disk_id)?.view, inside.clone())?,
                None => self.of_version(self.bases.settled_version(&point_id, &disk_id)?, inside.clone())?,
            },
        };
        if found.last().map_or(inside.start, |last| last.range.end) == inside.end {
            add(&mut found, inside.end..range.end, Kind::Hole);
        }
        Ok(found)
    }
}

/// Puts a run behind the others, with the last one where they are alike.
fn add(found: &mut Vec<Stretch>, range: Range<u64>, kind: Kind) {
    if range.start >= range.end {
        return;
    }
    match found.last_mut() {
        Some(last) if last.kind == kind && last.range.end == range.start => last.range.end = range.end,
        _ => found.push(Stretch { range, kind }),
    }
}

/// Stretches as a context tells of them.
pub(super) fn status_of(found: &[Stretch], extents_max: usize, flags: impl Fn(Kind) -> u64) -> Vec<StatusExtent> {
    let mut said: Vec<StatusExtent> = Vec::new();
    for Stretch { range, kind } in found {
        let (length, flags) = (range.end - range.start, flags(*kind));
        match said.last_mut() {
            Some(last) if last.flags == flags => last.length += length,
            _ => said.push(StatusExtent { length, flags }),
        }
    }
    said.truncate(extents_max);
    said
}
