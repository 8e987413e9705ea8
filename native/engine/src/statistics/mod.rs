//! Statistics: what points and machines take, and what deleting them would free.
//!
//! What it is: one walk over all block maps, each node read once, from the roots down level by level, so that everybody
//! who needs a node is known before what lies below is told (`walk.rs`); then two passes over the packs' trailers: which
//! bases the deltas need, and how many bytes each frame takes.
//! What it guarantees: it changes nothing. A frame is told apart as needed by nobody, by one point, by one machine, or by
//! several ([`holders`]), so the figures are exact, but for contents that have several frames: the first counts as
//! needed, as it does for the collector, and whether it can be read is not tried. A collection may free a little more: a
//! base that is left for one delta goes where both are moved.
//! What it costs: about 25 bytes of memory for each frame of the store ([`contents`]), some 150 for each map node, and a
//! list of machines for each group of machines that share something.
//! What it must not import: `collect`, `scan`, `restore`, the engine's top.

mod contents;
mod holders;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use crate::block_map::MapReader;
use crate::chunk_store::ChunkStore;
use crate::control::Control;
use crate::error::Result;
use crate::format::manifest::Manifest;
use crate::format::pack::{ENTRY_BYTES, PackEntry};
use crate::format::{Codec, PackKind};
use crate::units::{Uid, u64_from};
use contents::Contents;
use holders::{Holder, Holders};
use walk::Walk;

/// What a point takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PointStatistics {
    /// The point.
    pub point_id: Uid,
    /// Sizes of its disks.
    pub logical_bytes: u64,
    /// What of that is neither hole nor fill.
    pub data_bytes: u64,
    /// Plain bytes of the chunks that only this point needs.
    pub unique_bytes: u64,
    /// What only this point needs, in packs.
    pub freed_bytes: u64,
}

/// What a machine takes: its points together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineStatistics {
    /// Points.
    pub point_count: u64,
    /// Sizes of the disks of all points.
    pub logical_bytes: u64,
    /// What of that is neither hole nor fill.
    pub data_bytes: u64,
    /// Plain bytes of the different chunks that its points reach.
    pub distinct_bytes: u64,
    /// What all that its points need takes in packs.
    pub stored_bytes: u64,
    /// Plain bytes of the chunks that only this machine needs.
    pub unique_bytes: u64,
    /// What only this machine needs, in packs.
    pub freed_bytes: u64,
}

/// What the store's points and packs take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// By point, in the order of their ids.
    pub points: Vec<PointStatistics>,
    /// By machine, as they were numbered; behind them the points of no machine together.
    pub machines: Vec<MachineStatistics>,
    /// Sizes of the disks of all points.
    pub logical_bytes: u64,
    /// What of that is neither hole nor fill.
    pub data_bytes: u64,
    /// Plain bytes of the different chunks that points reach.
    pub distinct_bytes: u64,
    /// What all that points need takes in packs.
    pub stored_bytes: u64,
    /// What takes space in packs and no point needs.
    pub garbage_bytes: u64,
    /// Different chunks that points need.
    pub chunk_count: u64,
    /// Different map nodes that points need.
    pub node_count: u64,
    /// Chunks and nodes that points need and no pack holds.
    pub missing_count: u64,
}

/// Bytes of frames.
#[derive(Clone, Copy, Default)]
struct Sum {
    plain: u64,
    stored: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.plain += other.plain;
        self.stored += other.stored;
    }
}

/// Counts a region.
pub struct Surveyor<'a> {
    /// Block maps, and the store behind them.
    pub maps: &'a MapReader,
    /// All points.
    pub manifests: &'a [Arc<Manifest>],
    /// The machine of each point, as a number below `machine_count`. Points that are not here are of no machine.
    pub machine_of: &'a HashMap<Uid, u32>,
    /// Machines.
    pub machine_count: u32,
}

impl Surveyor<'_> {
    /// Walks all maps and reads all trailers.
    ///
    /// # Errors
    /// `NODE_MISSING` and `NODE_DAMAGED`: what lies below is unknown, and so who needs it; `CANCELLED`; what reading gives.
    pub fn run(&self, control: &Control) -> Result<Statistics> {
        let store = self.maps.store();
        let packs = store.packs().all();
        let bytes_of = |kind| packs.iter().filter(|(_, pack)| pack.kind == kind).map(|(_, pack)| pack.bytes).sum();
        let node_bytes: u64 = bytes_of(PackKind::Nodes);
        control.add_total(node_bytes + bytes_of(PackKind::Chunks) + node_bytes);
        let holders = Holders::new(self.manifests.iter().map(|manifest| self.machine(manifest)).collect());
        let mut survey = Survey {
            store,
            control,
            walk: Walk::new(holders, Contents::with_room_for(store.index().entry_count())),
            by_point: Vec::new(),
            by_set: Vec::new(),
            total: Sum::default(),
            distinct_bytes: 0,
            garbage_bytes: 0,
            frame_count: 0,
        };
        survey.walk.run(self.maps, self.manifests, control)?;
        control.add_done(node_bytes);
        survey.find_bases()?;
        survey.count_frames()?;
        self.statistics(&survey)
    }

    fn machine(&self, manifest: &Manifest) -> u32 {
        self.machine_of.get(&manifest.point_id).copied().unwrap_or(self.machine_count)
    }

    fn statistics(&self, survey: &Survey<'_>) -> Result<Statistics> {
        let walk = &survey.walk;
        let mut all = Statistics {
            machines: vec![MachineStatistics::default(); self.machine_count as usize + 1],
            distinct_bytes: survey.distinct_bytes,
            stored_bytes: survey.total.stored,
            garbage_bytes: survey.garbage_bytes,
            chunk_count: walk.contents.len(),
            node_count: u64_from(walk.nodes.len()),
            missing_count: (walk.contents.len() + u64_from(walk.nodes.len())).saturating_sub(survey.frame_count),
            ..Statistics::default()
        };
        for (manifest, own) in self.manifests.iter().zip(&survey.by_point) {
            let point = PointStatistics {
                point_id: manifest.point_id,
                logical_bytes: manifest.disks.iter().map(|disk| disk.size).sum(),
                data_bytes: walk.data_bytes(self.maps, manifest)?,
                unique_bytes: own.plain,
                freed_bytes: own.stored,
            };
            let machine = &mut all.machines[self.machine(manifest) as usize];
            machine.point_count += 1;
            machine.logical_bytes += point.logical_bytes;
            machine.data_bytes += point.data_bytes;
            machine.add_own(own);
            all.logical_bytes += point.logical_bytes;
            all.data_bytes += point.data_bytes;
            all.points.push(point);
        }
        for (set, sum) in survey.by_set.iter().enumerate() {
            match walk.holders.machines_in(set) {
                [machine] => all.machines[*machine as usize].add_own(sum),
                several => {
                    for machine in several {
                        let machine = &mut all.machines[*machine as usize];
                        machine.distinct_bytes += sum.plain;
                        machine.stored_bytes += sum.stored;
                    }
                }
            }
        }
        Ok(all)
    }
}

