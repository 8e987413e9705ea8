//! Law: folding a layer gives the disk with the layer on it, whatever the steps and wherever it was stopped; until then the
//! layer's overlay reads, differs and restores as the folded disk does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layered;
mod simulation;

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use layered::{CHUNK, Layer, Model, SECTOR, empty, open, open_through, region};
use simulation::content::random_bytes;
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::background_copy::{Checkpoint, Fold, Folded, Pace, Progress};
use stillpoint_engine::block_map::{DiskVersion, LayerContent, LayerRange, LayerSource, MapReader, Overlay};
use stillpoint_engine::chunk_store::Batch;
use stillpoint_engine::chunk_store::writer::Writer;
use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::control::Control;
use stillpoint_engine::diff::{DiffCursor, Extent};
use stillpoint_engine::error::{Code, Kind, Result};
use stillpoint_engine::format::node::{Entry, Root};
use stillpoint_engine::format::{Codec, PackKind};
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::limits::DISK_BYTES_MAX;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::restore::{Restorer, TargetRequest, read_range};

const SIZE_MAX: usize = 80 * CHUNK;

/// Folds all at once.
fn fold(maps: &Arc<MapReader>, base: DiskVersion, layer: &Arc<Layer>) -> Result<Folded> {
    let source = Arc::clone(layer) as Arc<dyn LayerSource>;
    let mut fold = Fold::new(Arc::clone(maps), base, layer.size as u64, source, None)?;
    let mut writer = Writer::new(maps.store());
    while fold.step(1 << 20, &mut writer)?.is_some() {}
    let folded = fold.finish(&mut writer)?;
    writer.commit()?;
    Ok(folded)
}

/// Folds in steps of any size, with commits in between, and new folds and readers from checkpoints.
fn fold_in_parts(
    memory: &MemoryIo,
    base: DiskVersion,
    layer: &Arc<Layer>,
    random: &mut Seeded,
    mut at_checkpoint: impl FnMut(&Arc<MapReader>, &Checkpoint),
) -> Folded {
    let mut maps = open(memory);
    let size = layer.size as u64;
    let source = Arc::clone(layer) as Arc<dyn LayerSource>;
    let mut fold = Fold::new(Arc::clone(&maps), base, size, Arc::clone(&source), None).unwrap();
    let mut progress = fold.progress();
    loop {
        let store = Arc::clone(&maps);
        let mut writer = Writer::new(store.store());
        let checkpoint = loop {
            let budget = random.below(6 * CHUNK as u64);
            match fold.step(budget, &mut writer).unwrap() {
                None => {
                    assert_eq!(fold.progress().done_bytes, fold.progress().total_bytes);
                    let folded = fold.finish(&mut writer).unwrap();
                    writer.commit().unwrap();
                    return folded;
                }
                Some(worked) => assert!(worked <= budget.max(CHUNK as u64), "{worked} in a step of {budget}"),
            }
            assert!(fold.progress().done_bytes >= progress.done_bytes);
            progress = fold.progress();
            if random.one_in(4) {
                break fold.checkpoint(&mut writer).unwrap();
            }
        };
        if random.one_in(4) {
            drop(writer); // what it had is gone, and the fold with it
            fold = Fold::new(Arc::clone(&maps), base, size, Arc::clone(&source), None).unwrap();
            progress = fold.progress();
            continue;
        }
        writer.commit().unwrap();
        at_checkpoint(&maps, &checkpoint);
        if random.one_in(2) {
            maps = open(memory);
            fold = Fold::new(Arc::clone(&maps), base, size, Arc::clone(&source), Some(checkpoint)).unwrap();
            assert_eq!(fold.progress(), progress, "another fold goes on where the first was");
        }
    }
}

fn bytes_of(maps: &MapReader, version: &DiskVersion) -> Vec<u8> {
    read_range(maps, version, 0, version.size).unwrap()
}

#[test]
fn a_fold_makes_the_disk_with_the_layer_on_it_whatever_its_steps() {
    over_seeds("engine-folds", sized(250, 20_000), |seed, counts| {
        let memory = region();
        let mut random = Seeded::new(seed);
        let (mut model, mut version) = (Model::default(), empty());
        for _ in 0..3 {
            let layer = Arc::new(Layer::draw(&mut random, &model, SIZE_MAX));
            let maps = open(&memory);
            let expected = model.with(&layer, &maps);
            let folded = fold_in_parts(&memory, version, &layer, &mut random, |maps, checkpoint| {
                // What is done is there, what is not is as before.
                let size = layer.size as u64;
                let done = ((checkpoint.next_chunk as usize) * CHUNK).min(layer.size);
                let mut so_far = model.bytes.clone();
                so_far.resize(layer.size, 0);
                so_far[..done].copy_from_slice(&expected.bytes[..done]);
                let version = DiskVersion { root: checkpoint.root, size };
                assert_eq!(bytes_of(maps, &version), so_far, "seed {seed}: {checkpoint:?}");
                count(counts, "checkpoints", 1);
            });
            let maps = open(&memory);
            assert_eq!(folded.version, expected.version(&maps), "seed {seed}");
            assert_eq!(bytes_of(&maps, &folded.version), expected.bytes, "seed {seed}");
            (model, version) = (expected, folded.version);
            count(counts, "folds", 1);
        }
    });
}

