//! Law: whatever stops processes that use a log one after the other (killed at any call to a slot, a slot's sync that fails, a
//! full disk), a power cut while the next one uses it leaves a log that opens, with a superblock that somebody was told to be
//! there or that was being written, and with every record that was flushed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_world;
mod simulation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_world::{DIRECTORY, IDENTITY, create, disk, log_one, open, parameters, parts, slot};
use simulation::sized;
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::format::superblock::{SLOT_NAMES, SuperblockDisk};
use stillpoint_engine::io::fault::{Call, Failure, Fault, FaultIo, FaultPlan, Lasting, Struck, Verb};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Lsn;
use stillpoint_engine::write_log::{Replay, WriteLog};

/// A log that nobody has open, and what may be found in it.
#[derive(Clone)]
struct Left {
    memory: MemoryIo,
    /// What the disk's name may begin with: the last that is certain, and those that were begun since.
    names: Vec<u64>,
    flushed: Vec<Lsn>,
}

impl Left {
    fn new() -> Self {
        let memory = MemoryIo::new();
        drop(create(Arc::new(memory.clone())).unwrap());
        let mut left = Self { memory, names: Vec::new(), flushed: Vec::new() };
        left.names.push(u64::MAX);
        left.live(FaultPlan::none(), 0);
        left
    }

    /// The same after a crash.
    fn after(&self, crash: CrashChoice) -> Self {
        Self { memory: self.memory.crash(crash), ..self.clone() }
    }

    fn check(&mut self, replay: &Replay, context: &str) {
        assert!(replay.damage.is_none(), "{context}: {:?}", replay.damage);
        let disk = &replay.superblock.disks[0];
        let name = disk.name.split('.').next().unwrap().parse().unwrap_or(u64::MAX);
        assert!(self.names.contains(&name), "{context}: {name} is none of {:?}", self.names);
        let is_there = |lsn: &Lsn| *lsn <= disk.base_lsn || replay.records.iter().any(|record| record.lsn == *lsn);
        assert!(self.flushed.iter().all(is_there), "{context}: {:?} of {:?}", replay.records, self.flushed);
        self.names = vec![name]; // an opening makes it certain
    }

    /// A process uses the log as far as the plan lets it.
    fn live(&mut self, plan: FaultPlan, number: u64) -> FaultIo {
        let fault = FaultIo::over_memory(&self.memory, plan);
        let context = format!("process {number}, {:?}", self.names);
        let _ = self.use_log(&fault, number, &context);
        let calls = fault.calls();
        let is_written = |path: &Path| calls.iter().any(|call| call.verb == Verb::WriteAt && *call.path == *path);
        let has_failed = |call: &&Call| call.struck == Struck::Failed(Failure::Device) && is_written(&call.path);
        calls.iter().filter(has_failed).for_each(|call| self.tear(&call.path));
        fault
    }

    /// A sync that failed has written a part: what is read is whole, and what is durable never will be.
    fn tear(&self, path: &Path) {
        let bytes = self.memory.read_file(path).unwrap();
        self.memory.corrupt(path, 512, &[0xee; 64]).unwrap();
        let file = self.memory.open(path, OpenMode::ReadWrite).unwrap();
        file.write_at(&bytes, 0).unwrap();
        self.memory.abandon_unsynced(file.identity().unwrap().inode);
    }

    fn use_log(&mut self, fault: &FaultIo, number: u64, context: &str) -> Result<()> {
        let (log, replay) = open(Arc::new(fault.clone()), number)?;
        self.check(&replay, context);
        let lsn = log_one(&log, &[number as u8; 512]);
        log.flush(lsn)?;
        self.flushed.push(lsn);
        let base = replay.records.last().map_or(replay.superblock.disks[0].base_lsn, |record| record.lsn);
        self.names.push(number);
        log.change_superblock(|superblock| {
            superblock.disks[0].name = format!("{number}.").repeat(200); // longer than a sector, so that a slot can be torn
            superblock.disks[0].base_lsn = base;
        })?;
        self.names = vec![number];
        log.release(base)?; // the segments that the process before has filled go
        Ok(())
    }

    /// What can go wrong with the slots while a process uses the log.
    fn plans(&self) -> Vec<Vec<Fault>> {
        let mut plans = vec![Vec::new()];
        for before in [Vec::new(), self.full_disk()] {
            let fault = self.after(CrashChoice::ProcessKilled).live(FaultPlan { faults: before.clone() }, 1000);
            let mut sync = 0;
            for call in fault.calls() {
                let mut add = |what| plans.push(before.iter().copied().chain([what]).collect());
                if is_slot(&call.path) && matches!(call.verb, Verb::WriteAt | Verb::Sync) {
                    add(Fault::Crash { call: call.index, torn: None });
                    if call.verb == Verb::Sync {
                        add(Fault::FailSync { sync, failure: Failure::Device, lasting: Lasting::Once });
                        add(Fault::FailSync { sync, failure: Failure::NoSpace, lasting: Lasting::Once });
                    } else {
                        add(Fault::Crash { call: call.index, torn: Some(call.index) });
                    }
                }
                sync += u64::from(matches!(call.verb, Verb::Sync | Verb::SyncDirectory));
            }
        }
        plans
    }

    /// There is no room for the first segment that an opening makes, so it gives back what nobody uses first.
    fn full_disk(&self) -> Vec<Fault> {
        let calls = self.after(CrashChoice::ProcessKilled).live(FaultPlan::none(), 1000).calls();
        let call = calls.iter().find(|call| call.verb == Verb::Allocate).unwrap().index;
        vec![Fault::FailCall { call, failure: Failure::NoSpace, lasting: Lasting::Once }]
    }

