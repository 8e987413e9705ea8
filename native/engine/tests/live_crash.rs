//! Law: whatever moment a process dies or a power cut strikes, also while a log is opened or folded, the disks are what
//! they were after a prefix of the log: all that was acknowledged when only the process died, all that was acknowledged before
//! the last acknowledged flush when the power went. Every cut in that prefix is there and reads as it was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;
mod simulation;

use std::sync::Arc;

use live::model::{Change, Model, check_layers, check_live, random_bytes};
use live::{SECTOR_BYTES, World, cut_body, uid};
use simulation::progress::{Counts, count, over_seeds};
use simulation::sized;
use stillpoint_engine::disk::{Group, Submission};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::io::fault::{Fault, FaultPlan};
use stillpoint_engine::io::memory::CrashChoice;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Lsn;
use stillpoint_engine::write_log::{Replay, ResetDisk};

const SECTOR: u64 = SECTOR_BYTES as u64;
const ROUNDS: u64 = 4;

struct Run {
    random: Seeded,
    model: Model,
    next_point: u64,
}

/// One life of a process.
struct Life {
    world: World,
    group: Arc<Group>,
    pending: Vec<(Submission, Vec<u8>)>,
    /// The highest LSN that was acknowledged before a flush that was acknowledged.
    flushed: Lsn,
}

fn crash_plan(random: &mut Seeded, calls: u64) -> FaultPlan {
    let torn = random.next_u64();
    FaultPlan::one(Fault::Crash { call: random.below(calls), torn: random.one_in(2).then_some(torn) })
}

fn crash_choice(random: &mut Seeded) -> CrashChoice {
    match random.below(6) {
        0 | 1 => CrashChoice::ProcessKilled,
        2 => CrashChoice::LoseUnsynced,
        3 => CrashChoice::KeepAll,
        _ => CrashChoice::Seeded(random.next_u64()),
    }
}