#[test]
fn the_counts_say_what_became_of_the_chunks() {
    let memory = region();
    let maps = open(&memory);
    let mut layer = Layer::new(100 * CHUNK);
    layer.write(0, &random_bytes(1, 3 * CHUNK));
    layer.write(10 * CHUNK, &random_bytes(1, CHUNK)); // the first one again
    layer.write(20 * CHUNK, &[7; 2 * CHUNK]);
    layer.clear(30 * CHUNK, 40 * CHUNK, LayerContent::Hole);
    let first = fold(&maps, empty(), &Arc::new(layer)).unwrap();
    let counts = first.chunks;
    assert_eq!((counts.stored, counts.known, counts.fill, counts.hole, counts.unchanged), (3, 1, 2, 40, 0));
    assert_eq!((first.bytes_new, first.bytes_read), (3 * CHUNK as u64, 6 * CHUNK as u64));

    let mut layer = Layer::new(100 * CHUNK);
    layer.write(CHUNK, &random_bytes(1, 2 * CHUNK)[CHUNK..]); // as it is
    layer.write(2 * CHUNK, &[1; SECTOR]);
    let second = fold(&maps, first.version, &Arc::new(layer)).unwrap();
    assert_eq!((second.chunks.stored, second.chunks.unchanged), (1, 1));
    assert_eq!((second.bytes_new, second.bytes_read), (CHUNK as u64, 2 * CHUNK as u64 + SECTOR as u64));
    let id = maps.chunk_id(&second.version, 2).unwrap().unwrap();
    let location = maps.store().locate(&id).unwrap()[0];
    assert_eq!(location.codec, Codec::ZstdDelta, "it stands on what stood there");
    assert_eq!(location.base, maps.chunk_id(&first.version, 2).unwrap());
    assert!(second.bytes_stored < 10_000, "{} bytes for one sector", second.bytes_stored);

    let nothing = fold(&maps, second.version, &Arc::new(Layer::new(100 * CHUNK))).unwrap();
    assert_eq!((nothing.version, nothing.bytes_stored), (second.version, 0));
}

/// A layer that trims and zeroes all of a disk as large as they get, but for a few chunks.
struct Vast;

impl LayerSource for Vast {
    fn ranges(&self, from: u64, count_max: usize) -> Result<Vec<LayerRange>> {
        let middle = DISK_BYTES_MAX / 2 + 3 * CHUNK as u64;
        let ranges = [
            LayerRange { offset: 512, length: middle - 512, content: LayerContent::Hole },
            LayerRange { offset: middle, length: 1024, content: LayerContent::Data },
            LayerRange { offset: middle + 1024, length: DISK_BYTES_MAX - middle - 1024, content: LayerContent::Zero },
        ];
        Ok(ranges.into_iter().filter(|range| range.end() > from).take(count_max).collect())
    }

    fn read(&self, _: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(5);
        Ok(())
    }
}

#[test]
fn a_trim_of_terabytes_takes_a_few_steps() {
    let memory = region();
    let maps = open(&memory);
    let base = DiskVersion { root: Root::empty(1 << 30, CHUNK as u32), size: 1 << 30 };
    let mut fold = Fold::new(Arc::clone(&maps), base, DISK_BYTES_MAX, Arc::new(Vast), None).unwrap();
    let mut writer = Writer::new(maps.store());
    let mut step_count = 0;
    while fold.step(CHUNK as u64, &mut writer).unwrap().is_some() {
        step_count += 1;
    }
    let folded = fold.finish(&mut writer).unwrap();
    writer.commit().unwrap();
    assert_eq!(step_count, 4, "a chunk, a run, a chunk, a run");
    let middle = DISK_BYTES_MAX / 2 + 3 * CHUNK as u64;
    let entries = [0, 1, middle / CHUNK as u64 - 1, middle / CHUNK as u64 + 1, DISK_BYTES_MAX / CHUNK as u64 - 1];
    let found = maps.entries(&folded.version, &entries).unwrap();
    assert_eq!(found, [Entry::Hole, Entry::Hole, Entry::Hole, Entry::Fill(0), Entry::Fill(0)]);
    assert_eq!(read_range(&maps, &folded.version, middle, 1025).unwrap(), [vec![5; 1024], vec![0]].concat());
}

