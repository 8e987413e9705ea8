//! A log that takes no more writes is opened anew in the open store, and every other machine goes on (I-66).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_store;

use std::path::PathBuf;
use std::sync::Arc;

use live_store::{
    STORE, Store, attached, code, copy, cut, cut_request, delete, disk, machine, new_disk, no_control, other_machine,
    point, random_bytes, read_disk, read_point, uid,
};
use stillpoint_engine::engine::{DiskReference, Engine, ExportLabel, Moment};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::fault::{Failure, Fault, FaultPlan, Lasting};
use stillpoint_engine::io::memory::CrashChoice;
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::nbd::Export;
use stillpoint_engine::units::Uid;

const SIZE: u64 = 96 << 10;

fn other_disk() -> Uid {
    uid(11)
}

fn clone() -> Uid {
    uid(20)
}

/// Two machines, one of which has a point in packs; closed.
fn store() -> Store {
    let store = Store::new(3);
    let engine = store.open();
    engine.create_machine_log(&machine()).unwrap();
    engine.create_machine_log(&other_machine()).unwrap();
    attached(&engine, disk(), machine(), SIZE);
    attached(&engine, other_disk(), other_machine(), SIZE);
    engine.write_disk(&disk(), 0, &random_bytes(1, SIZE), false).unwrap();
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    drop(engine);
    store
}

/// What the first machine's disk is to hold after the writes that were acknowledged; then its point 2 waits for a copy.
fn written() -> (Vec<u8>, Vec<u8>) {
    let second = [random_bytes(2, SIZE / 2), random_bytes(1, SIZE)[SIZE as usize / 2..].to_vec()].concat();
    let mut last = second.clone();
    last[..4096].copy_from_slice(&random_bytes(3, 4096));
    (second, last)
}

/// Writes, captures, clones and writes more, of which nothing is flushed at the end.
fn write(engine: &Engine) {
    engine.write_disk(&disk(), 0, &random_bytes(2, SIZE / 2), false).unwrap();
    cut(engine, machine(), point(2)).unwrap();
    engine.create_disk(&new_disk(clone()), 0, Some(&DiskReference { point_id: point(2), disk_id: disk() })).unwrap();
    engine.write_disk(&disk(), 0, &random_bytes(3, 4096), false).unwrap();
}

/// The store in which a flush has just failed, with these faults after it; the number of that sync is given.
fn fenced(faults: impl Fn(u64) -> Vec<Fault>) -> (Store, Arc<Engine>, u64) {
    fenced_after(write, faults)
}

fn fenced_after(write: impl Fn(&Engine), faults: impl Fn(u64) -> Vec<Fault>) -> (Store, Arc<Engine>, u64) {
    let base = store();
    let dry = base.killed();
    let engine = dry.open();
    write(&engine);
    let sync = dry.faults.counts().syncs;
    drop(engine);
    let fail = Fault::FailSync { sync, failure: Failure::Device, lasting: Lasting::Once };
    let faults = [vec![fail], faults(sync)].concat();
    let store = base.after(CrashChoice::ProcessKilled, FaultPlan { faults });
    let engine = store.open();
    write(&engine);
    assert_eq!(code(engine.flush_disk(&disk())), Code::IoFailed);
    (store, engine, sync)
}

fn fenced_ids(engine: &Engine) -> Vec<Uid> {
    engine.fenced_logs().iter().map(|log| log.log_id).collect()
}

/// The other machine neither notices nor waits.
fn check_other(engine: &Engine, seed: u64) {
    let bytes = random_bytes(seed, SIZE);
    engine.write_disk(&other_disk(), 0, &bytes, true).unwrap();
    cut(engine, other_machine(), point(50 + seed)).unwrap();
    copy(engine, point(50 + seed)).unwrap();
    engine.release_cut(&point(50 + seed)).unwrap();
    assert!(read_disk(engine, other_disk(), SIZE).unwrap() == bytes);
}

fn check_reads(engine: &Engine, context: &str) {
    let (second, last) = written();
    assert!(read_disk(engine, disk(), SIZE).unwrap() == last, "{context}");
    assert!(read_disk(engine, clone(), SIZE).unwrap() == second, "{context}");
    assert!(read_point(engine, point(1), disk(), SIZE).unwrap() == random_bytes(1, SIZE), "{context}");
    assert!(read_point(engine, point(2), disk(), SIZE).unwrap() == second, "{context}");
}

/// All goes its way to the end.
fn check_end(engine: &Engine, context: &str) {
    check_reads(engine, context);
    copy(engine, point(2)).unwrap();
    engine.release_cut(&point(2)).unwrap();
    engine.settle_logs(&no_control()).unwrap();
    check_reads(engine, context);
    delete(engine, point(2)).unwrap();
    engine.write_disk(&disk(), 4096, &[9; 4096], true).unwrap();
    cut(engine, machine(), point(3)).unwrap();
    copy(engine, point(3)).unwrap();
    engine.release_cut(&point(3)).unwrap();
    engine.settle_logs(&no_control()).unwrap();
    engine.collect(false, &no_control()).unwrap();
    let mut expected = written().1;
    expected[4096..8192].fill(9);
    assert!(read_point(engine, point(3), disk(), SIZE).unwrap() == expected, "{context}");
    assert!(read_disk(engine, clone(), SIZE).unwrap() == written().0, "{context}");
    assert_eq!(engine.pressure().unwrap().debt_bytes, 0, "{context}: nothing is owed twice");
}

