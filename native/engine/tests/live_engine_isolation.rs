//! A log that cannot be opened concerns its machine alone: the store opens, everybody else works, and it can be tried again
//! without opening the store anew (I-57).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_store;
mod simulation;

use std::sync::Arc;

use live_store::{
    STORE, Store, attached, code, copy, cut, delete, disk, machine, new_disk, no_control, other_machine, point,
    random_bytes, read_disk, read_point, uid,
};
use simulation::sized;
use stillpoint_engine::engine::{DiskReference, Engine};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::format::superblock::SLOT_NAMES;
use stillpoint_engine::io::fault::{Failure, Fault, FaultPlan, Lasting};
use stillpoint_engine::io::memory::CrashChoice;
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::units::Uid;

const SIZE: u64 = 96 << 10;

fn other_disk() -> Uid {
    uid(11)
}

/// Detached; it stands on the second point.
fn clone() -> Uid {
    uid(20)
}

fn is_unavailable<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if error.code() == Code::LogUnavailable)
}

fn contents() -> [Vec<u8>; 3] {
    [1, 2, 3].map(|seed| random_bytes(seed, SIZE))
}

/// A machine with a point in packs, a point that waits for its copy and a younger write; another machine; a disk that stands
/// on the waiting point.
fn store() -> Store {
    let store = Store::new(1);
    let engine = store.open();
    engine.create_machine_log(&machine()).unwrap();
    engine.create_machine_log(&other_machine()).unwrap();
    attached(&engine, disk(), machine(), SIZE);
    attached(&engine, other_disk(), other_machine(), SIZE);
    let [first, second, third] = contents();
    engine.write_disk(&disk(), 0, &first, false).unwrap();
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    engine.write_disk(&disk(), 0, &second, false).unwrap();
    cut(&engine, machine(), point(2)).unwrap();
    engine.create_disk(&new_disk(clone()), 0, Some(&DiskReference { point_id: point(2), disk_id: disk() })).unwrap();
    engine.write_disk(&disk(), 0, &third, false).unwrap();
    engine.write_disk(&other_disk(), 0, &first, true).unwrap();
    drop(engine);
    store
}

fn unavailable(engine: &Engine) -> Vec<Uid> {
    engine.unavailable_logs().iter().map(|log| log.log_id).collect()
}

/// What must hold of a store of which these logs are closed, whatever else is done.
fn check_isolated(engine: &Arc<Engine>, closed: &[Uid], context: &str) {
    let [first, second, third] = contents();
    let is_closed = |log_id: Uid| closed.contains(&log_id);
    let findings = engine.findings();
    for log_id in closed {
        let file = format!("live/{log_id}");
        assert!(
            findings.iter().any(|finding| finding.file == file && finding.code == Code::LogUnavailable),
            "{context}: {findings:?}"
        );
    }
    assert!(read_point(engine, point(1), disk(), SIZE).unwrap() == first, "{context}: what is in packs is read");
    let read = read_disk(engine, disk(), SIZE);
    if is_closed(machine()) {
        assert!(is_unavailable(&read), "{context}");
        assert!(is_unavailable(&engine.write_disk(&disk(), 0, &[1; 512], false)), "{context}");
        assert!(is_unavailable(&engine.flush_disk(&disk())), "{context}");
        assert!(is_unavailable(&cut(engine, machine(), point(3))), "{context}");
        assert!(is_unavailable(&engine.delete_machine_log(&machine())), "{context}: its disks are in it");
        assert!(is_unavailable(&engine.create_machine_log(&machine())), "{context}");
        assert!(is_unavailable(&read_point(engine, point(2), disk(), SIZE)), "{context}: it waits in the log");
        assert!(is_unavailable(&engine.detach_disk(&disk())), "{context}");
    } else {
        assert!(read.unwrap() == third, "{context}");
        assert!(read_point(engine, point(2), disk(), SIZE).unwrap() == second, "{context}");
        engine.flush_disk(&disk()).unwrap();
    }
    let read = read_disk(engine, clone(), SIZE);
    if is_closed(clone()) || is_closed(machine()) {
        assert!(is_unavailable(&read), "{context}: {:?}", read.err());
    } else {
        assert!(read.unwrap() == second, "{context}");
    }
    if is_closed(other_machine()) {
        assert!(is_unavailable(&read_disk(engine, other_disk(), SIZE)), "{context}");
    } else {
        let mut expected = first;
        assert!(read_disk(engine, other_disk(), SIZE).unwrap() == expected, "{context}");
        engine.write_disk(&other_disk(), 512, &[7; 512], true).unwrap();
        expected[512..1024].fill(7);
        cut(engine, other_machine(), point(9)).unwrap();
        copy(engine, point(9)).unwrap();
        engine.release_cut(&point(9)).unwrap();
        assert!(read_point(engine, point(9), other_disk(), SIZE).unwrap() == expected, "{context}");
        let _ = delete(engine, point(9)); // who knows who stands on it
        engine.write_disk(&other_disk(), 512, &contents()[0][512..1024], true).unwrap();
    }
    match engine.collect(false, &no_control()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.code(), Code::LogUnavailable, "{context}"),
    }
}

