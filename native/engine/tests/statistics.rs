//! Law: what the statistics say that deleting frees is what deleting and collecting free, frame by frame, and what a collection
//! saves besides by letting bases go; and they agree with sets made for each point by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use simulation::content::{Content, random_bytes};
use simulation::store::{
    CHUNK, CREATE, OPEN, READ_ONLY, STORE, capture, files_in, image_path, memory_parts, open, uid,
};
use simulation::{seeds, sized};
use stillpoint_engine::block_map::{MapReader, Reached};
use stillpoint_engine::chunk_store::identity::Identity;
use stillpoint_engine::chunk_store::index::IndexLimits;
use stillpoint_engine::chunk_store::{ChunkStore, Parameters};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{Engine, Statistics};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::format::manifest::Manifest;
use stillpoint_engine::format::pack::PackEntry;
use stillpoint_engine::format::{Codec, PackKind};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::reserve::Reserve;
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{ContentId, Uid};

const DISKS: usize = 4;
const MACHINES: u32 = 3;

/// Bytes of a pack that are no frame's and no entry's: header and footer (format.md 4.1, 4.4).
const PACK_FIXED_BYTES: u64 = 64 + 48;

type MachineOf = HashMap<Uid, u32>;

/// A store with a history behind it: disks that share content, points of several machines, deltas, garbage.
fn history(seed: u64, operations: u64) -> (MemoryIo, MachineOf) {
    let memory = MemoryIo::new();
    let mut random = Seeded::new(seed);
    for disk in 0..DISKS {
        // Some maps have two levels, some disks end within a chunk.
        let chunks = 1 + random.below(90) as usize;
        let cut = if random.one_in(2) { 512 } else { 0 };
        let content = Content::draw(&mut random);
        memory.install_file(image_path(disk), &content.bytes(chunks * CHUNK - cut, &[7; CHUNK], &[])).unwrap();
    }
    Engine::create(&memory_parts(&memory, seed), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    let (mut machine_of, mut newest) = (MachineOf::new(), HashMap::new());
    for operation in 0..operations {
        let disk = random.below(DISKS as u64) as usize;
        match random.below(10) {
            0..5 => {
                let mut image = memory.read_file(image_path(disk)).unwrap();
                let other = memory.read_file(image_path(random.below(DISKS as u64) as usize)).unwrap();
                let length = image.len().min(1 + random.below(3 * CHUNK as u64) as usize);
                let at = random.below((image.len() - length + 1) as u64) as usize;
                let at = if random.one_in(2) { at / CHUNK * CHUNK } else { at };
                let bytes = match random.one_in(3) {
                    true if other.len() >= at + length => other[at..at + length].to_vec(),
                    _ => Content::draw(&mut random).bytes(length, &image, &[]),
                };
                image[at..at + length].copy_from_slice(&bytes);
                memory.install_file(image_path(disk), &image).unwrap();
            }
            5..9 => {
                let point = uid(operation);
                let second = (disk + 1) % DISKS;
                let parent = newest.get(&disk).copied().filter(|parent| machine_of.contains_key(parent));
                let disks = if parent.is_none() && random.one_in(2) { vec![disk, second] } else { vec![disk] };
                capture(&engine, point, &disks, parent).unwrap();
                newest.insert(disk, point);
                machine_of.insert(point, random.below(u64::from(MACHINES)) as u32);
            }
            _ => {
                let mut points: Vec<Uid> = machine_of.keys().copied().collect();
                points.sort_unstable();
                if let Some(point) = points.get(random.below(points.len().max(1) as u64) as usize) {
                    engine.remove_point(point).unwrap();
                    machine_of.remove(point);
                }
                if random.one_in(2) {
                    engine.collect(false, &Control::default()).unwrap();
                }
            }
        }
    }
    (memory, machine_of)
}

fn statistics(memory: &MemoryIo, machine_of: &MachineOf) -> Statistics {
    let engine = Engine::open(memory_parts(memory, 77), Path::new(STORE), READ_ONLY).unwrap();
    let before = memory.digest();
    let control = Control::default();
    let statistics = engine.statistics(machine_of, MACHINES, &control).unwrap();
    assert_eq!(memory.digest(), before, "reading only");
    assert_eq!(control.done_bytes(), control.total_bytes());
    let usage = engine.usage().unwrap();
    let fixed = PACK_FIXED_BYTES * usage.pack_count;
    assert_eq!(statistics.stored_bytes + statistics.garbage_bytes + fixed, usage.pack_bytes, "every byte is told of");
    statistics
}

/// The maps of a store, as their reader finds them.
fn maps_of(memory: &MemoryIo) -> (Arc<MapReader>, Vec<Arc<Manifest>>) {
    let engine = Engine::open(memory_parts(memory, 78), Path::new(STORE), READ_ONLY).unwrap();
    let config = engine.config().clone();
    let io: Arc<dyn Io> = Arc::new(memory.clone());
    let parameters = Parameters {
        store_id: config.store_id,
        chunk_bytes: config.chunk_bytes,
        codec: config.codec,
        level: i32::from(config.level),
        identity: Identity::new(&config.identity_key),
        pack_bytes_target: 64 << 10,
        index_limits: IndexLimits::default(),
        reserve: Arc::new(Reserve::new(Arc::clone(&io), Path::new(STORE).join("reserve"), 0)),
        follows: true,
    };
    let random = memory_parts(memory, 79).random;
    let store = ChunkStore::open(io, random, Path::new(STORE).join("home"), parameters).unwrap();
    (Arc::new(MapReader::new(Arc::new(store))), engine.manifests())
}

/// What a set of points needs: nodes, chunks, and the bases of every delta of those chunks.
struct Needed {
    ids: HashSet<ContentId>,
    reached: HashSet<ContentId>,
    bases: HashSet<ContentId>,
}

fn needed<'m>(maps: &MapReader, manifests: impl Iterator<Item = &'m Arc<Manifest>>) -> Needed {
    let mut reached = Reached::default();
    for disk in manifests.flat_map(|manifest| &manifest.disks) {
        reached.add(maps, &disk.root, &Control::default(), Err::<String, Error>).unwrap();
    }
    let locations = reached.chunks.iter().flat_map(|id| maps.store().locate(id).unwrap());
    let bases: HashSet<ContentId> = locations.filter_map(|location| location.base).collect();
    let ids = reached.nodes.iter().chain(&reached.chunks).chain(&bases).copied().collect();
    Needed { ids, reached: reached.chunks, bases }
}

