//! Law: a collection takes nothing from anybody who runs beside it: not from a capture that counts on what it condemns, not
//! from a reader of a point that is gone, not from a verification.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use simulation::content::random_bytes;
use simulation::hooks::HookIo;
use simulation::store::{
    CHUNK, CREATE, OPEN, READ_ONLY, STORE, capture, files_in, image_path, memory_parts, open, parts, read_all,
    scan_disk, uid, version,
};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{CollectOptions, CollectProgress, Collecting, Engine, TargetRequest};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};

const CHUNKS: usize = 8;

fn image(seed: u64) -> Vec<u8> {
    random_bytes(seed, CHUNKS * CHUNK)
}

/// A store in which point 2 holds image 2, and image 1 lies in packs that point 1 left behind. The image is `now`.
fn with_garbage(now: u64) -> (MemoryIo, Arc<Engine>) {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    for number in [1, 2] {
        memory.install_file(image_path(0), &image(number)).unwrap();
        capture(&engine, uid(number), &[0], None).unwrap();
    }
    engine.remove_point(&uid(1)).unwrap();
    memory.install_file(image_path(0), &image(now)).unwrap();
    (memory, engine)
}

fn begin(engine: &Arc<Engine>) -> Collecting {
    engine.begin_collect(CollectOptions::default()).unwrap()
}

fn step(collecting: &mut Collecting) -> CollectProgress {
    collecting.step(&Control::default()).unwrap()
}

fn finish(collecting: &mut Collecting) {
    for _ in 0..100 {
        if step(collecting) == CollectProgress::Ended {
            return;
        }
    }
    panic!("a collection has few steps");
}

