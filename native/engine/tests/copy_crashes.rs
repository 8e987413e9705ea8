//! Law: a copy may be cut off, or fail, at any call. What was there stays, a checkpoint that was noted is whole, and the
//! copy goes on from it to the same end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layered;
mod simulation;

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use layered::{CHUNK, Layer, Model, bytes_of, empty, fold, open, open_through, region};
use simulation::content::random_bytes;
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::background_copy::{Checkpoint, CopyLoad, Fold, Pace};
use stillpoint_engine::block_map::{DiskVersion, LayerContent, LayerSource};
use stillpoint_engine::chunk_store::writer::Writer;
use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::control::Control;
use stillpoint_engine::error::Result;
use stillpoint_engine::format::node::{Entry, Root};
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::units::ContentId;

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
    let id = ContentId(bytes[..32].try_into().unwrap());
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
    let (clock, control, load) = (ManualClock::new(0), Control::default(), CopyLoad::default());
    let mut pace = Pace::new(&clock, &control, &load, &|| false);
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
