//! Law: a store is made where nothing else is, opened for writing by one at a time, and refused by whoever cannot
//! read it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;
mod support;

use std::path::Path;
use std::sync::Arc;

use simulation::content::random_bytes;
use simulation::store::{
    CHUNK, CREATE, OPEN, READ_ONLY, STORE, capture, image_path, memory_parts, open, read_all, uid, version,
};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{CreateOptions, Engine, OpenOptions};
use stillpoint_engine::error::Code;
use stillpoint_engine::format::{Codec, checksum};
use stillpoint_engine::io::file::FileIo;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};

fn store() -> MemoryIo {
    let memory = MemoryIo::new();
    memory.install_file(image_path(0), &random_bytes(1, 5 * CHUNK)).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    capture(&open(&memory), uid(1), &[0], None).unwrap();
    memory
}

fn create(memory: &MemoryIo, path: &str, options: &CreateOptions) -> Option<Code> {
    Engine::create(&memory_parts(memory, 5), Path::new(path), options).err().map(|error| error.code())
}

fn opening(memory: &MemoryIo, options: OpenOptions) -> Option<Code> {
    Engine::open(memory_parts(memory, 5), Path::new(STORE), options).err().map(|error| error.code())
}

#[test]
fn a_store_is_made_only_where_nothing_else_is() {
    let memory = store();
    memory.install_file("/full/something", b"x").unwrap();
    memory.create_directory(Path::new("/empty")).unwrap();
    let before = memory.digest();
    assert_eq!(create(&memory, STORE, &CREATE), Some(Code::StoreExists));
    assert_eq!(create(&memory, "/full", &CREATE), Some(Code::StoreExists));
    assert_eq!(create(&memory, "/full/something", &CREATE), Some(Code::StoreExists));
    for options in [
        CreateOptions { chunk_bytes: 4096, ..CREATE },
        CreateOptions { level: 0, ..CREATE },
        CreateOptions { level: 20, ..CREATE },
        CreateOptions { codec: Codec::None, ..CREATE },
        CreateOptions { codec: Codec::Lz4, ..CREATE },
        CreateOptions { codec: Codec::ZstdDelta, ..CREATE },
    ] {
        assert_eq!(create(&memory, "/bad", &options), Some(Code::ArgumentInvalid), "{options:?}");
    }
    assert_eq!(memory.digest(), before);
    assert_eq!(create(&memory, "/empty", &CREATE), None);
}

#[test]
fn a_new_store_survives_a_power_cut_with_all_directories_above_it() {
    for path in ["/a/b/c/store", "/store", "relative/store", "store"] {
        let memory = MemoryIo::new();
        assert_eq!(create(&memory, path, &CREATE), None);
        let after = memory.crash(CrashChoice::LoseUnsynced);
        Engine::open(memory_parts(&after, 1), Path::new(path), OPEN).unwrap();
    }
}

#[test]
fn one_writes_at_a_time_and_many_read() {
    let memory = store();
    let writer = open(&memory);
    assert_eq!(opening(&memory, OPEN), Some(Code::StoreLocked));
    let reader = Engine::open(memory_parts(&memory, 5), Path::new(STORE), READ_ONLY).unwrap();
    assert_eq!(read_all(&reader, &version(uid(1), 0)).unwrap(), memory.read_file(image_path(0)).unwrap());
    drop(writer);
    assert_eq!(opening(&memory, OPEN), None);
}

#[test]
fn a_reader_changes_nothing() {
    let memory = store();
    memory.install_file(format!("{STORE}/home/packs/left.tmp"), b"x").unwrap();
    let before = (memory.digest(), memory.unsynced_count());
    let engine = Engine::open(memory_parts(&memory, 5), Path::new(STORE), READ_ONLY).unwrap();
    let code = |result: stillpoint_engine::error::Result<()>| result.err().map(|error| error.code());
    assert_eq!(code(capture(&engine, uid(2), &[0], None)), Some(Code::StoreReadOnly));
    assert_eq!(code(engine.remove_point(&uid(1))), Some(Code::StoreReadOnly));
    assert_eq!(code(engine.quarantine_point(&uid(1))), Some(Code::StoreReadOnly));
    assert_eq!(code(engine.collect(false, &Control::default()).map(drop)), Some(Code::StoreReadOnly));
    engine.collect(true, &Control::default()).unwrap();
    engine.verify(true, &Control::default()).unwrap();
    assert_eq!((memory.digest(), memory.unsynced_count()), before);
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let memory = store();
    let path = format!("{STORE}/config");
    let mut config = memory.read_file(&path).unwrap();
    for block in config.chunks_mut(4096).take(1) {
        block[8] = 2;
        let sum = checksum(&block[..4088]).to_le_bytes();
        block[4088..].copy_from_slice(&sum);
    }
    memory.install_file(&path, &config).unwrap();
    let before = memory.digest();
    assert_eq!(opening(&memory, OPEN), Some(Code::StoreNewerFormat));
    assert_eq!(opening(&memory, READ_ONLY), Some(Code::StoreNewerFormat));
    assert_eq!(memory.digest(), before);
    // A version in a block that does not check is a flipped bit and nothing else.
    config[4088] ^= 1;
    memory.install_file(&path, &config).unwrap();
    assert_eq!(opening(&memory, OPEN), None);
}

