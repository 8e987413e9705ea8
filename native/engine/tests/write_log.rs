//! Laws of the write log, whatever stops it:
//!
//! - what is replayed is a prefix of what was sequenced, byte for byte; after a process crash it holds everything that was
//!   acknowledged, after a power cut everything up to the last flush that was acknowledged;
//! - what an opening serves a power cut cannot take back;
//! - no LSN is given twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_world;
mod simulation;

use std::sync::Arc;

use log_world::{Ended, Model, create, log_one, open, open_memory, read_back, run};
use simulation::progress::{Counts, count, over_seeds};
use simulation::sized;
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::units::Lsn;

/// Opens what a crash left and checks the laws; then a power cut, and the same again. Returns both.
fn reopen(memory: &MemoryIo, model: &Model, is_power_cut: bool, context: &str) -> (MemoryIo, Model) {
    let mut model = model.clone();
    let memory = memory.crash(CrashChoice::ProcessKilled);
    let (log, replay) = match open(Arc::new(memory.clone()), 11) {
        Ok(opened) => opened,
        Err(error) => panic!("{context}: {error}"),
    };
    model.check(&log, &replay, is_power_cut, context);
    assert_eq!(log_world::segment_files(&memory).len(), log.superblock().segments.len(), "{context}: leftovers");
    let first = replay.records;
    drop(log);
    // Serve before sync: what was served is there after any power cut.
    let cut = memory.crash(CrashChoice::LoseUnsynced);
    let (log, replay) = open_memory(&cut);
    assert!(replay.damage.is_none() && replay.dropped.is_none(), "{context}: {replay:?}");
    let again: Vec<_> = replay.records.iter().map(|record| read_back(&log, record)).collect();
    let expected: Vec<_> = first.iter().map(|record| record.lsn).collect();
    assert_eq!(again.iter().map(|each| each.lsn).collect::<Vec<_>>(), expected, "{context}: served, then gone");
    model.check(&log, &replay, true, context);
    (cut, model)
}

fn choices(seed: u64) -> Vec<CrashChoice> {
    let drawn = (0..sized(2, 8)).map(|number| CrashChoice::Seeded(seed * 1000 + number));
    [CrashChoice::ProcessKilled, CrashChoice::LoseUnsynced, CrashChoice::KeepAll].into_iter().chain(drawn).collect()
}

fn check_everywhere(ended: &Ended, seed: u64, counts: &mut Counts, context: &str) {
    for choice in choices(seed) {
        let left = ended.memory.crash(choice);
        let is_power_cut = choice != CrashChoice::ProcessKilled;
        let context = format!("{context}, {choice:?}\n{}", ended.fault.log());
        if is_before_creation(&left) {
            assert_eq!(ended.model.acknowledged, Lsn::ZERO, "{context}");
            continue;
        }
        reopen(&left, &ended.model, is_power_cut, &context);
        count(counts, "states", 1);
    }
}

/// Whether the log was not made yet: then it can be made.
fn is_before_creation(memory: &MemoryIo) -> bool {
    let copy = memory.crash(CrashChoice::ProcessKilled);
    if open(Arc::new(copy), 5).is_ok() {
        return false;
    }
    let copy = memory.crash(CrashChoice::ProcessKilled);
    create(Arc::new(copy)).is_ok()
}

/// A log in which something was written, flushed and cut off before.
fn used(seed: u64) -> (MemoryIo, Model) {
    let mut memory = MemoryIo::new();
    let mut model = Model::default();
    for round in 0..seed % 4 {
        let ended = run(&memory, &model, seed * 10 + round, 40, FaultPlan::none());
        assert!(ended.error.is_none(), "{:?}", ended.error);
        let left = ended.memory.crash(CrashChoice::Seeded(seed + round));
        (memory, model) = reopen(&left, &ended.model, true, "before");
    }
    (memory, model)
}

#[test]
fn a_power_cut_or_a_crash_at_any_call_of_any_history_leaves_a_prefix_with_all_that_was_promised() {
    over_seeds("write-log-crashes", sized(5, 400), |seed, counts| {
        let (before, model) = used(seed);
        let calls = run(&before, &model, seed, 60, FaultPlan::none()).fault.counts().calls;
        for call in 0..=calls {
            let torn = (call % 3 > 0).then_some(seed * 77 + call);
            let ended = run(&before, &model, seed, 60, FaultPlan::one(Fault::Crash { call, torn }));
            check_everywhere(&ended, seed * 100 + call, counts, &format!("seed {seed}, call {call}"));
        }
        count(counts, "calls", calls);
    });
}

#[test]
fn a_failure_at_any_call_loses_nothing_that_was_promised_and_fences_or_changes_nothing() {
    over_seeds("write-log-failures", sized(2, 200), |seed, counts| {
        let (before, model) = used(seed);
        let calls = run(&before, &model, seed, 60, FaultPlan::none()).fault.counts().calls;
        for call in 0..calls {
            for failure in [Failure::Device, Failure::NoSpace] {
                for lasting in [Lasting::Once, Lasting::Sticky] {
                    let plan = FaultPlan::one(Fault::FailCall { call, failure, lasting });
                    let ended = run(&before, &model, seed, 60, plan);
                    let context = format!("seed {seed}, call {call}, {failure:?} {lasting:?}");
                    check_everywhere(&ended, seed * 100 + call, counts, &context);
                }
            }
        }
        count(counts, "calls", calls);
    });
}

