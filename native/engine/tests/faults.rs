//! Law: whatever call fails, and however often, the caller gets a coded error and never wrong bytes; what was
//! acknowledged stays; after a failed write or sync of the device nothing more is written through the handle.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::PathBuf;
use std::sync::Arc;

use simulation::progress::{count, over_cases, over_seeds};
use simulation::script::{Script, Session, Step, drawn, is_operating, scripts};
use simulation::store::{OPEN, store_files};
use simulation::{is_full, sized};
use stillpoint_engine::control::Control;
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting, Struck, Verb};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};

#[test]
fn any_call_may_fail_once_or_for_good() {
    let scripts = scripts();
    over_cases("engine-fault-scripts", scripts.len() as u64, |number, counts| {
        count(counts, "runs with a failing call", fail_everywhere(&scripts[number as usize], 1));
    });
    over_seeds("engine-fault-histories", sized(2, 60), |seed, counts| {
        count(counts, "runs with a failing call", fail_everywhere(&drawn(seed), seed));
    });
}

fn fail_everywhere(script: &Script, seed: u64) -> u64 {
    let before = before(script, seed);
    let counts = {
        let (mut session, io) = faulty(&before, FaultPlan::none());
        session.run(&script.steps).unwrap();
        io.counts()
    };
    let mut runs = 0;
    for lasting in [Lasting::Once, Lasting::Sticky] {
        for failure in [Failure::Device, Failure::NoSpace, Failure::Access] {
            if lasting == Lasting::Sticky && failure != Failure::Device && !is_full() {
                continue; // differs from the others in the code that is given
            }
            let calls = (0..counts.calls).map(|call| Fault::FailCall { call, failure, lasting });
            let syncs = (0..counts.syncs).map(|sync| Fault::FailSync { sync, failure, lasting });
            for fault in calls.chain(syncs) {
                runs += 1;
                fail_at(script, &before, fault, failure).unwrap_or_else(|failure| {
                    panic!("{failure}\nwith {fault:?} in {script:?}\nrepeat it with STILLPOINT_SEED={seed}")
                });
            }
        }
    }
    runs
}

fn fail_at(script: &Script, before: &Session, fault: Fault, failure: Failure) -> Result<(), String> {
    let (mut session, io) = faulty(before, FaultPlan::one(fault));
    let code_expected = match failure {
        Failure::Device => Code::IoFailed,
        Failure::NoSpace => Code::NoSpace,
        Failure::Access => Code::PermissionDenied,
    };
    let mut fenced = false;
    for step in &script.steps {
        let told = |what: &str| format!("{step:?} {what}\n{}", io.log());
        if session.engine.is_none() && !matches!(step, Step::Create | Step::Open | Step::Change { .. }) {
            break; // opening failed for good
        }
        let (files, points) = (store_files(&session.memory), session.expected.points.len());
        let call = io.counts().calls;
        let writes = matches!(step, Step::Capture(_) | Step::Delete(_) | Step::Collect);
        match session.step(step) {
            Ok(()) if fenced && writes && session.expected.points.len() != points => {
                return Err(told("was done by a store that should be fenced"));
            }
            Ok(()) => {}
            Err(error) if error.code() == Code::StoreFenced => {
                if !may_fence(&io) {
                    return Err(told("found the store fenced without a reason"));
                }
            }
            Err(error) => {
                if error.code() != code_expected {
                    return Err(told(&format!("gave {error}, not {}", code_expected.name())));
                }
                if writes && !fenced {
                    fenced = must_fence(&io, call);
                    check_nothing_left(&session, step, &files, fault).map_err(|what| told(&what))?;
                }
            }
        }
        if matches!(step, Step::Open) {
            fenced = false;
        }
    }
    session.engine = None;
    let after = session.memory.crash(CrashChoice::ProcessKilled);
    let mut after = session.moved(&after, Arc::new(after.clone()), 600);
    if !after.expected.created {
        return Ok(()); // the crash test creates again
    }
    after.open(OPEN).map_err(|error| format!("opening afterwards: {error}\n{}", io.log()))?;
    after.expected.check(after.engine()).map_err(|what| format!("{what}\n{}", io.log()))?;
    let report = after.engine().verify(true, &Control::default()).map_err(|error| error.to_string())?;
    if report.findings.is_empty() { Ok(()) } else { Err(format!("{:?}\n{}", report.findings, io.log())) }
}

/// Whether the device failed any call in the store, or anything a sync that leaves something unknown.
fn may_fence(io: &FaultIo) -> bool {
    io.calls().iter().any(|call| {
        matches!(call.struck, Struck::Failed(failure) if failure == Failure::Device || is_unknown(call.verb, failure))
    })
}

/// Whether a failed sync leaves unknown what the disk holds. A file that did not fit is removed, so nothing hangs on it.
fn is_unknown(verb: Verb, failure: Failure) -> bool {
    verb == Verb::SyncDirectory || (verb == Verb::Sync && failure != Failure::NoSpace)
}

/// Whether the device failed a write, or anything a sync, from this call on, in the store.
fn must_fence(io: &FaultIo, since: u64) -> bool {
    io.calls().iter().skip(since as usize).any(|call| {
        let Struck::Failed(failure) = call.struck else { return false };
        let sync = is_unknown(call.verb, failure);
        let write = matches!(call.verb, Verb::WriteAt | Verb::RenameNew | Verb::RenameReplace);
        call.path.starts_with("/stores") && (sync || (write && failure == Failure::Device))
    })
}

