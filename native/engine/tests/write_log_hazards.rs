//! The hazards that the design names, one test each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_world;

use std::sync::Arc;

use log_world::{DISK, create, log_one, open, open_memory, read_back, segment_files, slot};
use stillpoint_engine::error::Code;
use stillpoint_engine::format::log_record::{self, RecordKind};
use stillpoint_engine::format::superblock::{SLOT_NAMES, Superblock};
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting, Verb};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::units::{Lsn, Uid};
use stillpoint_engine::write_log::{CutBody, Record, WriteLog};

fn internal_cut() -> CutBody {
    let (collection, point, detail) = (String::new(), String::new(), Vec::new());
    CutBody { point_id: Uid::default(), machine_id: Uid([2; 16]), collection, point, detail }
}

fn new_log() -> (MemoryIo, Arc<WriteLog>) {
    let memory = MemoryIo::new();
    let log = create(Arc::new(memory.clone())).unwrap();
    (memory, log)
}

#[test]
fn a_late_write_below_the_cut_holds_back_the_cut_and_everything_above_it() {
    let (memory, log) = new_log();
    let (late, _) = log.sequence(Record::write(DISK, 0, &[1; 512]), drop).unwrap();
    let (cut, at) = log.sequence(Record::cut(&internal_cut()), |lsn| lsn).unwrap();
    log.append(&cut, &[]).unwrap();
    log.complete(cut);
    let above = log_one_unacknowledged(&log);
    // The cut is in the file, and so is the write above it; but a prefix that holds them would miss the write below.
    assert!(!log.is_logged(at).unwrap() && !log.is_logged(above).unwrap());
    assert_eq!(log.watermark(), Lsn::ZERO);
    assert_eq!(log.try_flush().unwrap(), Lsn::ZERO);
    let (_, replay) = open_memory(&memory.crash(CrashChoice::ProcessKilled));
    assert!(replay.records.is_empty(), "the cut counts only with what is below it");
    assert_eq!(replay.dropped, None, "nothing behind a hole can be seen");

    log.append(&late, &[1; 512]).unwrap();
    log.complete(late);
    assert!(log.is_logged(above).unwrap());
    log.flush(above).unwrap();
    let (_, replay) = open_memory(&memory.crash(CrashChoice::LoseUnsynced));
    let kinds: Vec<_> = replay.records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [RecordKind::Write, RecordKind::Cut, RecordKind::Write]);
}

fn log_one_unacknowledged(log: &Arc<WriteLog>) -> Lsn {
    log_one(log, &[3; 4096])
}

#[test]
fn a_zombie_tail_never_chains_again() {
    let (memory, log) = new_log();
    let durable = log_one(&log, &[1; 4096]);
    log.flush(durable).unwrap();
    log.change_superblock(|_| ()).unwrap(); // which says so, and the segment stays
    for byte in 2..6 {
        log_one(&log, &[byte; 4096]);
    }
    drop(log);
    // A power cut keeps the tail but for its first record: everything behind it is a zombie.
    let left = memory.crash(CrashChoice::ProcessKilled);
    let first = &segment_files(&left)[0];
    let at = 4096 + log_record::record_bytes(4096);
    left.corrupt(first, at, &[0; 96]).unwrap();
    let (log, replay) = open_memory(&left);
    assert_eq!(replay.records.len(), 1);
    // The same bytes come back (a disk that wrote late), and the log goes on beside them, opening after opening.
    let tail = memory.read_file(first).unwrap();
    for byte in 10..14 {
        log_one(&log, &[byte; 4096]);
    }
    drop(log);
    left.corrupt(first, at, &tail[at as usize..at as usize + 96]).unwrap();
    for _ in 0..3 {
        let (log, replay) = open_memory(&left);
        let firsts: Vec<u8> = replay.records.iter().map(|record| read_back(&log, record).payload[0]).collect();
        assert_eq!(firsts, [1, 10, 11, 12, 13]);
    }
}

#[test]
fn nothing_is_served_before_it_is_synced() {
    let (memory, log) = new_log();
    for byte in 0..20 {
        log_one(&log, &[byte; 4096]);
    }
    drop(log);
    let left = memory.crash(CrashChoice::ProcessKilled); // all of it in the page cache only
    let fault = FaultIo::over_memory(&left, FaultPlan::none());
    let (log, replay) = open(Arc::new(fault.clone()), 3).unwrap();
    assert_eq!(replay.records.len(), 20);
    drop(log);
    let (log, replay) = open_memory(&left.crash(CrashChoice::LoseUnsynced));
    let firsts: Vec<u8> = replay.records.iter().map(|record| read_back(&log, record).payload[0]).collect();
    assert_eq!(firsts, (0..20).collect::<Vec<u8>>());
    // Nothing is removed before both slots are durable.
    let calls = fault.calls();
    let last_slot_sync = calls
        .iter()
        .rposition(|call| call.verb == Verb::Sync && call.path.to_string_lossy().contains("superblock"))
        .unwrap();
    let first_removal = calls.iter().position(|call| call.verb == Verb::RemoveFile).unwrap();
    assert!(last_slot_sync < first_removal);
}

