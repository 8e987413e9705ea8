//! Law: collecting never takes away the last frame that can be read, refuses when it cannot know what is live, and
//! frees what nobody reaches.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simulation::content::random_bytes;
use simulation::store::{
    CHUNK, CREATE, OPEN, STORE, capture, files_in, image_path, memory_parts, open, parts, read_all, scan_disk, uid,
    version,
};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::Engine;
use stillpoint_engine::error::{Code, Kind};
use stillpoint_engine::io::fault::{Fault, FaultIo, FaultPlan};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};

const CHUNKS: usize = 8;

/// A store without points, and an image of eight chunks that do not compress.
fn empty() -> MemoryIo {
    let memory = MemoryIo::new();
    memory.install_file(image_path(0), &random_bytes(1, CHUNKS * CHUNK)).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    memory
}

/// The packs of chunks of a point captured into a copy of this store, that with the disk's first chunks first: other packs
/// than those of another seed, with the same frames.
fn packs_of_a_capture(memory: &MemoryIo, seed: u64) -> Vec<(PathBuf, Vec<u8>)> {
    let copy = memory.crash(CrashChoice::ProcessKilled);
    let before = files_in(&copy, "packs");
    let engine = Engine::open(memory_parts(&copy, seed), Path::new(STORE), OPEN).unwrap();
    capture(&engine, uid(seed), &[0], None).unwrap();
    let new = files_in(&copy, "packs").into_iter().filter(|path| !before.contains(path));
    let chunks = new.filter(|path| path.extension().is_some_and(|end| end == "chunks"));
    let mut packs: Vec<_> = chunks.map(|path| (path.clone(), copy.read_file(path).unwrap())).collect();
    let first = &memory.read_file(image_path(0)).unwrap()[..64];
    packs.sort_by_key(|(_, bytes)| bytes[64 + 72..][..64] != *first);
    packs
}

/// A store in which every chunk of point 1 has a frame in each of `copies` sets of packs.
fn duplicated(copies: u64) -> (MemoryIo, Vec<Vec<PathBuf>>) {
    let memory = empty();
    let sets: Vec<_> = (0..copies).map(|copy| packs_of_a_capture(&memory, 100 + copy)).collect();
    capture(&Engine::open(memory_parts(&memory, 100), Path::new(STORE), OPEN).unwrap(), uid(1), &[0], None).unwrap();
    for (path, bytes) in sets.iter().flatten() {
        memory.install_file(path, bytes).unwrap();
    }
    (memory, sets.into_iter().map(|set| set.into_iter().map(|(path, _)| path).collect()).collect())
}

fn collect(memory: &MemoryIo) -> stillpoint_engine::error::Result<stillpoint_engine::collect::Report> {
    Engine::open(memory_parts(memory, 9), Path::new(STORE), OPEN)?.collect(false, &Control::default())
}

