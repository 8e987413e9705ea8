//! Hazards of live disks through the engine, one by one, and the rows of the table of what an opening finds
//! (docs/durability.md) as far as the engine decides them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_store;

use std::path::Path;

use live_store::{
    STORE, Store, attached, code, copy, cut, cut_request, delete, disk, machine, new_disk, no_control, other_machine,
    point, random_bytes, read_disk, read_point, uid,
};
use stillpoint_engine::clock::Clock;
use stillpoint_engine::engine::{DiskReference, Engine, Moment};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::format::superblock::{SLOT_NAMES, Superblock};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{Failure, Fault, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::limits::PACK_FRAMES_MIN;
use stillpoint_engine::units::Uid;

const SIZE: u64 = 96 << 10;

/// A store with two machines; the first has a disk.
fn store() -> Store {
    let store = Store::new(1);
    let engine = store.open();
    engine.create_machine_log(&machine()).unwrap();
    engine.create_machine_log(&other_machine()).unwrap();
    attached(&engine, disk(), machine(), SIZE);
    drop(engine);
    store
}

fn fill(engine: &Engine, seed: u64) -> Vec<u8> {
    let bytes = random_bytes(seed, SIZE);
    engine.write_disk(&disk(), 0, &bytes, false).unwrap();
    bytes
}

fn clone_of(engine: &Engine, point_id: Uid, disk_id: Uid) -> Result<()> {
    engine.create_disk(&new_disk(disk_id), 0, Some(&DiskReference { point_id, disk_id: disk() }))
}

fn slot_path(log_id: Uid, slot: usize) -> String {
    format!("{STORE}/live/{log_id}/{}", SLOT_NAMES[slot])
}

fn superblock(memory: &MemoryIo, log_id: Uid) -> Superblock {
    Superblock::decode(&memory.read_file(slot_path(log_id, 0)).unwrap()).unwrap()
}

/// Runs `work` on an engine whose first call after `before` fails.
fn with_failing(store: &Store, failure: Failure, before: impl Fn(&Engine), work: impl FnOnce(&Engine)) {
    let dry = store.killed();
    let engine = dry.open();
    before(&engine);
    let call = dry.faults.counts().calls;
    drop(engine);
    let fault = Fault::FailCall { call, failure, lasting: Lasting::Once };
    let store = store.after(CrashChoice::ProcessKilled, FaultPlan::one(fault));
    let engine = store.open();
    before(&engine);
    work(&engine);
}

/// A write, so that the next one asks for nothing but its place in the log.
fn write_again(disk_id: Uid) -> impl Fn(&Engine) {
    move |engine| {
        engine.write_disk(&disk_id, 0, &[2; 512], false).unwrap();
    }
}

#[test]
fn a_release_never_overrides_a_restore_in_place_that_came_after_its_cut() {
    let store = store();
    let engine = store.open();
    let first = fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    fill(&engine, 2);
    cut(&engine, machine(), point(2)).unwrap();
    copy(&engine, point(2)).unwrap();
    let from = DiskReference { point_id: point(1), disk_id: disk() };
    engine.reset_disks(&machine(), &[(disk(), from)]).unwrap();
    engine.write_disk(&disk(), 512, &[9; 512], true).unwrap();
    engine.release_cut(&point(2)).unwrap();
    let mut expected = first;
    expected[512..1024].fill(9);
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == expected);
    drop(engine);
    let engine = store.after(CrashChoice::LoseUnsynced, FaultPlan::none()).open();
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == expected);
}

#[test]
fn a_disk_on_a_copying_point_keeps_the_points_content_when_the_point_goes() {
    let store = store();
    let engine = store.open();
    let content = fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    fill(&engine, 2);
    clone_of(&engine, point(1), uid(20)).unwrap();
    let store = {
        drop(engine);
        store.after(CrashChoice::LoseUnsynced, FaultPlan::none())
    };
    let engine = store.open();
    assert!(engine.pending_cuts()[0].pinned, "it is known for the table before anything is dropped");
    delete(&engine, point(1)).unwrap();
    assert!(engine.pending_cuts().is_empty());
    engine.collect(false, &no_control()).unwrap();
    assert!(read_disk(&engine, uid(20), SIZE).unwrap() == content);
    drop(engine);
    let engine = store.after(CrashChoice::LoseUnsynced, FaultPlan::none()).open();
    engine.settle_logs(&no_control()).unwrap();
    engine.collect(false, &no_control()).unwrap();
    assert!(read_disk(&engine, uid(20), SIZE).unwrap() == content);
}

