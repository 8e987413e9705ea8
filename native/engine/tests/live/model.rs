//! The model of a live log: the list of its changes, and what the disks are after any prefix of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillpoint_engine::cut::{Layer, View};
use stillpoint_engine::disk::Group;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, Uid};

/// What disks contain.
pub(crate) type Disks = BTreeMap<Uid, Vec<u8>>;

#[derive(Clone)]
pub(crate) enum Change {
    Bytes { disk_id: Uid, offset: usize, bytes: Vec<u8> },
    Empty { disk_id: Uid, offset: usize, length: usize },
    Grow { disk_id: Uid, size: usize },
    Reset(Vec<(Uid, Vec<u8>)>),
    Join(Uid, Vec<u8>),
    Leave(Uid),
}

#[derive(Clone, Default)]
pub(crate) struct Model {
    first: Disks,
    log: BTreeMap<Lsn, Change>,
    pub(crate) now: Disks,
    /// The disks at every cut.
    pub(crate) cuts: BTreeMap<Lsn, Disks>,
}

impl Model {
    pub(crate) fn new(disks: &[(Uid, Vec<u8>)]) -> Self {
        let first: Disks = disks.iter().cloned().collect();
        Self { now: first.clone(), first, ..Self::default() }
    }

    pub(crate) fn add(&mut self, lsn: Lsn, change: Change) {
        assert!(self.log.last_key_value().is_none_or(|(last, _)| *last < lsn), "LSNs only grow");
        apply(&mut self.now, &change);
        self.log.insert(lsn, change);
    }

    pub(crate) fn cut(&mut self, lsn: Lsn) {
        self.cuts.insert(lsn, self.now.clone());
    }

    /// The disks after all changes up to this LSN.
    pub(crate) fn at(&self, lsn: Lsn) -> Disks {
        let mut disks = self.first.clone();
        self.log.range(..=lsn).for_each(|(_, change)| apply(&mut disks, change));
        disks
    }

    /// The last record up to this LSN.
    pub(crate) fn last(&self, lsn: Lsn) -> Lsn {
        let change = self.log.range(..=lsn).next_back().map(|(lsn, _)| *lsn);
        let cut = self.cuts.range(..=lsn).next_back().map(|(lsn, _)| *lsn);
        change.max(cut).unwrap_or_default()
    }

    /// A crash dropped what is above this LSN.
    pub(crate) fn forget_above(&mut self, lsn: Lsn) {
        self.now = self.at(lsn);
        self.log = self.log.split_off(&Lsn::ZERO).into_iter().filter(|(each, _)| *each <= lsn).collect();
        self.cuts.retain(|cut, _| *cut <= lsn);
    }
}

fn apply(disks: &mut Disks, change: &Change) {
    match change {
        Change::Bytes { disk_id, offset, bytes } => {
            disks.get_mut(disk_id).unwrap()[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Change::Empty { disk_id, offset, length } => {
            disks.get_mut(disk_id).unwrap()[*offset..offset + length].fill(0);
        }
        Change::Grow { disk_id, size } => disks.get_mut(disk_id).unwrap().resize(*size, 0),
        Change::Reset(list) => {
            for (disk_id, bytes) in list {
                disks.insert(*disk_id, bytes.clone());
            }
        }
        Change::Join(disk_id, bytes) => {
            disks.insert(*disk_id, bytes.clone());
        }
        Change::Leave(disk_id) => {
            disks.remove(disk_id);
        }
    }
}

pub(crate) fn random_bytes(random: &mut Seeded, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// All live disks read as the model says.
pub(crate) fn check_live(group: &Group, disks: &Disks) {
    let found: Vec<Uid> = group.disks().iter().map(|disk| disk.disk_id).collect();
    assert_eq!(found, disks.keys().copied().collect::<Vec<_>>());
    for (disk_id, bytes) in disks {
        assert_eq!(group.disk(disk_id).unwrap().size(), bytes.len() as u64);
        let mut read = vec![0xaa; bytes.len()];
        group.read(disk_id, 0, &mut read).unwrap();
        assert!(read == *bytes, "live disk {disk_id} differs at {:?}", differs_at(&read, bytes));
    }
}

pub(crate) fn check_view(group: &Group, view: &View, bytes: &[u8], what: &str) {
    assert_eq!(view.size(), bytes.len() as u64, "{what}");
    let mut read = vec![0xaa; bytes.len()];
    group.read_view(view, 0, &mut read).unwrap();
    assert!(read == *bytes, "{what}: disk {} differs at {:?}", view.disk_id, differs_at(&read, bytes));
}

/// Part of a view, from anywhere to anywhere.
pub(crate) fn check_part(group: &Group, view: &View, bytes: &[u8], random: &mut Seeded) {
    let from = random.below(bytes.len() as u64 + 1) as usize;
    let length = random.below((bytes.len() - from) as u64 + 1) as usize;
    let mut read = vec![0xaa; length];
    group.read_view(view, from as u64, &mut read).unwrap();
    assert!(read == bytes[from..from + length]);
}

/// Every sealed layer reads as the model was at its cut.
pub(crate) fn check_layers(group: &Group, cuts: &BTreeMap<Lsn, Disks>) {
    for layer in group.stack().sealed() {
        check_layer(group, layer, cuts);
    }
}

fn check_layer(group: &Group, layer: &Arc<Layer>, cuts: &BTreeMap<Lsn, Disks>) {
    let sealed = layer.sealed().unwrap();
    let disks = &cuts[&sealed.cut];
    assert_eq!(sealed.members.keys().collect::<Vec<_>>(), disks.keys().collect::<Vec<_>>());
    for (disk_id, bytes) in disks {
        let view = group.view_at(layer, disk_id).unwrap();
        check_view(group, &view, bytes, &format!("the cut {}", sealed.cut));
    }
}

fn differs_at(read: &[u8], bytes: &[u8]) -> Option<usize> {
    read.iter().zip(bytes).position(|(one, other)| one != other)
}