fn check_whole(engine: &Arc<Engine>, context: &str) {
    let [first, second, third] = contents();
    assert!(engine.unavailable_logs().is_empty() && engine.findings().is_empty(), "{context}: {:?}", engine.findings());
    assert!(read_point(engine, point(1), disk(), SIZE).unwrap() == first, "{context}");
    assert!(read_point(engine, point(2), disk(), SIZE).unwrap() == second, "{context}");
    assert!(read_disk(engine, disk(), SIZE).unwrap() == third, "{context}");
    assert!(read_disk(engine, clone(), SIZE).unwrap() == second, "{context}");
    assert!(read_disk(engine, other_disk(), SIZE).unwrap() == first, "{context}");
    assert!(engine.pending_cuts().iter().any(|cut| cut.point_id == point(2) && cut.pinned), "{context}");
}

/// The waiting point goes, and with it all that stands in the way of a collection.
fn check_end(engine: &Arc<Engine>, context: &str) {
    copy(engine, point(2)).unwrap();
    engine.release_cut(&point(2)).unwrap();
    delete(engine, point(1)).unwrap();
    delete(engine, point(2)).unwrap();
    engine.settle_logs(&no_control()).unwrap();
    engine.collect(false, &no_control()).unwrap();
    assert!(read_disk(engine, clone(), SIZE).unwrap() == contents()[1], "{context}");
    assert!(read_disk(engine, disk(), SIZE).unwrap() == contents()[2], "{context}");
}

#[test]
fn a_failure_at_any_call_of_an_opening_isolates_the_logs_that_it_strikes_and_they_open_when_tried_again() {
    let store = store();
    let dry = store.killed();
    drop(dry.open());
    let calls = dry.faults.counts().calls;
    let (mut refused, mut isolated) = (0, 0);
    for failure in [Failure::Device, Failure::NoSpace, Failure::Access] {
        for call in (0..calls).step_by(sized(3, 1) as usize) {
            let context = format!("{failure:?} at call {call} of {calls}");
            let fault = Fault::FailCall { call, failure, lasting: Lasting::Once };
            let store = store.after(CrashChoice::ProcessKilled, FaultPlan::one(fault));
            let engine = match store.try_open() {
                Ok(engine) => engine,
                Err(_) => {
                    refused += 1; // of the store itself, not of a log
                    check_whole(&store.killed().open(), &context);
                    continue;
                }
            };
            let closed = unavailable(&engine);
            isolated += u64::from(!closed.is_empty());
            assert!(closed.len() <= 1, "{context}: {closed:?}");
            check_isolated(&engine, &closed, &context);
            engine.reopen_logs().unwrap();
            check_whole(&engine, &context);
            drop(engine);
            let store = store.after(CrashChoice::LoseUnsynced, FaultPlan::none());
            let engine = store.open();
            check_whole(&engine, &context);
            check_end(&engine, &context);
        }
    }
    assert!(isolated > 20 && refused > 0, "{isolated} isolated, {refused} refused");
}

