//! Law: a restore writes a whole disk or says why not; a new file has its name only when it is whole, and nothing else
//! is left behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use simulation::content::random_bytes;
use simulation::hooks::HookIo;
use simulation::store::{CHUNK, CREATE, OPEN, STORE, capture, files_in, image_path, memory_parts, parts, uid, version};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{Engine, OpenOptions};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::restore::{Restored, TargetRequest};

const DISK: usize = 70 * CHUNK + 512;

fn store() -> MemoryIo {
    let memory = MemoryIo::new();
    let mut image = random_bytes(1, DISK);
    image[3 * CHUNK..9 * CHUNK].fill(0);
    image[20 * CHUNK..21 * CHUNK].fill(8);
    memory.install_file(image_path(0), &image).unwrap();
    memory.install_file("/out/.keep", b"").unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = Engine::open(memory_parts(&memory, 2), Path::new(STORE), OPEN).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    memory
}

fn restore(engine: &Engine, path: &str, overwrite: bool, control: &Control) -> Result<Restored> {
    let target = TargetRequest { path: path.into(), overwrite, sync: true };
    engine.restore(&version(uid(1), 0), &target, control)
}

#[test]
fn a_target_that_cannot_take_the_disk_is_refused_untouched() {
    let memory = store();
    memory.install_file("/out/file", &[3; 100]).unwrap();
    memory.install_file("/out/short", &vec![3; DISK - 512]).unwrap();
    memory.install_device("/out/device", &vec![3; DISK - 512]).unwrap();
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    let before = memory.digest();
    for (path, overwrite, code) in [
        ("/out/file", false, Code::TargetExists),
        ("/out/device", false, Code::TargetExists),
        ("/out/file", true, Code::TargetTooSmall),
        ("/out/short", true, Code::TargetTooSmall),
        ("/out/device", true, Code::TargetTooSmall),
        ("/out", true, Code::TargetInvalid),
        ("/out", false, Code::TargetInvalid),
        ("/nowhere/file", false, Code::TargetInvalid),
        ("/out/file/below", false, Code::TargetInvalid),
    ] {
        let error = restore(&engine, path, overwrite, &Control::default()).unwrap_err();
        assert_eq!(error.code(), code, "{path}: {error}");
        assert_eq!(memory.digest(), before, "{path}");
    }
}

#[test]
fn a_target_may_have_the_longest_name_there_is() {
    let memory = store();
    for name in ["n".repeat(255), "\u{fc}".repeat(127), format!("{}\u{20ac}{}", "n".repeat(240), "n".repeat(12))] {
        let io = HookIo::new(Arc::new(memory.clone()));
        let engine = Engine::open(parts(Arc::new(io.clone()), 3), Path::new(STORE), OPEN).unwrap();
        let unfinished = Arc::new(Mutex::new(HashSet::new()));
        let seen = Arc::clone(&unfinished);
        io.hook(move |_, path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(".tmp") {
                seen.lock().unwrap().insert(name);
            }
        });
        restore(&engine, &format!("/out/{name}"), false, &Control::default()).unwrap();
        let unfinished = unfinished.lock().unwrap();
        // What a file system takes is a matter of bytes, and a letter is not cut in two.
        assert!(unfinished.iter().all(|name| name.len() <= 255 && !name.contains('\u{fffd}')), "{unfinished:?}");
        assert_eq!(unfinished.len(), 1);
    }
}

#[test]
fn a_restore_that_fails_at_any_call_leaves_nothing_behind() {
    let memory = store();
    let mut restored = 0;
    for call in 0.. {
        let copy = memory.crash(CrashChoice::ProcessKilled);
        let before = copy.digest();
        let opened = {
            let io = FaultIo::over_memory(&copy, FaultPlan::none());
            drop(Engine::open(parts(Arc::new(io.clone()), 3), Path::new(STORE), OPEN).unwrap());
            io.counts().calls
        };
        let failure = [Failure::Device, Failure::NoSpace, Failure::Access][call as usize % 3];
        let code = [Code::IoFailed, Code::NoSpace, Code::PermissionDenied][call as usize % 3];
        let fault = Fault::FailCall { call: opened + call, failure, lasting: Lasting::Once };
        let io = FaultIo::over_memory(&copy, FaultPlan::one(fault));
        let engine = Engine::open(parts(Arc::new(io.clone()), 3), Path::new(STORE), OPEN).unwrap();
        match restore(&engine, "/out/new", false, &Control::default()) {
            Ok(_) => {
                restored += 1;
                assert!(io.counts().calls <= opened + call, "call {call} failed and was not told");
                break;
            }
            Err(error) => assert_eq!(error.code(), code, "{error}"),
        }
        // Once it has its name it is whole; only the directory's sync can fail after that.
        match copy.read_file("/out/new") {
            Some(bytes) => assert_eq!(bytes, copy.read_file(image_path(0)).unwrap()),
            None => assert_eq!(copy.digest(), before, "call {call}\n{}", io.log()),
        }
    }
    assert_eq!(restored, 1);
}

#[test]
fn a_cancelled_restore_leaves_nothing_behind() {
    let memory = store();
    for thread_count in [1, 3] {
        let before = memory.digest();
        let io = HookIo::new(Arc::new(memory.clone()));
        let options = OpenOptions { thread_count, ..OPEN };
        let engine = Engine::open(parts(Arc::new(io.clone()), 3), Path::new(STORE), options).unwrap();
        let control = Arc::new(Control::default());
        let (start, cancelling) = (io.calls(), Arc::clone(&control));
        io.hook(move |call, _| {
            if call >= start + 2 {
                cancelling.cancel();
            }
        });
        let error = restore(&engine, "/out/new", false, &control).unwrap_err();
        assert_eq!(error.code(), Code::Cancelled);
        assert_eq!(memory.digest(), before);
    }
}

#[test]
fn a_thread_that_panics_fails_the_restore() {
    let memory = store();
    let before = memory.digest();
    let io = HookIo::new(Arc::new(memory.clone()));
    let options = OpenOptions { thread_count: 3, ..OPEN };
    let engine = Engine::open(parts(Arc::new(io.clone()), 3), Path::new(STORE), options).unwrap();
    let start = io.calls();
    io.hook(move |call, path| assert!(call < start + 12 || !path.starts_with("/stores"), "planted"));
    let error = restore(&engine, "/out/new", false, &Control::default()).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(memory.digest(), before);
}

#[test]
fn a_damaged_chunk_fails_the_restore_with_its_code_and_file() {
    let memory = store();
    let packs = files_in(&memory, "packs");
    let path = packs.iter().find(|path| path.extension().is_some_and(|end| end == "chunks")).unwrap();
    memory.flip_bit(path, 64 + 72 + 100, 1).unwrap();
    let before = memory.digest();
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    let error = restore(&engine, "/out/new", false, &Control::default()).unwrap_err();
    assert_eq!(error.code(), Code::ChunkDamaged);
    assert!(error.context().iter().any(|(key, _)| *key == "file"), "{error:?}");
    assert_eq!(memory.digest(), before);
    stillpoint_engine::io::Io::remove_file(&memory, path).unwrap();
    let engine =
        Engine::open(memory_parts(&memory, 3), Path::new(STORE), OpenOptions { read_only: true, ..OPEN }).unwrap();
    let error = restore(&engine, "/out/new", false, &Control::default()).unwrap_err();
    assert_eq!(error.code(), Code::ChunkMissing);
}
