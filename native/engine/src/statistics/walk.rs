//! The walk over all maps: from the roots down, a level after the other, each node read once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::contents::Contents;
use super::holders::{Holder, Holders};
use crate::block_map::{DiskVersion, Geometry, MapReader, SPAN_CHUNKS};
use crate::chunk_store::Batch;
use crate::control::Control;
use crate::error::Result;
use crate::format::manifest::{Manifest, ManifestDisk};
use crate::format::node::Entry;
use crate::limits::NODE_LEVEL_MAX;
use crate::units::{ContentId, usize_from};

struct MapNode {
    id: ContentId,
    holder: Holder,
    data_chunks: u64,    // chunks below it that are neither hole nor fill
    below: Range<usize>, // in `Nodes::links`; empty at level 1
    is_counted: bool,
}

/// The nodes that points need.
#[derive(Default)]
pub(super) struct Nodes {
    places: HashMap<ContentId, u32>,
    all: Vec<MapNode>,
    links: Vec<u32>,
    levels: [Vec<u32>; NODE_LEVEL_MAX as usize],
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Notes that a frame of this node was counted. Who needs it; `None` when nobody does, or a frame was counted before.
    pub(super) fn count(&mut self, id: &ContentId) -> Option<Holder> {
        let node = &mut self.all[*self.places.get(id)? as usize];
        (!std::mem::replace(&mut node.is_counted, true)).then_some(node.holder)
    }

    /// Adds somebody who needs the node.
    fn join(&mut self, id: ContentId, level: u8, holder: Holder, holders: &mut Holders) -> u32 {
        let next = u32::try_from(self.all.len()).expect("fewer than 2^32 nodes");
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            self.all.push(MapNode { id, holder: Holder::NOBODY, data_chunks: 0, below: 0..0, is_counted: false });
            self.levels[usize::from(level) - 1].push(place);
        }
        let node = &mut self.all[place as usize];
        node.holder = holders.join(node.holder, holder);
        place
    }

    fn data_chunks(&self, root: Entry, height: u8) -> u64 {
        match root {
            Entry::Id(id) if height > 0 => self.all[self.places[&id] as usize].data_chunks,
            Entry::Id(_) => 1,
            Entry::Hole | Entry::Fill(_) => 0,
        }
    }
}

/// What the walk knows.
pub(super) struct Walk {
    pub(super) holders: Holders,
    pub(super) contents: Contents,
    pub(super) nodes: Nodes,
}

impl Walk {
    pub(super) fn new(holders: Holders, contents: Contents) -> Self {
        Self { holders, contents, nodes: Nodes::default() }
    }

    /// Walks the maps of all points.
    pub(super) fn run(&mut self, maps: &MapReader, manifests: &[Arc<Manifest>], control: &Control) -> Result<()> {
        for (point, manifest) in manifests.iter().enumerate() {
            for disk in &manifest.disks {
                let Entry::Id(id) = disk.root.entry else { continue };
                self.join(id, disk.root.height, Holder::of_point(point));
            }
        }
        let mut batch = Batch::default();
        for level in (1..=NODE_LEVEL_MAX).rev() {
            // All that lie above were opened, so who needs the nodes of this level is known for good.
            for place in self.nodes.levels[usize::from(level) - 1].clone() {
                control.check()?;
                self.open(maps, place as usize, level, &mut batch)?;
            }
        }
        for place in self.nodes.levels[1..].iter().flatten() {
            let below = self.nodes.all[*place as usize].below.clone();
            let chunks = self.nodes.links[below].iter().map(|place| self.nodes.all[*place as usize].data_chunks).sum();
            self.nodes.all[*place as usize].data_chunks = chunks;
        }
        Ok(())
    }

    /// Bytes of a point's disks that are neither hole nor fill.
    pub(super) fn data_bytes(&self, maps: &MapReader, manifest: &Manifest) -> Result<u64> {
        let mut bytes = 0;
        for disk in &manifest.disks {
            let chunk_bytes = u64::from(manifest.chunk_bytes);
            let geometry = Geometry { size: disk.size, chunk_bytes };
            bytes += self.nodes.data_chunks(disk.root.entry, disk.root.height) * chunk_bytes;
            if disk.size % chunk_bytes != 0 && ends_with_data(maps, disk, &geometry)? {
                bytes -= chunk_bytes - disk.size % chunk_bytes;
            }
        }
        Ok(bytes)
    }

    fn open(&mut self, maps: &MapReader, place: usize, level: u8, batch: &mut Batch) -> Result<()> {
        let (id, holder) = (self.nodes.all[place].id, self.nodes.all[place].holder);
        let node = maps.node_uncached(&id, level, batch)?;
        let (start, mut data_chunks) = (self.nodes.links.len(), 0);
        for entry in node.entries() {
            let Entry::Id(id) = entry else { continue };
            match self.join(*id, level - 1, holder) {
                Some(below) => self.nodes.links.push(below),
                None => data_chunks += 1,
            }
        }
        self.nodes.all[place].below = start..self.nodes.links.len();
        self.nodes.all[place].data_chunks = data_chunks;
        Ok(())
    }

    /// Adds somebody who needs a chunk (level 0) or a node; the node's place.
    fn join(&mut self, id: ContentId, level: u8, holder: Holder) -> Option<u32> {
        if level == 0 {
            self.contents.join(&id, holder, &mut self.holders);
            return None;
        }
        Some(self.nodes.join(id, level, holder, &mut self.holders))
    }
}

/// Whether the disk's last chunk is stored.
fn ends_with_data(maps: &MapReader, disk: &ManifestDisk, geometry: &Geometry) -> Result<bool> {
    let last = geometry.chunk_count() - 1;
    let span = maps.span(&DiskVersion { root: disk.root, size: disk.size }, last / SPAN_CHUNKS)?;
    Ok(matches!(span.entries.entry(usize_from(last % SPAN_CHUNKS)), Entry::Id(_)))
}
