//! Law: on a file system without one free byte points can be removed and collected, and nobody who only adds to a store
//! ever takes what is set aside for that.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::Path;
use std::sync::Arc;

use simulation::content::random_bytes;
use simulation::store::{
    CHUNK, CREATE, OPEN, STORE, capture, files_in, image_path, memory_parts, read_all, uid, version,
};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{Engine, OpenOptions};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::reserve::Reserve;
use stillpoint_engine::io::{Io, OpenMode};

const RESERVE: &str = "/stores/one/reserve";
const FILLER: &str = "/filler";
const PAGE: u64 = 4096;

/// What the reserve of these stores may take; a collection of them needs a part of it.
const RESERVE_BYTES: u64 = 64 << 10;

const RESERVED: OpenOptions = OpenOptions { reserve_bytes_max: RESERVE_BYTES, ..OPEN };
const WITHOUT: OpenOptions = OpenOptions { reserve_bytes_max: 0, ..OPEN };

/// A store on a file system of 4 MiB whose points 1 and 2 share half of their 32 chunks.
fn store(options: OpenOptions) -> MemoryIo {
    let memory = MemoryIo::new();
    memory.set_capacity(Some(4 << 20));
    let mut image = random_bytes(1, 32 * CHUNK);
    memory.install_file(image_path(0), &image).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = opened(&memory, options);
    capture(&engine, uid(1), &[0], None).unwrap();
    image[..16 * CHUNK].copy_from_slice(&random_bytes(2, 16 * CHUNK));
    memory.install_file(image_path(0), &image).unwrap();
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    memory
}

fn opened(memory: &MemoryIo, options: OpenOptions) -> Arc<Engine> {
    Engine::open(memory_parts(memory, memory.digest()), Path::new(STORE), options).unwrap()
}

/// Takes every page that is left.
fn fill(memory: &MemoryIo) {
    let file = match memory.open(Path::new(FILLER), OpenMode::ReadWrite) {
        Ok(file) => file,
        Err(_) => memory.open(Path::new(FILLER), OpenMode::CreateNew).unwrap(),
    };
    let length = file.identity().unwrap().size;
    file.allocate(length + free(memory)).unwrap();
    assert_eq!(free(memory), 0);
}

fn free(memory: &MemoryIo) -> u64 {
    memory.available_bytes(Path::new("/")).unwrap()
}

fn reserved(memory: &MemoryIo) -> u64 {
    memory.read_file(RESERVE).map_or(0, |bytes| bytes.len() as u64)
}

#[test]
fn a_full_store_is_removed_from_and_collected_and_has_its_reserve_again() {
    let memory = store(RESERVED);
    let engine = opened(&memory, RESERVED);
    fill(&memory);
    assert_eq!(capture(&engine, uid(3), &[0], None).unwrap_err().code(), Code::NoSpace);

    engine.remove_point(&uid(1)).unwrap();
    let report = engine.collect(false, &Control::default()).unwrap();

    assert!(report.bytes_freed >= 15 * CHUNK as u64, "{report:?}");
    assert_eq!(reserved(&memory), RESERVE_BYTES);
    assert!(free(&memory) >= 14 * CHUNK as u64, "{} bytes are free", free(&memory));
    assert_eq!(read_all(&engine, &version(uid(2), 0)).unwrap(), memory.read_file(image_path(0)).unwrap());
    assert_eq!(engine.verify(true, &Control::default()).unwrap().findings, []);
    capture(&engine, uid(4), &[0], Some(uid(2))).unwrap();
}

#[test]
fn it_is_lent_without_a_wait_only_where_nothing_is_given_up_for_it() {
    let memory = store(RESERVED);
    let engine = opened(&memory, RESERVED);
    let loan = engine.borrow_reserve_unless_short().expect("there is space");
    assert!(loan.ends_at_once());
    drop(loan);
    fill(&memory);
    assert!(engine.borrow_reserve_unless_short().is_none());
    assert_eq!(reserved(&memory), RESERVE_BYTES, "it is as it was");

    let given_up = engine.borrow_reserve();
    assert_eq!(reserved(&memory), 0);
    let beside = engine.borrow_reserve_unless_short().expect("it is given up already");
    assert!(!given_up.ends_at_once() && !beside.ends_at_once());
    drop(given_up);
    assert_eq!(reserved(&memory), 0, "another has it");
    drop(beside);
    assert_eq!(reserved(&memory), RESERVE_BYTES);
}