/// Puts a directory in the place of a file, so that nothing can open it.
fn hide(store: &Store, log_id: Uid, name: &str) {
    let path = format!("{STORE}/live/{log_id}/{name}");
    store.memory.rename_new(path.as_ref(), format!("{path}.hidden").as_ref()).unwrap();
    store.memory.create_directory(path.as_ref()).unwrap();
}

fn show(store: &Store, log_id: Uid, name: &str) {
    let path = format!("{STORE}/live/{log_id}/{name}");
    store.memory.remove_directory(path.as_ref()).unwrap();
    store.memory.rename_new(format!("{path}.hidden").as_ref(), path.as_ref()).unwrap();
}

#[test]
fn a_log_whose_superblock_cannot_be_read_keeps_every_point_that_its_disks_may_stand_on() {
    let store = store().killed();
    hide(&store, clone(), SLOT_NAMES[0]);
    let engine = store.open();
    assert_eq!(unavailable(&engine), [clone()]);
    assert!(engine.unavailable_logs()[0].disk_ids.is_empty(), "nobody can tell");
    check_isolated(&engine, &[clone()], "hidden");
    engine.reopen_logs().unwrap();
    assert_eq!(unavailable(&engine), [clone()], "it still cannot be opened");
    copy(&engine, point(2)).unwrap();
    engine.release_cut(&point(2)).unwrap();
    assert_eq!(code(engine.remove_point(&point(2))), Code::StoreBusy, "the clone may stand on it");
    assert_eq!(code(engine.collect(false, &no_control())), Code::LogUnavailable);
    show(&store, clone(), SLOT_NAMES[0]);
    engine.reopen_logs().unwrap();
    assert!(engine.unavailable_logs().is_empty() && engine.findings().is_empty());
    delete(&engine, point(2)).unwrap();
    engine.collect(false, &no_control()).unwrap();
    assert!(read_disk(&engine, clone(), SIZE).unwrap() == contents()[1]);
}

#[test]
fn a_cut_is_not_dropped_while_a_log_that_is_closed_may_name_its_point() {
    let store = store().killed();
    hide(&store, clone(), SLOT_NAMES[1]);
    let engine = store.open();
    assert!(engine.pending_cuts()[0].pinned, "for all that is known");
    assert_eq!(code(delete(&engine, point(2))), Code::StoreBusy);
    show(&store, clone(), SLOT_NAMES[1]);
    engine.reopen_logs().unwrap();
    engine.drop_cut(&point(2), &no_control()).unwrap();
    engine.collect(false, &no_control()).unwrap();
    assert!(read_disk(&engine, clone(), SIZE).unwrap() == contents()[1]);
}

#[test]
fn a_log_that_a_full_disk_keeps_closed_is_opened_once_something_was_deleted() {
    let store = store();
    let engine = store.open();
    for number in 30..34 {
        engine.create_disk(&new_disk(uid(number)), SIZE, None).unwrap();
    }
    engine.write_disk(&disk(), 0, &contents()[2], false).unwrap();
    drop(engine);
    let store = store.killed();
    // What is above the last sync has to be written anew, and there is no room for it.
    let capacity = 1 << 40;
    store.memory.set_capacity(Some(capacity));
    store.memory.set_capacity(Some(capacity - store.memory.available_bytes(STORE.as_ref()).unwrap()));
    let engine = store.open();
    let closed = unavailable(&engine);
    assert!(closed.contains(&machine()), "{closed:?}");
    assert_eq!(engine.unavailable_logs().iter().find(|log| log.log_id == machine()).unwrap().code, Code::NoSpace);
    assert_eq!(engine.unavailable_logs().iter().find(|log| log.log_id == machine()).unwrap().disk_ids, [disk()]);
    assert!(read_point(&engine, point(1), disk(), SIZE).unwrap() == contents()[0]);
    delete(&engine, point(1)).unwrap();
    engine.collect(false, &no_control()).unwrap(); // what the logs name is known, and stays
    for number in 30..34 {
        engine.delete_disk(&uid(number)).unwrap();
    }
    engine.reopen_logs().unwrap();
    assert!(engine.unavailable_logs().is_empty(), "{:?}", engine.unavailable_logs());
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == contents()[2]);
    assert!(read_disk(&engine, clone(), SIZE).unwrap() == contents()[1]);
}

