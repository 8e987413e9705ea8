//! Law: compaction keeps every live chunk, deltas and bases included, in few packs, and says truly what it frees.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simulation::content::random_bytes;
use simulation::store::{
    CHUNK, CREATE, NOW_NS, OPEN, STORE, capture, files_in, image_path, memory_parts, open, read_all, uid, version,
};
use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{CollectOptions, Engine, Parts};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::file::FileIo;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};

fn collect(engine: &Engine) -> stillpoint_engine::engine::CollectReport {
    engine.collect(false, &Control::default()).unwrap()
}

fn assert_sound(engine: &Engine) {
    let report = engine.verify(true, &Control::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// Two chunks that differ in a few bytes.
fn twins() -> Vec<u8> {
    let (one, mut other) = (random_bytes(5, CHUNK), random_bytes(5, CHUNK));
    other[700..740].copy_from_slice(&random_bytes(6, 40));
    [one, other].concat()
}

/// Frames of the twins, A and B, one in each pack: A, B, A as a delta on B, B as a delta on A. Nothing else holds them.
fn cycle() -> (MemoryIo, [PathBuf; 4]) {
    let memory = MemoryIo::new();
    memory.install_file(image_path(0), &twins()).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    capture(&engine, uid(1), &[0], None).unwrap();
    let captured: Vec<PathBuf> = chunk_packs(&memory);
    let mut known = captured.clone();
    let mut made = Vec::new();
    for (chunk, base) in [(0, None), (1, None), (0, Some(1)), (1, Some(0))] {
        assert!(engine.reencode(&version(uid(1), 0), chunk, base).unwrap());
        let new = chunk_packs(&memory).into_iter().find(|path| !known.contains(path)).unwrap();
        known.push(new.clone());
        made.push(new);
    }
    drop(engine);
    for path in captured {
        memory.remove_file(&path).unwrap();
    }
    (memory, made.try_into().unwrap())
}

fn chunk_packs(memory: &MemoryIo) -> Vec<PathBuf> {
    files_in(memory, "packs").into_iter().filter(|path| path.extension().is_some_and(|end| end == "chunks")).collect()
}

#[test]
fn of_a_on_b_and_b_on_a_enough_stays_whatever_else_is_lost() {
    let (base, packs) = cycle();
    // Bits: whether the frame A, B, A on B, B on A is lost; as a missing pack, or as a damaged frame.
    for (lost, is_damaged) in (0..16u32).flat_map(|lost| [(lost, false), (lost, true)]) {
        let memory = base.crash(CrashChoice::ProcessKilled);
        let is_there = |frame: usize| lost >> frame & 1 == 0;
        for (frame, path) in packs.iter().enumerate().filter(|(frame, _)| !is_there(*frame)) {
            if is_damaged {
                memory.flip_bit(path, 64 + 72 + 40 + frame as u64, 3).unwrap();
            } else {
                memory.remove_file(path).unwrap();
            }
        }
        let readable = [is_there(0) || (is_there(2) && is_there(1)), is_there(1) || (is_there(3) && is_there(0))];
        for round in 0..3 {
            let engine = open(&memory);
            for (chunk, readable) in readable.iter().enumerate() {
                let at = (chunk * CHUNK) as u64;
                let read = engine.read(&version(uid(1), 0), at, CHUNK as u64);
                assert_eq!(
                    read.is_ok(),
                    *readable,
                    "lost {lost:04b}, damaged: {is_damaged}, round {round}, chunk {chunk}"
                );
                assert!(read.is_err() || read.unwrap() == twins()[chunk * CHUNK..][..CHUNK]);
            }
            collect(&engine);
        }
    }
}

#[test]
fn two_chunks_that_are_deltas_on_each_other_stay_full() {
    let (memory, packs) = cycle();
    let engine = open(&memory);
    collect(&engine);
    collect(&engine);
    let left = chunk_packs(&memory);
    assert!(!left.contains(&packs[2]) && !left.contains(&packs[3]), "the deltas go");
    assert_eq!(engine.usage().unwrap().frame_count, 3, "two chunks and their node");
    assert_eq!(read_all(&engine, &version(uid(1), 0)).unwrap(), twins());
}

#[test]
fn a_base_that_no_map_names_stays_as_long_as_its_delta() {
    let (memory, packs) = cycle();
    // A is full no more: it is a delta on B.
    memory.remove_file(&packs[0]).unwrap();
    memory.remove_file(&packs[3]).unwrap();
    let engine = open(&memory);
    // A point of A alone; then B is only a base.
    memory.install_file(image_path(0), &twins()[..CHUNK]).unwrap();
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    engine.remove_point(&uid(1)).unwrap();
    for _ in 0..3 {
        collect(&engine);
        assert_eq!(read_all(&engine, &version(uid(2), 0)).unwrap(), twins()[..CHUNK]);
        assert_sound(&engine);
    }
    engine.remove_point(&uid(2)).unwrap();
    collect(&engine);
    assert_eq!(engine.usage().unwrap().pack_bytes, 0, "and goes with it");
}

#[test]
fn deltas_whose_bases_serve_them_alone_become_full_frames_and_the_bases_go() {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let mut options = OPEN;
    options.pack_bytes_target = 16 << 20; // so that all packs here are small, and brought together
    let reopen = |seed| Engine::open(memory_parts(&memory, seed), Path::new(STORE), options).unwrap();
    let mut engine = reopen(3);
    let pair = |number: u64| {
        let (one, mut other) = (random_bytes(20 + number, CHUNK), random_bytes(20 + number, CHUNK));
        other[..9].fill(7);
        [one, other].concat()
    };
    for number in 0..4 {
        let (base, both, alone) = (uid(number), uid(10 + number), uid(20 + number));
        memory.install_file(image_path(0), &pair(number)[CHUNK..]).unwrap();
        capture(&engine, base, &[0], None).unwrap();
        let before = chunk_packs(&memory);
        memory.install_file(image_path(0), &pair(number)).unwrap();
        capture(&engine, both, &[0], None).unwrap();
        let full = chunk_packs(&memory).into_iter().find(|path| !before.contains(path)).unwrap();
        assert!(engine.reencode(&version(both, 0), 0, Some(1)).unwrap());
        drop(engine);
        memory.remove_file(&full).unwrap(); // now the first of the pair is a delta on the second
        engine = reopen(40 + number);
        memory.install_file(image_path(0), &pair(number)[..CHUNK]).unwrap();
        capture(&engine, alone, &[0], None).unwrap();
        engine.remove_point(&base).unwrap();
        engine.remove_point(&both).unwrap();
    }
    let report = collect(&engine);
    assert!(report.packs_rewritten >= 4, "{report:?}");
    for number in 0..4 {
        assert_eq!(read_all(&engine, &version(uid(20 + number), 0)).unwrap(), pair(number)[..CHUNK]);
    }
    assert_sound(&engine);
    collect(&engine);
    assert_eq!(engine.usage().unwrap().frame_count, 4, "one full frame each");
    assert_sound(&engine);
}

#[test]
fn many_small_packs_become_few_and_streams_stay_together() {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let mut options = OPEN;
    options.pack_bytes_target = 16 << 20;
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), options).unwrap();
    let content = |number: u64| random_bytes(100 + number, 4 * CHUNK);
    let mut rewritten = 0;
    for number in 0..60 {
        memory.install_file(image_path(0), &content(number)).unwrap();
        capture(&engine, uid(number), &[0], None).unwrap();
        if number % 4 == 3 {
            rewritten += collect(&engine).bytes_rewritten;
            let packs = engine.usage().unwrap().pack_count;
            assert!(packs <= 2 * (4 + 4 + 4 + 4), "{packs} packs after {number} captures");
        }
    }
    let stored = engine.usage().unwrap().pack_bytes;
    assert!(rewritten < stored * 4, "{rewritten} bytes moved of {stored} stored");
    for number in 0..60 {
        assert_eq!(read_all(&engine, &version(uid(number), 0)).unwrap(), content(number));
    }
    // The four chunks of each capture follow each other in one pack.
    let packs: Vec<Vec<u8>> = chunk_packs(&memory).iter().map(|path| memory.read_file(path).unwrap()).collect();
    for number in 0..60 {
        let frames = content(number);
        let place = |chunk: usize| {
            packs.iter().enumerate().find_map(|(pack, bytes)| {
                let wanted = &frames[chunk * CHUNK..][..64];
                bytes.windows(64).position(|window| window == wanted).map(|at| (pack, at))
            })
        };
        let (pack, first) = place(0).unwrap();
        for chunk in 1..4 {
            assert_eq!(place(chunk), Some((pack, first + chunk * (72 + CHUNK))), "capture {number}, chunk {chunk}");
        }
    }
}

