//! Law: the index is a cache. Whatever becomes of it while a store is open, contents are found by the packs
//! themselves, by every thread, and what is written next is sound.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::{Path, PathBuf};

use simulation::content::random_bytes;
use simulation::store::{
    CHUNK, CREATE, OPEN, STORE, capture, files_in, image_path, memory_parts, read_all, uid, version,
};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{CreateOptions, Engine, OpenOptions};
use stillpoint_engine::error::Code;
use stillpoint_engine::format::Codec;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::io::{Io, OpenMode};

const CHUNKS: usize = 200;

/// A point of 200 chunks: an index segment of three pages.
fn store() -> (MemoryIo, PathBuf) {
    let memory = MemoryIo::new();
    memory.install_file(image_path(0), &random_bytes(1, CHUNKS * CHUNK)).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = Engine::open(memory_parts(&memory, 2), Path::new(STORE), OPEN).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    let segment = files_in(&memory, "index").into_iter().find(|path| !path.ends_with("list")).unwrap();
    (memory, segment)
}

#[test]
fn a_page_damaged_under_an_open_store_is_gone_around() {
    for thread_count in [1, 4] {
        let (memory, segment) = store();
        let options = OpenOptions { thread_count, ..OPEN };
        let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), options).unwrap();
        for page in 0..3 {
            memory.flip_bit(&segment, 64 + page * 4096 + 40, 1).unwrap();
        }
        let image = memory.read_file(image_path(0)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..thread_count {
                scope.spawn(|| assert!(read_all(&engine, &version(uid(1), 0)).unwrap() == image));
            }
        });
        let findings = engine.findings();
        assert_eq!(findings.len(), 1, "said once: {findings:?}");
        assert_eq!(findings[0].code, Code::IndexDamaged);
        // The next commit writes the index anew.
        memory.open(&image_path(0), OpenMode::ReadWrite).unwrap().write_at(&random_bytes(3, CHUNK), 0).unwrap();
        capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
        assert_eq!(engine.verify(true, &Control::default()).unwrap().findings, []);
        assert!(read_all(&engine, &version(uid(1), 0)).unwrap() == image);
        assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == memory.read_file(image_path(0)).unwrap());
    }
}

#[test]
fn a_page_met_damaged_by_a_merge_is_gone_around() {
    for collecting in [false, true] {
        let (memory, segment) = store();
        let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
        memory.flip_bit(&segment, 64 + 4096 + 40, 1).unwrap();
        // All new, so that nothing is looked up in the damaged page for long, and much, so that segments merge.
        memory.install_file(image_path(0), &random_bytes(5, CHUNKS * CHUNK)).unwrap();
        capture(&engine, uid(2), &[0], None).unwrap();
        if collecting {
            engine.remove_point(&uid(1)).unwrap();
            engine.collect(false, &Control::default()).unwrap();
        }
        assert_eq!(engine.verify(true, &Control::default()).unwrap().findings, []);
        drop(engine);
        let engine = Engine::open(memory_parts(&memory, 4), Path::new(STORE), OPEN).unwrap();
        assert_eq!(engine.findings(), []);
        assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == memory.read_file(image_path(0)).unwrap());
    }
}

#[test]
fn a_pack_without_trailer_and_index_is_searched_for_its_frames() {
    let (memory, _) = store();
    for path in files_in(&memory, "index") {
        memory.remove_file(&path).unwrap();
    }
    for path in files_in(&memory, "packs") {
        let length = memory.read_file(&path).unwrap().len() as u64;
        memory.flip_bit(&path, length - 20, 1).unwrap();
    }
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    assert!(!engine.findings().is_empty());
    assert!(read_all(&engine, &version(uid(1), 0)).unwrap() == memory.read_file(image_path(0)).unwrap());
}

#[test]
fn a_frame_inside_a_chunk_is_not_taken_for_one_of_the_pack() {
    // A disk that holds the packs of the store itself, stored as they are, in a store whose trailers are all damaged.
    let memory = MemoryIo::new();
    memory.install_file(image_path(0), &random_bytes(1, 3 * CHUNK)).unwrap();
    let options = CreateOptions { codec: Codec::None, level: 0, ..CREATE };
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &options).unwrap();
    let engine = Engine::open(memory_parts(&memory, 2), Path::new(STORE), OPEN).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    let packs = files_in(&memory, "packs").into_iter().filter_map(|path| memory.read_file(path));
    let mut image = packs.collect::<Vec<_>>().concat();
    image.resize(image.len().next_multiple_of(512), 0);
    memory.install_file(image_path(0), &image).unwrap();
    capture(&engine, uid(2), &[0], None).unwrap();
    drop(engine);
    for path in files_in(&memory, "index") {
        memory.remove_file(&path).unwrap();
    }
    for path in files_in(&memory, "packs") {
        let length = memory.read_file(&path).unwrap().len() as u64;
        memory.flip_bit(&path, length - 20, 1).unwrap();
    }
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == image);
    engine.collect(false, &Control::default()).unwrap();
    assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == image);
}