#[test]
fn a_disk_that_moved_to_a_log_that_cannot_be_read_is_not_served_as_it_was_before() {
    let store = store();
    // Cut off behind each call of the move.
    let dry = store.killed();
    let engine = dry.open();
    let before = dry.faults.counts().calls;
    engine.detach_disk(&other_disk()).unwrap();
    let after = dry.faults.counts().calls;
    drop(engine);
    let (mut waited, mut served) = (0, 0);
    for call in before..after {
        let store = store.after(CrashChoice::ProcessKilled, FaultPlan::one(Fault::Crash { call, torn: None }));
        let engine = store.open();
        let _ = engine.detach_disk(&other_disk());
        drop(engine);
        let store = store.killed();
        let new_log = format!("{STORE}/live/{}/{}", other_disk(), SLOT_NAMES[1]);
        if store.memory.open(new_log.as_ref(), OpenMode::Read).is_err() {
            continue;
        }
        hide(&store, other_disk(), SLOT_NAMES[1]);
        let engine = store.open();
        assert!(unavailable(&engine).contains(&other_disk()), "call {call}");
        let read = read_disk(&engine, other_disk(), SIZE);
        assert!(is_unavailable(&read), "call {call}: it may have been written to where it is now");
        waited += u64::from(unavailable(&engine).contains(&other_machine()));
        served += u64::from(engine.flush_disk(&disk()).is_ok());
        show(&store, other_disk(), SLOT_NAMES[1]);
        engine.reopen_logs().unwrap();
        check_whole(&engine, &format!("call {call}"));
        engine.write_disk(&other_disk(), 0, &[5; 512], true).unwrap();
    }
    assert!(waited > 0 && served > 0, "{waited} waited, {served} served");
}

#[test]
fn a_machine_whose_log_is_closed_is_captured_written_and_copied_once_it_is_open() {
    let store = store().killed();
    hide(&store, machine(), SLOT_NAMES[0]);
    let engine = store.open();
    assert_eq!(unavailable(&engine), [machine()]);
    show(&store, machine(), SLOT_NAMES[0]);
    engine.reopen_logs().unwrap();
    check_whole(&engine, "opened");
    engine.write_disk(&disk(), 0, &[8; 4096], false).unwrap();
    cut(&engine, machine(), point(3)).unwrap();
    for number in [2, 3] {
        copy(&engine, point(number)).unwrap();
        engine.release_cut(&point(number)).unwrap();
    }
    let mut expected = contents()[2].clone();
    expected[..4096].fill(8);
    assert!(read_point(&engine, point(3), disk(), SIZE).unwrap() == expected);
    drop(engine);
    assert!(read_disk(&store.killed().open(), disk(), SIZE).unwrap() == expected);
}

#[test]
fn a_network_file_system_takes_no_write_log_and_what_is_there_is_read_elsewhere() {
    let store = Store::new(1);
    store.memory.set_network(Some("nfs"));
    let engine = store.open();
    let error = engine.create_machine_log(&machine()).unwrap_err();
    assert_eq!(error.code(), Code::FileSystemUnsupported);
    assert!(error.message().contains("nfs"), "{error}");
    assert_eq!(code(engine.create_disk(&new_disk(disk()), SIZE, None)), Code::FileSystemUnsupported);
    assert!(store.memory.files().iter().all(|path| !path.to_string_lossy().contains("/live/")), "nothing is left");
    drop(engine);

    let store = self::store().killed();
    store.memory.set_network(Some("fuse.sshfs"));
    let engine = store.open();
    let closed = engine.unavailable_logs();
    assert!(closed.len() == 3 && closed.iter().all(|log| log.code == Code::FileSystemUnsupported), "{closed:?}");
    check_isolated(&engine, &unavailable(&engine), "on a network file system");
    store.memory.set_network(None);
    engine.reopen_logs().unwrap();
    check_whole(&engine, "on a local one");
}