#[test]
fn old_bytes_that_do_not_show_need_not_be_readable() {
    let memory = region();
    let maps = open(&memory);
    let mut layer = Layer::new(8 * CHUNK);
    layer.write(0, &random_bytes(1, 8 * CHUNK));
    let base = fold(&maps, empty(), &Arc::new(layer)).unwrap().version;
    for path in memory.files() {
        if path.extension().is_some_and(|extension| extension == PackKind::Chunks.extension()) {
            let length = memory.read_file(&path).unwrap().len();
            memory.corrupt(&path, 0, &vec![0xaa; length]).unwrap();
        }
    }
    let maps = open(&memory);
    let mut whole = Layer::new(8 * CHUNK);
    whole.write(2 * CHUNK, &random_bytes(2, 2 * CHUNK));
    whole.clear(5 * CHUNK, CHUNK, LayerContent::Hole);
    let folded = fold(&maps, base, &Arc::new(whole)).unwrap();
    assert_eq!(folded.chunks.stored, 2);
    let read = read_range(&maps, &folded.version, 2 * CHUNK as u64, 2 * CHUNK as u64).unwrap();
    assert_eq!(read, random_bytes(2, 2 * CHUNK));

    let mut part = Layer::new(8 * CHUNK);
    part.write(CHUNK, &[1; SECTOR]);
    let error = fold(&maps, folded.version, &Arc::new(part)).unwrap_err();
    assert_eq!(error.kind(), Kind::FixData, "{error}");
}

#[test]
fn a_fold_keeps_to_its_rate_and_stops_between_two_steps() {
    let memory = region();
    let maps = open(&memory);
    let mut layer = Layer::new(64 * CHUNK);
    layer.write(0, &random_bytes(1, 64 * CHUNK));
    let layer = Arc::new(layer);
    let (clock, control) = (ManualClock::new(0), Control::default());
    let mut pace = Pace::new(&clock, &control);
    pace.set_rate(Some(8 * CHUNK as u64));
    pace.set_step_bytes(2 * CHUNK as u64);
    let source = Arc::clone(&layer) as Arc<dyn LayerSource>;
    let mut fold = Fold::new(Arc::clone(&maps), empty(), layer.size as u64, source, None).unwrap();
    let mut writer = Writer::new(maps.store());
    assert!(fold.run(40 * CHUNK as u64, &mut writer, &mut pace).unwrap());
    let seconds = clock.now_ns() as f64 / 1e9;
    assert!((4.8..5.2).contains(&seconds), "{seconds} s for 40 chunks at 8 a second");
    assert_eq!(control.done_bytes(), 40 * CHUNK as u64);

    control.cancel();
    assert_eq!(fold.run(u64::MAX, &mut writer, &mut pace).unwrap_err().code(), Code::Cancelled);
    let whole = 64 * CHUNK as u64;
    assert_eq!(fold.progress(), Progress { done_bytes: 40 * CHUNK as u64, total_bytes: whole });
    let control = Control::default();
    let mut pace = Pace::new(&clock, &control);
    assert!(!fold.run(u64::MAX, &mut writer, &mut pace).unwrap(), "who goes on comes to the end");
    assert!((clock.now_ns() as f64 / 1e9 - seconds).abs() < 0.001, "without a rate nothing is waited for");
    let folded = fold.finish(&mut writer).unwrap();
    writer.commit().unwrap();
    assert_eq!(bytes_of(&maps, &folded.version), layer.bytes);
}

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
        Err(stillpoint_engine::error::Error::new(Code::ChunkDamaged, "the log is damaged here"))
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

// ---- Crashes and faults. The engine's top commits; what is here does it as that has to.

const CURSOR: &str = "/region/cursor";

/// What a superblock would say: how far the fold is, durably.
fn put_cursor(io: &dyn Io, checkpoint: &Checkpoint, is_done: bool) -> Result<()> {
    let Entry::Id(id) = checkpoint.root.entry else { panic!("the disks of these tests have nodes") };
    let mut bytes = id.0.to_vec();
    bytes.push(checkpoint.root.height);
    bytes.push(u8::from(is_done));
    bytes.extend_from_slice(&checkpoint.next_chunk.to_le_bytes());
    let temporary = Path::new("/region/cursor.tmp");
    match io.remove_file(temporary) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    let file = io.open(temporary, OpenMode::CreateNew)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    io.rename_replace(temporary, Path::new(CURSOR))?;
    io.sync_directory(Path::new("/region"))
}