#[test]
fn tall_maps_are_read_diffed_and_restored() {
    // 4,200 chunks of 16 KiB are a map of three levels; its disk is mostly holes.
    let (memory, tall) = (MemoryIo::new(), (4_200 * CHUNK) as u64);
    memory.install_file(image_path(0), &random_bytes(1, 3 * CHUNK)).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = Engine::open(memory_parts(&memory, 2), Path::new(STORE), OPEN).unwrap();
    let image = memory.open(&image_path(0), OpenMode::ReadWrite).unwrap();
    let mut versions = Vec::new();
    for (number, (size, at)) in
        [(3 * CHUNK as u64, 0), (tall, tall - 700), (tall, 100 * CHUNK as u64), (CHUNK as u64 * 65, 1), (512, 0)]
            .into_iter()
            .enumerate()
    {
        image.set_length(size).unwrap();
        image.write_at(&random_bytes(number as u64, 500), at).unwrap();
        capture(&engine, uid(number as u64), &[0], number.checked_sub(1).map(|before| uid(before as u64))).unwrap();
        versions.push((version(uid(number as u64), 0), memory.read_file(image_path(0)).unwrap()));
    }
    for (before, older) in &versions {
        for (after, newer) in &versions {
            for granularity in [None, Some(512)] {
                let mut diff = engine.diff(before, after, granularity).unwrap();
                let mut extents = Vec::new();
                loop {
                    let page = engine.diff_page(&mut diff, 3, &Control::default()).unwrap();
                    if page.is_empty() {
                        break;
                    }
                    extents.extend(page);
                }
                let block = granularity.unwrap_or(CHUNK as u64);
                simulation::laws::check_diff(older, newer, &extents, block, granularity.is_none()).unwrap();
            }
        }
    }
}

#[test]
fn a_diff_that_failed_can_be_asked_again_and_misses_nothing() {
    let (memory, _) = store();
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    let older = memory.read_file(image_path(0)).unwrap();
    memory.install_file(image_path(0), &random_bytes(5, CHUNKS * CHUNK)).unwrap();
    capture(&engine, uid(2), &[0], None).unwrap();
    let newer = memory.read_file(image_path(0)).unwrap();
    let mut diff = engine.diff(&version(uid(1), 0), &version(uid(2), 0), Some(4096)).unwrap();
    let packs = files_in(&memory, "packs");
    for path in &packs {
        memory.flip_bit(path, 64 + 72 + 30, 0).unwrap();
    }
    let error = engine.diff_page(&mut diff, 10, &Control::default()).unwrap_err();
    assert!(matches!(error.code(), Code::ChunkDamaged | Code::NodeDamaged), "{error}");
    for path in &packs {
        memory.flip_bit(path, 64 + 72 + 30, 0).unwrap();
    }
    let extents = engine.diff_page(&mut diff, 1_000, &Control::default()).unwrap();
    simulation::laws::check_diff(&older, &newer, &extents, 4096, false).unwrap();
}

#[test]
fn a_damaged_node_hides_nothing_that_differs_before_it() {
    let (memory, _) = store();
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    let before: Vec<PathBuf> = files_in(&memory, "packs");
    let image = memory.open(&image_path(0), OpenMode::ReadWrite).unwrap();
    // The first of four leaves differs, and the third: both are opened together.
    for chunk in [0, 10, 150] {
        image.write_at(&random_bytes(chunk, 100), chunk * CHUNK as u64).unwrap();
    }
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    let is_new = |path: &PathBuf| !before.contains(path) && path.extension().is_some_and(|ending| ending == "nodes");
    let nodes = files_in(&memory, "packs").into_iter().find(is_new).unwrap();
    let leaf_bytes = 72 + 8 + 64 + 64 * 32; // frame header, node header, tags, ids
    memory.flip_bit(&nodes, 64 + leaf_bytes + 100, 1).unwrap();
    let mut diff = engine.diff(&version(uid(1), 0), &version(uid(2), 0), None).unwrap();
    let found = engine.diff_page(&mut diff, 1, &Control::default()).unwrap();
    assert_eq!((found[0].offset, found[0].length), (0, CHUNK as u64));
    for _ in 0..2 {
        assert_eq!(engine.diff_page(&mut diff, 1, &Control::default()).unwrap_err().code(), Code::NodeDamaged);
    }
    memory.flip_bit(&nodes, 64 + leaf_bytes + 100, 1).unwrap();
    let rest = engine.diff_page(&mut diff, 10, &Control::default()).unwrap();
    assert_eq!(rest.iter().map(|extent| extent.offset / CHUNK as u64).collect::<Vec<_>>(), [10, 150]);
}
