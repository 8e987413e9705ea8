//! Law: a capture holds a source exactly as it was at one moment, or fails with a code that says why, and a failed
//! one leaves the store as it was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use simulation::content::random_bytes;
use simulation::hooks::HookIo;
use simulation::store::{
    CHUNK, CREATE, NOW_NS, OPEN, STORE, capture, image_path, memory_parts, parts, read_all, scan_disk, uid, version,
};
use simulation::{seeds, sized};
use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{Engine, OpenOptions, Parts, ScanDisk};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::file::FileIo;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};

/// A store with one point of one disk of 150 chunks: three spans.
fn store() -> MemoryIo {
    let memory = MemoryIo::new();
    memory.install_file(image_path(0), &random_bytes(1, 150 * CHUNK)).unwrap();
    Engine::create(&memory_parts(&memory, 1), Path::new(STORE), &CREATE).unwrap();
    let engine = Engine::open(memory_parts(&memory, 2), Path::new(STORE), OPEN).unwrap();
    capture(&engine, uid(1), &[0], None).unwrap();
    memory
}

fn code_of(memory: &MemoryIo, path: &str) -> Code {
    let engine = Engine::open(memory_parts(memory, 3), Path::new(STORE), OPEN).unwrap();
    let before = memory.digest();
    let mut disk = scan_disk(0, Some(uid(1)));
    disk.source.path = PathBuf::from(path);
    let error = engine.scan(&[disk], &Control::default()).err().expect("the source is refused");
    assert_eq!(memory.digest(), before, "{error}");
    error.code()
}

#[test]
fn what_is_not_a_disk_is_refused() {
    let memory = store();
    memory.install_file("/images/empty", b"").unwrap();
    memory.install_file("/images/odd", &[1; 700]).unwrap();
    assert_eq!(code_of(&memory, "/images/missing"), Code::SourceNotFound);
    assert_eq!(code_of(&memory, "/nowhere/missing"), Code::SourceNotFound);
    assert_eq!(code_of(&memory, "/images"), Code::SourceNotADisk);
    assert_eq!(code_of(&memory, "/images/empty"), Code::SourceSizeInvalid);
    assert_eq!(code_of(&memory, "/images/odd"), Code::SourceSizeInvalid);
}

#[test]
fn a_fifo_is_refused_without_waiting_for_its_writer() {
    let folder = support::Folder::new();
    let path = folder.path.join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let parts = parts(Arc::new(FileIo), 1);
    let store = folder.path.join("store");
    Engine::create(&parts, &store, &CREATE).unwrap();
    let engine = Engine::open(parts, &store, OPEN).unwrap();
    let mut disk = scan_disk(0, None);
    disk.source.path = path;
    let error = engine.scan(&[disk], &Control::default()).err().expect("a FIFO is no disk");
    assert_eq!(error.code(), Code::SourceNotADisk);
}

#[test]
fn a_source_written_to_just_now_is_refused() {
    let memory = store();
    for (ago_ns, still) in [
        (0, false),
        (19_999_999, false),
        (20_000_000, true),
        (-5, false),
        (-20_000_000, false),
        (-20_000_001, true),
        (-3_600_000_000_000, true),
    ] {
        memory.set_time_ns(NOW_NS - ago_ns);
        memory.install_file("/images/new", &[1; 512]).unwrap();
        let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
        let mut disk = scan_disk(0, None);
        disk.source.path = "/images/new".into();
        match engine.scan(&[disk], &Control::default()) {
            Ok(_) => assert!(still, "{ago_ns} ns ago"),
            Err(error) => assert!(!still && error.code() == Code::SourceNotStill, "{ago_ns} ns ago: {error}"),
        }
    }
}

