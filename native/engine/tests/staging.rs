//! Law: how many entries a writer keeps in memory, and how many a segment has, changes nothing of what is found. What a
//! writer has staged is nobody else's until its commit, and gone without one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stillpoint_engine::chunk_store::codec::Encoded;
use stillpoint_engine::chunk_store::condemned::Condemned;
use stillpoint_engine::chunk_store::identity::Identity;
use stillpoint_engine::chunk_store::index::IndexLimits;
use stillpoint_engine::chunk_store::writer::{EncodedFrame, Writer};
use stillpoint_engine::chunk_store::{Batch, ChunkStore, Parameters};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::format::{Codec, PackKind};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::reserve::Reserve;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{ContentId, Uid};

const REGION: &str = "/region";

/// Packs of a few frames, segments of a few packs.
const LIMITS: IndexLimits = IndexLimits { staged_entries: 40, segment_entries: 200 };

fn region() -> MemoryIo {
    let memory = MemoryIo::new();
    memory.create_directory(Path::new(REGION)).unwrap();
    for below in ChunkStore::DIRECTORIES {
        memory.create_directory(&Path::new(REGION).join(below)).unwrap();
    }
    for above in [REGION, "/"] {
        memory.sync_directory(Path::new(above)).unwrap();
    }
    memory
}

fn open_with(memory: &MemoryIo, follows: bool, index_limits: IndexLimits) -> ChunkStore {
    open_over(Arc::new(memory.clone()), memory, follows, index_limits).unwrap()
}

fn open_over(io: Arc<dyn Io>, memory: &MemoryIo, follows: bool, index_limits: IndexLimits) -> Result<ChunkStore> {
    let parameters = Parameters {
        store_id: Uid([1; 16]),
        chunk_bytes: 16 << 10,
        codec: Codec::None,
        level: 0,
        identity: Identity::new(&[2; 32]),
        pack_bytes_target: 1_000,
        index_limits,
        reserve: Arc::new(Reserve::new(Arc::new(memory.clone()), Path::new(REGION).join("reserve"), 0)),
        follows,
    };
    let random = Arc::new(Mutex::new(Seeded::new(memory.digest())));
    ChunkStore::open(io, random, PathBuf::from(REGION), parameters)
}

fn open(memory: &MemoryIo) -> ChunkStore {
    open_with(memory, false, LIMITS)
}

fn id(store: &ChunkStore, number: u64) -> ContentId {
    store.parameters().identity.id(PackKind::Chunks, &number.to_le_bytes())
}

fn frame(store: &ChunkStore, number: u64) -> EncodedFrame {
    let content = number.to_le_bytes();
    let encoded = Encoded { codec: Codec::None, base: None, stored: &content };
    EncodedFrame::new(PackKind::Chunks, id(store, number), content.len() as u32, encoded)
}

fn add(writer: &mut Writer<'_>, store: &ChunkStore, number: u64) -> bool {
    writer.add_chunk(&frame(store, number)).unwrap()
}

fn capture(store: &ChunkStore, numbers: std::ops::Range<u64>) {
    try_capture(store, numbers).unwrap();
}

fn try_capture(store: &ChunkStore, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut writer = Writer::new(store);
    for number in numbers {
        assert!(writer.add_chunk(&frame(store, number))?, "{number} is new");
    }
    writer.commit()
}

/// Each of the first `count` chunks is found once and reads back; the next ones are not found.
fn check(store: &ChunkStore, count: u64) {
    let mut batch = Batch::default();
    for number in 0..count {
        assert_eq!(store.locate(&id(store, number)).unwrap().len(), 1, "{number}");
        assert_eq!(store.get(PackKind::Chunks, &id(store, number), &mut batch).unwrap(), number.to_le_bytes());
    }
    let ids: Vec<ContentId> = (0..count + 500).map(|number| id(store, number)).collect();
    let known = store.contains_each(&ids).unwrap();
    assert!(known.iter().enumerate().all(|(number, known)| *known == ((number as u64) < count)));
    assert!(ids.iter().zip(&known).all(|(id, known)| store.contains(id).unwrap() == *known));
    assert_eq!(store.index().entry_count(), count);
    assert_eq!(store.anomalies(), []);
}

/// As the engine does before it opens the chunk store.
fn remove_temporaries(memory: &MemoryIo) {
    for path in memory.files().into_iter().filter(|path| path.extension().is_some_and(|last| last == "tmp")) {
        memory.remove_file(&path).unwrap();
    }
}