/// Bytes in packs, and plain bytes of reached chunks, of the frames that count for these.
fn bytes_of(maps: &MapReader, needed: &Needed) -> (u64, u64) {
    let (mut stored, mut plain, mut seen) = (0, 0, HashSet::new());
    for (handle, pack) in maps.store().packs().all() {
        for entry in maps.store().pack_entries(handle).unwrap() {
            if !needed.ids.contains(&entry.id) {
                continue;
            }
            let bytes = entry.frame_bytes() + 48 + entry.base.map_or(0, |_| 32);
            if entry.codec == Codec::ZstdDelta && needed.bases.contains(&entry.id) {
                stored += bytes;
            } else if seen.insert(entry.id) {
                stored += bytes;
                if pack.kind == PackKind::Chunks && needed.reached.contains(&entry.id) {
                    plain += u64::from(entry.plain_bytes);
                }
            }
        }
    }
    (stored, plain)
}

/// Bytes of chunks that are neither hole nor fill, by looking at each chunk of each map.
fn data_bytes(maps: &MapReader, manifest: &Manifest) -> u64 {
    use stillpoint_engine::block_map::{DiskVersion, Geometry, SPAN_CHUNKS};
    use stillpoint_engine::format::node::Entry;
    let mut bytes = 0;
    for disk in &manifest.disks {
        let geometry = Geometry { size: disk.size, chunk_bytes: CHUNK as u64 };
        for chunk in 0..geometry.chunk_count() {
            let version = DiskVersion { root: disk.root, size: disk.size };
            let span = maps.span(&version, chunk / SPAN_CHUNKS).unwrap();
            if matches!(span.entries.entry((chunk % SPAN_CHUNKS) as usize), Entry::Id(_)) {
                bytes += geometry.chunk_length(chunk);
            }
        }
    }
    bytes
}