#[test]
fn without_any_reserve_what_is_wholly_dead_goes_first() {
    let memory = store(WITHOUT);
    assert_eq!(reserved(&memory), 0, "with 0 there is none");
    let engine = opened(&memory, WITHOUT);
    fill(&memory);
    for point in [1, 2] {
        engine.remove_point(&uid(point)).unwrap();
    }
    let packs = files_in(&memory, "packs").len() as u64;

    let report = engine.collect(false, &Control::default()).unwrap();

    assert_eq!((report.packs_removed, files_in(&memory, "packs").len()), (packs, 0));
    let usage = engine.usage().unwrap();
    assert_eq!((usage.frame_count, usage.pack_bytes), (0, 0), "the index was written once there was room");
    // What went is stored again, and not taken for known.
    capture(&engine, uid(3), &[0], None).unwrap();
    assert_eq!(read_all(&engine, &version(uid(3), 0)).unwrap(), memory.read_file(image_path(0)).unwrap());
    drop(engine);
    assert_eq!(opened(&memory, WITHOUT).verify(true, &Control::default()).unwrap().findings, []);
}

#[test]
fn who_only_adds_gets_nothing_while_the_reserve_is_lent() {
    let memory = store(RESERVED);
    let engine = opened(&memory, RESERVED);
    fill(&memory);
    let loan = engine.borrow_reserve();
    assert_eq!((reserved(&memory), free(&memory)), (0, RESERVE_BYTES));
    let again = engine.borrow_reserve();
    memory.install_file(image_path(0), &random_bytes(7, CHUNK)).unwrap();

    assert_eq!(capture(&engine, uid(3), &[0], None).unwrap_err().code(), Code::NoSpace);
    drop(loan);
    assert_eq!(reserved(&memory), 0, "somebody borrows it still");
    assert_eq!(capture(&engine, uid(3), &[0], None).unwrap_err().code(), Code::NoSpace);
    drop(again);
    assert_eq!(reserved(&memory), RESERVE_BYTES);

    memory.remove_file(Path::new(FILLER)).unwrap();
    capture(&engine, uid(3), &[0], None).unwrap();
}

#[test]
fn nothing_is_given_up_while_there_is_space() {
    let memory = store(RESERVED);
    let engine = opened(&memory, RESERVED);
    let _loan = engine.borrow_reserve();
    assert_eq!(reserved(&memory), RESERVE_BYTES);
    capture(&engine, uid(3), &[0], None).unwrap();
}

#[test]
fn what_could_not_be_taken_again_is_taken_at_the_next_opening() {
    let memory = store(RESERVED);
    let engine = opened(&memory, RESERVED);
    fill(&memory);
    let loan = engine.borrow_reserve();
    memory.install_file("/others", &vec![1; 3 * PAGE as usize]).unwrap();
    drop(loan);
    assert_eq!((reserved(&memory), free(&memory)), (RESERVE_BYTES - 3 * PAGE, 0), "as much as there was");
    drop(engine);

    memory.remove_file(Path::new(FILLER)).unwrap();
    let look = OpenOptions { read_only: true, ..RESERVED };
    drop(opened(&memory, look));
    assert_eq!(reserved(&memory), RESERVE_BYTES - 3 * PAGE, "a look changes nothing");
    drop(opened(&memory, RESERVED));
    assert_eq!(reserved(&memory), RESERVE_BYTES);
}

#[test]
fn a_process_killed_with_the_reserve_lent_leaves_a_store_that_takes_it_again() {
    let memory = store(RESERVED);
    let engine = opened(&memory, RESERVED);
    fill(&memory);
    let _loan = engine.borrow_reserve();
    for choice in [CrashChoice::ProcessKilled, CrashChoice::LoseUnsynced, CrashChoice::KeepAll] {
        let after = memory.crash(choice);
        drop(opened(&after, RESERVED));
        assert_eq!(reserved(&after), RESERVE_BYTES, "{choice:?}");
    }
}

#[test]
fn a_reserve_is_at_most_an_eighth_of_its_file_system() {
    for capacity in [0, 8 * PAGE - 1, 8 * PAGE, 80 * PAGE + 7, 8 * RESERVE_BYTES, 1 << 40] {
        let memory = MemoryIo::new();
        memory.install_file("/.keep", b"").unwrap();
        memory.set_capacity(Some(capacity));
        let io: Arc<dyn Io> = Arc::new(memory.clone());
        Reserve::new(io, "/reserve".into(), RESERVE_BYTES).refill();
        let size = memory.read_file("/reserve").map_or(0, |bytes| bytes.len() as u64);
        assert_eq!(size, (capacity / 8 / PAGE * PAGE).min(RESERVE_BYTES), "{capacity} bytes");
    }
}

#[test]
fn a_reserve_that_cannot_be_made_is_in_nobodys_way() {
    let memory = MemoryIo::new();
    memory.install_file("/reserve/file", b"a directory has the name").unwrap();
    let io: Arc<dyn Io> = Arc::new(memory.clone());
    let reserve = Arc::new(Reserve::new(io, "/reserve".into(), RESERVE_BYTES));
    reserve.refill();
    let _loan = reserve.borrow_at_once();
    reserve.check_not_lent().unwrap();
}