#[test]
fn a_resolution_goes_once_no_record_can_name_its_point() {
    let store = store().without_window();
    let engine = store.open();
    for number in 1..6 {
        fill(&engine, number);
        cut(&engine, machine(), point(number)).unwrap();
        let from = DiskReference { point_id: point(number), disk_id: disk() };
        engine.reset_disks(&machine(), &[(disk(), from)]).unwrap();
        copy(&engine, point(number)).unwrap();
        assert_eq!(superblock(&store.memory, machine()).resolutions.len(), 1, "the record of the reset names it");
        engine.release_cut(&point(number)).unwrap();
        engine.settle_logs(&no_control()).unwrap();
        assert!(superblock(&store.memory, machine()).resolutions.is_empty());
    }
    drop(engine);
    let engine = store.killed().open();
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == random_bytes(5, SIZE));
}

#[test]
fn a_resolution_stays_while_a_moment_is_kept_whose_record_names_its_point() {
    let store = store();
    let engine = store.open();
    fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    fill(&engine, 2);
    let from = DiskReference { point_id: point(1), disk_id: disk() };
    let reset = engine.reset_disks(&machine(), &[(disk(), from)]).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    engine.remove_point(&point(1)).unwrap();
    fill(&engine, 3);
    engine.settle_logs(&no_control()).unwrap();
    assert_eq!(superblock(&store.memory, machine()).resolutions.len(), 1);
    drop(engine);
    let engine = store.killed().open();
    engine.collect(false, &no_control()).unwrap();
    engine.point_in_time(cut_request(machine(), point(9)), Moment::Lsn(reset)).unwrap();
    assert!(read_point(&engine, point(9), disk(), SIZE).unwrap() == random_bytes(1, SIZE));
}

#[test]
fn a_moment_after_a_detachment_that_failed_has_the_disk() {
    let store = store();
    let engine = store.open();
    fill(&engine, 1);
    engine.settle_logs(&no_control()).unwrap();
    store.memory.set_capacity(Some(1 << 40));
    let used = (1 << 40) - store.memory.available_bytes(Path::new(STORE)).unwrap();
    store.memory.set_capacity(Some(used + (16 << 10)));
    assert_eq!(code(engine.detach_disk(&disk())), Code::NoSpace, "there is no room for a log of its own");
    store.memory.set_capacity(None);
    let bytes = random_bytes(2, SIZE);
    let lsn = engine.write_disk(&disk(), 0, &bytes, true).unwrap();
    let check = |engine: &Engine| {
        engine.point_in_time(cut_request(machine(), point(9)), Moment::Lsn(lsn)).unwrap();
        assert!(read_point(engine, point(9), disk(), SIZE).unwrap() == bytes);
    };
    check(&engine);
    drop(engine);
    check(&store.killed().open());
}

#[test]
fn a_machine_that_lost_its_last_disk_has_none_of_its_released_cuts_when_it_is_opened() {
    let store = store();
    let engine = store.open();
    fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    engine.detach_disk(&disk()).unwrap();
    drop(engine);
    let store = store.killed();
    let engine = store.open();
    assert!(engine.pending_cuts().is_empty());
    engine.attach_disk(&disk(), &machine(), "data").unwrap();
    cut(&engine, machine(), point(2)).unwrap();
    drop(engine);
    let pending = store.killed().open().pending_cuts();
    assert_eq!(pending.iter().map(|cut| cut.point_id).collect::<Vec<_>>(), [point(2)]);
}