#[test]
fn the_figures_are_those_of_sets_made_for_each_point() {
    let mut deltas = 0;
    for seed in seeds(sized(60, 600)) {
        let (memory, machine_of) = history(seed, 40);
        let statistics = statistics(&memory, &machine_of);
        let (maps, manifests) = maps_of(&memory);
        let all = needed(&maps, manifests.iter());
        deltas += all.bases.len();
        let (stored, distinct) = bytes_of(&maps, &all);
        assert_eq!((statistics.stored_bytes, statistics.distinct_bytes), (stored, distinct), "seed {seed}");
        assert_eq!(statistics.missing_count, 0);
        assert_eq!(statistics.chunk_count + statistics.node_count, all.ids.len() as u64);
        for (point, manifest) in statistics.points.iter().zip(&manifests) {
            assert_eq!(point.point_id, manifest.point_id);
            let others = needed(&maps, manifests.iter().filter(|other| other.point_id != manifest.point_id));
            // Bytes that the others do not need, of the frames that count now. A base that only its delta's point reaches
            // counts among what a point needs for itself, so plain bytes are those of ids nobody else needs.
            let without =
                bytes_of(&maps, &Needed { reached: all.reached.clone(), bases: all.bases.clone(), ids: others.ids });
            let freed = (stored - without.0, distinct - without.1);
            assert_eq!((point.freed_bytes, point.unique_bytes), freed, "seed {seed}, point {}", point.point_id);
            assert_eq!(point.data_bytes, data_bytes(&maps, manifest), "seed {seed}, point {}", point.point_id);
        }
        for (machine, counted) in statistics.machines.iter().enumerate() {
            let is_of = |manifest: &&Arc<Manifest>| machine_of.get(&manifest.point_id) == Some(&(machine as u32));
            let own = needed(&maps, manifests.iter().filter(is_of));
            let others = needed(&maps, manifests.iter().filter(|manifest| !is_of(manifest)));
            let among = |ids| bytes_of(&maps, &Needed { reached: all.reached.clone(), bases: all.bases.clone(), ids });
            assert_eq!(
                (counted.stored_bytes, counted.distinct_bytes),
                among(own.ids),
                "seed {seed}, machine {machine}"
            );
            let without = among(others.ids);
            let freed = (stored - without.0, distinct - without.1);
            assert_eq!((counted.freed_bytes, counted.unique_bytes), freed, "seed {seed}, machine {machine}");
        }
    }
    assert!(deltas > 50 || seeds(2).count() == 1, "the histories have deltas: {deltas}");
}

/// Frames by content and by whether they are deltas: what each takes in its pack, and its base.
type Frames = BTreeMap<(ContentId, bool), (u64, Option<ContentId>)>;

fn frames_of(memory: &MemoryIo) -> Frames {
    let (maps, _) = maps_of(memory);
    let packs = maps.store().packs().all();
    let entries = packs.into_iter().flat_map(|(handle, _)| maps.store().pack_entries(handle).unwrap());
    let frame = |entry: PackEntry| {
        let bytes = entry.frame_bytes() + 48 + entry.base.map_or(0, |_| 32);
        ((entry.id, entry.base.is_some()), (bytes, entry.base))
    };
    entries.map(frame).collect()
}

/// What a collection frees beyond garbage: a base that nobody needs but one delta goes where both are moved, and the delta
/// becomes a full frame.
fn saved_by_letting_go(before: &Frames, after: &Frames) -> u64 {
    let mut saved = 0;
    for ((id, is_delta), (bytes, base)) in before {
        let (Some(base), Some((full, _))) = (base, after.get(&(*id, false))) else { continue };
        if *is_delta && !after.contains_key(&(*id, true)) && !before.contains_key(&(*id, false)) {
            assert!(!after.contains_key(&(*base, false)), "the base went with it");
            saved += bytes + before[&(*base, false)].0 - full;
        }
    }
    saved
}

#[test]
fn deleting_and_collecting_free_what_was_said() {
    let (mut rewritten, mut let_go) = (0, 0);
    for seed in seeds(sized(30, 300)) {
        let (memory, machine_of) = history(seed, 30);
        let before = statistics(&memory, &machine_of);
        let machines = (0..MACHINES).map(|machine| {
            let points = machine_of.iter().filter(|(_, of)| **of == machine).map(|(point, _)| *point).collect();
            (points, before.machines[machine as usize].freed_bytes)
        });
        let points = before.points.iter().map(|point| (vec![point.point_id], point.freed_bytes));
        for (points, freed) in points.chain(machines).collect::<Vec<(Vec<Uid>, u64)>>() {
            let copy = memory.crash(CrashChoice::ProcessKilled);
            let engine = Engine::open(memory_parts(&copy, 500 + seed), Path::new(STORE), OPEN).unwrap();
            for point in &points {
                engine.remove_point(point).unwrap();
            }
            let deleted = statistics(&copy, &machine_of);
            assert_eq!(deleted.garbage_bytes, before.garbage_bytes + freed, "seed {seed}: {points:?}");
            let frames = frames_of(&copy);
            let report = engine.collect(false, &Control::default()).unwrap();
            rewritten += report.packs_rewritten;
            let collected = statistics(&copy, &machine_of);
            let saved = saved_by_letting_go(&frames, &frames_of(&copy));
            assert_eq!(collected.stored_bytes, before.stored_bytes - freed - saved, "seed {seed}: {points:?}");
            let_go += u64::from(saved > 0);
            assert!(collected.garbage_bytes <= deleted.garbage_bytes);
        }
    }
    assert!(rewritten > 20 || seeds(2).count() == 1, "packs were rewritten: {rewritten}");
    assert!(let_go > 0 || sized(0, 1) == 0 || seeds(2).count() == 1, "bases were let go");
}