fn assert_reads(memory: &MemoryIo, what: &str) {
    let engine = open(memory);
    let read = read_all(&engine, &version(uid(1), 0)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(read == memory.read_file(image_path(0)).unwrap(), "{what}: wrong bytes");
}

/// Where the stored bytes of frame `index` of a pack of incompressible chunks begin.
fn frame_at(index: usize) -> u64 {
    (64 + index * (72 + CHUNK) + 72) as u64
}

#[test]
fn of_two_frames_the_sound_one_is_read() {
    for damaged in [0, 1] {
        let (memory, sets) = duplicated(2);
        memory.flip_bit(&sets[damaged][0], frame_at(1) + 5, 3).unwrap();
        assert_reads(&memory, "one of two frames is damaged");
        let report = open(&memory).verify(true, &Control::default()).unwrap();
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        assert!(report.findings[0].hits.is_empty(), "nobody is hit: {:?}", report.findings);
    }
}

#[test]
fn superfluous_frames_are_collected_and_the_last_sound_one_never() {
    // Which copies of chunk 1 are damaged, by their sets of packs, of three.
    for damaged in 0..8u32 {
        let (memory, sets) = duplicated(3);
        let (_, bytes_before) = usage(&memory);
        for (set, paths) in sets.iter().enumerate().filter(|(set, _)| damaged >> set & 1 == 1) {
            memory.flip_bit(&paths[0], frame_at(1) + set as u64, 3).unwrap();
        }
        collect(&memory).unwrap();
        if damaged == 7 {
            let error = read_all(&open(&memory), &version(uid(1), 0)).unwrap_err();
            assert_eq!(error.code(), Code::ChunkDamaged, "the damaged frame is kept for whoever may mend it");
            continue;
        }
        assert_reads(&memory, &format!("sets {damaged:03b} damaged"));
        let (_, bytes_after) = usage(&memory);
        // A damaged frame that comes first keeps its pack, for whoever may mend it.
        let bytes_max = if damaged == 0 { bytes_before / 2 } else { bytes_before - 1 };
        assert!(bytes_after <= bytes_max, "{damaged:03b}: {bytes_before} before, {bytes_after} after");
        collect(&memory).unwrap();
        assert_reads(&memory, &format!("sets {damaged:03b} damaged, collected twice"));
    }
}

fn usage(memory: &MemoryIo) -> (u64, u64) {
    let usage = open(memory).usage().unwrap();
    (usage.pack_count, usage.pack_bytes)
}

#[test]
fn a_pack_with_a_damaged_live_frame_stays() {
    let memory = empty();
    let engine = open(&memory);
    capture(&engine, uid(1), &[0], None).unwrap();
    let kept = memory.read_file(image_path(0)).unwrap();
    drop(engine);
    // Of the first pack's frames only the first stays live, and that one is damaged.
    let mut image = random_bytes(2, CHUNKS * CHUNK);
    image[..CHUNK].copy_from_slice(&kept[..CHUNK]);
    memory.install_file(image_path(0), &image).unwrap();
    let engine = open(&memory);
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    engine.remove_point(&uid(1)).unwrap();
    drop(engine);
    let sound = memory.crash(CrashChoice::ProcessKilled);
    let first = files_in(&memory, "packs").into_iter().find(|path| {
        let bytes = memory.read_file(path).unwrap();
        bytes.windows(64).any(|window| *window == kept[..64])
    });
    let first = first.unwrap();
    memory.flip_bit(&first, frame_at(0), 0).unwrap();
    let copy = memory.read_file(&first).unwrap();
    collect(&memory).unwrap();
    assert_eq!(memory.read_file(&first), Some(copy), "it may be mended");
    collect(&sound).unwrap();
    assert_eq!(sound.read_file(&first), None, "sound, it is rewritten");
    // Also when its trailer and the index are gone, so that nobody can say what lies in it.
    let length = memory.read_file(&first).unwrap().len() as u64;
    memory.flip_bit(&first, length - 1, 0).unwrap();
    for path in files_in(&memory, "index") {
        stillpoint_engine::io::Io::remove_file(&memory, &path).unwrap();
    }
    collect(&memory).unwrap();
    assert!(memory.read_file(&first).is_some());
}

#[test]
fn what_cannot_be_read_stops_the_collector_before_anything_goes() {
    let memory = empty();
    let engine = open(&memory);
    capture(&engine, uid(1), &[0], None).unwrap();
    memory.install_file(image_path(0), &random_bytes(2, CHUNKS * CHUNK)).unwrap();
    capture(&engine, uid(2), &[0], None).unwrap();
    engine.remove_point(&uid(1)).unwrap();
    drop(engine);
    let live_nodes = {
        let copy = memory.crash(CrashChoice::ProcessKilled);
        collect(&copy).unwrap();
        files_in(&copy, "packs").into_iter().find(|path| path.extension().is_some_and(|end| end == "nodes")).unwrap()
    };
    for (path, at, code) in [
        (live_nodes, 64 + 72 + 9, Code::NodeDamaged),
        (files_in(&memory, "manifests")[0].clone(), 20, Code::ManifestDamaged),
    ] {
        let damaged = memory.crash(CrashChoice::ProcessKilled);
        damaged.flip_bit(&path, at, 2).unwrap();
        let before = damaged.digest();
        assert_eq!(collect(&damaged).unwrap_err().code(), code);
        assert_eq!(damaged.digest(), before);
        let gone = memory.crash(CrashChoice::ProcessKilled);
        let engine = open(&gone);
        stillpoint_engine::io::Io::remove_file(&gone, &path).unwrap();
        let before = gone.digest();
        let error = engine.collect(false, &Control::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::FixData, "{error}");
        assert_eq!(gone.digest(), before);
    }
}

#[test]
fn a_bit_that_turns_while_frames_are_moved_does_not_spread() {
    let memory = empty();
    let engine = open(&memory);
    let first = memory.read_file(image_path(0)).unwrap();
    capture(&engine, uid(2), &[0], None).unwrap();
    let mut image = random_bytes(2, CHUNKS * CHUNK);
    for chunk in (0..CHUNKS).step_by(2) {
        image[chunk * CHUNK..][..CHUNK].copy_from_slice(&first[chunk * CHUNK..][..CHUNK]);
    }
    memory.install_file(image_path(0), &image).unwrap();
    capture(&engine, uid(1), &[0], Some(uid(2))).unwrap();
    engine.remove_point(&uid(2)).unwrap();
    drop(engine);
    let mut read = 0;
    loop {
        let copy = memory.crash(CrashChoice::ProcessKilled);
        let io = FaultIo::over_memory(&copy, FaultPlan::one(Fault::FlipReadBit { read, bit: read * 977 + 100 }));
        let opened = Engine::open(parts(Arc::new(io.clone()), 9), Path::new(STORE), OPEN);
        if let Ok(engine) = opened
            && let Err(error) = engine.collect(false, &Control::default())
        {
            assert!(error.kind() == Kind::FixData || error.code() == Code::IoFailed, "{error}");
        }
        assert_reads(&copy, &format!("a bit turned in read {read}"));
        let report = open(&copy).verify(true, &Control::default()).unwrap();
        assert!(report.findings.is_empty(), "read {read}: {:?}", report.findings);
        if io.counts().reads <= read {
            break;
        }
        read += 1;
    }
    assert!(read > 20, "{read} reads");
}

#[test]
fn a_scan_that_is_never_published_leaves_garbage_and_no_more_than_that() {
    let memory = empty();
    let engine = open(&memory);
    capture(&engine, uid(1), &[0], None).unwrap();
    memory.install_file(image_path(0), &random_bytes(7, CHUNKS * CHUNK)).unwrap();
    drop(engine.scan(&[scan_disk(0, None)], &Control::default()).unwrap());
    let report = engine.collect(false, &Control::default()).unwrap();
    assert!(report.packs_removed > 0, "{report:?}");
    engine.remove_point(&uid(1)).unwrap();
    engine.collect(false, &Control::default()).unwrap();
    assert_eq!(engine.usage().unwrap().pack_bytes, 0);
}
