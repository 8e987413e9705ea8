//! Laws of what runs beside what (docs/concurrency.md), on real threads: whoever reads gets the bytes of the point or an
//! error that says why, whatever others do meanwhile; and a reader in another process is never told of damage because a
//! writer did its work.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use simulation::content::random_bytes;
use simulation::hooks::HookIo;
use simulation::store::{
    CHUNK, CREATE, OPEN, READ_ONLY, STORE, capture, image_path, memory_parts, open, parts, read_all, uid, version,
};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{Engine, OpenOptions};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::restore::TargetRequest;

const CHUNKS: usize = 12;

fn install(memory: &MemoryIo, disk: usize, seed: u64) -> Vec<u8> {
    let mut bytes = random_bytes(1_000 + disk as u64, CHUNKS * CHUNK); // what stays the same
    for chunk in (seed as usize % 3..CHUNKS).step_by(3) {
        bytes[chunk * CHUNK..][..CHUNK].copy_from_slice(&random_bytes(seed * 100 + disk as u64, CHUNK));
    }
    memory.install_file(image_path(disk), &bytes).unwrap();
    bytes
}

#[test]
fn captures_restores_reads_and_verifications_run_side_by_side_and_agree() {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    memory.install_file("/restored/.keep", b"").unwrap();
    let engine = Engine::open(memory_parts(&memory, 2), Path::new(STORE), OpenOptions { thread_count: 2, ..OPEN });
    let engine = engine.unwrap();
    let kept = install(&memory, 0, 0);
    capture(&engine, uid(0), &[0], None).unwrap();
    let rounds = simulation::sized(12, 200);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Two machines, captured at the same time, again and again; each deletes all but its last points.
        let writers: Vec<_> = [1usize, 2]
            .into_iter()
            .map(|disk| {
                let (engine, memory) = (&engine, &memory);
                scope.spawn(move || {
                    for round in 1..=rounds {
                        let bytes = install(memory, disk, round);
                        let (point, before) =
                            (uid(disk as u64 * 10_000 + round), uid(disk as u64 * 10_000 + round - 1));
                        let parent = (round > 1).then_some(before);
                        // The collector may be at it; a capture then says so and is asked for again.
                        while let Err(error) = capture(engine, point, &[disk], parent) {
                            assert_eq!(error.code(), Code::StoreBusy, "{error}");
                        }
                        assert!(read_all(engine, &version(point, disk)).unwrap() == bytes, "round {round}");
                        if round > 1 {
                            engine.remove_point(&before).unwrap();
                        }
                    }
                })
            })
            .collect();
        let (engine, memory, kept, done) = (&engine, &memory, &kept, &done);
        let reader = scope.spawn(move || {
            let mut number = 0u32;
            while !done.load(Ordering::Relaxed) {
                assert!(read_all(engine, &version(uid(0), 0)).unwrap() == *kept);
                let path = format!("/restored/{number}.raw");
                let target = TargetRequest { path: path.clone().into(), overwrite: false, sync: false };
                engine.restore(&version(uid(0), 0), &target, &Control::default()).unwrap();
                assert!(memory.read_file(&path).unwrap() == *kept);
                number += 1;
            }
        });
        let verifier = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let report = engine.verify(true, &Control::default()).unwrap();
                assert!(report.findings.is_empty(), "{:?}", report.findings);
            }
        });
        let collector = scope.spawn(move || {
            let mut collected = 0;
            while !done.load(Ordering::Relaxed) {
                match engine.collect(false, &Control::default()) {
                    Ok(_) => collected += 1,
                    Err(error) => assert_eq!(error.code(), Code::StoreBusy, "{error}"),
                }
            }
            collected
        });
        let ends: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        let collected = collector.join();
        for end in ends.into_iter().chain([reader.join(), verifier.join()]) {
            end.unwrap();
        }
        collected.unwrap();
    });
    assert_eq!(engine.manifests().len(), 3);
    engine.collect(false, &Control::default()).unwrap();
    let report = engine.verify(true, &Control::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    drop(engine);
    let engine = open(&memory);
    assert!(engine.findings().is_empty(), "{:?}", engine.findings());
    assert!(read_all(&engine, &version(uid(0), 0)).unwrap() == kept);
}

