//! Law: ranges read through the cache of decoded chunks are the disk's bytes, on any number of threads; damage is an error
//! for those who read it, every time, and for nobody else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layered;
mod simulation;

use std::sync::Arc;

use layered::{CHUNK, Layer, Model, SECTOR, empty, fold, open, open_through, region};
use simulation::content::random_bytes;
use simulation::sized;
use stillpoint_engine::block_map::{DiskVersion, VersionReader};
use stillpoint_engine::chunk_store::chunk_cache::ChunkCache;
use stillpoint_engine::error::Kind;
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{FaultIo, FaultPlan};
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::random::Seeded;

/// A few versions of a disk, with deltas, holes and fills, and what each reads as.
fn versions(memory: &MemoryIo, seed: u64) -> Vec<(DiskVersion, Vec<u8>)> {
    let maps = open(memory);
    let mut random = Seeded::new(seed);
    let (mut model, mut version) = (Model::default(), empty());
    (0..3)
        .map(|_| {
            let layer = Layer::draw(&mut random, &model, 100 * CHUNK);
            model = model.with(&layer, &maps);
            version = fold(&maps, version, &Arc::new(layer)).unwrap().version;
            (version, model.bytes.clone())
        })
        .collect()
}

/// A range that may reach past the end, and what it reads as.
fn draw_range(random: &mut Seeded, bytes: &[u8]) -> (u64, Vec<u8>) {
    let offset = random.below(bytes.len() as u64 + 2 * CHUNK as u64);
    let length_max = [64, 4096, CHUNK as u64 * 3, CHUNK as u64 * 90][random.below(4) as usize];
    let length = random.below(length_max) as usize;
    let mut expected: Vec<u8> = bytes.iter().copied().skip(offset as usize).take(length).collect();
    expected.resize(length, 0);
    (offset, expected)
}

/// Four threads read random ranges of random versions through one cache; those that `reads_ahead` names only read ahead.
fn read_by_threads(seed: u64, cache_bytes: u64, reads_ahead: impl Fn(u64) -> bool + Sync) {
    let memory = region();
    let versions = versions(&memory, seed);
    let reader = VersionReader::new(open(&memory), Arc::new(ChunkCache::new(cache_bytes)));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (reader, versions, reads_ahead) = (&reader, &versions, &reads_ahead);
            scope.spawn(move || {
                let mut random = Seeded::new(seed * 100 + thread);
                for _ in 0..60 {
                    let (version, bytes) = &versions[random.below(versions.len() as u64) as usize];
                    let (offset, expected) = draw_range(&mut random, bytes);
                    if reads_ahead(thread) {
                        reader.read_ahead(version, offset, expected.len() as u64).unwrap();
                        continue;
                    }
                    let mut buffer = vec![0xaa; expected.len()];
                    reader.read(version, offset, &mut buffer).unwrap();
                    assert!(buffer == expected, "seed {seed}: {} bytes at {offset}", expected.len());
                }
            });
        }
    });
}

#[test]
fn any_range_is_the_disks_on_any_number_of_threads() {
    for seed in 0..sized(30, 1_000) {
        let cache_bytes = [0, 3 * CHUNK as u64, 20 * CHUNK as u64, 64 << 20][seed as usize % 4];
        read_by_threads(seed, cache_bytes, |_| false);
    }
}

#[test]
fn what_is_in_the_cache_is_not_read_again() {
    let memory = region();
    let mut layer = Layer::new(8 * CHUNK);
    layer.write(0, &random_bytes(1, 8 * CHUNK));
    let bytes = layer.bytes.clone();
    let version = fold(&open(&memory), empty(), &Arc::new(layer)).unwrap().version;
    let io = FaultIo::new(Arc::new(memory.clone()), FaultPlan::none());
    let maps = open_through(Arc::new(io.clone()) as Arc<dyn Io>, &memory).unwrap();
    let reader = VersionReader::new(maps, Arc::new(ChunkCache::new(1 << 20)));
    let read = |offset: usize, length: usize| {
        let before = io.counts().reads;
        let mut buffer = vec![0; length];
        reader.read(&version, offset as u64, &mut buffer).unwrap();
        assert!(buffer == bytes[offset..offset + length]);
        io.counts().reads - before
    };
    assert!(read(3 * CHUNK + 100, SECTOR) > 0);
    assert_eq!(read(3 * CHUNK + 9_000, 4096), 0, "another part of the same chunk");
    assert_eq!(read(3 * CHUNK, CHUNK), 0, "and all of it");
    assert!(read(4 * CHUNK, 2 * CHUNK) > 0);
    assert!(read(4 * CHUNK, 2 * CHUNK) > 0, "whole chunks go past the cache");
    assert!(read(6 * CHUNK - 1, 2) > 0);
    assert_eq!(read(6 * CHUNK - 300, 600), 0);
}

