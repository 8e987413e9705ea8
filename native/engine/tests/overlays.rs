//! Law: until a layer is copied, its point reads, differs and restores by its overlay as it does afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layered;
mod simulation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use layered::{CHUNK, Layer, Model, SIZE_MAX, bytes_of, empty, fold, open, region};
use simulation::content::random_bytes;
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::background_copy::Fold;
use stillpoint_engine::block_map::{DiskVersion, LayerRange, LayerSource, MapReader, Overlay, VersionReader};
use stillpoint_engine::chunk_store::Batch;
use stillpoint_engine::chunk_store::chunk_cache::ChunkCache;
use stillpoint_engine::chunk_store::writer::Writer;
use stillpoint_engine::control::Control;
use stillpoint_engine::diff::{DiffCursor, Extent};
use stillpoint_engine::error::{Code, Error, Result};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::restore::{Restorer, TargetRequest, read_range};

fn extents(maps: &Arc<MapReader>, before: DiskVersion, after: DiskVersion, granularity: Option<u64>) -> Vec<Extent> {
    let mut cursor = DiffCursor::new(Arc::clone(maps), before, after, granularity);
    let mut extents = Vec::new();
    loop {
        let page = cursor.next_page(7, &Control::default()).unwrap();
        if page.is_empty() {
            return extents;
        }
        extents.extend(page);
    }
}

fn restored(maps: &MapReader, version: DiskVersion, thread_count: usize) -> Vec<u8> {
    let memory = MemoryIo::new();
    let io: Arc<dyn Io> = Arc::new(memory.clone());
    let random = Mutex::new(Seeded::new(1));
    let restorer = Restorer { io: &io, random: &random, maps, thread_count };
    let request = TargetRequest { path: "/target".into(), overwrite: false, sync: false };
    restorer.restore(version, &request, &Control::default()).unwrap();
    memory.read_file("/target").unwrap()
}

#[test]
fn a_point_reads_differs_and_restores_before_its_copy_as_after() {
    over_seeds("engine-overlays", sized(120, 10_000), |seed, counts| {
        let memory = region();
        let maps = open(&memory);
        let mut random = Seeded::new(seed);
        let first = Arc::new(Layer::draw(&mut random, &Model::default(), SIZE_MAX));
        let model = Model::default().with(&first, &maps);
        let base = fold(&maps, empty(), &first).unwrap().version;

        // Two layers on each other, neither of them copied.
        let layers: Vec<Arc<Layer>> = {
            let lower = Layer::draw(&mut random, &model, SIZE_MAX);
            let upper = Layer::draw(&mut random, &model.with(&lower, &maps), SIZE_MAX);
            vec![Arc::new(lower), Arc::new(upper)]
        };
        let (mut models, mut points, mut reader) = (vec![model], vec![base], Arc::clone(&maps));
        for layer in &layers {
            models.push(models.last().unwrap().with(layer, &maps));
            let source = Arc::clone(layer) as Arc<dyn LayerSource>;
            let below = *points.last().unwrap();
            let overlay = Overlay::build(Arc::clone(&reader), below, layer.size as u64, source, &Control::default());
            let overlay = Arc::new(overlay.unwrap());
            points.push(overlay.version());
            reader = Arc::new(reader.with_overlay(overlay));
        }
        let granularity = [None, Some(512), Some(4096)][random.below(3) as usize];
        let pairs = [(0, 1), (1, 2), (0, 2), (2, 1), (2, 0), (1, 1)];
        let differ = |reader: &Arc<MapReader>| {
            let pairs = pairs.iter();
            pairs.map(|(from, to)| extents(reader, points[*from], points[*to], granularity)).collect::<Vec<_>>()
        };
        let before = differ(&reader);
        for (point, model) in points.iter().zip(&models) {
            assert_eq!(*point, model.version(&maps), "seed {seed}");
            assert_eq!(bytes_of(&reader, point), model.bytes, "seed {seed}");
            assert_eq!(restored(&reader, *point, 1 + random.below(2) as usize), model.bytes, "seed {seed}");
        }
        let mut below = base;
        for (layer, point) in layers.iter().zip(&points[1..]) {
            let folded = fold(&maps, below, layer).unwrap();
            assert_eq!(folded.version, *point, "seed {seed}: the copy makes what the overlay said");
            below = folded.version;
        }
        assert_eq!(differ(&maps), before, "seed {seed}: the diff of copying points is the one after");
        assert_eq!(differ(&reader), before, "seed {seed}: who still has the overlays sees the same");
        for (point, model) in points.iter().zip(&models) {
            assert_eq!(restored(&maps, *point, 1), model.bytes, "seed {seed}");
        }
        count(counts, "points", 3);
    });
}