fn cursor(memory: &MemoryIo) -> Option<(Checkpoint, bool)> {
    let bytes = memory.read_file(CURSOR)?;
    let id = stillpoint_engine::units::ContentId(bytes[..32].try_into().unwrap());
    let root = Root { entry: Entry::Id(id), height: bytes[32] };
    Some((Checkpoint { root, next_chunk: u64::from_le_bytes(bytes[34..].try_into().unwrap()) }, bytes[33] == 1))
}

/// Folds from where the cursor says to the end, with a commit every few chunks.
/// `acknowledged` is the cursor that was durable last.
fn copy(
    io: &Arc<dyn Io>,
    memory: &MemoryIo,
    base: DiskVersion,
    layer: &Arc<Layer>,
    acknowledged: &Cell<Option<Checkpoint>>,
) -> Result<Root> {
    // As the engine's opening does: no unfinished files, and all names durable before anything is built on them.
    for directory in ["/region/packs", "/region/index", "/region"] {
        let directory = Path::new(directory);
        for entry in io.list_directory(directory)? {
            if entry.name.ends_with(".tmp") {
                io.remove_file(&directory.join(entry.name))?;
            }
        }
        io.sync_directory(directory)?;
    }
    let maps = open_through(Arc::clone(io), memory)?;
    maps.store().index().remove_retired()?;
    let from = match cursor(memory) {
        Some((checkpoint, true)) => return Ok(checkpoint.root),
        Some((checkpoint, false)) => Some(checkpoint),
        None => None,
    };
    let source = Arc::clone(layer) as Arc<dyn LayerSource>;
    let mut fold = Fold::new(Arc::clone(&maps), base, layer.size as u64, source, from)?;
    let (clock, control) = (ManualClock::new(0), Control::default());
    let mut pace = Pace::new(&clock, &control);
    pace.set_step_bytes(2 * CHUNK as u64);
    loop {
        let mut writer = Writer::new(maps.store());
        if fold.run(6 * CHUNK as u64, &mut writer, &mut pace)? {
            let checkpoint = fold.checkpoint(&mut writer)?;
            writer.commit()?;
            put_cursor(io.as_ref(), &checkpoint, false)?;
            acknowledged.set(Some(checkpoint));
        } else {
            let root = fold.finish(&mut writer)?.version.root;
            writer.commit()?;
            put_cursor(io.as_ref(), &Checkpoint { root, next_chunk: u64::MAX }, true)?;
            return Ok(root);
        }
    }
}

/// A disk of 70 chunks with a layer that touches some twenty of them, and what comes of it.
struct Scene {
    memory: MemoryIo,
    base: DiskVersion,
    before: Vec<u8>,
    layer: Arc<Layer>,
    after: DiskVersion,
    expected: Model,
}

fn scene(seed: u64) -> Scene {
    let memory = region();
    let maps = open(&memory);
    let mut first = Layer::new(70 * CHUNK);
    first.write(0, &random_bytes(seed, 30 * CHUNK));
    first.write(40 * CHUNK, &random_bytes(seed + 1, 10 * CHUNK));
    let first = Arc::new(first);
    let base = fold(&maps, empty(), &first).unwrap().version;
    let model = Model::default().with(&first, &maps);
    let mut layer = Layer::new(80 * CHUNK);
    for number in 0..10 {
        layer.write(number * 3 * CHUNK + 4096, &random_bytes(seed + number as u64, 4096)); // becomes a delta
    }
    layer.write(50 * CHUNK, &random_bytes(seed + 20, 6 * CHUNK));
    layer.clear(40 * CHUNK, 5 * CHUNK, LayerContent::Hole);
    layer.clear(66 * CHUNK, 2 * CHUNK, LayerContent::Zero);
    layer.write(78 * CHUNK, &random_bytes(seed + 21, CHUNK));
    let expected = model.with(&layer, &maps);
    let after = expected.version(&maps);
    let loose = memory.crash(CrashChoice::LoseUnsynced);
    Scene { memory: loose, base, before: model.bytes, layer: Arc::new(layer), after, expected }
}