#[test]
fn a_forged_record_in_a_payload_is_never_taken_for_one() {
    let (memory, log) = new_log();
    let durable = log_one(&log, &[1; 512]);
    log.flush(durable).unwrap();
    // A guest that has seen the log writes an image of the next record, with the very salt, into its own disk.
    let salt = log.superblock().incarnations[0].incarnation.salt;
    let (lsn, predecessor) = (Lsn(3), 0);
    let mut forged = log_record::encode_unchained(RecordKind::Write, DISK, 0, 512, &[66; 512]);
    log_record::chain(&mut forged, &salt, lsn, 1, Lsn::ZERO, predecessor);
    forged.extend_from_slice(&[66; 512]);
    let mut payload = vec![0; 8192];
    payload[..forged.len()].copy_from_slice(&forged);
    payload[4096..4096 + forged.len()].copy_from_slice(&forged);
    log_one(&log, &payload);
    log_one(&log, &[2; 512]);
    drop(log);
    // The record that carries it is torn at every sector: what is behind is not looked for.
    let left = memory.crash(CrashChoice::ProcessKilled);
    let file = &segment_files(&left)[0];
    let at = 4096 + log_record::record_bytes(512);
    for sector in 0..17 {
        let torn = left.crash(CrashChoice::ProcessKilled);
        torn.corrupt(file, at + sector * 480, &[0xee; 40]).unwrap();
        let (log, replay) = open_memory(&torn);
        assert_eq!(replay.records.len(), 1, "sector {sector}");
        assert_eq!(read_back(&log, &replay.records[0]).payload, [1; 512]);
    }
}