    /// Opens what power cuts leave.
    fn cut_power(&self, seeds: u64, context: &str) {
        let choices = [CrashChoice::LoseUnsynced, CrashChoice::KeepAll];
        for choice in choices.into_iter().chain((0..seeds).map(CrashChoice::Seeded)) {
            let mut left = self.after(choice);
            let context = format!("{context}, then {choice:?}");
            let (_, replay) =
                open(Arc::new(left.memory.clone()), 99).unwrap_or_else(|error| panic!("{context}: {error}"));
            left.check(&replay, &context);
        }
    }
}

fn is_slot(path: &Path) -> bool {
    SLOT_NAMES.iter().any(|name| path.ends_with(name))
}

#[test]
fn one_slot_is_whole_and_durable_whatever_stopped_the_processes_before() {
    let first = Left::new();
    for (one, plan) in first.plans().into_iter().enumerate() {
        let mut second = first.after(CrashChoice::ProcessKilled);
        second.live(FaultPlan { faults: plan.clone() }, 1);
        let plans = second.plans();
        for (two, other) in plans.iter().enumerate() {
            let mut third = second.after(CrashChoice::ProcessKilled);
            third.live(FaultPlan { faults: other.clone() }, 2);
            let context = format!("{plan:?}, then {other:?}");
            third.cut_power(sized(4, 20), &context);
            if sized(0, 1) == 0 && (one + two) % 8 != 0 {
                continue;
            }
            for last in third.plans() {
                let mut fourth = third.after(CrashChoice::ProcessKilled);
                fourth.live(FaultPlan { faults: last.clone() }, 3);
                fourth.cut_power(sized(2, 8), &format!("{context}, then {last:?}"));
            }
        }
    }
}

#[test]
fn long_lines_of_processes_and_power_cuts_lose_nothing() {
    for seed in 0..sized(30, 2000) {
        let (mut random, mut left) = (Seeded::new(seed), Left::new());
        for number in 1..20 {
            let plans = left.plans();
            let plan = plans[random.below(plans.len() as u64) as usize].clone();
            left.live(FaultPlan { faults: plan }, number);
            let cut = CrashChoice::Seeded(random.next_u64());
            left = left.after(if random.one_in(4) { cut } else { CrashChoice::ProcessKilled });
        }
        left.live(FaultPlan::none(), 20);
        assert_eq!(left.names, [20], "seed {seed}");
    }
}

#[test]
fn a_log_that_was_not_finished_is_whole_or_has_an_empty_second_slot() {
    let is_unborn = |memory: &MemoryIo| {
        memory.read_file(slot(SLOT_NAMES[1])).is_none_or(|bytes| bytes.iter().take(64).all(|byte| *byte == 0))
    };
    for killed_at in 0..100 {
        let memory = MemoryIo::new();
        let crash = Fault::Crash { call: killed_at, torn: None };
        let io = Arc::new(FaultIo::over_memory(&memory, FaultPlan::one(crash)));
        let disk = SuperblockDisk { name: "n".repeat(1000), ..disk() };
        let created = WriteLog::create(parts(io, 7), PathBuf::from(DIRECTORY), IDENTITY, parameters(), vec![disk]);
        for cut_at in 0..100 {
            let left = memory.crash(CrashChoice::ProcessKilled);
            let crash = Fault::Crash { call: cut_at, torn: Some(cut_at) };
            let fault = FaultIo::over_memory(&left, FaultPlan::one(crash));
            let opened = open(Arc::new(fault.clone()), 5);
            for seed in 0..40 {
                let left = left.crash(CrashChoice::Seeded(seed));
                if created.is_ok() || opened.is_ok() || !is_unborn(&left) {
                    let opened = open(Arc::new(left), 6).map(drop);
                    assert!(
                        opened.is_ok(),
                        "calls {killed_at} and {cut_at}, power cut {seed}: {opened:?}{}",
                        fault.log()
                    );
                }
            }
            if opened.is_ok() || memory.read_file(slot(SLOT_NAMES[0])).is_none() {
                break;
            }
        }
        if created.is_ok() {
            return;
        }
    }
    panic!("it never comes to an end");
}

#[test]
fn who_waits_for_the_slots_while_their_writing_fails_does_not_write_them() {
    let memory = MemoryIo::new();
    drop(create(Arc::new(memory.clone())).unwrap());
    let counted = FaultIo::over_memory(&memory.crash(CrashChoice::ProcessKilled), FaultPlan::none());
    let (log, _) = open(Arc::new(counted.clone()), 1).unwrap();
    let syncs = counted.counts().syncs;
    drop(log);
    // The first slot is durable, the second is in nobody knows which state.
    let fault = Fault::FailSync { sync: syncs + 1, failure: Failure::Device, lasting: Lasting::Once };
    let fault = FaultIo::over_memory(&memory, FaultPlan::one(fault));
    let (log, _) = open(Arc::new(fault.clone()), 1).unwrap();
    let other = Arc::downgrade(&log);
    log.ask_for_room(Box::new(move |_| {
        let failed = other.upgrade().unwrap().change_superblock(|superblock| superblock.disks[0].name = "b".to_owned());
        assert!(failed.is_err());
        Ok(())
    }));
    let before = fault.calls().len();
    assert_eq!(log.prepare().unwrap_err().code(), Code::LogFenced);
    let calls = fault.calls();
    let written = calls[before..].iter().filter(|call| is_slot(&call.path) && call.verb == Verb::WriteAt);
    assert_eq!(written.count(), 2, "by the one that failed");
}