/// A store of two points of one disk, of which the second leaves most of the first's packs live.
fn two_points() -> (MemoryIo, Vec<u8>) {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    let mut bytes = random_bytes(5, CHUNKS * CHUNK);
    memory.install_file(image_path(0), &bytes).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    for chunk in (0..CHUNKS).step_by(2) {
        bytes[chunk * CHUNK..][..CHUNK].copy_from_slice(&random_bytes(chunk as u64 + 50, CHUNK));
    }
    memory.install_file(image_path(0), &bytes).unwrap();
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    (memory, bytes)
}

fn reader(memory: &MemoryIo) -> Arc<Engine> {
    Engine::open(memory_parts(memory, 3), Path::new(STORE), READ_ONLY).unwrap()
}

#[test]
fn a_reader_that_verifies_beside_a_writer_finds_no_damage_in_what_came_later() {
    let (memory, _) = two_points();
    let reader = reader(&memory);
    let writer = open(&memory);
    for number in 3..9 {
        install(&memory, 0, number);
        capture(&writer, uid(number), &[0], Some(uid(number - 1))).unwrap();
        let report = reader.verify(true, &Control::default()).unwrap();
        assert!(report.findings.is_empty(), "after {number} points: {:?}", report.findings);
    }
    writer.remove_point(&uid(4)).unwrap();
    let report = reader.verify(true, &Control::default()).unwrap();
    assert!(report.findings.is_empty(), "after a deletion: {:?}", report.findings);
}

#[test]
fn a_reader_reads_a_live_point_whose_packs_the_collector_has_rewritten() {
    let (memory, bytes) = two_points();
    let reader = reader(&memory);
    let writer = open(&memory);
    writer.remove_point(&uid(1)).unwrap();
    let report = writer.collect(false, &Control::default()).unwrap();
    assert!(report.packs_rewritten > 0, "{report:?}");
    let read = read_all(&reader, &version(uid(2), 0)).unwrap_or_else(|error| panic!("a live point: {error}"));
    assert!(read == bytes);
    let report = reader.verify(true, &Control::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// Opens read-only while `write` runs between any two of its calls, and hands what is open to `check`.
fn opened_beside(write: fn(&Arc<Engine>, &MemoryIo), check: fn(&Engine, u64)) {
    let mut call = 0;
    loop {
        let (memory, _) = two_points();
        let writer = open(&memory);
        let io = HookIo::new(Arc::new(memory.clone()));
        let came = Arc::new(AtomicBool::new(false));
        let (behind, seen) = (memory.clone(), Arc::clone(&came));
        io.hook(move |now, _| {
            if now == call && !seen.swap(true, Ordering::SeqCst) {
                write(&writer, &behind);
            }
        });
        let opened = Engine::open(parts(Arc::new(io.clone()), 3), Path::new(STORE), READ_ONLY);
        if !came.load(Ordering::SeqCst) {
            assert!(call > 10, "opening takes {call} calls");
            return;
        }
        let engine = opened.unwrap_or_else(|error| panic!("opening, with a writer at call {call}: {error}"));
        assert!(engine.findings().is_empty(), "a writer at call {call}: {:?}", engine.findings());
        check(&engine, call);
        call += 1;
    }
}

#[test]
fn a_store_opens_for_reading_whatever_a_writer_does_meanwhile() {
    // A point that was there before and is not deleted reads; so does whatever else is listed, but for the collector.
    let everything = |engine: &Engine, call: u64| {
        for manifest in engine.manifests() {
            let read = read_all(engine, &version(manifest.point_id, 0));
            let read = read.unwrap_or_else(|error| panic!("a writer at call {call}: {}: {error}", manifest.point_id));
            assert_eq!(read.len(), CHUNKS * CHUNK);
        }
    };
    opened_beside(
        |writer, memory| {
            install(memory, 0, 9);
            capture(writer, uid(3), &[0], Some(uid(2))).unwrap();
        },
        everything,
    );
    opened_beside(|writer, _| writer.remove_point(&uid(1)).unwrap(), everything);
    opened_beside(
        |writer, _| {
            writer.remove_point(&uid(1)).unwrap();
            writer.collect(false, &Control::default()).unwrap();
        },
        |engine, call| {
            let read = read_all(engine, &version(uid(2), 0));
            read.unwrap_or_else(|error| panic!("a collection at call {call}: {error}"));
        },
    );
}