impl Run {
    /// One step; an error is the crash.
    fn step(&mut self, life: &mut Life) -> Result<()> {
        let group = Arc::clone(&life.group);
        let disks = group.disks();
        let disk = &disks[self.random.below(disks.len() as u64) as usize];
        let (disk_id, sectors) = (disk.disk_id, disk.size() / SECTOR);
        let from = self.random.below(sectors);
        let length = (1 + self.random.below((sectors - from).min(20))) * SECTOR;
        let offset = from * SECTOR;
        match self.random.below(24) {
            0..10 => {
                let data = random_bytes(&mut self.random, length as usize);
                let submission = group.submit_write(&disk_id, offset, &data)?;
                for (lsn, part) in submission.records() {
                    let (offset, bytes) = (offset as usize + part.start, data[part].to_vec());
                    self.model.add(lsn, Change::Bytes { disk_id, offset, bytes });
                }
                life.pending.push((submission, data));
            }
            10 | 11 => {
                let submission = group.submit_trim(&disk_id, offset, length)?;
                let change = Change::Empty { disk_id, offset: offset as usize, length: length as usize };
                self.model.add(submission.lsn(), change);
                life.pending.push((submission, Vec::new()));
            }
            12 => {
                let size = (sectors + 1) * SECTOR;
                let submission = group.submit_grow(&disk_id, size)?;
                self.model.add(submission.lsn(), Change::Grow { disk_id, size: size as usize });
                life.pending.push((submission, Vec::new()));
            }
            13 => {
                let mut list = Vec::new();
                let mut changes = Vec::new();
                for disk in &disks {
                    let bytes = random_bytes(&mut self.random, (1 + from as usize) * SECTOR as usize);
                    let base = life.world.bases.add(bytes.clone());
                    list.push(ResetDisk { disk_id: disk.disk_id, base, size: bytes.len() as u64 });
                    changes.push((disk.disk_id, bytes));
                }
                let submission = group.submit_reset(&list)?;
                self.model.add(submission.lsn(), Change::Reset(changes));
                life.pending.push((submission, Vec::new()));
            }
            14 | 15 => {
                self.next_point += 1;
                match group.submit_cut(cut_body(self.next_point)) {
                    Ok((submission, cut)) => {
                        self.model.cut(cut.lsn);
                        life.pending.push((submission, Vec::new()));
                    }
                    Err(error) if error.code() == Code::LayersFull => {}
                    Err(error) => return Err(error),
                }
            }
            16 | 17 => {
                // What is acknowledged by now is what the flush promises.
                let acknowledged = group.log().watermark();
                group.flush()?;
                life.flushed = life.flushed.max(acknowledged);
            }
            18 => {
                if life.world.try_fold_oldest(&group)? {
                    life.flushed = life.flushed.max(group.log().durable());
                }
            }
            _ => {
                for _ in 0..self.random.below(8).min(life.pending.len() as u64) {
                    let at = self.random.below(life.pending.len() as u64) as usize;
                    let (submission, data) = &mut life.pending[at];
                    group.append_one(submission, data)?;
                    if submission.is_appended() {
                        drop(life.pending.swap_remove(at));
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens what a crash left, as often as it takes: opening may crash too. `due` is what must be there.
    fn open(&mut self, mut world: World, mut due: (Lsn, Lsn), counts: &mut Counts) -> Life {
        let seed = self.random.next_u64();
        loop {
            let choice = crash_choice(&mut self.random);
            if choice != CrashChoice::ProcessKilled {
                due.0 = due.1;
            }
            count(counts, "crashes", 1);
            world = world.after(world.memory.crash(choice), seed, crash_plan(&mut self.random, 40));
            if self.random.one_in(2) {
                // Nobody is served in this life; it may end while it opens, or right after.
                match world.open() {
                    Ok((group, replay)) => {
                        self.settle(&replay, due.0);
                        due = (group.log().durable(), group.log().durable());
                    }
                    Err(error) => assert!(world.io.has_crashed(), "{error}"),
                }
                continue;
            }
            let memory = world.memory.crash(CrashChoice::ProcessKilled);
            world = world.after(memory, seed, FaultPlan::none());
            let (group, replay) = world.open().unwrap();
            self.check(&group, &replay, due.0);
            let flushed = group.log().durable();
            drop(group);
            let memory = world.memory.crash(CrashChoice::ProcessKilled);
            due = (flushed, flushed);
            world = world.after(memory, seed, crash_plan(&mut self.random, 300));
            match world.open() {
                Ok((group, _)) => return Life { world, group, pending: Vec::new(), flushed },
                Err(error) => assert!(world.io.has_crashed(), "{error}"),
            }
        }
    }

    /// What was opened is the prefix from here on; it holds what was promised.
    fn settle(&mut self, replay: &Replay, due: Lsn) {
        assert!(replay.damage.is_none(), "a crash is no damage: {:?}", replay.damage);
        let reached = replay.records.last().map_or(floor(replay), |record| record.lsn).max(replay.durable);
        let last = self.model.last(due); // an opening leaves a gap in the numbers
        assert!(reached >= last, "{last} was promised, {reached} is there");
        self.model.forget_above(reached);
    }

    fn check(&mut self, group: &Arc<Group>, replay: &Replay, due: Lsn) {
        self.settle(replay, due);
        check_live(group, &self.model.now);
        let stack = group.stack();
        let found: Vec<Lsn> = stack.sealed().iter().map(|layer| layer.sealed().unwrap().cut).collect();
        let expected: Vec<Lsn> = self.model.cuts.keys().copied().filter(|cut| *cut > floor(replay)).collect();
        assert_eq!(found, expected, "every cut above the bases is there");
        check_layers(group, &self.model.cuts);
    }
}

fn floor(replay: &Replay) -> Lsn {
    replay.superblock.disks.iter().map(|disk| disk.base_lsn).min().unwrap()
}

#[test]
fn after_any_crash_the_disks_are_a_prefix_of_the_log_with_all_that_was_promised() {
    over_seeds("live-crash", sized(400, 20_000), |seed, counts: &mut Counts| {
        let mut random = Seeded::new(seed);
        let disks: Vec<_> = (0..3)
            .map(|number| {
                let size = (4 + random.below(40)) * SECTOR;
                (uid(100 + number), random_bytes(&mut random, size as usize))
            })
            .collect();
        let world = World::faulty(seed, crash_plan(&mut random, 400));
        let mut run = Run { random, model: Model::new(&disks), next_point: 1000 };
        let Ok(group) = world.try_create(&disks) else {
            assert!(world.io.has_crashed());
            return;
        };
        let mut life = Life { world, group, pending: Vec::new(), flushed: Lsn::ZERO };
        for _ in 0..ROUNDS {
            let mut steps = 0;
            while steps < 400 {
                if let Err(error) = run.step(&mut life) {
                    assert!(life.world.io.has_crashed(), "{error}");
                    break;
                }
                steps += 1;
            }
            count(counts, "steps", steps);
            let Life { world, group, pending, flushed } = life;
            let acknowledged = group.log().watermark();
            assert!(acknowledged >= flushed);
            drop((pending, group));
            life = run.open(world, (acknowledged, flushed), counts);
        }
    });
}