#[test]
fn what_is_read_ahead_is_not_read_again_and_takes_a_part_of_the_cache_only() {
    let memory = region();
    let mut layer = Layer::new(64 * CHUNK);
    layer.write(0, &random_bytes(1, 60 * CHUNK));
    let bytes = layer.bytes.clone();
    let version = fold(&open(&memory), empty(), &Arc::new(layer)).unwrap().version;
    let io = FaultIo::new(Arc::new(memory.clone()), FaultPlan::none());
    let reader = |cache_chunks: usize| {
        let maps = open_through(Arc::new(io.clone()) as Arc<dyn Io>, &memory).unwrap();
        VersionReader::new(maps, Arc::new(ChunkCache::new((cache_chunks * CHUNK) as u64)))
    };
    let reads = |reader: &VersionReader, offset: usize, length: usize| {
        let before = io.counts().reads;
        let mut buffer = vec![0; length];
        reader.read(&version, offset as u64, &mut buffer).unwrap();
        assert!(buffer == bytes[offset..offset + length]);
        io.counts().reads - before
    };
    let ahead = |reader: &VersionReader, offset: usize, length: usize| {
        reader.read_ahead(&version, offset as u64, length as u64).unwrap();
    };
    let large = reader(1000);
    ahead(&large, 10 * CHUNK + 1, 10 * CHUNK);
    assert_eq!(reads(&large, 10 * CHUNK, 11 * CHUNK), 0, "whole chunks and parts");
    assert!(large.is_at_hand(&version, 10 * CHUNK as u64, 11 * CHUNK as u64));
    assert!(reads(&large, 21 * CHUNK, 100) > 0);
    let end = bytes.len();
    ahead(&large, 50 * CHUNK, 200 * CHUNK);
    assert_eq!(reads(&large, 50 * CHUNK, end - 50 * CHUNK), 0, "up to the end, holes included");
    ahead(&large, end, CHUNK);
    let small = reader(40);
    ahead(&small, 0, 60 * CHUNK);
    assert_eq!(reads(&small, 0, 5 * CHUNK), 0);
    assert!(reads(&small, 5 * CHUNK, CHUNK) > 0, "a quarter of 20 chunks that stay whatever comes");
    let none = reader(0);
    let before = io.counts().reads;
    ahead(&none, 0, 60 * CHUNK);
    assert_eq!(io.counts().reads, before, "there is nowhere to keep it");
    assert!(reads(&none, 0, CHUNK) > 0);
}

#[test]
fn readers_beside_others_that_read_ahead_get_the_disks_bytes() {
    for seed in 0..sized(10, 300) {
        let cache_bytes = [16 * CHUNK as u64, 64 << 20][seed as usize % 2];
        read_by_threads(seed, cache_bytes, |thread| thread % 2 == 0);
    }
}

#[test]
fn damage_is_an_error_for_those_who_read_it_every_time_and_for_nobody_else() {
    let memory = region();
    let mut layer = Layer::new(16 * CHUNK);
    layer.write(0, &random_bytes(1, 16 * CHUNK));
    let bytes = layer.bytes.clone();
    let maps = open(&memory);
    let version = fold(&maps, empty(), &Arc::new(layer)).unwrap().version;
    let damaged = maps.chunk_id(&version, 5).unwrap().unwrap();
    let location = maps.store().locate(&damaged).unwrap()[0];
    let path = maps.store().packs().path(&maps.store().packs().get(location.pack).unwrap());
    memory.corrupt(&path, u64::from(location.offset) + 500, &[0xaa; 64]).unwrap();
    let reader = VersionReader::new(open(&memory), Arc::new(ChunkCache::new(1 << 20)));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (reader, bytes) = (&reader, &bytes);
            scope.spawn(move || {
                let mut random = Seeded::new(thread);
                for _ in 0..200 {
                    let (offset, expected) = draw_range(&mut random, bytes);
                    let touched = offset as usize..offset as usize + expected.len();
                    let is_damaged = touched.start < 6 * CHUNK && touched.end > 5 * CHUNK && !touched.is_empty();
                    let mut buffer = vec![0; expected.len()];
                    match reader.read(&version, offset, &mut buffer) {
                        Ok(()) => assert!(!is_damaged && buffer == expected, "{touched:?}"),
                        Err(error) => assert!(is_damaged && error.kind() == Kind::FixData, "{touched:?}: {error}"),
                    }
                }
            });
        }
    });
}