#[test]
fn a_copying_point_is_read_on_many_threads_while_its_copy_runs() {
    for seed in 0..sized(4, 100) {
        let memory = region();
        let maps = open(&memory);
        let mut random = Seeded::new(seed);
        let first = Arc::new(Layer::draw(&mut random, &Model::default(), SIZE_MAX));
        let model = Model::default().with(&first, &maps);
        let base = fold(&maps, empty(), &first).unwrap().version;
        let mut layer = Layer::draw(&mut random, &model, SIZE_MAX);
        for chunk in (0..layer.size / CHUNK).step_by(3) {
            layer.write(chunk * CHUNK + 4096, &random_bytes(seed + chunk as u64, 4096));
        }
        let (layer, model) = (Arc::new(layer.clone()), model.with(&layer, &maps));
        let (source, size) = (Arc::clone(&layer) as Arc<dyn LayerSource>, layer.size as u64);
        let overlay = Overlay::build(Arc::clone(&maps), base, size, Arc::clone(&source), &Control::default()).unwrap();
        let point = overlay.version();
        let maps_of_point = Arc::new(maps.with_overlay(Arc::new(overlay)));
        let reader = VersionReader::new(Arc::clone(&maps_of_point), Arc::new(ChunkCache::new(10 * CHUNK as u64)));
        let is_copied = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (reader, model, is_copied) = (&reader, &model, &is_copied);
                scope.spawn(move || {
                    let mut random = Seeded::new(seed * 10 + thread);
                    let mut reads_after = 0;
                    while reads_after < 50 {
                        reads_after += u32::from(is_copied.load(Ordering::Relaxed));
                        let offset = random.below(size);
                        let length = (1 + random.below(5 * CHUNK as u64)).min(size - offset) as usize;
                        let mut buffer = vec![0xaa; length];
                        reader.read(&point, offset, &mut buffer).unwrap();
                        assert!(buffer == model.bytes[offset as usize..offset as usize + length], "seed {seed}");
                    }
                });
            }
            // With a commit after each step, so that what the overlay knows comes into the store meanwhile.
            let mut fold = Fold::new(Arc::clone(&maps), base, size, source, None).unwrap();
            loop {
                let mut writer = Writer::new(maps.store());
                let is_left = fold.step(3 * CHUNK as u64, &mut writer).unwrap().is_some();
                if is_left {
                    writer.commit().unwrap();
                } else {
                    assert_eq!(fold.finish(&mut writer).unwrap().version, point);
                    writer.commit().unwrap();
                    break;
                }
            }
            assert_eq!(restored(&maps_of_point, point, 2), model.bytes);
            is_copied.store(true, Ordering::Relaxed);
        });
        assert_eq!(bytes_of(&maps, &point), model.bytes);
    }
}

/// A layer whose bytes are gone, or wrong, from some moment on.
struct Rotting {
    layer: Layer,
    is_rotten: AtomicBool,
    is_wrong: bool,
}

impl LayerSource for Rotting {
    fn ranges(&self, from: u64, count_max: usize) -> Result<Vec<LayerRange>> {
        self.layer.ranges(from, count_max)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if !self.is_rotten.load(Ordering::Relaxed) {
            return self.layer.read(offset, buffer);
        }
        if self.is_wrong {
            buffer.fill(0xaa);
            return Ok(());
        }
        Err(Error::new(Code::ChunkDamaged, "the log is damaged here"))
    }
}

#[test]
fn bytes_of_a_layer_that_are_not_what_the_map_says_never_leave_it() {
    for is_wrong in [false, true] {
        let memory = region();
        let maps = open(&memory);
        let mut layer = Layer::new(70 * CHUNK);
        layer.write(3 * CHUNK, &random_bytes(1, 5 * CHUNK));
        let expected = layer.bytes.clone();
        let source = Arc::new(Rotting { layer: layer.clone(), is_rotten: AtomicBool::new(false), is_wrong });
        let rotting = Arc::clone(&source) as Arc<dyn LayerSource>;
        let size = layer.size as u64;
        let overlay = Overlay::build(Arc::clone(&maps), empty(), size, rotting, &Control::default()).unwrap();
        let (version, overlay) = (overlay.version(), Arc::new(overlay));
        let reader = Arc::new(maps.with_overlay(Arc::clone(&overlay)));
        assert_eq!(bytes_of(&reader, &version), expected);
        source.is_rotten.store(true, Ordering::Relaxed);
        let error = read_range(&reader, &version, 0, version.size).unwrap_err();
        assert_eq!(error.code(), Code::ChunkDamaged, "{error}");
        assert!(error.to_string().contains(if is_wrong { "other bytes" } else { "damaged here" }), "{error}");
        let id = maps.with_overlay(Arc::clone(&overlay)).chunk_id(&version, 4).unwrap().unwrap();
        assert_eq!(reader.chunk(&id, &mut Batch::default()).unwrap_err().code(), Code::ChunkDamaged);
        let zeros = read_range(&reader, &version, 20 * CHUNK as u64, CHUNK as u64).unwrap();
        assert!(zeros.iter().all(|byte| *byte == 0));
        // Once the copy is done, the store has what the layer lost.
        fold(&maps, empty(), &Arc::new(layer)).unwrap();
        assert_eq!(bytes_of(&reader, &version), expected);
    }
}