#[test]
fn a_sync_that_fails_is_never_tried_again_and_nothing_is_acknowledged_after_it() {
    over_seeds("write-log-syncs", sized(6, 200), |seed, counts| {
        let (before, model) = used(seed);
        let syncs = run(&before, &model, seed, 60, FaultPlan::none()).fault.counts().syncs;
        for sync in 0..syncs {
            for failure in [Failure::Device, Failure::NoSpace] {
                let plan = FaultPlan::one(Fault::FailSync { sync, failure, lasting: Lasting::Once });
                let ended = run(&before, &model, seed, 60, plan);
                assert!(ended.error.is_some(), "seed {seed}, sync {sync}: it was passed over");
                check_everywhere(&ended, seed * 100 + sync, counts, &format!("seed {seed}, sync {sync}"));
            }
        }
        count(counts, "syncs", syncs);
    });
}

#[test]
fn an_opening_that_is_cut_off_at_any_call_again_and_again_serves_the_same_in_the_end() {
    over_seeds("write-log-openings", sized(8, 400), |seed, counts| {
        let (before, model) = used(seed);
        let ended = run(&before, &model, seed, 60, FaultPlan::none());
        let choice = choices(seed)[seed as usize % 4];
        let mut left = ended.memory.crash(choice);
        let is_power_cut = choice != CrashChoice::ProcessKilled;
        let mut call = 0;
        loop {
            let memory = left.crash(CrashChoice::ProcessKilled);
            let torn = (call % 2 > 0).then_some(seed + call);
            let fault = FaultIo::over_memory(&memory, FaultPlan::one(Fault::Crash { call, torn }));
            let opened = open(Arc::new(fault.clone()), seed + call);
            if opened.is_ok() {
                break;
            }
            for choice in choices(seed * 50 + call) {
                // A power cut after a process crash may take what only the page cache held; that is another promise.
                let after_both = is_power_cut || choice != CrashChoice::ProcessKilled;
                let context = format!("seed {seed}, opening cut at {call}, {choice:?}\n{}", fault.log());
                reopen(&memory.crash(choice), &ended.model, after_both, &context);
                count(counts, "states", 1);
            }
            if call % 5 == 4 {
                left = memory; // the next one opens what this one left
            }
            call += 1;
        }
        count(counts, "calls", call);
    });
}

#[test]
fn a_full_disk_gives_no_lsn_and_the_log_goes_on_when_there_is_space() {
    let memory = MemoryIo::new();
    let log = create(Arc::new(memory.clone())).unwrap();
    memory.set_capacity(Some(150 << 10));
    let mut written = 0;
    let error = loop {
        let payload = [written as u8; 4096];
        match log.sequence(stillpoint_engine::write_log::Record::write(log_world::DISK, 0, &payload), |lsn| lsn) {
            Ok((ticket, lsn)) => {
                written += 1;
                assert_eq!(lsn, Lsn(written), "no LSN is missing");
                log.append(&ticket, &payload).unwrap();
                log.complete(ticket);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), stillpoint_engine::error::Code::NoSpace);
    assert!(written > 10 && log.is_fenced().is_none());
    log.flush(Lsn(written)).unwrap();
    memory.set_capacity(None);
    assert_eq!(log_one(&log, &[1; 100]), Lsn(written + 1));
}

#[test]
fn a_log_opens_on_a_disk_without_a_free_byte_but_for_what_must_be_written_anew() {
    for settled in [false, true] {
        let memory = MemoryIo::new();
        let log = create(Arc::new(memory.clone())).unwrap();
        let lsns: Vec<Lsn> = (0..25).map(|byte| log_one(&log, &[byte; 4096])).collect();
        log.prepare().unwrap();
        if settled {
            log.settle().unwrap();
        }
        drop(log);
        // Taken: five segments of 32 KiB with records, one prepared, two slots of 16 KiB.
        memory.set_capacity(Some((6 * 32 + 2 * 16) << 10));
        let (log, replay) = open_memory(&memory);
        assert_eq!(replay.records.iter().map(|record| record.lsn).collect::<Vec<_>>(), lsns);
        let payloads: Vec<u8> = replay.records.iter().map(|record| read_back(&log, record).payload[0]).collect();
        assert_eq!(payloads, (0..25).collect::<Vec<u8>>());
        // It goes on as far as there is space, and after a release further.
        let last = *lsns.last().unwrap();
        log.change_superblock(|superblock| superblock.disks[0].base_lsn = last).unwrap();
        assert!(log.release(last).unwrap() >= 4 * log_world::SEGMENT_BYTES);
        for byte in 0..12 {
            log_one(&log, &[byte; 4096]);
        }
        log.settle().unwrap();
        drop(log);
        let (_, replay) = open_memory(&memory.crash(CrashChoice::LoseUnsynced));
        assert_eq!(replay.records.iter().filter(|record| record.lsn > last).count(), 12);
    }
}