#[test]
fn a_time_in_the_future_hides_no_write_once_the_clock_gets_there() {
    let soon = NOW_NS + 1_000_000_000;
    for (later, caught) in [(soon, true), (soon + 20_000_000, true), (soon - 20_000_001, false)] {
        let memory = store();
        memory.set_time_ns(soon);
        memory.install_file("/images/new", &[1; 512]).unwrap();
        let clock = Arc::new(ManualClock::new(NOW_NS));
        let io = HookIo::new(Arc::new(memory.clone()));
        let parts = Parts { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..parts(Arc::new(io.clone()), 3) };
        let engine = Engine::open(parts, Path::new(STORE), OPEN).unwrap();
        let written = AtomicU64::new(0);
        io.hook(move |_, path| {
            // The third call is made once the first look at the image is over.
            if path == Path::new("/images/new") && written.fetch_add(1, Ordering::SeqCst) == 3 {
                clock.set_ns(later);
                if caught {
                    // Bears the very time that was taken down, so that no comparison can tell.
                    memory.open(path, OpenMode::ReadWrite).unwrap().write_at(&[2; 512], 0).unwrap();
                }
            }
        });
        let mut disk = scan_disk(0, None);
        disk.source.path = "/images/new".into();
        let refused = engine.scan(&[disk], &Control::default()).err().map(|error| error.code());
        assert_eq!(refused, caught.then_some(Code::SourceNotStill), "the clock went to {later}");
    }
}

#[test]
fn a_device_that_somebody_holds_is_refused_unless_frozen() {
    let memory = store();
    memory.install_device("/dev/disk", &random_bytes(5, 3 * CHUNK)).unwrap();
    let holder = memory.open(Path::new("/dev/disk"), OpenMode::ReadExclusive).unwrap();
    assert_eq!(code_of(&memory, "/dev/disk"), Code::SourceNotExclusive);
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    let mut disk = scan_disk(0, None);
    disk.source.path = "/dev/disk".into();
    disk.source.frozen = true;
    engine.scan(std::slice::from_ref(&disk), &Control::default()).unwrap();
    drop(holder);
    disk.source.frozen = false;
    engine.scan(&[disk], &Control::default()).unwrap();
}

/// What somebody does to a source while it is scanned.
type Meddling = fn(&MemoryIo);

const MEDDLING: [(&str, Meddling); 4] = [
    ("written to", |memory| image(memory).write_at(&[7; 10], 3).unwrap()),
    ("cut off", |memory| image(memory).set_length(512).unwrap()),
    ("replaced", |memory| {
        memory.remove_file(&image_path(0)).unwrap();
        memory.install_file(image_path(0), &random_bytes(3, 150 * CHUNK)).unwrap();
    }),
    ("removed", |memory| memory.remove_file(&image_path(0)).unwrap()),
];

fn image(memory: &MemoryIo) -> Arc<dyn stillpoint_engine::io::IoFile> {
    memory.open(&image_path(0), OpenMode::ReadWrite).unwrap()
}

#[test]
fn a_source_that_changes_at_any_call_is_either_captured_as_it_was_or_refused() {
    for (how, meddle) in MEDDLING {
        let (mut call, mut refused) = (0, 0);
        while let Some(was_refused) = meddle_at(how, meddle, call) {
            refused += u64::from(was_refused);
            call += sized(3, 1);
        }
        assert!(refused > 30, "{how}: refused {refused} times in {call} calls");
    }
}

/// Meddles at a call of a capture. `None` when it has fewer calls; else whether the capture was refused.
fn meddle_at(how: &str, meddle: Meddling, call: u64) -> Option<bool> {
    let memory = store_copy();
    let io = HookIo::new(Arc::new(memory.clone()));
    let engine = Engine::open(parts(Arc::new(io.clone()), 4), Path::new(STORE), OPEN).unwrap();
    let start = io.calls();
    let (meddled_with, before) = (memory.clone(), memory.read_file(image_path(0)).unwrap());
    io.hook(move |now, _| {
        if now == start + call {
            meddled_with.set_time_ns(NOW_NS + 1);
            meddle(&meddled_with);
        }
    });
    let captured = capture(&engine, uid(2), &[0], None);
    match &captured {
        Ok(()) => {
            let read = read_all(&engine, &version(uid(2), 0)).unwrap();
            // Before it was opened it may have been another one already.
            assert!(read == before || call <= 2, "{how} at call {call}");
        }
        Err(error) => {
            let refused = [Code::SourceChanged, Code::SourceNotFound, Code::SourceNotStill];
            assert!(refused.contains(&error.code()), "{how} at call {call}: {error}");
            assert_eq!(simulation::store::files_in(&memory, "packs").len(), packs_before());
        }
    }
    (io.calls() > start + call).then_some(captured.is_err())
}

