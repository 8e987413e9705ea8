//! Law: what is owed for a layer is enough to fold it, whatever was written; so a writer that was let in is never the reason why
//! a fold finds no space.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_store;
mod simulation;

use std::path::Path;

use live_store::{Store, attached, copy, cut, no_control, uid};
use simulation::content::random_bytes;
use simulation::{seeds, sized};
use stillpoint_engine::engine::Engine;
use stillpoint_engine::error::Code;
use stillpoint_engine::io::Io;
use stillpoint_engine::limits::{FOLD_EXTENTS_SHARE, PACK_FRAMES_MIN};
use stillpoint_engine::random::Seeded;

const PAGE: u64 = 4096;
const DISK_BYTES: u64 = 6 << 20;

/// More than any of these stores takes.
const WIDE: u64 = 1 << 30;

/// What the bound has for directories and for saying where bytes lie, which a file system in memory does not take.
const UNTAKEN_PAGES: u64 = 10;

/// Of a capture and not of a fold.
const MANIFEST_PAGES: u64 = 1;

fn free(store: &Store) -> u64 {
    store.memory.available_bytes(Path::new("/")).unwrap()
}

/// Writes, zeroes, trims and grows two disks at random.
fn change(engine: &Engine, random: &mut Seeded, sizes: &mut [u64; 2]) {
    let count = if random.one_in(2) { 1 } else { 1 + random.below(60) };
    for _ in 0..count {
        let number = random.below(2);
        let disk_id = uid(10 + number);
        let size = &mut sizes[number as usize];
        let longest = if random.one_in(8) { 1 << 20 } else { 8192 };
        let offset = random.below(*size / 512) * 512;
        let length = (512 + random.below(longest / 512) * 512).min(*size - offset);
        match random.below(10) {
            0 => {
                *size += 512 * (1 + random.below(4096));
                engine.grow_disk(&disk_id, *size).map(drop)
            }
            1 => engine.zero_disk(&disk_id, offset, length, random.one_in(2), false).map(drop),
            2..6 => {
                // Whole chunks, of which nothing can be left out.
                let chunk = u64::from(live_store::CHUNK_BYTES);
                let bytes = random_bytes(random.below(u64::MAX), chunk as usize);
                engine.write_disk(&disk_id, offset.min(*size - chunk) / chunk * chunk, &bytes, false).map(drop)
            }
            _ => {
                let bytes = random_bytes(random.below(u64::MAX), length as usize);
                engine.write_disk(&disk_id, offset, &bytes, false).map(drop)
            }
        }
        .unwrap();
    }
}

#[test]
fn what_is_owed_is_enough_to_fold_it() {
    for seed in seeds(sized(16, 2_000)) {
        let mut random = Seeded::new(seed);
        let mut store = Store::new(seed);
        store.pack_bytes_target = PACK_FRAMES_MIN * u64::from(live_store::CHUNK_BYTES);
        store.memory.set_capacity(Some(WIDE));
        let engine = store.open();
        let mut sizes = [DISK_BYTES; 2];
        engine.create_machine_log(&uid(1)).unwrap();
        for number in 0..2 {
            attached(&engine, uid(10 + number), uid(1), DISK_BYTES);
            // Full maps and chunks that no codec makes smaller.
            let noise = random_bytes(seed * 2 + number, DISK_BYTES as usize);
            engine.write_disk(&uid(10 + number), 0, &noise, false).unwrap();
        }
        engine.settle_logs(&no_control()).unwrap();
        for round in 0..4 {
            change(&engine, &mut random, &mut sizes);
            cut(&engine, uid(1), uid(100 + round)).unwrap();
            let owed = engine.pressure().unwrap().debt_bytes;
            let enough = owed - owed / (FOLD_EXTENTS_SHARE + 1) - UNTAKEN_PAGES * PAGE;
            store.memory.set_capacity(Some(WIDE - free(&store) + enough + MANIFEST_PAGES * PAGE));
            copy(&engine, uid(100 + round)).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error:?}"));
            store.memory.set_capacity(Some(WIDE));
            engine.release_cut(&uid(100 + round)).unwrap();
            assert_eq!(engine.pressure().unwrap().debt_bytes, 0, "seed {seed}");
        }
    }
}