#[test]
fn a_fenced_log_is_read_and_opened_anew_and_nothing_that_it_serves_then_can_be_taken_back() {
    let (store, engine, _) = fenced(|_| Vec::new());
    assert_eq!(fenced_ids(&engine), [machine()]);
    assert!(engine.fenced_logs()[0].message.contains("takes no more writes"));
    assert_eq!(engine.fenced_logs()[0].disk_ids, [disk()]);
    assert_eq!(code(engine.write_disk(&disk(), 0, &[1; 512], false)), Code::LogFenced);
    check_reads(&engine, "fenced");
    check_other(&engine, 1);
    engine.reopen_logs().unwrap();
    assert!(engine.fenced_logs().is_empty() && engine.unavailable_logs().is_empty());
    assert!(engine.unclean_logs().is_empty(), "the page cache had all of it");
    check_reads(&engine, "opened anew");
    assert_eq!(engine.pending_cuts().iter().map(|cut| cut.point_id).collect::<Vec<_>>(), [point(2)]);
    for choice in [CrashChoice::LoseUnsynced, CrashChoice::ProcessKilled] {
        let after = store.after(choice, FaultPlan::none());
        check_end(&after.open(), "after a crash");
    }
    check_other(&engine, 2);
    check_end(&engine, "going on");
    drop(engine);
    let engine = store.after(CrashChoice::LoseUnsynced, FaultPlan::none()).open();
    assert!(read_disk(&engine, clone(), SIZE).unwrap() == written().0);
}

#[test]
fn a_crash_at_any_call_of_opening_anew_leaves_what_was_flushed_and_keeps_to_the_order() {
    let (dry, engine, _) = fenced(|_| Vec::new());
    let before = dry.faults.counts().calls;
    engine.reopen_logs().unwrap();
    let after = dry.faults.counts().calls;
    drop(engine);
    assert!(after - before > 10);
    let (second, last) = written();
    for call in before..after {
        let (store, engine, _) = fenced(|_| vec![Fault::Crash { call, torn: Some(call) }]);
        let _ = engine.reopen_logs();
        drop(engine);
        for choice in [CrashChoice::LoseUnsynced, CrashChoice::KeepAll, CrashChoice::ProcessKilled] {
            let context = format!("{choice:?} at call {call}");
            let engine = store.after(choice, FaultPlan::none()).open();
            let read = read_disk(&engine, disk(), SIZE).unwrap();
            assert!(read == second || read == last, "{context}: what came after the cut is there or is not");
            assert!(read_point(&engine, point(2), disk(), SIZE).unwrap() == second, "{context}");
            assert!(read_disk(&engine, clone(), SIZE).unwrap() == second, "{context}");
        }
    }
}

#[test]
fn a_log_that_cannot_be_opened_anew_is_read_on_says_why_and_is_opened_once_it_can_be() {
    let (dry, engine, _) = fenced(|_| Vec::new());
    let before = dry.faults.counts().syncs;
    engine.reopen_logs().unwrap();
    let after = dry.faults.counts().syncs;
    drop(engine);
    let mut failed = 0;
    for sync in before..after {
        let again = Fault::FailSync { sync, failure: Failure::Device, lasting: Lasting::Once };
        let (store, engine, _) = fenced(|_| vec![again]);
        let context = format!("sync {sync} of {before}..{after}");
        engine.reopen_logs().unwrap();
        if !engine.fenced_logs().is_empty() {
            failed += 1;
            assert!(engine.fenced_logs()[0].message.contains("could not be opened anew"), "{context}");
            assert_eq!(code(engine.write_disk(&disk(), 0, &[1; 512], false)), Code::LogFenced, "{context}");
        }
        check_reads(&engine, &context);
        check_other(&engine, 1);
        engine.reopen_logs().unwrap();
        assert!(engine.fenced_logs().is_empty(), "{context}: {:?}", engine.fenced_logs());
        check_end(&store.after(CrashChoice::LoseUnsynced, FaultPlan::none()).open(), &context);
        check_end(&engine, &context);
    }
    assert!(failed > 2, "{failed} of {before}..{after}");
}

fn label() -> ExportLabel {
    ExportLabel { name: "d".to_owned(), description: String::new() }
}

