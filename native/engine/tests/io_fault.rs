//! What the fault layer does to the calls that its plan names, and to no other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::io::fault::{Counts, Failure, Fault, FaultIo, FaultPlan, Lasting, Verb, is_simulated_crash};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{Io, OpenMode};
use support::create;

/// Publishes a file the way a store does: temporary name, sync, rename, directory sync. 5 calls, 2 of them syncs.
fn publish(io: &dyn Io, bytes: &[u8]) -> Result<()> {
    let file = io.open(Path::new("/x.tmp"), OpenMode::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    io.rename_new(Path::new("/x.tmp"), Path::new("/x"))?;
    io.sync_directory(Path::new("/"))
}

fn with_fault(fault: Fault) -> (MemoryIo, FaultIo) {
    let memory = MemoryIo::new();
    let io = FaultIo::over_memory(&memory, FaultPlan::one(fault));
    (memory, io)
}

#[test]
fn every_call_is_counted_and_logged() {
    let (_, io) = with_fault(Fault::FailCall { call: 99, failure: Failure::Device, lasting: Lasting::Once });
    publish(&io, &[1; 600]).unwrap();
    let file = io.open(Path::new("/x"), OpenMode::Read).unwrap();
    file.read_at(&mut [0; 10], 5).unwrap();
    assert_eq!(io.counts(), Counts { calls: 7, syncs: 2, reads: 1 });
    assert_eq!(io.calls()[3].verb, Verb::RenameNew);
    let log = io.log();
    assert!(log.contains("1 write_at /x.tmp 0+600\n"), "{log}");
    assert!(log.contains("3 rename_new /x.tmp -> /x\n"), "{log}");
    assert!(log.contains("6 read_at /x 5+10\n"), "{log}");
}

#[test]
fn a_call_fails_once_or_from_then_on_with_the_code_of_its_errno() {
    let codes = [
        (Failure::Device, Code::IoFailed),
        (Failure::NoSpace, Code::NoSpace),
        (Failure::Access, Code::PermissionDenied),
    ];
    for (failure, code) in codes {
        let (_, io) = with_fault(Fault::FailCall { call: 1, failure, lasting: Lasting::Once });
        assert_eq!(publish(&io, b"x").unwrap_err().code(), code);
        io.identify(Path::new("/")).unwrap();
        let (_, io) = with_fault(Fault::FailCall { call: 1, failure, lasting: Lasting::Sticky });
        assert_eq!(publish(&io, b"x").unwrap_err().code(), code);
        assert_eq!(io.identify(Path::new("/")).unwrap_err().code(), code);
        assert!(io.log().contains("[failed: "));
    }
}

#[test]
fn failing_each_call_in_turn_ends_with_a_run_that_succeeds() {
    for call in 0.. {
        let (memory, io) = with_fault(Fault::FailCall { call, failure: Failure::Device, lasting: Lasting::Once });
        let published = publish(&io, &[1; 600]);
        assert_eq!(published.is_ok(), call == 5, "{}", io.log());
        if published.is_ok() {
            assert_eq!(memory.crash(CrashChoice::LoseUnsynced).read_file("/x").unwrap(), [1; 600]);
            break;
        }
    }
}

#[test]
fn a_failed_write_may_leave_a_part() {
    let (memory, io) = with_fault(Fault::FailCall { call: 1, failure: Failure::NoSpace, lasting: Lasting::Once });
    publish(&io, &[1; 2_600]).unwrap_err();
    assert_eq!(memory.read_file("/x.tmp").unwrap(), [1; 1_024]);
}

#[test]
fn a_sync_that_succeeds_after_a_failed_one_did_not_write_its_data() {
    let (memory, io) = with_fault(Fault::FailSync { sync: 1, failure: Failure::Device, lasting: Lasting::Once });
    let file = create(&io, "/file", b"one");
    io.sync_directory(Path::new("/")).unwrap();
    assert_eq!(file.sync().unwrap_err().code(), Code::IoFailed);
    file.sync().unwrap();
    assert_eq!(memory.read_file("/file").unwrap(), b"one");
    assert_eq!(memory.crash(CrashChoice::KeepAll).read_file("/file").unwrap(), b"");
}

#[test]
fn a_failed_sync_of_a_directory_leaves_its_names_undecided() {
    let (memory, io) = with_fault(Fault::FailSync { sync: 0, failure: Failure::Device, lasting: Lasting::Sticky });
    create(&io, "/file", b"");
    assert!(io.sync_directory(Path::new("/")).is_err());
    assert!(io.sync_directory(Path::new("/")).is_err());
    let states: BTreeSet<_> = (0..50).map(|seed| memory.crash(CrashChoice::Seeded(seed)).files()).collect();
    assert_eq!(states.len(), 2);
}

#[test]
fn after_a_simulated_crash_every_call_fails_with_its_mark() {
    for call in 0..5 {
        let (memory, io) = with_fault(Fault::Crash { call, torn: None });
        let error = publish(&io, &[1; 600]).unwrap_err();
        assert!(is_simulated_crash(&error) && io.has_crashed());
        assert!(error.message().contains("simulated crash"));
        assert!(is_simulated_crash(&io.list_directory(Path::new("/")).unwrap_err()));
        let after = memory.crash(CrashChoice::KeepAll);
        assert_eq!(after.read_file("/x").is_some(), call == 4);
        assert_eq!(
            after.read_file("/x.tmp"),
            [None, Some(vec![]), Some(vec![1; 600]), Some(vec![1; 600]), None][usize::try_from(call).unwrap()]
        );
    }
    let (_, io) = with_fault(Fault::FailCall { call: 0, failure: Failure::Device, lasting: Lasting::Once });
    assert!(!is_simulated_crash(&publish(&io, b"").unwrap_err()));
}

#[test]
fn a_crash_in_a_write_can_tear_it_at_sectors() {
    let states: BTreeSet<Vec<u8>> = (0..200)
        .map(|seed| {
            let (memory, io) = with_fault(Fault::Crash { call: 1, torn: Some(seed) });
            assert!(is_simulated_crash(&publish(&io, &[1; 1_536]).unwrap_err()));
            memory.read_file("/x.tmp").unwrap()
        })
        .collect();
    assert!(states.len() >= 7);
    assert!(states.iter().all(|bytes| bytes.chunks(512).all(|sector| sector == [0; 512] || sector == [1; 512])));
}

#[test]
fn a_flipped_bit_is_read_once_and_not_stored() {
    let (memory, io) = with_fault(Fault::FlipReadBit { read: 1, bit: 8 * 10 + 3 });
    memory.install_file("/file", &[0; 8]).unwrap();
    let file = io.open(Path::new("/file"), OpenMode::Read).unwrap();
    let reads: Vec<[u8; 8]> = (0..3)
        .map(|_| {
            let mut buffer = [0; 8];
            file.read_at(&mut buffer, 0).unwrap();
            buffer
        })
        .collect();
    assert_eq!(reads, [[0; 8], [0, 0, 8, 0, 0, 0, 0, 0], [0; 8]]);
    assert_eq!(memory.read_file("/file").unwrap(), [0; 8]);
}

#[test]
fn a_plan_follows_from_its_seed_and_strikes_within_the_run() {
    let counts = Counts { calls: 5, syncs: 2, reads: 0 };
    let mut struck = 0;
    for seed in 0..200 {
        let plan = FaultPlan::seeded(seed, counts);
        assert_eq!(plan, FaultPlan::seeded(seed, counts));
        let io = FaultIo::new(Arc::new(MemoryIo::new()), plan);
        struck += u32::from(publish(&io, b"bytes").is_err());
    }
    assert!(struck > 120, "three plans of four strike a run without reads, not {struck} of 200");
}