fn files(memory: &MemoryIo, below: &str) -> HashSet<String> {
    memory.list_directory(&Path::new(REGION).join(below)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn captures_of_every_size_are_found_whole() {
    let memory = region();
    let store = open(&memory);
    let mut count = 0;
    for size in [1, 39, 40, 41, 700, 3, 3, 1_000, 1, 200, 150, 60] {
        capture(&store, count..count + size);
        count += size;
        check(&store, count);
    }
    drop(store);
    let store = open(&memory);
    check(&store, count);
    let segments = store.index().segments();
    assert!(segments.iter().all(|segment| segment.listed().entry_count <= LIMITS.segment_entries));
    assert!(segments.len() < 30, "{}", segments.len());
    assert!(files(&memory, "index").iter().all(|name| !name.ends_with(".tmp")), "nothing unfinished is left");
    assert_eq!(files(&memory, "index").len(), segments.len() + 1, "every segment is listed");
}

#[test]
fn a_writer_knows_what_it_has_staged() {
    let memory = region();
    let store = open(&memory);
    let mut writer = Writer::new(&store);
    for number in 0..500 {
        assert!(add(&mut writer, &store, number));
    }
    let added = writer.added(); // as the threads have it that make the frames
    for number in 0..500 {
        assert!(added.contains(&id(&store, number)));
        assert!(!add(&mut writer, &store, number), "{number} is kept once");
        assert!(!store.contains(&id(&store, number)).unwrap(), "nobody else knows it yet");
    }
    assert!(!added.contains(&id(&store, 500)));
    writer.commit().unwrap();
    check(&store, 500);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let memory = region();
    let store = open(&memory);
    capture(&store, 0..100);
    let before = (files(&memory, "packs"), files(&memory, "index"));
    let mut writer = Writer::new(&store);
    for number in 100..700 {
        add(&mut writer, &store, number);
    }
    assert!(files(&memory, "index").len() > before.1.len() + 5, "segments were staged");
    drop(writer);
    assert_eq!((files(&memory, "packs"), files(&memory, "index")), before);
    capture(&store, 100..300);
    check(&store, 300);
}

#[test]
fn a_lost_index_is_written_anew_when_the_store_is_opened() {
    let memory = region();
    let store = open(&memory);
    capture(&store, 0..1_000);
    drop(store);
    for name in files(&memory, "index") {
        memory.remove_file(&Path::new(REGION).join("index").join(name)).unwrap();
    }
    // Without the right to write, all of it stands in memory.
    check(&open_with(&memory, true, LIMITS), 1_000);
    assert_eq!(files(&memory, "index").len(), 0);
    let store = open(&memory);
    check(&store, 1_000);
    let indexed: u64 = store.index().segments().iter().map(|segment| segment.listed().entry_count).sum();
    assert!(indexed > 900, "{indexed} entries are in segments");
    drop(store);
    check(&open_with(&memory, true, LIMITS), 1_000);
}

#[test]
fn retired_packs_leave_every_segment_and_small_segments_come_together() {
    let memory = region();
    let store = open(&memory);
    for hundred in 0..10 {
        capture(&store, hundred * 100..(hundred + 1) * 100);
    }
    let packs = store.packs().all();
    // All but every tenth pack.
    let retired: HashSet<_> =
        packs.iter().enumerate().filter(|(index, _)| index % 10 != 0).map(|(_, (handle, _))| *handle).collect();
    let live: u64 = packs
        .iter()
        .filter(|(handle, _)| !retired.contains(handle))
        .map(|(handle, _)| store.pack_entries(*handle).unwrap().len() as u64)
        .sum();
    store.retire(&retired.iter().copied().collect::<Vec<_>>()).unwrap();
    let found = |store: &ChunkStore| {
        let ids: Vec<ContentId> = (0..1_000).map(|number| id(store, number)).collect();
        let each = store.contains_each(&ids).unwrap();
        assert!(ids.iter().zip(&each).all(|(id, known)| store.contains(id).unwrap() == *known));
        each.into_iter().filter(|known| *known).count() as u64
    };
    assert_eq!(found(&store), live, "the index names packs that are gone, and is not believed");
    // A store that is opened now never knew those packs; its index is brought in step all the same.
    drop(store);
    let store = open(&memory);
    assert_eq!(found(&store), live);
    assert!(store.trim_index().unwrap() > 0);
    assert_eq!(store.trim_index().unwrap(), 0);
    assert_eq!(store.index().entry_count(), live);
    assert_eq!(found(&store), live);
    let sizes: Vec<u64> = store.index().segments().iter().map(|segment| segment.listed().entry_count).collect();
    assert_eq!(sizes.iter().sum::<u64>(), live);
    // The next collection brings together what this one made small.
    store.retire(&[store.packs().all()[0].0]).unwrap();
    store.trim_index().unwrap();
    assert_eq!(store.index().segments().len(), 2, "from {sizes:?}: all but the last, which is less than a quarter");
}

#[test]
fn condemned_frames_count_for_nobody_who_asks_for_many() {
    let memory = region();
    let store = open(&memory);
    capture(&store, 0..300);
    let mut condemned = Condemned::default();
    let mut dead = HashSet::new();
    for (handle, _) in store.packs().all().into_iter().step_by(3) {
        let entries = store.pack_entries(handle).unwrap();
        dead.extend(entries.iter().map(|entry| entry.id));
        condemned.add(handle, entries.iter().map(|entry| entry.offset).collect());
    }
    store.condemn(condemned);
    let ids: Vec<ContentId> = (0..300).map(|number| id(&store, number)).collect();
    let known = store.contains_each(&ids).unwrap();
    assert!(ids.iter().zip(&known).all(|(id, known)| *known != dead.contains(id)));
    assert!(ids.iter().zip(&known).all(|(id, known)| *known == store.contains(id).unwrap()));
}

#[test]
fn a_lost_index_is_in_memory_where_there_is_no_room_for_it() {
    for pages in [0, 1, 2, 5, 10, 20] {
        let memory = region();
        let store = open(&memory);
        capture(&store, 0..1_000);
        drop(store);
        for name in files(&memory, "index") {
            memory.remove_file(&Path::new(REGION).join("index").join(name)).unwrap();
        }
        let kept = memory.files().into_iter().filter_map(|path| memory.read_file(path));
        let used: u64 = kept.map(|bytes| bytes.len().div_ceil(4096) as u64).sum();
        memory.set_capacity(Some((used + pages) * 4096));
        let store = open(&memory);
        check(&store, 1_000);
        assert!(files(&memory, "index").is_empty(), "{pages} pages: what did not fit is gone");
        memory.set_capacity(None);
        capture(&store, 1_000..1_010);
        drop(store);
        check(&open(&memory), 1_010);
    }
}

#[test]
fn a_commit_that_fails_at_any_call_leaves_an_index_that_names_what_is_there() {
    // Staged segments are taken over as they are, or merged.
    for limits in [IndexLimits { segment_entries: 60, ..LIMITS }, LIMITS] {
        fail_at_any_call(limits);
    }
}

fn fail_at_any_call(limits: IndexLimits) {
    let memory = region();
    capture(&open(&memory), 0..100);
    let calls = {
        let memory = memory.crash(CrashChoice::ProcessKilled);
        let io = Arc::new(FaultIo::over_memory(&memory, FaultPlan::none()));
        capture(&open_over(Arc::clone(&io) as Arc<dyn Io>, &memory, false, limits).unwrap(), 100..300);
        io.counts().calls
    };
    for call in 0..calls {
        for (failure, code) in [(Failure::Device, Code::IoFailed), (Failure::NoSpace, Code::NoSpace)] {
            let memory = memory.crash(CrashChoice::ProcessKilled);
            let fault = Fault::FailCall { call, failure, lasting: Lasting::Once };
            let io = Arc::new(FaultIo::over_memory(&memory, FaultPlan::one(fault)));
            let told = |what: &str| format!("{what} with {fault:?}\n{}", io.log());
            let over = Arc::clone(&io) as Arc<dyn Io>;
            let Ok(store) = open_over(over, &memory, false, limits) else { continue };
            let captured = try_capture(&store, 100..300);
            assert!(captured.as_ref().err().is_none_or(|error| error.code() == code), "{}", told("another code"));
            drop(store);
            for crash in [CrashChoice::ProcessKilled, CrashChoice::Seeded(call)] {
                let after = memory.crash(crash);
                remove_temporaries(&after);
                let after = open(&after);
                assert_eq!(after.anomalies(), [], "{}", told("damage"));
                for number in 0..if captured.is_ok() { 300 } else { 100 } {
                    let read = after.get(PackKind::Chunks, &id(&after, number), &mut Batch::default());
                    assert_eq!(read.unwrap(), number.to_le_bytes(), "{}", told("wrong bytes"));
                }
            }
        }
    }
}
