//! Law: folding a layer gives the disk with the layer on it, whatever the steps and wherever it was stopped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layered;
mod simulation;

use std::cell::Cell;
use std::sync::Arc;

use layered::{CHUNK, Layer, Model, SECTOR, SIZE_MAX, bytes_of, empty, fold, open, region};
use simulation::content::random_bytes;
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::background_copy::{Checkpoint, CopyLoad, Fold, Folded, Pace, Progress, ROOM_PARTS};
use stillpoint_engine::block_map::{DiskVersion, LayerContent, LayerRange, LayerSource, MapReader};
use stillpoint_engine::chunk_store::writer::Writer;
use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::control::Control;
use stillpoint_engine::error::{Code, Kind, Result};
use stillpoint_engine::format::node::{Entry, Root};
use stillpoint_engine::format::{Codec, PackKind};
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::limits::DISK_BYTES_MAX;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::restore::read_range;

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
        let (store, files) = (Arc::clone(&maps), memory.files());
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
            assert_eq!(memory.files(), files, "nothing of it is left");
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

#[test]
fn a_fold_makes_the_disk_with_the_layer_on_it_whatever_its_steps() {
    over_seeds("engine-folds", sized(150, 20_000), |seed, counts| {
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

#[test]
fn a_chunk_that_was_the_last_and_short_is_a_base_only_as_it_is() {
    let memory = region();
    let maps = open(&memory);
    let mut layer = Layer::new(CHUNK + 9 * SECTOR);
    layer.write(0, &random_bytes(1, CHUNK + 9 * SECTOR));
    let short = fold(&maps, empty(), &Arc::new(layer)).unwrap().version;
    let grown = fold(&maps, short, &Arc::new(Layer::new(3 * CHUNK))).unwrap().version;
    assert_eq!(maps.chunk_id(&grown, 1).unwrap(), maps.chunk_id(&short, 1).unwrap(), "growing rewrites nothing");
    let mut layer = Layer::new(3 * CHUNK);
    layer.write(CHUNK + 2 * SECTOR, &random_bytes(2, SECTOR)); // what stood there is read with the zeros behind it
    let after = fold(&maps, grown, &Arc::new(layer)).unwrap().version;
    let id = maps.chunk_id(&after, 1).unwrap().unwrap();
    assert_eq!(maps.store().locate(&id).unwrap()[0].base, maps.chunk_id(&short, 1).unwrap());
    let mut expected = random_bytes(1, CHUNK + 9 * SECTOR);
    expected[CHUNK + 2 * SECTOR..CHUNK + 3 * SECTOR].copy_from_slice(&random_bytes(2, SECTOR));
    expected.resize(3 * CHUNK, 0);
    assert_eq!(bytes_of(&maps, &after), expected);
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
    let load = CopyLoad::new(Some(8 * CHUNK as u64), 0);
    let mut pace = Pace::new(&clock, &control, &load, &|| false);
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
    let (control, load) = (Control::default(), CopyLoad::default());
    let mut pace = Pace::new(&clock, &control, &load, &|| false);
    assert!(!fold.run(u64::MAX, &mut writer, &mut pace).unwrap(), "who goes on comes to the end");
    assert!((clock.now_ns() as f64 / 1e9 - seconds).abs() < 0.001, "without a rate nothing is waited for");
    let folded = fold.finish(&mut writer).unwrap();
    writer.commit().unwrap();
    assert_eq!(bytes_of(&maps, &folded.version), layer.bytes);
}

/// How long one step of no length waits, in milliseconds.
fn waited(clock: &ManualClock, pace: &mut Pace<'_>, bytes: u64) -> f64 {
    let before = clock.now_ns();
    pace.worked(bytes).unwrap();
    (clock.now_ns() - before) as f64 / 1e6
}

#[test]
fn a_copy_makes_room_while_requests_come_and_takes_a_quarter_of_the_time_at_least() {
    let (clock, control, load) = (ManualClock::new(0), Control::default(), CopyLoad::default());
    let mut pace = Pace::new(&clock, &control, &load, &|| false);
    assert_eq!(waited(&clock, &mut pace, 1), 0.0, "nobody asks for anything");
    let request = load.request();
    clock.advance_ns(2_000_000);
    assert_eq!(waited(&clock, &mut pace, 1), 2.0 * ROOM_PARTS as f64, "a request waits for something all the while");
    clock.advance_ns(2_000_000);
    drop(request);
    assert_eq!(waited(&clock, &mut pace, 1), 0.0, "it has ended, and none came since the last look");
    drop(load.request());
    clock.advance_ns(2_000_000);
    let moment = waited(&clock, &mut pace, 1);
    assert!(moment > 0.0 && moment < 1.0, "{moment} ms for a moment in which none comes");
}

#[test]
fn a_copy_that_is_pressed_or_waited_for_neither_makes_room_nor_keeps_to_its_rate() {
    let (clock, control, load) = (ManualClock::new(0), Control::default(), CopyLoad::new(Some(1000), 0));
    let _request = load.request();
    let is_pressed = Cell::new(false);
    let ask = || is_pressed.get();
    let mut pace = Pace::new(&clock, &control, &load, &ask);
    assert_eq!(waited(&clock, &mut pace, 500), 500.0);
    is_pressed.set(true);
    assert_eq!(waited(&clock, &mut pace, 500), 0.0);
    is_pressed.set(false);
    let hurry = load.hurry();
    assert_eq!(waited(&clock, &mut pace, 500), 0.0);
    drop(hurry);
    assert_eq!(waited(&clock, &mut pace, 0), 1000.0, "what was not waited for is owed");
    control.cancel();
    assert_eq!(pace.worked(500).unwrap_err().code(), Code::Cancelled);
}

#[test]
fn copies_share_one_rate() {
    let (clock, control, load) = (ManualClock::new(0), Control::default(), CopyLoad::new(Some(1000), 0));
    let mut paces = [(); 3].map(|()| Pace::new(&clock, &control, &load, &|| false));
    for _ in 0..10 {
        for pace in &mut paces {
            pace.worked(100).unwrap();
        }
    }
    let seconds = clock.now_ns() as f64 / 1e9;
    assert!((2.9..=3.1).contains(&seconds), "{seconds} s for 3,000 bytes at 1,000 a second");
}