fn all(export: &dyn Export) -> Vec<u8> {
    let mut bytes = vec![0xaa; usize::try_from(export.facts().size).unwrap()];
    export.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn exports_of_a_disk_end_with_its_log_and_those_of_points_go_on() {
    let looked_at = |engine: &Engine| {
        write(engine);
        let at = Moment::Lsn(engine.pending_cuts()[0].lsn);
        engine.point_in_time(cut_request(machine(), point(9)), at).unwrap();
    };
    let (_store, engine, _) = fenced_after(looked_at, |_| Vec::new());
    let client = engine.export_disk(&disk(), label()).unwrap();
    let of = DiskReference { point_id: point(2), disk_id: disk() };
    let reader = engine.export_point(of, label(), Vec::new()).unwrap();
    let (second, last) = written();
    assert!(all(client.as_ref()) == last && !client.has_ended());
    engine.reopen_logs().unwrap();
    assert!(client.has_ended());
    let mut bytes = [0; 512];
    assert_eq!(code(client.read(0, &mut bytes)), Code::LogFenced);
    assert_eq!(code(client.write(0, &bytes, false)), Code::LogFenced);
    assert_eq!(code(client.flush()), Code::LogFenced, "it may have written what is gone");
    assert!(all(reader.as_ref()) == second && !reader.has_ended());
    assert!(read_point(&engine, point(9), disk(), SIZE).unwrap() == second, "a moment shows what it showed");
    engine.drop_cut(&point(9), &no_control()).unwrap();
    let again = engine.export_disk(&disk(), label()).unwrap();
    assert!(all(again.as_ref()) == last);
    let reset = || engine.reset_disks(&machine(), &[(disk(), of)]);
    drop(client);
    assert_eq!(code(reset()), Code::DiskExported);
    drop(again);
    reset().unwrap();
    copy(&engine, point(2)).unwrap();
    engine.release_cut(&point(2)).unwrap();
    assert!(all(reader.as_ref()) == second);
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == second);
}

/// Where a file has these bytes.
fn place_of(store: &Store, wanted: &[u8]) -> (PathBuf, u64) {
    let directory = PathBuf::from(format!("{STORE}/live/{}", machine()));
    for entry in store.memory.list_directory(&directory).unwrap() {
        let path = directory.join(&entry.name);
        let file = store.memory.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.identity().unwrap().size).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            return (path, at as u64);
        }
    }
    panic!("no file has it");
}

#[test]
fn what_was_not_flushed_and_is_not_on_the_disk_is_gone_and_that_is_told() {
    let (store, engine, _) = fenced(|_| Vec::new());
    // The kernel gave the page up that it could not write: what is read is what the disk has.
    let (path, at) = place_of(&store, &random_bytes(3, 4096));
    store.memory.corrupt(&path, at, &[0x55; 512]).unwrap();
    engine.reopen_logs().unwrap();
    let unclean = engine.unclean_logs();
    assert_eq!((unclean.len(), unclean[0].log_id, unclean[0].dropped_records), (1, machine(), 1));
    let second = written().0;
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == second);
    assert!(read_point(&engine, point(2), disk(), SIZE).unwrap() == second);
    let after = store.after(CrashChoice::LoseUnsynced, FaultPlan::none()).open();
    assert!(read_disk(&after, disk(), SIZE).unwrap() == second, "it does not come back");
    engine.write_disk(&disk(), 0, &[5; 512], true).unwrap();
    let after = store.after(CrashChoice::LoseUnsynced, FaultPlan::none()).open();
    assert!(read_disk(&after, disk(), 512).unwrap() == [5; 512]);
}

#[test]
fn a_disk_whose_move_failed_half_way_waits_for_an_opening_of_the_store() {
    let base = store();
    let dry = base.killed();
    let engine = dry.open();
    engine.detach_disk(&disk()).unwrap();
    let before = dry.faults.counts().syncs;
    engine.attach_disk(&disk(), &other_machine(), "more").unwrap();
    let after = dry.faults.counts().syncs;
    drop(engine);
    let mut half_moved = 0;
    for sync in before..after {
        let fault = Fault::FailSync { sync, failure: Failure::Device, lasting: Lasting::Once };
        let store = base.after(CrashChoice::ProcessKilled, FaultPlan::one(fault));
        let engine = store.open();
        engine.detach_disk(&disk()).unwrap();
        let moved = engine.attach_disk(&disk(), &other_machine(), "more");
        let _ = engine.reopen_logs();
        let written = engine.write_disk(&disk(), 0, &[7; 512], true);
        let is_half = engine.fenced_logs().iter().any(|log| log.message.contains("half-way"));
        half_moved += u64::from(is_half);
        if is_half {
            assert!(moved.is_err() && written.is_err(), "sync {sync}");
        }
        assert!(is_half || written.is_ok(), "sync {sync}: {:?} {:?}", engine.fenced_logs(), written.err());
        drop(engine);
        for choice in [CrashChoice::LoseUnsynced, CrashChoice::ProcessKilled] {
            let engine = store.after(choice, FaultPlan::none()).open();
            let first = if is_half { random_bytes(1, 512) } else { vec![7; 512] };
            assert!(read_disk(&engine, disk(), 512).unwrap() == first, "sync {sync}");
            engine.write_disk(&disk(), 0, &[8; 512], true).unwrap();
        }
    }
    assert!(half_moved > 0);
}