impl MachineStatistics {
    fn add_own(&mut self, own: &Sum) {
        self.distinct_bytes += own.plain;
        self.stored_bytes += own.stored;
        self.unique_bytes += own.plain;
        self.freed_bytes += own.stored;
    }
}

/// A survey under way.
struct Survey<'a> {
    store: &'a ChunkStore,
    control: &'a Control,
    walk: Walk,
    by_point: Vec<Sum>,
    by_set: Vec<Sum>,
    total: Sum,
    distinct_bytes: u64,
    garbage_bytes: u64,
    frame_count: u64, // needed contents that have a frame
}

impl Survey<'_> {
    /// Whoever reaches a chunk that is a delta somewhere needs its base, of every delta that there is: so does the
    /// collector see it. Bases come in last, since one that nobody reaches does not make its own deltas need theirs.
    fn find_bases(&mut self) -> Result<()> {
        let mut bases: HashMap<_, Holder> = HashMap::new();
        for (handle, pack) in self.store.packs().all() {
            self.control.check()?;
            if pack.kind == PackKind::Nodes {
                continue;
            }
            for entry in self.store.pack_entries(handle)? {
                let Some(base) = entry.base else { continue };
                let Some(at) = self.walk.contents.find(&entry.id) else { continue };
                let holder = self.walk.contents.holder(at);
                let before = bases.entry(base).or_insert(Holder::NOBODY);
                *before = self.walk.holders.join(*before, holder);
            }
        }
        for (base, holder) in bases {
            self.walk.contents.join_base(&base, holder, &mut self.walk.holders);
        }
        Ok(())
    }

    fn count_frames(&mut self) -> Result<()> {
        self.by_point = vec![Sum::default(); self.walk.holders.point_count()];
        self.by_set = vec![Sum::default(); self.walk.holders.set_count()];
        for (handle, pack) in self.store.packs().all() {
            self.control.check()?;
            for entry in self.store.pack_entries(handle)? {
                match pack.kind {
                    PackKind::Chunks => self.count_chunk(&entry),
                    PackKind::Nodes => self.count_node(&entry),
                }
            }
            self.control.add_done(pack.bytes);
        }
        Ok(())
    }

    fn count_chunk(&mut self, entry: &PackEntry) {
        let Some(at) = self.walk.contents.find(&entry.id) else {
            self.garbage_bytes += bytes_in_pack(entry);
            return;
        };
        let contents = &mut self.walk.contents;
        let stays_beside = entry.codec == Codec::ZstdDelta && contents.is_base(at);
        let is_first = !stays_beside && contents.count(at);
        let plain = if is_first && contents.is_reached(at) { u64::from(entry.plain_bytes) } else { 0 };
        let holder = contents.holder(at);
        self.frame_count += u64::from(is_first);
        self.distinct_bytes += plain;
        if is_first || stays_beside {
            self.add(holder, Sum { plain, stored: bytes_in_pack(entry) });
        } else {
            self.garbage_bytes += bytes_in_pack(entry);
        }
    }

    fn count_node(&mut self, entry: &PackEntry) {
        match self.walk.nodes.count(&entry.id) {
            Some(holder) => {
                self.frame_count += 1;
                self.add(holder, Sum { plain: 0, stored: bytes_in_pack(entry) });
            }
            None => self.garbage_bytes += bytes_in_pack(entry),
        }
    }

    fn add(&mut self, holder: Holder, sum: Sum) {
        self.total.add(sum);
        match holder.point() {
            Some(point) => self.by_point[point].add(sum),
            None => self.by_set[self.walk.holders.set_of(holder)].add(sum),
        }
    }
}

/// What a frame takes in its pack: header, stored bytes, and its entry of the trailer.
fn bytes_in_pack(entry: &PackEntry) -> u64 {
    let base_bytes = entry.base.map_or(0, |base| u64_from(base.0.len()));
    entry.frame_bytes() + u64_from(ENTRY_BYTES) + base_bytes
}