#[test]
fn what_it_says_it_freed_is_what_the_files_give_back_and_a_dry_run_comes_close() {
    let folder = support::Folder::new();
    let parts = Parts {
        io: Arc::new(FileIo),
        clock: Arc::new(ManualClock::new(4_000_000_000_000_000_000)),
        random: memory_parts(&MemoryIo::new(), 1).random,
    };
    let store = folder.path.join("store");
    Engine::create(&parts, &store, &CREATE).unwrap();
    let engine = Engine::open(parts, &store, OPEN).unwrap();
    let path = folder.path.join("image.raw");
    let scan = |seed: u64| {
        let mut image = random_bytes(3, 40 * CHUNK);
        for chunk in 0..40u64 {
            if !(chunk + seed).is_multiple_of(3) {
                image[chunk as usize * CHUNK..][..CHUNK].copy_from_slice(&random_bytes(seed * 100 + chunk, CHUNK));
            }
        }
        let file = FileIo.open(&path, stillpoint_engine::io::OpenMode::ReadWrite);
        let file = file.unwrap_or_else(|_| support::create(&FileIo, &path, b""));
        file.write_at(&image, 0).unwrap();
        let mut disk = simulation::store::scan_disk(0, None);
        disk.source.path.clone_from(&path);
        engine.scan(&[disk], &Control::default()).unwrap().publish(uid(seed), 5, b"{}".to_vec()).unwrap();
    };
    (1..5).for_each(scan);
    engine.remove_point(&uid(1)).unwrap();
    engine.remove_point(&uid(3)).unwrap();
    let planned = engine.collect(true, &Control::default()).unwrap();
    let (lengths, blocks) = space(&store.join("home"));
    let report = collect(&engine);
    let (lengths_after, blocks_after) = space(&store.join("home"));
    assert!(report.packs_rewritten > 0 && report.packs_removed > 0, "{report:?}");
    assert_eq!(report.bytes_freed, lengths - lengths_after, "{report:?}");
    // As `du` counts: whole blocks of 4 KiB, one file's rounding each.
    assert!(
        report.bytes_freed.abs_diff(blocks - blocks_after) < 60 * 4096,
        "{report:?}, {} by blocks",
        blocks - blocks_after
    );
    assert!(planned.bytes_freed.abs_diff(report.bytes_freed) < report.bytes_freed / 20, "{planned:?}, {report:?}");
}

