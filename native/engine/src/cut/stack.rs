//! All layers of a log over the bases of its disks, as one value that readers take a snapshot of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::Base;
use super::layer::Layer;
use super::members::{Member, Members};
use super::view::View;
use crate::units::{Lsn, Uid};
use crate::write_log::CutBody;

/// What the disks of a log are made of. Cheap to clone: at most a few layers, and two shared maps.
#[derive(Clone)]
pub struct Stack {
    layers: Vec<Arc<Layer>>, // oldest first; the last one is active, all others are sealed
    bases: Arc<BTreeMap<Uid, Arc<Base>>>,
    members: Arc<Members>,
}

impl Stack {
    /// One active layer over bases.
    #[must_use]
    pub fn new(active: Layer, bases: BTreeMap<Uid, Arc<Base>>) -> Self {
        Self { layers: vec![Arc::new(active)], bases: Arc::new(bases), members: Arc::default() }
    }

    /// The layer that takes records.
    #[must_use]
    pub fn active(&self) -> &Arc<Layer> {
        match self.layers.last() {
            Some(active) => active,
            None => unreachable!("there always is an active layer"),
        }
    }

    /// The layers that cuts sealed, oldest first.
    #[must_use]
    pub fn sealed(&self) -> &[Arc<Layer>] {
        &self.layers[..self.layers.len() - 1]
    }

    /// All layers, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Layer>> {
        self.layers.iter().rev()
    }

    /// What a disk's oldest layer stands on.
    #[must_use]
    pub fn base(&self, disk_id: &Uid) -> Option<&Arc<Base>> {
        self.bases.get(disk_id)
    }

    /// The disks as of the newest LSN.
    #[must_use]
    pub const fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// A disk joins.
    pub fn add_member(&mut self, member: Arc<Member>) {
        Arc::make_mut(&mut self.members).insert(member.disk_id, member);
    }

    /// A disk leaves.
    pub fn remove_member(&mut self, disk_id: &Uid) {
        if let Some(member) = Arc::make_mut(&mut self.members).remove(disk_id) {
            member.leave();
        }
    }

    /// The live view of a disk.
    #[must_use]
    pub fn view(&self, disk_id: &Uid) -> View {
        View::new(*disk_id, self.newest_first().cloned().collect(), self.bases.get(disk_id).cloned())
    }

    /// The view of a disk at the cut that sealed this layer; `None` when the layer is not here any more.
    #[must_use]
    pub fn view_at(&self, layer: &Arc<Layer>, disk_id: &Uid) -> Option<View> {
        let at = self.sealed().iter().position(|each| Arc::ptr_eq(each, layer))?;
        let layers = self.layers[..=at].iter().rev().cloned().collect();
        Some(View::new(*disk_id, layers, self.bases.get(disk_id).cloned()))
    }

    /// Seals the active layer and opens a new one; under the sequencer's lock. Moves no extent and waits for nobody.
    pub fn seal(&mut self, cut: Lsn, body: CutBody, chunk_bytes: u64) {
        self.active().seal(cut, body, Arc::clone(&self.members));
        self.layers.push(Arc::new(Layer::new(cut, chunk_bytes)));
    }

    /// The oldest two neighbours, from the layer `from` on, that may become one: no point needs the older one's cut, and all
    /// records up to the newer one's are in.
    #[must_use]
    pub fn mergeable(&self, from: usize, watermark: Lsn) -> Option<[Arc<Layer>; 2]> {
        let sealed = self.sealed();
        sealed.get(from..)?.windows(2).find_map(|pair| {
            let (older, newer) = (pair[0].sealed()?, pair[1].sealed()?);
            let is_free = !older.has_point() && newer.cut <= watermark;
            is_free.then(|| [Arc::clone(&pair[0]), Arc::clone(&pair[1])])
        })
    }

    /// Puts one layer in the place of two neighbours. Returns whether they were still here.
    pub fn replace_pair(&mut self, pair: &[Arc<Layer>; 2], merged: Arc<Layer>) -> bool {
        let is_pair = |at: &[Arc<Layer>]| Arc::ptr_eq(&at[0], &pair[0]) && Arc::ptr_eq(&at[1], &pair[1]);
        let Some(at) = self.sealed().windows(2).position(is_pair) else { return false };
        self.layers.splice(at..at + 2, [merged]);
        true
    }

    /// Drops the oldest layer, whose content is in these bases now: one for each of the cut's disks that it has anything of. What
    /// the others stood on they still do. Returns whether it was the oldest.
    pub fn fold(&mut self, layer: &Arc<Layer>, mut folded: BTreeMap<Uid, Base>) -> bool {
        let is_oldest = self.sealed().first().is_some_and(|oldest| Arc::ptr_eq(oldest, layer));
        let Some(sealed) = layer.sealed().filter(|_| is_oldest) else { return false };
        let mut bases: BTreeMap<Uid, Arc<Base>> = BTreeMap::new();
        for disk_id in sealed.members.keys() {
            let base = match (folded.remove(disk_id), self.bases.get(disk_id)) {
                (Some(base), _) => base,
                (None, Some(base)) if layer.disk(disk_id).is_none() => Base { lsn: sealed.cut, ..(**base).clone() },
                (None, _) => unreachable!("the layer has extents of disk {disk_id}, but it was not folded"),
            };
            assert_eq!(base.lsn, sealed.cut, "a folded base holds all records below the cut");
            bases.insert(*disk_id, Arc::new(base));
        }
        // One that joined above this cut is none of its disks; one that left below it stands on nothing any more.
        let younger = self.bases.iter().filter(|(_, base)| base.lsn > sealed.cut);
        bases.extend(younger.map(|(disk_id, base)| (*disk_id, Arc::clone(base))));
        self.bases = Arc::new(bases);
        self.layers.remove(0);
        true
    }

    /// A point whose copy ended is a map now: what stands on it stands on that.
    pub fn exchange_bases(&mut self, exchange: &dyn Fn(&Base) -> Option<Base>) {
        for base in Arc::make_mut(&mut self.bases).values_mut() {
            if let Some(exchanged) = exchange(base) {
                *base = Arc::new(exchanged);
            }
        }
        for layer in &self.layers {
            layer.exchange_bases(exchange);
        }
    }
}