fn store_copy() -> MemoryIo {
    static STATE: std::sync::OnceLock<MemoryIo> = std::sync::OnceLock::new();
    STATE.get_or_init(store).crash(CrashChoice::ProcessKilled)
}

fn packs_before() -> usize {
    simulation::store::files_in(&store_copy(), "packs").len()
}

#[test]
fn a_thread_that_fails_or_panics_ends_the_capture_and_not_the_others_patience() {
    for seed in seeds(sized(30, 600)) {
        let memory = store_copy();
        let options = OpenOptions { thread_count: 2 + seed as usize % 3, ..OPEN };
        let io = HookIo::new(Arc::new(memory.clone()));
        let engine = Engine::open(parts(Arc::new(io.clone()), 10_000 + seed), Path::new(STORE), options).unwrap();
        image(&memory).write_at(&random_bytes(seed, 150 * CHUNK), 0).unwrap();
        let (count, before) = (AtomicU64::new(0), memory.digest());
        io.hook(move |_, path| {
            let reads_image = path == image_path(0);
            if reads_image && count.fetch_add(1, Ordering::Relaxed) == 4 + seed * 2 % 150 {
                panic!("planted");
            }
        });
        let error = capture(&engine, uid(2), &[0], None).unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        assert_eq!(memory.digest(), before);
        io.hook(|_, _| {});
        capture(&engine, uid(2), &[0], None).unwrap();
        assert_eq!(read_all(&engine, &version(uid(2), 0)).unwrap(), memory.read_file(image_path(0)).unwrap());
    }
}

#[test]
fn a_failing_read_of_a_source_is_told_and_leaves_nothing() {
    for seed in seeds(sized(30, 600)) {
        let memory = store_copy();
        image(&memory).write_at(&random_bytes(seed, 150 * CHUNK), 0).unwrap();
        let options = OpenOptions { thread_count: 1 + seed as usize % 4, ..OPEN };
        let calls = {
            let io = FaultIo::new(Arc::new(memory.clone()), FaultPlan::none());
            drop(Engine::open(parts(Arc::new(io.clone()), 10_000 + seed), Path::new(STORE), options).unwrap());
            io.counts().calls
        };
        let before = memory.digest();
        let fault = Fault::FailCall { call: calls + 1 + seed % 150, failure: Failure::Device, lasting: Lasting::Once };
        let io = FaultIo::over_memory(&memory, FaultPlan::one(fault));
        let engine = Engine::open(parts(Arc::new(io), 10_000 + seed), Path::new(STORE), options).unwrap();
        let error = capture(&engine, uid(2), &[0], None).unwrap_err();
        assert!(matches!(error.code(), Code::IoFailed), "{error}");
        assert_eq!(memory.digest(), before, "{error}");
    }
}

#[test]
fn one_disk_that_fails_fails_the_point() {
    let memory = store();
    memory.install_file(image_path(1), &[1; 700]).unwrap();
    let engine = Engine::open(memory_parts(&memory, 3), Path::new(STORE), OPEN).unwrap();
    let before = memory.digest();
    let disks: Vec<ScanDisk> = vec![scan_disk(0, None), scan_disk(1, None)];
    let error = engine.scan(&disks, &Control::default()).err().expect("disk 1 is refused");
    assert_eq!(error.code(), Code::SourceSizeInvalid);
    let twice = engine.scan(&[scan_disk(0, None), scan_disk(0, None)], &Control::default());
    assert_eq!(twice.err().map(|error| error.code()), Some(Code::ArgumentInvalid));
    assert_eq!(memory.digest(), before);
}
