//! What do layers cost a write and a read, in nanoseconds of one thread, and in bytes of memory an extent?
//!
//! Expected: an insert of 4 KiB into a map of a million extents is one descent through a tree of some 20,000 leaves (three or
//! four cache misses) and a move of about 1 KiB: 200 to 400 ns. A look-up is a descent: 150 to 300 ns a layer. A cut exchanges
//! pointers: below 1 µs, whatever the layer has. An extent takes 40 bytes, and about a third more where writes are random.
//!
//! `cargo bench -p stillpoint-engine --bench layers`: medians of rounds of 10,000 operations, and the slowest round.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::sync::Arc;

use stillpoint_engine::cut::{ExtentContent, ExtentMap, Layer, Stack, Touch, resolve};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, Uid};
use stillpoint_engine::write_log::{CutBody, Place};

const EXTENTS: u64 = 1_000_000;
const BLOCK: u64 = 4096;
const BLOCKS: u64 = (1 << 40) / BLOCK; // of a disk of 1 TiB
const ROUND: u64 = 10_000;
const CHUNK: u64 = 64 << 10;

/// Nanoseconds that this thread has run: other load on the machine counts as cache misses only.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> u128 {
    let statistics = std::fs::read("/proc/thread-self/schedstat").unwrap();
    let text = String::from_utf8(statistics).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Prints median and maximum of rounds, for one operation.
fn report(name: &str, rounds: u64, mut operation: impl FnMut()) {
    let mut each: Vec<u128> = (0..rounds)
        .map(|_| {
            let started = now();
            (0..ROUND).for_each(|_| operation());
            (now() - started) / u128::from(ROUND)
        })
        .collect();
    each.sort_unstable();
    println!("{name:<48} {:>6} ns   slowest round {:>6} ns", each[each.len() / 2], each[each.len() - 1]);
}

fn data(lsn: u64) -> ExtentContent {
    ExtentContent::Data { place: Place { segment: lsn >> 14, position: 8, payload_bytes: BLOCK as u32 }, skip: 0 }
}

fn range(block: u64) -> std::ops::Range<u64> {
    block * BLOCK..(block + 1) * BLOCK
}

fn random_map(random: &mut Seeded, extents: u64) -> ExtentMap {
    let mut map = ExtentMap::default();
    for lsn in 1..=extents {
        map.insert(range(random.below(BLOCKS)), Lsn(lsn), data(lsn));
    }
    map
}

fn main() {
    let mut random = Seeded::new(1);
    let mut map = random_map(&mut random, EXTENTS);
    println!("{} extents of random writes: {} bytes each", map.len(), map.memory_bytes() / map.len());
    let mut lsn = EXTENTS;
    report("insert, 4 KiB anywhere", 20, || {
        lsn += 1;
        map.insert(range(random.below(BLOCKS)), Lsn(lsn), data(lsn));
    });
    report("look-up, 4 KiB anywhere", 20, || {
        black_box(map.pieces(range(random.below(BLOCKS))).count());
    });
    let starts: Vec<u64> = map.extents().map(|(range, ..)| range.start / BLOCK).collect();
    report("insert over an extent of the same range", 20, || {
        lsn += 1;
        let block = starts[random.below(starts.len() as u64) as usize];
        map.insert(range(block), Lsn(lsn), data(lsn));
    });
    report("insert over two halves of neighbours", 20, || {
        lsn += 1;
        let start = starts[random.below(starts.len() as u64) as usize] * BLOCK + BLOCK / 2;
        map.insert(start..start + BLOCK, Lsn(lsn), data(lsn));
    });

    let mut sequential = ExtentMap::default();
    let mut block = 0;
    report("insert, one 4 KiB after the other", EXTENTS / ROUND, || {
        block += 1;
        sequential.insert(range(block), Lsn(block), data(block));
    });
    println!(
        "{} extents of writes in order: {} bytes each",
        sequential.len(),
        sequential.memory_bytes() / sequential.len()
    );

    let disk_id = Uid([1; 16]);
    let mut stack = Stack::new(Layer::new(Lsn::ZERO, CHUNK), [].into());
    let mut lsn = 0;
    for _ in 0..8 {
        for _ in 0..EXTENTS / 8 {
            lsn += 1;
            stack.active().insert(&disk_id, range(random.below(BLOCKS)), Lsn(lsn), data(lsn));
        }
        lsn += 1;
        let names = (String::from("default"), String::from("point"));
        let body = CutBody {
            point_id: Uid([2; 16]),
            machine_id: disk_id,
            collection: names.0,
            point: names.1,
            detail: vec![],
        };
        let started = now();
        stack.seal(Lsn(lsn), body, CHUNK);
        println!("a cut that seals {} extents: {} ns", EXTENTS / 8, now() - started);
    }
    for _ in 0..EXTENTS {
        lsn += 1;
        let range = range(random.below(BLOCKS));
        stack.active().touch(&disk_id, &range, Touch::Writes, |_| Ok(())).unwrap();
        stack.active().insert(&disk_id, range, Lsn(lsn), data(lsn));
    }
    report("a write's part in a layer of a million: debt, insert", 20, || {
        lsn += 1;
        let range = range(random.below(BLOCKS));
        stack.active().touch(&disk_id, &range, Touch::Writes, |_| Ok(())).unwrap();
        stack.active().insert(&disk_id, range, Lsn(lsn), data(lsn));
    });
    report("a read's part, through 9 layers to the base", 20, || {
        black_box(resolve(stack.newest_first(), None, &disk_id, range(random.below(BLOCKS))).below.len());
    });
    let sealed: Vec<Arc<Layer>> = stack.sealed().iter().take(2).cloned().collect();
    let started = now();
    black_box(Layer::merged(&sealed[0], &sealed[1]).extent_count());
    println!("merging two layers of {} extents: {} ms", EXTENTS / 8, (now() - started) / 1_000_000);
}