#[test]
fn two_points_that_share_a_chunk_free_it_only_together() {
    let memory = MemoryIo::new();
    let mut image = random_bytes(1, 4 * CHUNK);
    memory.install_file(image_path(0), &image).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = open(&memory);
    capture(&engine, uid(1), &[0], None).unwrap();
    image[..CHUNK].copy_from_slice(&random_bytes(2, CHUNK));
    memory.install_file(image_path(0), &image).unwrap();
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap();
    drop(engine);
    let both: MachineOf = [(uid(1), 0), (uid(2), 0)].into_iter().collect();
    let counted = statistics(&memory, &both);
    let chunk = CHUNK as u64;
    assert_eq!(counted.points[0].unique_bytes, chunk);
    assert_eq!(counted.points[1].unique_bytes, chunk);
    assert_eq!(counted.machines[0].unique_bytes, 5 * chunk, "three chunks only together");
    assert_eq!(counted.machines[0].freed_bytes, counted.stored_bytes);
    assert_eq!((counted.data_bytes, counted.distinct_bytes), (8 * chunk, 5 * chunk));
    // The same points as two machines' share three chunks, which neither machine frees.
    let apart: MachineOf = [(uid(1), 0), (uid(2), 1)].into_iter().collect();
    let counted = statistics(&memory, &apart);
    assert_eq!(counted.machines[0].unique_bytes, chunk);
    assert_eq!((counted.machines[0].distinct_bytes, counted.machines[1].distinct_bytes), (4 * chunk, 4 * chunk));
    // A point of no machine keeps what it needs.
    let one: MachineOf = [(uid(1), 0)].into_iter().collect();
    let counted = statistics(&memory, &one);
    assert_eq!(counted.machines[0].unique_bytes, chunk);
    assert_eq!(counted.machines[MACHINES as usize].point_count, 1);
}

#[test]
fn what_cannot_be_known_is_not_guessed() {
    let (memory, machine_of) = history(3, 40);
    let engine = open(&memory);
    let by_number: BTreeMap<u32, Uid> = machine_of.iter().map(|(point, machine)| (*machine, *point)).collect();
    let wrong = machine_of.clone();
    assert!(by_number.len() > 1, "several machines");
    assert_eq!(engine.statistics(&wrong, 1, &Control::default()).unwrap_err().code(), Code::ArgumentInvalid);
    let control = Control::default();
    control.cancel();
    assert_eq!(engine.statistics(&machine_of, MACHINES, &control).unwrap_err().code(), Code::Cancelled);
    drop(engine);
    for (directory, code) in [("manifests", Code::ManifestDamaged), ("packs", Code::NodeDamaged)] {
        let damaged = memory.crash(CrashChoice::ProcessKilled);
        for path in files_in(&damaged, directory) {
            if directory == "manifests" || path.extension().is_some_and(|end| end == "nodes") {
                damaged.open(&path, OpenMode::ReadWrite).unwrap().write_at(&[0xAA; 40], 120).unwrap();
            }
        }
        let engine = Engine::open(memory_parts(&damaged, 5), Path::new(STORE), READ_ONLY).unwrap();
        assert_eq!(engine.statistics(&machine_of, MACHINES, &Control::default()).unwrap_err().code(), code);
    }
}

#[test]
fn beside_captures_deletions_and_collections_nothing_is_missed() {
    let (memory, mut machine_of) = history(5, 40);
    let engine = Engine::open(memory_parts(&memory, 90), Path::new(STORE), OPEN).unwrap();
    let reader = Engine::open(memory_parts(&memory, 91), Path::new(STORE), READ_ONLY).unwrap();
    let asked = machine_of.clone();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let count = |engine: &Engine| {
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            let counted = engine.statistics(&asked, MACHINES, &Control::default()).unwrap();
            assert_eq!(counted.missing_count, 0);
        }
    };
    std::thread::scope(|scope| {
        let counting = [scope.spawn(|| count(&engine)), scope.spawn(|| count(&reader))];
        for round in 0..sized(20, 200) {
            let mut image = memory.read_file(image_path(0)).unwrap();
            let length = image.len().min(CHUNK);
            image[..length].copy_from_slice(&random_bytes(round, length));
            memory.install_file(image_path(0), &image).unwrap();
            capture(&engine, uid(5_000 + round), &[0], None).unwrap();
            let oldest = machine_of.keys().min().copied().unwrap();
            engine.remove_point(&oldest).unwrap();
            machine_of.remove(&oldest);
            machine_of.insert(uid(5_000 + round), 0);
            engine.collect(false, &Control::default()).unwrap();
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        for counting in counting {
            counting.join().unwrap();
        }
    });
    statistics(&memory, &machine_of);
}