#[test]
fn a_store_whose_codec_nobody_knows_is_refused() {
    let memory = store();
    let path = format!("{STORE}/config");
    let sound = memory.read_file(&path).unwrap();
    // Numbers with their level: deltas are no codec of a whole store, and only zstd has levels.
    for (codec, level, allowed) in
        [(0, 0, true), (1, 7, true), (2, 0, true), (0, 1, false), (2, 1, false), (3, 0, false), (4, 0, false)]
    {
        let mut config = sound.clone();
        for block in config.chunks_mut(4096) {
            (block[44], block[45]) = (codec, level);
            let sum = checksum(&block[..4088]).to_le_bytes();
            block[4088..].copy_from_slice(&sum);
        }
        memory.install_file(&path, &config).unwrap();
        let expected = (!allowed).then_some(Code::StoreDamaged);
        assert_eq!(opening(&memory, READ_ONLY), expected, "codec {codec} at level {level}");
    }
}

#[test]
fn where_there_is_no_store_none_is_opened() {
    let memory = MemoryIo::new();
    assert_eq!(opening(&memory, OPEN), Some(Code::StoreNotFound));
    memory.install_file("/stores/one", b"a file").unwrap();
    assert_eq!(opening(&memory, OPEN), Some(Code::StoreNotFound));
    for thread_count in [0, 257] {
        assert_eq!(opening(&memory, OpenOptions { thread_count, ..OPEN }), Some(Code::ArgumentInvalid));
    }
}

#[test]
fn below_a_file_there_is_no_store() {
    let memory = MemoryIo::new();
    memory.install_file("/stores", b"a file").unwrap();
    for options in [OPEN, READ_ONLY] {
        assert_eq!(opening(&memory, options), Some(Code::StoreNotFound));
    }
    let folder = support::Folder::new();
    let file = folder.path.join("file");
    FileIo.open(&file, OpenMode::CreateNew).unwrap().write_at(b"a file", 0).unwrap();
    for path in [file.clone(), file.join("below")] {
        let parts = simulation::store::parts(Arc::new(FileIo), 1);
        let error = Engine::open(parts, &path, READ_ONLY).err().unwrap();
        assert_eq!(error.code(), Code::StoreNotFound, "{error}");
    }
}

#[test]
fn a_lost_directory_of_caches_is_made_anew_and_missed_by_no_reader() {
    for lost in ["index", "quarantine"] {
        let memory = store();
        let directory = Path::new(STORE).join("home").join(lost);
        for path in simulation::store::files_in(&memory, lost) {
            memory.remove_file(&path).unwrap();
        }
        let memory = without(&memory, &directory);
        let image = memory.read_file(image_path(0)).unwrap();
        let before = memory.digest();
        let reader = Engine::open(memory_parts(&memory, 5), Path::new(STORE), READ_ONLY).unwrap();
        assert_eq!(read_all(&reader, &version(uid(1), 0)).unwrap(), image);
        assert!(reader.verify(true, &Control::default()).unwrap().findings.is_empty());
        assert_eq!(memory.digest(), before, "{lost}: a reader changes nothing");
        let writer = open(&memory);
        assert_eq!(read_all(&writer, &version(uid(1), 0)).unwrap(), image);
        capture(&writer, uid(2), &[0], Some(uid(1))).unwrap();
        drop(writer);
        let after = memory.crash(CrashChoice::LoseUnsynced);
        assert!(after.list_directory(&directory).is_ok(), "{lost} survives a power cut");
        let again = open(&after);
        assert_eq!(read_all(&again, &version(uid(2), 0)).unwrap(), image);
        assert!(again.verify(true, &Control::default()).unwrap().findings.is_empty());
    }
}

/// The same files, without an empty directory.
fn without(memory: &MemoryIo, directory: &Path) -> MemoryIo {
    let copy = MemoryIo::new();
    for path in memory.files() {
        copy.install_file(&path, &memory.read_file(&path).unwrap()).unwrap();
    }
    for name in ["packs", "index", "manifests", "quarantine"] {
        let path = Path::new(STORE).join("home").join(name);
        if path != directory && copy.list_directory(&path).is_err() {
            copy.create_directory(&path).unwrap();
            copy.sync_directory(path.parent().unwrap()).unwrap();
        }
    }
    assert!(copy.list_directory(directory).is_err());
    copy
}

#[test]
fn a_point_id_is_given_once() {
    let memory = store();
    let engine = open(&memory);
    let error = capture(&engine, uid(1), &[0], None).unwrap_err();
    assert_eq!(error.code(), Code::ArgumentInvalid, "{error}");
    capture(&engine, uid(2), &[0], Some(uid(1))).unwrap(); // the store is not fenced by a caller's mistake
    assert_eq!(engine.manifests().len(), 2);
    let error = engine.read(&version(uid(3), 0), 0, 1).unwrap_err();
    assert_eq!(error.code(), Code::PointNotFound);
    let error = engine.read(&version(uid(1), 1), 0, 1).unwrap_err();
    assert_eq!(error.code(), Code::ArgumentInvalid);
}

#[test]
fn two_packs_of_one_id_and_two_kinds_do_no_harm() {
    let memory = store();
    let packs = simulation::store::files_in(&memory, "packs");
    let chunks = packs.iter().find(|path| path.extension().is_some_and(|end| end == "chunks")).unwrap();
    let bytes = memory.read_file(chunks).unwrap();
    memory.install_file(chunks.with_extension("nodes"), &bytes).unwrap();
    let engine = open(&memory);
    assert_eq!(read_all(&engine, &version(uid(1), 0)).unwrap(), memory.read_file(image_path(0)).unwrap());
    assert!(!engine.verify(true, &Control::default()).unwrap().findings.is_empty());
}