#[test]
fn a_failed_log_stops_neither_the_copies_nor_the_writers_of_the_machine_that_its_disk_came_from() {
    let store = store();
    let engine = store.open();
    let mut content = fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    clone_of(&engine, point(1), uid(20)).unwrap();
    drop(engine);
    content[..512].fill(2);
    with_failing(&store, Failure::Device, write_again(uid(20)), |engine| {
        assert_eq!(code(engine.write_disk(&uid(20), 0, &[1; 512], false)), Code::IoFailed);
        assert_eq!(code(engine.flush_disk(&uid(20))), Code::LogFenced);
        assert!(read_disk(engine, uid(20), SIZE).unwrap() == content);
        copy(engine, point(1)).unwrap();
        engine.release_cut(&point(1)).unwrap();
        assert!(read_disk(engine, uid(20), SIZE).unwrap() == content);
        assert_eq!(code(engine.remove_point(&point(1))), Code::StoreBusy, "its log names the point and cannot be told");
        fill(engine, 2);
        cut(engine, machine(), point(2)).unwrap();
        copy(engine, point(2)).unwrap();
        engine.release_cut(&point(2)).unwrap();
        assert_eq!(code(engine.settle_logs(&no_control())), Code::LogFenced);
        assert_eq!(engine.pressure().unwrap().layer_count, 1, "all others are settled");
        engine.collect(false, &no_control()).unwrap();
        assert!(read_disk(engine, uid(20), SIZE).unwrap() == content);
    });
}

#[test]
fn points_of_a_log_that_takes_no_more_writes_are_read_on() {
    let store = store();
    let engine = store.open();
    let content = fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    drop(engine);
    with_failing(&store, Failure::Device, write_again(disk()), |engine| {
        assert_eq!(code(engine.write_disk(&disk(), 0, &[1; 512], false)), Code::IoFailed);
        assert!(read_point(engine, point(1), disk(), SIZE).unwrap() == content);
    });
}

#[test]
fn nothing_is_collected_while_a_superblock_cannot_be_read() {
    let store = store();
    let engine = store.open();
    fill(&engine, 1);
    engine.settle_logs(&no_control()).unwrap();
    drop(engine);
    let store = store.killed();
    for slot in 0..2 {
        store.memory.corrupt(slot_path(machine(), slot), 100, &[0x55; 64]).unwrap();
    }
    let engine = store.open();
    assert_eq!(engine.findings()[0].code, Code::LogDamaged);
    assert_eq!(code(engine.collect(false, &no_control())), Code::LogDamaged);
    engine.delete_machine_log(&machine()).unwrap();
    engine.collect(false, &no_control()).unwrap();
}

#[test]
fn a_cut_is_not_released_without_its_manifest() {
    let store = store();
    let engine = store.open();
    let content = fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    assert_eq!(code(engine.release_cut(&point(1))), Code::PointNotFound);
    assert!(read_point(&engine, point(1), disk(), SIZE).unwrap() == content);
    assert_eq!(engine.pending_cuts().len(), 1);
}

#[test]
fn a_deletion_whose_files_cannot_be_removed_is_tried_again() {
    let store = store();
    let engine = store.open();
    engine.detach_disk(&disk()).unwrap();
    drop(engine);
    with_failing(
        &store,
        Failure::Access,
        |_| (),
        |engine| {
            assert!(engine.delete_disk(&disk()).is_err());
            assert_eq!(code(read_disk(engine, disk(), 512)), Code::DiskNotFound);
            engine.delete_disk(&disk()).unwrap();
            engine.create_disk(&new_disk(disk()), SIZE, None).unwrap();
            assert!(read_disk(engine, disk(), SIZE).unwrap() == vec![0; SIZE as usize]);
        },
    );
}