/// Lengths of all packs, segments and manifests below, and what they take.
fn space(directory: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if entry.file_name() == "list" {
            continue; // tens of bytes, by the number of segments
        }
        let (lengths, blocks) =
            if metadata.is_dir() { space(&entry.path()) } else { (metadata.len(), metadata.blocks() * 512) };
        sum = (sum.0 + lengths, sum.1 + blocks);
    }
    sum
}

/// A store with much to move: three quarters of each pack's chunks are alive.
fn worn() -> MemoryIo {
    let memory = MemoryIo::new();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    let mut image = random_bytes(3, 32 * CHUNK);
    memory.install_file(image_path(0), &image).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    for chunk in (0..32).step_by(3) {
        image[chunk * CHUNK..][..CHUNK].copy_from_slice(&random_bytes(50 + chunk as u64, CHUNK));
    }
    memory.install_file(image_path(0), &image).unwrap();
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    engine.remove_point(&uid(1)).unwrap();
    memory
}

#[test]
fn a_rate_is_kept_by_the_injected_clock() {
    let memory = worn();
    let clock = Arc::new(ManualClock::new(NOW_NS));
    let parts = Parts { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..memory_parts(&memory, 9) };
    let engine = Engine::open(parts, Path::new(STORE), OPEN).unwrap();
    let rate = 64 << 10;
    let options = CollectOptions { dry_run: false, bytes_per_second: Some(rate) };
    let report = engine.collect_with(options, &Control::default()).unwrap();
    let seconds = (clock.now_ns() - NOW_NS) as f64 / 1e9;
    let expected = report.bytes_rewritten as f64 / rate as f64;
    assert!(expected > 3.0 && (seconds - expected).abs() < 0.5, "{seconds} s for {report:?}");
}

#[test]
fn on_a_full_disk_dead_packs_go_before_anything_is_written() {
    let memory = worn();
    let image = random_bytes(8, 16 * CHUNK);
    let engine = open(&memory);
    memory.install_file(image_path(1), &image).unwrap();
    capture(&engine, uid(3), &[1], None).unwrap();
    engine.remove_point(&uid(3)).unwrap();
    drop(engine);
    let engine = open(&memory);
    let taken: u64 = memory.files().iter().map(|path| memory.read_file(path).unwrap().len() as u64).sum();
    memory.set_capacity(Some(taken));
    let report = collect(&engine);
    assert!(report.packs_removed >= 4 && report.packs_rewritten > 0, "{report:?}");
    assert_sound(&engine);
}