#[test]
fn writers_are_slowed_and_not_refused_while_folding_gives_space_back() {
    let mut store = Store::new(1);
    store.pack_bytes_target = PACK_FRAMES_MIN * u64::from(live_store::CHUNK_BYTES);
    let engine = store.open();
    engine.create_machine_log(&uid(1)).unwrap();
    attached(&engine, uid(10), uid(1), 16 << 20);
    store.memory.set_capacity(Some(WIDE));
    // All that is written fits, a quarter of what it owes until it is folded does not.
    store.memory.set_capacity(Some(WIDE - free(&store) + (8 << 20)));
    let mut random = Seeded::new(2);
    let (mut written, mut owed_most) = (0, 0);
    let mut content = vec![0; 16 << 20];
    for _ in 0..800 {
        let at = random.below(4096) * 4096;
        let bytes = random_bytes(at + written, 4096);
        engine.write_disk(&uid(10), at, &bytes, false).unwrap();
        content[at as usize..][..4096].copy_from_slice(&bytes);
        written += 4096;
        owed_most = owed_most.max(engine.pressure().unwrap().debt_bytes);
    }
    assert!(owed_most < 8 << 20 && owed_most > 1 << 20, "{owed_most}");
    let mut read = vec![0; 16 << 20];
    engine.read_disk(&uid(10), 0, &mut read).unwrap();
    assert!(read == content);
    let refused = loop {
        let at = random.below(4096) * 4096;
        if let Err(error) = engine.write_disk(&uid(10), at, &random_bytes(at, 4096), false) {
            break error;
        }
    };
    assert_eq!(refused.code(), Code::NoSpace);
    engine.settle_logs(&no_control()).unwrap();
}

#[test]
fn writers_that_are_faster_than_the_copy_wait_and_the_log_stays_inside_its_limit() {
    const LIMIT: u64 = 4 << 20;
    const SEGMENT: u64 = 64 << 10;
    for has_thread in [false, true] {
        let mut store = Store::new(3).without_window(); // what it keeps is not counted, and goes when space is short
        store.log_bytes_max = LIMIT;
        let engine = store.open();
        engine.create_machine_log(&uid(1)).unwrap();
        attached(&engine, uid(10), uid(1), 8 << 20);
        if has_thread {
            engine.start_upkeep().unwrap();
        }
        let mut contents = Vec::new();
        // Four times the limit, by writers that never pause.
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let engine = &engine;
                    scope.spawn(move || {
                        let mut random = Seeded::new(writer);
                        let mut content = vec![0; 2 << 20];
                        let start = writer * (2 << 20);
                        let mut longest = 0;
                        for _ in 0..LIMIT / 4096 {
                            let at = random.below(512) * 4096;
                            let bytes = random_bytes(random.below(u64::MAX), 4096);
                            engine.write_disk(&uid(10), start + at, &bytes, false).unwrap();
                            content[at as usize..][..4096].copy_from_slice(&bytes);
                            longest = longest.max(engine.pressure().unwrap().log_bytes);
                        }
                        (content, longest)
                    })
                })
                .collect();
            for writer in writers {
                let (content, longest) = writer.join().unwrap();
                // Beyond the limit: the segment that was begun, the one that was ready, and one for each writer at most.
                assert!(longest > LIMIT / 4 && longest <= LIMIT + 6 * SEGMENT, "{longest}");
                contents.extend(content);
            }
        });
        let mut read = vec![0; contents.len()];
        engine.read_disk(&uid(10), 0, &mut read).unwrap();
        assert!(read == contents);
        engine.close();
        engine.settle_logs(&no_control()).unwrap();
        assert!(engine.pressure().unwrap().log_bytes <= 3 * SEGMENT);
    }
}