fn assert_sound(engine: &Engine) {
    let report = engine.verify(true, &Control::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_capture_that_meets_a_condemned_chunk_stores_it_again() {
    let (_memory, engine) = with_garbage(1);
    let mut collecting = begin(&engine);
    step(&mut collecting); // condemned
    let scanned = engine.scan(&[scan_disk(0, None)], &Control::default()).unwrap();
    assert_eq!(scanned.disks()[0].scanned.chunks.stored, CHUNKS as u64, "none of them counts");
    finish(&mut collecting); // does not wait for it
    assert!(collecting.report().packs_removed > 0);
    scanned.publish(uid(3), 5, b"{}".to_vec()).unwrap();
    assert_eq!(read_all(&engine, &version(uid(3), 0)).unwrap(), image(1));
    assert_sound(&engine);
}

#[test]
fn a_capture_that_began_before_the_condemning_keeps_what_it_counted_on() {
    for is_published in [true, false] {
        let (_memory, engine) = with_garbage(1);
        let scanned = engine.scan(&[scan_disk(0, None)], &Control::default()).unwrap();
        assert_eq!(scanned.disks()[0].scanned.chunks.known, CHUNKS as u64, "it counts on all of them");
        let mut collecting = begin(&engine);
        assert_eq!(step(&mut collecting), CollectProgress::Working);
        for _ in 0..3 {
            assert!(matches!(step(&mut collecting), CollectProgress::Waiting(_)));
        }
        if is_published {
            scanned.publish(uid(3), 5, b"{}".to_vec()).unwrap();
            assert!(matches!(step(&mut collecting), CollectProgress::Waiting(_)), "until the lease is closed");
        }
        drop(scanned);
        finish(&mut collecting);
        assert_sound(&engine);
        if is_published {
            assert_eq!(read_all(&engine, &version(uid(3), 0)).unwrap(), image(1));
        } else {
            assert!(collecting.report().packs_removed > 0, "nobody used it after all");
        }
    }
}

#[test]
fn a_capture_keeps_its_parent_although_that_is_deleted_and_collected() {
    let (memory, engine) = with_garbage(2);
    let mut changed = image(2);
    changed[..CHUNK].copy_from_slice(&random_bytes(9, CHUNK));
    memory.install_file(image_path(0), &changed).unwrap();
    let scanned = engine.scan(&[scan_disk(0, Some(uid(2)))], &Control::default()).unwrap();
    assert_eq!(scanned.disks()[0].scanned.chunks.unchanged, CHUNKS as u64 - 1);
    engine.remove_point(&uid(2)).unwrap();
    let mut collecting = begin(&engine);
    step(&mut collecting);
    scanned.publish(uid(3), 5, b"{}".to_vec()).unwrap();
    drop(scanned);
    finish(&mut collecting);
    assert_eq!(read_all(&engine, &version(uid(3), 0)).unwrap(), changed);
    assert_sound(&engine);
}

#[test]
fn a_younger_capture_keeps_what_it_took_over_from_an_older_one_that_is_deleted() {
    let (_memory, engine) = with_garbage(1);
    let older = engine.scan(&[scan_disk(0, None)], &Control::default()).unwrap();
    let mut collecting = begin(&engine);
    step(&mut collecting); // what `older` counts on is condemned
    older.publish(uid(3), 5, b"{}".to_vec()).unwrap();
    let younger = engine.scan(&[scan_disk(0, Some(uid(3)))], &Control::default()).unwrap();
    assert_eq!(younger.disks()[0].scanned.chunks.unchanged, CHUNKS as u64, "it takes over condemned chunks");
    engine.remove_point(&uid(3)).unwrap();
    drop(older);
    finish(&mut collecting);
    younger.publish(uid(4), 5, b"{}".to_vec()).unwrap();
    assert_eq!(read_all(&engine, &version(uid(4), 0)).unwrap(), image(1));
    assert_sound(&engine);
}

#[test]
fn a_second_collection_is_refused_while_one_runs() {
    let (_memory, engine) = with_garbage(1);
    let collecting = begin(&engine);
    assert_eq!(engine.collect(true, &Control::default()).unwrap_err().code(), Code::StoreBusy);
    drop(collecting);
    engine.collect(false, &Control::default()).unwrap();
}

#[test]
fn a_manifest_that_turns_unreadable_in_the_middle_stops_it_before_anything_goes() {
    let (memory, engine) = with_garbage(1);
    let packs = files_in(&memory, "packs");
    let mut collecting = begin(&engine);
    step(&mut collecting);
    memory.flip_bit(&files_in(&memory, "manifests")[0], 100, 1).unwrap();
    assert_eq!(collecting.step(&Control::default()).unwrap_err().code(), Code::ManifestDamaged);
    assert_eq!(files_in(&memory, "packs"), packs);
}

/// A store with two points whose packs hold garbage of a third: image 1 with every second chunk of image 2.
fn half_garbage(memory: &MemoryIo) {
    Engine::create(&memory_parts(memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(memory);
    memory.install_file(image_path(0), &image(1)).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    memory.install_file(image_path(0), &mixed()).unwrap();
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
}

fn mixed() -> Vec<u8> {
    let (mut mixed, other) = (image(1), image(2));
    for chunk in (0..CHUNKS).step_by(2) {
        mixed[chunk * CHUNK..][..CHUNK].copy_from_slice(&other[chunk * CHUNK..][..CHUNK]);
    }
    mixed
}

/// Runs `read` once for each of its calls to packs, and at that call deletes `deleted` and collects all there is.
fn collected_at_every_call(deleted: &[u64], read: impl Fn(&Arc<Engine>, &MemoryIo)) -> u64 {
    let base = MemoryIo::new();
    half_garbage(&base);
    let mut call = 0;
    loop {
        let memory = base.crash(CrashChoice::ProcessKilled);
        let io = HookIo::new(Arc::new(memory.clone()));
        let engine = Engine::open(parts(Arc::new(io.clone()), 9), Path::new(STORE), OPEN).unwrap();
        let (met, is_done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (inner, ids, done) = (Arc::clone(&engine), deleted.to_vec(), Arc::clone(&is_done));
        let counter = Arc::clone(&met);
        io.hook(move |_, path| {
            let in_packs = path.extension().is_some_and(|end| end == "chunks" || end == "nodes");
            if !in_packs || done.load(Ordering::SeqCst) || counter.fetch_add(1, Ordering::SeqCst) != call {
                return;
            }
            done.store(true, Ordering::SeqCst);
            for id in &ids {
                inner.remove_point(&uid(*id)).unwrap();
            }
            inner.collect(false, &Control::default()).unwrap();
        });
        read(&engine, &memory);
        io.hook(|_, _| {});
        assert_sound(&engine);
        // What was pinned goes now.
        engine.collect(false, &Control::default()).unwrap();
        assert!(deleted.len() < 2 || engine.usage().unwrap().pack_bytes == 0 || !is_done.load(Ordering::SeqCst));
        if !is_done.load(Ordering::SeqCst) {
            return call;
        }
        call += 1;
    }
}

fn restored(engine: &Arc<Engine>, memory: &MemoryIo, point: u64) -> Vec<u8> {
    let target = TargetRequest { path: "/images/back.raw".into(), overwrite: false, sync: false };
    engine.restore(&version(uid(point), 0), &target, &Control::default()).unwrap();
    memory.read_file("/images/back.raw").unwrap()
}

#[test]
fn a_restore_of_a_point_that_is_deleted_and_collected_at_any_call_goes_on_to_its_end() {
    let calls = collected_at_every_call(&[1, 2], |engine, memory| assert!(restored(engine, memory, 2) == mixed()));
    assert!(calls > 4, "{calls} calls");
}

#[test]
fn a_restore_follows_frames_that_are_moved_at_any_call() {
    let calls = collected_at_every_call(&[1], |engine, memory| assert!(restored(engine, memory, 2) == mixed()));
    assert!(calls > 4, "{calls} calls");
}

#[test]
fn reads_and_diffs_of_deleted_points_go_on_to_their_end() {
    let calls = collected_at_every_call(&[1, 2], |engine, _| {
        let mut diff = engine.diff(&version(uid(1), 0), &version(uid(2), 0), Some(512)).unwrap();
        let mut extents = Vec::new();
        loop {
            let page = engine.diff_page(&mut diff, 1, &Control::default()).unwrap();
            if page.is_empty() {
                break;
            }
            extents.extend(page);
        }
        simulation::laws::check_diff(&image(1), &mixed(), &extents, 512, false).unwrap();
    });
    assert!(calls > 4, "{calls} calls");
    collected_at_every_call(&[1], |engine, _| assert!(read_all(engine, &version(uid(2), 0)).unwrap() == mixed()));
}

#[test]
fn a_verification_beside_a_collection_finds_nothing_wrong() {
    for deleted in [&[1][..], &[1, 2]] {
        let calls = collected_at_every_call(deleted, |engine, _| assert_sound(engine));
        assert!(calls > 8, "{calls} calls");
    }
}

#[test]
fn a_read_only_handle_follows_the_frames_of_live_points() {
    let memory = MemoryIo::new();
    half_garbage(&memory);
    let engine = open(&memory);
    let look = Engine::open(memory_parts(&memory, 7), Path::new(STORE), READ_ONLY).unwrap();
    engine.remove_point(&uid(1)).unwrap();
    let report = engine.collect(false, &Control::default()).unwrap();
    assert!(report.packs_rewritten > 0);
    assert!(read_all(&look, &version(uid(2), 0)).unwrap() == mixed());
    assert!(restored(&look, &memory, 2) == mixed());
    let error = read_all(&look, &version(uid(1), 0)).unwrap_err();
    assert!(matches!(error.code(), Code::ChunkMissing | Code::NodeMissing), "its point is gone: {error}");
}

#[test]
fn a_failed_sync_in_the_middle_fences_the_store_and_loses_nothing() {
    let base = MemoryIo::new();
    half_garbage(&base);
    open(&base).remove_point(&uid(1)).unwrap();
    let mut sync = 0;
    loop {
        let memory = base.crash(CrashChoice::ProcessKilled);
        let io = FaultIo::over_memory(&memory, FaultPlan::none());
        drop(Engine::open(parts(Arc::new(io.clone()), 9), Path::new(STORE), OPEN).unwrap());
        let opening = io.counts().syncs;
        let memory = base.crash(CrashChoice::ProcessKilled);
        let fault = Fault::FailSync { sync: opening + sync, failure: Failure::Device, lasting: Lasting::Once };
        let io = FaultIo::over_memory(&memory, FaultPlan::one(fault));
        let engine = Engine::open(parts(Arc::new(io.clone()), 9), Path::new(STORE), OPEN).unwrap();
        let result = engine.collect(false, &Control::default());
        if io.counts().syncs <= opening + sync {
            result.unwrap();
            assert!(sync > 8, "{sync} syncs");
            return;
        }
        assert_eq!(result.unwrap_err().code(), Code::IoFailed);
        assert_eq!(engine.collect(false, &Control::default()).unwrap_err().code(), Code::StoreFenced);
        assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == mixed(), "reading goes on");
        for choice in [CrashChoice::LoseUnsynced, CrashChoice::KeepAll, CrashChoice::Seeded(sync)] {
            let after = memory.crash(choice);
            let engine = open(&after);
            assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == mixed());
            engine.collect(false, &Control::default()).unwrap();
            assert!(read_all(&engine, &version(uid(2), 0)).unwrap() == mixed());
            assert_sound(&engine);
        }
        sync += 1;
    }
}

#[test]
fn threads_that_capture_restore_and_delete_beside_collections_agree() {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    let rounds = simulation::sized(40, 1_000);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let capturing: Vec<_> = (0..2u64)
            .map(|disk| {
                let (engine, memory) = (&engine, &memory);
                scope.spawn(move || {
                    let path = image_path(disk as usize);
                    for round in 0..rounds {
                        // Few images, so that content comes back that was condemned or is gone.
                        let number = (round * 7 + disk) % 5;
                        memory.install_file(&path, &image(number)).unwrap();
                        let (id, parent) = (uid(disk * 100_000 + round), uid(disk * 100_000 + round.saturating_sub(1)));
                        let parent = (round % 3 == 1).then_some(parent);
                        capture(engine, id, &[disk as usize], parent).unwrap();
                        let before = version(id, disk as usize);
                        assert!(read_all(engine, &before).unwrap() == image(number), "disk {disk}, round {round}");
                        if round >= 2 {
                            engine.remove_point(&uid(disk * 100_000 + round - 2)).unwrap();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                engine.collect(false, &Control::default()).unwrap();
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let report = engine.verify(true, &Control::default()).unwrap();
                assert!(report.findings.is_empty(), "{:?}", report.findings);
            }
        });
        let results: Vec<_> = capturing.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        results.into_iter().for_each(|result| result.unwrap());
    });
    engine.collect(false, &Control::default()).unwrap();
    assert_sound(&engine);
}