impl Scene {
    /// What was there is there; the cursor's map is whole; the copy goes on and ends as it has to, also after another
    /// power cut.
    fn check(&self, state: &MemoryIo, acknowledged: Option<Checkpoint>) {
        let maps = open(state);
        assert!(maps.store().anomalies().is_empty(), "{:?}", maps.store().anomalies());
        assert_eq!(bytes_of(&maps, &self.base), self.before);
        let found = cursor(state);
        if let Some(acknowledged) = acknowledged {
            let (found, _) = found.expect("a cursor that was acknowledged is there");
            assert!(found.next_chunk >= acknowledged.next_chunk, "the copy goes on from where it was");
        }
        if let Some((checkpoint, _)) = found {
            let done = usize::try_from(checkpoint.next_chunk).unwrap().saturating_mul(CHUNK).min(self.layer.size);
            let mut so_far = self.before.clone();
            so_far.resize(self.layer.size, 0);
            so_far[..done].copy_from_slice(&self.expected.bytes[..done]);
            let version = DiskVersion { root: checkpoint.root, size: self.layer.size as u64 };
            assert_eq!(bytes_of(&maps, &version), so_far, "{checkpoint:?}");
        }
        drop(maps);
        let io: Arc<dyn Io> = Arc::new(state.clone());
        let root = copy(&io, state, self.base, &self.layer, &Cell::default()).unwrap();
        assert_eq!(root, self.after.root);
        let later = state.crash(CrashChoice::LoseUnsynced);
        let maps = open(&later);
        assert_eq!(cursor(&later).map(|(checkpoint, is_done)| (checkpoint.root, is_done)), Some((root, true)));
        assert_eq!(bytes_of(&maps, &self.after), self.expected.bytes);
        assert_eq!(bytes_of(&maps, &self.base), self.before);
    }
}

#[test]
fn a_crash_at_any_call_of_a_copy_loses_nothing_and_the_copy_goes_on() {
    let mut states = HashSet::new();
    over_seeds("engine-copy-crashes", sized(1, 40), |seed, counts| {
        let scene = scene(seed * 100);
        let whole = scene.memory.crash(CrashChoice::ProcessKilled);
        let io = FaultIo::over_memory(&whole, FaultPlan::none());
        copy(&(Arc::new(io.clone()) as Arc<dyn Io>), &whole, scene.base, &scene.layer, &Cell::default()).unwrap();
        let calls = io.counts().calls;
        scene.check(&whole, None);
        for call in 0..calls {
            for torn in [None, Some(seed.wrapping_mul(1_000) + call)] {
                let memory = scene.memory.crash(CrashChoice::ProcessKilled);
                let faulty = FaultIo::over_memory(&memory, FaultPlan::one(Fault::Crash { call, torn }));
                let io: Arc<dyn Io> = Arc::new(faulty.clone());
                let acknowledged = Cell::default();
                let outcome = copy(&io, &memory, scene.base, &scene.layer, &acknowledged);
                assert!(faulty.has_crashed(), "call {call}: {outcome:?}");
                let drawn = (0..sized(1, 5)).map(|number| CrashChoice::Seeded(call * 100 + number));
                let choices = [CrashChoice::LoseUnsynced, CrashChoice::KeepAll, CrashChoice::ProcessKilled];
                for choice in choices.into_iter().chain(drawn) {
                    let state = memory.crash(choice);
                    if states.insert(state.digest()) || state.unsynced_count() > 0 {
                        scene.check(&state, acknowledged.get());
                        count(counts, "crash states", 1);
                    }
                }
            }
        }
        count(counts, "cuts", calls * 2);
    });
}

#[test]
fn a_call_that_fails_ends_the_copy_and_leaves_nothing_of_it_behind() {
    let scene = scene(7);
    let calls = {
        let memory = scene.memory.crash(CrashChoice::ProcessKilled);
        let faulty = FaultIo::over_memory(&memory, FaultPlan::none());
        let io: Arc<dyn Io> = Arc::new(faulty.clone());
        copy(&io, &memory, scene.base, &scene.layer, &Cell::default()).unwrap();
        faulty.counts().calls
    };
    for call in (0..calls).step_by(sized(3, 1) as usize) {
        for (failure, lasting) in [
            (Failure::Device, Lasting::Once),
            (Failure::NoSpace, Lasting::Once),
            (Failure::NoSpace, Lasting::Sticky),
            (Failure::Device, Lasting::Sticky),
        ] {
            let memory = scene.memory.crash(CrashChoice::ProcessKilled);
            let fault = Fault::FailCall { call, failure, lasting };
            let faulty = FaultIo::over_memory(&memory, FaultPlan::one(fault));
            let io: Arc<dyn Io> = Arc::new(faulty);
            let acknowledged = Cell::default();
            if let Ok(root) = copy(&io, &memory, scene.base, &scene.layer, &acknowledged) {
                assert_eq!(root, scene.after.root, "a failure that was nobody's concern");
            }
            scene.check(&memory, acknowledged.get());
        }
    }
}