#[test]
fn a_torn_slot_leaves_the_other_one() {
    for torn_name in SLOT_NAMES {
        let (memory, log) = new_log();
        log.change_superblock(|superblock| superblock.disks[0].size = 2 << 30).unwrap();
        let durable = log_one(&log, &[1; 512]);
        log.flush(durable).unwrap();
        drop(log);
        let left = memory.crash(CrashChoice::LoseUnsynced);
        left.corrupt(slot(torn_name), 64, &[0xaa; 512]).unwrap();
        let (log, replay) = open_memory(&left);
        assert_eq!(replay.superblock.disks[0].size, 2 << 30);
        assert_eq!(replay.records.len(), 1);
        drop(log);
        // The opening has written both again, the torn one first.
        for name in SLOT_NAMES {
            Superblock::decode(&left.read_file(slot(name)).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_change_of_the_superblock_that_is_cut_off_at_any_call_holds_wholly_or_not_at_all() {
    let (memory, log) = new_log();
    drop(log);
    let before = memory.crash(CrashChoice::LoseUnsynced);
    for call in 0..100 {
        let run = before.crash(CrashChoice::ProcessKilled);
        let fault = FaultIo::over_memory(&run, FaultPlan::one(Fault::Crash { call, torn: Some(call) }));
        let changed = open(Arc::new(fault), call).map(|(log, _)| {
            log.change_superblock(|superblock| {
                superblock.disks[0].size = 2 << 30;
                superblock.disks[0].name = "n".repeat(1000);
            })
        });
        for seed in 0..8 {
            let (_, replay) = open_memory(&run.crash(CrashChoice::Seeded(call * 8 + seed)));
            let disk = &replay.superblock.disks[0];
            let is_new = (disk.size, disk.name.len()) == (2 << 30, 1000);
            assert!(is_new || (disk.size, disk.name.as_str()) == (1 << 30, "disk"), "call {call}");
            assert!(is_new || !matches!(changed, Ok(Ok(()))), "call {call}: it was said to be done");
        }
        if matches!(changed, Ok(Ok(()))) {
            return;
        }
    }
    panic!("it never comes to an end");
}

#[test]
fn a_slot_that_only_the_page_cache_holds_is_not_taken_for_the_durable_one() {
    let (memory, log) = new_log();
    // Longer than a sector, so that a slot can be torn.
    let named = |name: &'static str| move |superblock: &mut Superblock| superblock.disks[0].name = name.repeat(1000);
    log.change_superblock(named("n")).unwrap();
    drop(log);
    let before = memory.crash(CrashChoice::LoseUnsynced);
    let (mut killed_inside, mut cut_inside) = (0, 0);
    for killed_at in 0..100 {
        // A process is killed at any call of a change: what it wrote and did not sync can be read.
        let first = before.crash(CrashChoice::ProcessKilled);
        let fault = FaultIo::over_memory(&first, FaultPlan::one(Fault::Crash { call: killed_at, torn: None }));
        let changed = open(Arc::new(fault), killed_at).and_then(|(log, _)| log.change_superblock(named("m")));
        killed_inside += u64::from(changed.is_err());
        // The next one opens the log, and the power goes at any call of that.
        for cut_at in 0..100 {
            let second = first.crash(CrashChoice::ProcessKilled);
            let crash = Fault::Crash { call: cut_at, torn: Some(cut_at) };
            let opened = open(Arc::new(FaultIo::over_memory(&second, FaultPlan::one(crash))), cut_at + 500);
            cut_inside += u64::from(opened.is_err());
            for seed in 0..100 {
                let left = second.crash(CrashChoice::Seeded(cut_at * 100 + seed));
                let (_, replay) = open_memory(&left);
                let name = &replay.superblock.disks[0].name;
                assert!(
                    name.starts_with('m') || changed.is_err(),
                    "calls {killed_at} and {cut_at}: it was said to be done"
                );
            }
            if opened.is_ok() {
                break;
            }
        }
        if changed.is_ok() {
            assert!(killed_inside > 5 && cut_inside > 50, "{killed_inside} kills, {cut_inside} power cuts");
            return;
        }
    }
    panic!("it never comes to an end");
}

#[test]
fn a_change_of_the_superblock_cannot_touch_what_the_log_keeps_itself() {
    let (_memory, log) = new_log();
    let before = log.superblock();
    log.change_superblock(|superblock| {
        superblock.segments.clear();
        superblock.incarnations.clear();
        superblock.durable = Lsn(77);
        superblock.store_id = Uid([7; 16]);
    })
    .unwrap();
    let after = log.superblock();
    assert_eq!((after.segments, after.incarnations), (before.segments, before.incarnations));
    assert_eq!((after.durable, after.store_id), (before.durable, before.store_id));
}

#[test]
fn a_hold_keeps_its_records_until_it_is_dropped() {
    let (memory, log) = new_log();
    let lsns: Vec<Lsn> = (0..40).map(|byte| log_one(&log, &[byte; 4096])).collect();
    let last = *lsns.last().unwrap();
    log.flush(last).unwrap();
    let files = segment_files(&memory).len();
    assert!(files > 4);
    let hold = log.hold(lsns[10]);
    let again = log.hold(lsns[10]);
    log.release(last).unwrap();
    drop(hold);
    assert_eq!(log.release(last).unwrap(), 0, "it is held twice");
    let held = segment_files(&memory).len();
    assert!(held < files && held > 3);
    drop(again);
    assert_eq!(log.release(last).unwrap(), (held - 1) as u64 * log_world::SEGMENT_BYTES);
    assert_eq!(log.retained_bytes(), log_world::SEGMENT_BYTES);
    // What is left chains on: the list says how the first segment begins.
    drop(log);
    let (_, replay) = open_memory(&memory.crash(CrashChoice::LoseUnsynced));
    assert_eq!(replay.records.last().unwrap().lsn, last);
    assert!(replay.damage.is_none());
}

#[test]
fn a_release_takes_nothing_that_is_not_durable() {
    let (_memory, log) = new_log();
    let lsns: Vec<Lsn> = (0..20).map(|byte| log_one(&log, &[byte; 4096])).collect();
    // Rollovers have synced some of it, never the last segment.
    let durable = log.durable();
    log.release(*lsns.last().unwrap()).unwrap();
    let first = log.superblock().segments[0].first.unwrap().lsn;
    assert!(first <= durable.next());
}

#[test]
fn a_ticket_that_is_given_up_fences_the_log() {
    let (memory, log) = new_log();
    let kept = log_one(&log, &[1; 512]);
    let (ticket, _) = log.sequence(Record::write(DISK, 0, &[2; 512]), drop).unwrap();
    drop(ticket);
    let fenced = log.sequence(Record::write(DISK, 0, &[3; 512]), drop).map(drop).unwrap_err();
    assert_eq!(fenced.code(), Code::LogFenced);
    assert_eq!(log.flush(kept).unwrap_err().code(), Code::LogFenced);
    assert_eq!(log.is_logged(kept).unwrap_err().code(), Code::LogFenced);
    drop(log);
    assert_eq!(open_memory(&memory).1.records.len(), 1);
}

#[test]
fn a_failed_sync_fences_the_log_and_no_later_flush_succeeds() {
    let memory = MemoryIo::new();
    drop(create(Arc::new(memory.clone())).unwrap());
    let opening = FaultIo::over_memory(&memory.crash(CrashChoice::ProcessKilled), FaultPlan::none());
    drop(open(Arc::new(opening.clone()), 1).unwrap());
    let sync = opening.counts().syncs;
    let plan = FaultPlan::one(Fault::FailSync { sync, failure: Failure::Device, lasting: Lasting::Once });
    let fault = FaultIo::over_memory(&memory, plan);
    let (log, _) = open(Arc::new(fault.clone()), 1).unwrap();
    let lsn = log_one(&log, &[1; 512]);
    assert!(log.flush(lsn).unwrap_err().is_failed_sync());
    let syncs = fault.counts().syncs;
    assert_eq!(log.flush(lsn).unwrap_err().code(), Code::LogFenced);
    assert_eq!(fault.counts().syncs, syncs, "it is not tried again on the same file");
    assert!(log.is_fenced().is_some());
}

#[test]
fn at_most_three_segments_are_unsynced_at_any_time() {
    let memory = MemoryIo::new();
    let fault = FaultIo::over_memory(&memory, FaultPlan::none());
    let log = create(Arc::new(fault)).unwrap();
    for byte in 0..100 {
        let lsn = log_one(&log, &[byte; 4096]);
        // Six records of 4 KiB to a segment of 32 KiB.
        assert!(lsn.0 - log.durable().0 <= 18, "{lsn} is in the log, {} is durable", log.durable());
    }
}

#[test]
fn another_logs_directory_is_refused() {
    let (memory, log) = new_log();
    drop(log);
    let other = stillpoint_engine::write_log::LogIdentity { log_id: Uid([8; 16]), ..log_world::IDENTITY };
    let parts = log_world::parts(Arc::new(memory.clone()), 1);
    let opened = WriteLog::open(parts.clone(), log_world::DIRECTORY.into(), other, log_world::parameters());
    assert_eq!(opened.map(drop).unwrap_err().code(), Code::LogDamaged);
    let made = WriteLog::create(parts, log_world::DIRECTORY.into(), other, log_world::parameters(), Vec::new());
    assert_eq!(made.map(drop).unwrap_err().code(), Code::StoreExists);
}

#[test]
fn a_record_that_no_segment_can_hold_is_refused_and_takes_no_lsn() {
    let (_memory, log) = new_log();
    let payload = vec![0; log.record_bytes_max() as usize + 1];
    let refused = log.sequence(Record::write(DISK, 0, &payload), drop).map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::ArgumentInvalid);
    assert_eq!(log_one(&log, &payload[1..]), Lsn(1));
}

#[test]
fn a_time_means_the_last_record_that_is_not_after_it() {
    let memory = MemoryIo::new();
    let clock = Arc::new(stillpoint_engine::clock::ManualClock::new(0));
    let parts = stillpoint_engine::write_log::LogParts {
        clock: Arc::clone(&clock) as Arc<dyn stillpoint_engine::clock::Clock>,
        ..log_world::parts(Arc::new(memory.clone()), 1)
    };
    let mut given = Vec::new();
    let write = |log: &Arc<WriteLog>, given: &mut Vec<(u64, Lsn)>, times: std::ops::Range<u64>| {
        for time in times {
            clock.set_ns(i128::from(time) * 10_000_000); // a record each 10 ms
            given.push((time * 10, log_one(log, &[1; 4096])));
        }
    };
    let (directory, parameters) = (std::path::PathBuf::from(log_world::DIRECTORY), log_world::parameters());
    let log = WriteLog::create(parts.clone(), directory.clone(), log_world::IDENTITY, parameters, Vec::new()).unwrap();
    assert_eq!(log.lsn_at(5).unwrap(), None);
    write(&log, &mut given, 1..20);
    clock.set_ns(0); // a clock that goes back makes no record earlier than the one before
    given.push((190, log_one(&log, &[2; 10])));
    drop(log);
    let (log, _) = WriteLog::open(parts, directory, log_world::IDENTITY, parameters).unwrap();
    write(&log, &mut given, 25..40);
    let unfinished = log.sequence(Record::write(DISK, 0, &[1; 10]), |lsn| lsn).unwrap();
    for time in 0..500 {
        let expected = given.iter().rev().find(|(given, _)| *given <= time).map(|(_, lsn)| *lsn);
        assert_eq!(log.lsn_at(time).unwrap(), expected, "{time} ms");
    }
    drop(unfinished);
}
