//! Law: the live disks of a log, every cut of it and what a replay makes of it are what plain byte arrays are after the
//! same changes in the order of their LSNs, in whatever order records reach the log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;
mod simulation;

use std::sync::Arc;

use live::model::{Change, Model, check_layers, check_live, check_part, check_view, random_bytes};
use live::{SECTOR_BYTES, World, cut_body, membership, over_bottom, uid};
use simulation::progress::{Counts, count, over_seeds};
use simulation::sized;
use stillpoint_engine::cut::View;
use stillpoint_engine::disk::{Group, Submission};
use stillpoint_engine::error::Code;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, Uid};
use stillpoint_engine::write_log::ResetDisk;

const STEPS: u64 = 150;
const SECTOR: u64 = SECTOR_BYTES as u64;

/// A change on its way.
struct Pending {
    submission: Submission,
    data: Vec<u8>,
}

/// A pinned view and what it must read as, once the watermark has passed its cut.
struct Pinned {
    cut: Lsn,
    view: View,
    bytes: Vec<u8>,
}

struct Run {
    random: Seeded,
    world: World,
    group: Arc<Group>,
    model: Model,
    pending: Vec<Pending>,
    pinned: Vec<Pinned>,
    next_number: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let world = World::new(seed);
        let mut disks = Vec::new();
        for number in 0..1 + random.below(4) {
            let size = (1 + random.below(60)) * SECTOR;
            disks.push((uid(100 + number), random_bytes(&mut random, size as usize)));
        }
        let group = world.create(&disks);
        let model = Model::new(&disks);
        Self { random, world, group, model, pending: Vec::new(), pinned: Vec::new(), next_number: 1000 }
    }

    fn any_disk(&mut self) -> (Uid, u64) {
        let disks = self.group.disks();
        let disk = &disks[self.random.below(disks.len() as u64) as usize];
        (disk.disk_id, disk.size())
    }

    fn range(&mut self, size: u64) -> (u64, u64) {
        let sectors = size / SECTOR;
        let from = self.random.below(sectors);
        let longest = if self.random.one_in(4) { sectors - from } else { (sectors - from).min(9) };
        (from * SECTOR, self.random.below(longest + 1) * SECTOR)
    }

    fn hold(&mut self, submission: Submission, data: Vec<u8>) {
        self.pending.push(Pending { submission, data });
    }

    fn write(&mut self) {
        let (disk_id, size) = self.any_disk();
        let (offset, length) = self.range(size);
        let data = random_bytes(&mut self.random, length as usize);
        let submission = self.group.submit_write(&disk_id, offset, &data).unwrap();
        for (lsn, part) in submission.records() {
            let (offset, bytes) = (offset as usize + part.start, data[part].to_vec());
            self.model.add(lsn, Change::Bytes { disk_id, offset, bytes });
        }
        self.hold(submission, data);
    }

    fn empty(&mut self) {
        let (disk_id, size) = self.any_disk();
        let (offset, length) = self.range(size);
        let submission = match self.random.one_in(2) {
            true => self.group.submit_trim(&disk_id, offset, length),
            false => self.group.submit_zeroes(&disk_id, offset, length, false),
        };
        let submission = submission.unwrap();
        if length > 0 {
            let (offset, length) = (offset as usize, length as usize);
            self.model.add(submission.lsn(), Change::Empty { disk_id, offset, length });
        }
        self.hold(submission, Vec::new());
    }

    fn grow(&mut self) {
        let (disk_id, size) = self.any_disk();
        let larger = size + self.random.below(20) * SECTOR;
        let submission = self.group.submit_grow(&disk_id, larger).unwrap();
        if larger > size {
            self.model.add(submission.lsn(), Change::Grow { disk_id, size: larger as usize });
        }
        self.hold(submission, Vec::new());
    }

    fn reset(&mut self) {
        let (mut list, mut changes) = (Vec::new(), Vec::new());
        for disk in self.group.disks() {
            if self.random.one_in(2) {
                continue;
            }
            let size = (1 + self.random.below(60)) * SECTOR;
            let bytes = random_bytes(&mut self.random, size as usize);
            let mut base = self.world.bases.add(bytes.clone());
            if self.random.one_in(3) {
                self.next_number += 1;
                base = self.world.bases.add_point(uid(self.next_number), disk.disk_id, base);
            }
            list.push(ResetDisk { disk_id: disk.disk_id, base, size });
            changes.push((disk.disk_id, bytes));
        }
        let submission = self.group.submit_reset(&list).unwrap();
        if !list.is_empty() {
            self.model.add(submission.lsn(), Change::Reset(changes));
        }
        self.hold(submission, Vec::new());
    }

    fn cut(&mut self) {
        self.next_number += 1;
        let point = if self.random.one_in(4) { 0 } else { self.next_number };
        let before = self.group.layer_count();
        match self.group.submit_cut(cut_body(point)) {
            Ok((submission, cut)) => {
                self.model.cut(cut.lsn);
                for (disk_id, view) in cut.views {
                    let bytes = self.model.now[&disk_id].clone();
                    self.pinned.push(Pinned { cut: cut.lsn, view, bytes });
                }
                self.hold(submission, Vec::new());
            }
            Err(error) => {
                assert_eq!((error.code(), before), (Code::LayersFull, 9));
                self.drain();
                while self.world.fold_oldest(&self.group) {}
            }
        }
    }

    fn append_some(&mut self) {
        for _ in 0..self.random.below(6) {
            if self.pending.is_empty() {
                return;
            }
            let at = self.random.below(self.pending.len() as u64) as usize;
            let Pending { submission, data } = &mut self.pending[at];
            self.group.append_one(submission, data).unwrap();
            if submission.is_appended() {
                self.pending.swap_remove(at);
            }
        }
    }

    fn drain(&mut self) {
        while !self.pending.is_empty() {
            self.append_some();
        }
    }

    fn release_and_merge(&mut self) {
        for layer in self.group.stack().sealed() {
            if self.random.one_in(2) {
                layer.sealed().unwrap().release_point();
            }
        }
        let spares_oldest = self.random.one_in(2);
        self.group.merge_layers(spares_oldest);
    }

    fn join(&mut self) {
        self.drain();
        self.next_number += 1;
        let disk_id = uid(self.next_number);
        let size = (1 + self.random.below(30)) * SECTOR;
        let bytes = random_bytes(&mut self.random, size as usize);
        let mut disk = self.world.superblock_disk(disk_id, &bytes, Lsn::ZERO, 2);
        let mut submission = self.group.submit_join(&membership(&disk)).unwrap();
        self.group.append(&mut submission, &[]).unwrap();
        self.group.flush().unwrap();
        disk.base_lsn = submission.lsn();
        self.group.log().change_superblock(|superblock| superblock.disks.push(disk)).unwrap();
        self.model.add(submission.lsn(), Change::Join(disk_id, bytes));
    }

    /// As the engine detaches: an internal cut, everything folded, then the record, then the superblock.
    fn leave(&mut self) {
        if self.group.disks().len() < 2 {
            return;
        }
        self.drain();
        while self.world.fold_oldest(&self.group) {}
        let cut = self.group.cut(cut_body(0)).unwrap();
        self.model.cut(cut.lsn);
        assert!(self.world.fold_oldest(&self.group));
        let (disk_id, _) = self.any_disk();
        let superblock = self.group.log().superblock();
        let disk = superblock.disks.iter().find(|disk| disk.disk_id == disk_id).unwrap();
        let mut submission = self.group.submit_leave(&membership(disk)).unwrap();
        assert_eq!(self.group.write(&disk_id, 0, &[1; 512], false).unwrap_err().code(), Code::DiskNotFound);
        self.group.append(&mut submission, &[]).unwrap();
        self.group.flush().unwrap();
        let change = |disks: &mut Vec<_>| {
            disks.retain(|disk: &stillpoint_engine::format::superblock::SuperblockDisk| disk.disk_id != disk_id)
        };
        self.group.log().change_superblock(|superblock| change(&mut superblock.disks)).unwrap();
        self.model.add(submission.lsn(), Change::Leave(disk_id));
    }

    fn check(&mut self) {
        assert_eq!(self.group.debt_bytes(), self.world.gate.owed());
        if self.pending.is_empty() {
            check_live(&self.group, &self.model.now);
        }
        let watermark = self.group.log().watermark();
        for Pinned { cut, view, bytes } in self.pinned.iter().filter(|pinned| pinned.cut <= watermark) {
            if self.random.one_in(4) {
                check_view(&self.group, view, bytes, &format!("the pinned cut {cut}"));
                check_part(&self.group, view, bytes, &mut self.random);
                assert!(over_bottom(&self.world, &self.group, view) == *bytes, "what the layers say of the cut {cut}");
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..13 => self.write(),
            13..17 => self.empty(),
            17..19 => self.grow(),
            19 => self.reset(),
            20..23 => self.cut(),
            23..33 => self.append_some(),
            33 => self.drain(),
            34 => self.release_and_merge(),
            35..37 => drop(self.world.fold_oldest(&self.group)),
            37 => self.pinned.retain(|_| !self.random.one_in(3)),
            38 if self.random.one_in(3) => self.join(),
            39 if self.random.one_in(3) => self.leave(),
            _ => self.check(),
        }
    }

    fn reopen(self) {
        let Self { world, group, model, pending, pinned, .. } = self;
        assert!(pending.is_empty());
        drop(pinned);
        drop(group);
        assert_eq!(world.gate.owed(), 0, "a closed log owes nothing");
        assert_eq!(world.bases.pin_count(), 0, "and pins nothing");
        let (group, replay) = world.open().unwrap();
        assert!(replay.dropped.is_none(), "a process that ends loses nothing");
        check_live(&group, &model.now);
        check_layers(&group, &model.cuts);
        assert_eq!(group.debt_bytes(), world.gate.owed());
        while world.fold_oldest(&group) {
            check_layers(&group, &model.cuts);
        }
        check_live(&group, &model.now);
    }
}

#[test]
fn live_disks_their_cuts_and_their_replay_agree_with_byte_arrays() {
    over_seeds("live-disks", sized(300, 20_000), |seed, counts: &mut Counts| {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.drain();
        run.check();
        check_layers(&run.group, &run.model.cuts);
        count(counts, "cuts", run.model.cuts.len() as u64);
        run.reopen();
        count(counts, "steps", STEPS);
    });
}