/// A capture that failed once has taken away what it wrote; only what cannot be told from a success may stay.
fn check_nothing_left(session: &Session, step: &Step, before: &[PathBuf], fault: Fault) -> Result<(), String> {
    let lasting = match fault {
        Fault::FailCall { lasting, .. } | Fault::FailSync { lasting, .. } => lasting,
        _ => return Ok(()),
    };
    if lasting == Lasting::Sticky || !matches!(step, Step::Capture(_)) || !session.expected.unsure.is_empty() {
        return Ok(());
    }
    let is_pack = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "packs");
    let left = store_files(&session.memory).into_iter().find(|path| is_pack(&path) && !before.contains(path));
    left.map_or(Ok(()), |path| Err(format!("failed and left {}", path.display())))
}

#[test]
fn a_failed_call_gives_a_code_that_says_what_to_do() {
    let before = before(&scripts()[2], 1);
    for (failure, code) in [
        (Failure::Device, Code::IoFailed),
        (Failure::NoSpace, Code::NoSpace),
        (Failure::Access, Code::PermissionDenied),
    ] {
        let (mut session, io) = faulty(&before, FaultPlan::none());
        session.run(&[Step::Open]).unwrap();
        let call = io.counts().calls;
        let plan = FaultPlan::one(Fault::FailCall { call, failure, lasting: Lasting::Sticky });
        let (mut session, _) = faulty(&before, plan);
        session.run(&[Step::Open]).unwrap();
        let error = session.run(&[Step::Capture(&[0])]).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(is_operating(error.code()));
    }
}

#[test]
fn a_full_file_system_is_no_reason_to_reopen() {
    let mut session = before(&scripts()[2], 1);
    session.run(&[Step::Change { disk: 0, first: 0, count: 8, seed: 9 }, Step::Open]).unwrap();
    for pages in 0..40 {
        let files = session.memory.files().into_iter().filter_map(|path| session.memory.read_file(path));
        let used: u64 = files.map(|bytes| bytes.len().div_ceil(4096) as u64).sum();
        session.memory.set_capacity(Some((used + pages) * 4096));
        let files = store_files(&session.memory);
        match session.capture(&[0], &Control::default()) {
            Err(error) => assert_eq!(error.code(), Code::NoSpace, "{error}"),
            Ok(()) => {
                assert!(pages > 0, "a capture needs space");
                session.expected.check(session.engine()).unwrap();
                return;
            }
        }
        assert_eq!(store_files(&session.memory), files, "with {pages} pages free");
        session.expected.unsure.clear(); // its manifest did not get its name
        session.expected.check(session.engine()).unwrap();
    }
    panic!("160 KiB should have been enough");
}

#[test]
fn a_cancelled_capture_leaves_the_store_as_it_was() {
    for script in scripts().iter().filter(|script| script.name.contains("capture")) {
        cancel_everywhere(script);
    }
}

#[test]
fn a_cancelled_collection_keeps_what_its_steps_did_and_the_next_one_does_the_rest() {
    for script in scripts().iter().filter(|script| script.name.contains("collect")) {
        cancel_everywhere(script);
    }
}

fn cancel_everywhere(script: &Script) {
    let before = before(script, 1);
    let mut call = 0;
    while cancel_at(&before, script, call) {
        call += 1;
    }
    assert!(call > 10, "{}: {call} steps", script.name);
}

/// Cancels the script's last step when a call is made; `false` when it has fewer calls.
fn cancel_at(before: &Session, script: &Script, call: u64) -> bool {
    let (last, steps) = script.steps.split_last().unwrap();
    let memory = before.memory.crash(CrashChoice::ProcessKilled);
    let control = Arc::new(Control::default());
    let io = simulation::hooks::HookIo::new(Arc::new(memory.clone()));
    let mut session = before.moved(&memory, Arc::new(io.clone()), 500);
    session.run(steps).unwrap();
    let (digest, calls) = (memory.digest(), io.calls());
    let untouched = memory.crash(CrashChoice::ProcessKilled);
    let cancelling = Arc::clone(&control);
    io.hook(move |now, _| {
        if now >= calls + call {
            cancelling.cancel();
        }
    });
    let done: Result<(), Error> = match last {
        Step::Capture(disks) => session.capture(disks, &control),
        _ => session.engine().collect(false, &control).map(drop),
    };
    match &done {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(error.code(), Code::Cancelled, "{error}");
            if matches!(last, Step::Capture(_)) {
                assert_eq!(memory.digest(), digest, "{}, cancelled at call {call}", script.name);
            }
        }
    }
    if let Step::Collect = last {
        session.expected.check(session.engine()).unwrap();
        assert_eq!(
            collected_bytes(&session, &memory),
            collected_bytes(&session, &untouched),
            "cancelled at call {call}"
        );
    }
    session.expected.check(session.engine()).unwrap();
    io.calls() > calls + call
}

/// Bytes of the packs after a collection that nothing stops.
fn collected_bytes(session: &Session, memory: &MemoryIo) -> u64 {
    let copy = memory.crash(CrashChoice::ProcessKilled);
    let mut session = session.moved(&copy, Arc::new(copy.clone()), 900);
    session.run(&[Step::Open, Step::Collect]).unwrap();
    session.engine().usage().unwrap().pack_bytes
}

/// The session of a script's beginning, closed.
fn before(script: &Script, seed: u64) -> Session {
    let mut session = Session::new(seed);
    session.run(&script.before).unwrap();
    session.engine = None;
    session
}

fn faulty(before: &Session, plan: FaultPlan) -> (Session, FaultIo) {
    let memory = before.memory.crash(CrashChoice::ProcessKilled);
    let io = FaultIo::over_memory(&memory, plan);
    (before.moved(&memory, Arc::new(io.clone()), 500), io)
}