#[test]
fn a_store_that_is_full_reads_and_deletes_and_drains_after_one_deletion() {
    let mut store = store();
    store.pack_bytes_target = PACK_FRAMES_MIN * u64::from(live_store::CHUNK_BYTES); // as a fold's bound counts
    store.reserve_bytes_max = 256 << 10;
    let engine = store.open();
    fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    attached(&engine, uid(11), machine(), 8 << 20);
    engine.settle_logs(&no_control()).unwrap();
    store.memory.set_capacity(Some(6 << 20));
    let (mut written, mut at) = (vec![0; 8 << 20], 0);
    let error = loop {
        let bytes = random_bytes(77 + at, 4096);
        match engine.write_disk(&uid(11), at, &bytes, false) {
            Ok(_) => written[at as usize..at as usize + 4096].copy_from_slice(&bytes),
            Err(error) => break error,
        }
        at += 4096;
    };
    assert_eq!(error.code(), Code::NoSpace);
    assert!(at > 1 << 20, "{at} bytes");
    assert!(read_disk(&engine, uid(11), 8 << 20).unwrap() == written);
    assert_eq!(read_point(&engine, point(1), disk(), SIZE).unwrap(), random_bytes(1, SIZE));
    delete(&engine, point(1)).unwrap();
    engine.collect(false, &no_control()).unwrap();
    let mut rounds = 0;
    while engine.upkeep(&no_control()).unwrap() {
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(engine.pressure().unwrap().debt_bytes, 0, "all is folded");
    assert!(read_disk(&engine, uid(11), 8 << 20).unwrap() == written);
    engine.write_disk(&uid(11), 0, &[1; 4096], true).unwrap();
    drop(engine);
    let store = store.killed();
    let engine = store.open();
    written[..4096].fill(1);
    assert!(read_disk(&engine, uid(11), 8 << 20).unwrap() == written);
}

#[test]
fn what_a_copy_takes_is_known_before_its_manifest_is_written() {
    let store = store();
    let engine = store.open();
    fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    let folded = engine.fold(&point(1), &[disk()], &no_control()).unwrap();
    assert!(engine.manifests().is_empty());
    let counts = folded[0].folded.unwrap();
    assert_eq!((counts.bytes_read, counts.bytes_new), (SIZE, SIZE));
    assert!(counts.bytes_stored > 0);
    assert!(read_point(&engine, point(1), disk(), SIZE).unwrap() == random_bytes(1, SIZE));
    assert_eq!(copy(&engine, point(1)).unwrap()[0].folded, Some(counts), "the same maps");
    engine.release_cut(&point(1)).unwrap();
    assert!(engine.fold(&point(1), &[disk()], &no_control()).unwrap().is_empty(), "it is copied");
    cut(&engine, machine(), point(2)).unwrap();
    assert_eq!(engine.fold(&point(2), &[disk()], &no_control()).unwrap()[0].folded, None, "nothing had changed");
}

#[test]
fn copies_keep_to_a_rate_until_space_is_short() {
    let mut store = store();
    store.copy_bytes_per_second = Some(SIZE);
    let seconds = |store: &Store, since: i128| (store.clock.now_ns() - since) as f64 / 1e9;
    let engine = store.open();
    fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    let before = store.clock.now_ns();
    copy(&engine, point(1)).unwrap();
    let took = seconds(&store, before);
    assert!((0.8..1.1).contains(&took), "{took} s for what a second allows");
    fill(&engine, 2);
    cut(&engine, machine(), point(2)).unwrap();
    store.memory.set_capacity(Some(64 << 20));
    let before = store.clock.now_ns();
    engine.release_cut(&point(1)).unwrap();
    copy(&engine, point(2)).unwrap();
    assert!(seconds(&store, before) < 0.001, "less is free than a pressed copy waits for");
}

#[test]
fn a_copy_that_waits_for_another_one_is_stopped_at_once() {
    let mut store = store();
    store.copy_bytes_per_second = Some(1);
    let engine = store.open();
    for number in 1..=2 {
        fill(&engine, number);
        cut(&engine, machine(), point(number)).unwrap();
    }
    let (first, second) = (no_control(), no_control());
    std::thread::scope(|scope| {
        let folding = scope.spawn(|| engine.fold(&point(1), &[disk()], &first));
        while first.done_bytes() == 0 {
            std::thread::yield_now();
        }
        second.cancel();
        assert_eq!(code(engine.fold(&point(2), &[disk()], &second)), Code::Cancelled);
        assert!(!folding.is_finished());
        first.cancel();
        assert_eq!(code(folding.join().unwrap()), Code::Cancelled);
    });
}

// The rows of the table.

#[test]
fn creating_without_cut_and_manifest_leaves_nothing() {
    let store = store();
    let engine = store.open();
    assert!(engine.pending_cuts().is_empty() && engine.manifests().is_empty());
    assert_eq!(code(engine.make_cut_durable(&point(1))), Code::PointNotFound);
    engine.drop_cut(&point(1), &no_control()).unwrap();
    engine.release_cut(&point(1)).unwrap();
}

/// A cut that survives a power cut, and what the disk had then.
fn cut_and_crashed() -> (Store, Vec<u8>) {
    let store = store();
    let engine = store.open();
    let content = fill(&engine, 1);
    cut(&engine, machine(), point(1)).unwrap();
    engine.write_disk(&disk(), 0, &[3; 4096], true).unwrap();
    drop(engine);
    (store.after(CrashChoice::LoseUnsynced, FaultPlan::none()), content)
}

#[test]
fn a_cut_of_which_nobody_was_told_is_dropped_and_stays_dropped() {
    let (store, mut content) = cut_and_crashed();
    let engine = store.open();
    engine.drop_cut(&point(1), &no_control()).unwrap();
    engine.settle_logs(&no_control()).unwrap();
    assert!(engine.pending_cuts().is_empty() && engine.manifests().is_empty());
    drop(engine);
    let engine = store.killed().open();
    assert!(engine.pending_cuts().is_empty());
    content[..4096].fill(3);
    assert!(read_disk(&engine, disk(), SIZE).unwrap() == content);
}

#[test]
fn a_cut_without_manifest_is_known_by_name_and_its_copy_resumes() {
    let (store, content) = cut_and_crashed();
    let engine = store.open();
    let pending = engine.pending_cuts();
    assert_eq!((pending[0].point_id, pending[0].machine_id), (point(1), machine()));
    assert_eq!(
        (pending[0].name.as_str(), pending[0].collection.as_str()),
        (format!("p{}", point(1)).as_str(), "default")
    );
    assert!(!pending[0].pinned && pending[0].disks == [(disk(), SIZE, 512)]);
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    drop(engine);
    let engine = store.killed().open();
    assert!(engine.pending_cuts().is_empty());
    assert!(read_point(&engine, point(1), disk(), SIZE).unwrap() == content);
}

#[test]
fn a_cut_with_a_manifest_is_released() {
    let (store, content) = cut_and_crashed();
    let engine = store.open();
    copy(&engine, point(1)).unwrap();
    drop(engine);
    let store = store.after(CrashChoice::LoseUnsynced, FaultPlan::none());
    let engine = store.open();
    assert_eq!(engine.pending_cuts().len(), 1);
    assert!(copy(&engine, point(1)).unwrap().iter().all(|copied| copied.disk_id == disk()), "it is no error");
    engine.release_cut(&point(1)).unwrap();
    assert!(engine.pending_cuts().is_empty());
    assert!(read_point(&engine, point(1), disk(), SIZE).unwrap() == content);
}

#[test]
fn a_point_without_cut_and_manifest_is_lost_and_every_call_says_so() {
    let store = store();
    let engine = store.open();
    fill(&engine, 1);
    assert_eq!(code(copy(&engine, point(1))), Code::PointNotFound);
    assert_eq!(code(read_point(&engine, point(1), disk(), 512)), Code::PointNotFound);
    assert_eq!(code(clone_of(&engine, point(1), uid(20))), Code::PointNotFound);
}

#[test]
fn a_deletion_that_was_cut_off_after_the_manifest_went_is_finished_for_those_who_stand_on_the_point() {
    let (store, content) = cut_and_crashed();
    let engine = store.open();
    clone_of(&engine, point(1), uid(20)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.remove_point(&point(1)).unwrap();
    drop(engine);
    let store = store.after(CrashChoice::LoseUnsynced, FaultPlan::none());
    let engine = store.open();
    engine.collect(false, &no_control()).unwrap();
    engine.drop_cut(&point(1), &no_control()).unwrap();
    engine.settle_logs(&no_control()).unwrap();
    engine.collect(false, &no_control()).unwrap();
    drop(engine);
    let engine = store.killed().open();
    assert!(engine.pending_cuts().is_empty() && engine.findings().is_empty());
    assert!(read_disk(&engine, uid(20), SIZE).unwrap() == content);
}
