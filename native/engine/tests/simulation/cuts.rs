//! A script cut off at every call, and what must hold of every state that this could leave.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use stillpoint_engine::control::Control;
use stillpoint_engine::engine::Engine;
use stillpoint_engine::error::Code;
use stillpoint_engine::io::fault::{Fault, FaultIo, FaultPlan, is_simulated_crash};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::units::Uid;

use super::progress::{Counts, count};
use super::script::{Expected, Session, Step};
use super::sized;
use super::store::{CREATE, OPEN, STORE, memory_parts, store_files};

/// What was checked.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) cuts: u64,
    pub(crate) states: HashSet<u64>,
    settled: HashSet<(u64, Vec<Uid>, Vec<Uid>)>, // checked, with what was expected of them
}

/// Adds what `check` saw to the counts.
pub(crate) fn counted(seen: &mut Seen, counts: &mut Counts, check: impl FnOnce(&mut Seen)) {
    let (cuts, states) = (seen.cuts, seen.states.len());
    check(seen);
    count(counts, "cuts", seen.cuts - cuts);
    count(counts, "distinct crash states", (seen.states.len() - states) as u64);
}

/// How much is cut.
pub(crate) struct Cutting {
    pub(crate) name: &'static str,
    /// Steps that run to their end before the first cut.
    pub(crate) whole_steps: usize,
    /// Also with the write at that moment torn.
    pub(crate) torn: bool,
    pub(crate) choices: fn(u64) -> Vec<CrashChoice>,
    pub(crate) seed: u64,
}

/// Runs the steps once for each of their calls, and cuts them off there.
pub(crate) fn cut_everywhere(before: &Session, steps: &[Step], cutting: &Cutting, seen: &mut Seen) -> u64 {
    let (whole, cut) = steps.split_at(cutting.whole_steps);
    let calls = {
        let (mut session, io) = faulty(before, FaultPlan::none());
        session.run(whole).unwrap();
        let first = io.counts().calls;
        session.run(cut).unwrap();
        first..io.counts().calls
    };
    for call in calls.clone() {
        for torn in
            [None, Some(cutting.seed.wrapping_mul(1_000) + call)].into_iter().take(1 + usize::from(cutting.torn))
        {
            let (mut session, io) = faulty(before, FaultPlan::one(Fault::Crash { call, torn }));
            match session.run(steps) {
                Err(error) => assert!(is_simulated_crash(&error) || io.has_crashed(), "{error}"),
                Ok(()) => assert!(
                    io.has_crashed() && is_nobodys_concern(&io),
                    "the crash at call {call} stops {}: {steps:?}\n{}",
                    cutting.name,
                    io.log()
                ),
            }
            for choice in (cutting.choices)(call) {
                seen.cuts += 1;
                check(cutting.name, &session, choice, seen).unwrap_or_else(|failure| {
                    panic!(
                        "{failure}\nafter {choice:?} at call {call} (torn: {torn:?}) of {}: {steps:?}\n\
                         repeat it with STILLPOINT_SEED={}\n{}",
                        cutting.name,
                        cutting.seed,
                        io.log()
                    )
                });
            }
        }
    }
    calls.end - calls.start
}

/// The session on a copy of its file system, reached through planned faults.
fn faulty(before: &Session, plan: FaultPlan) -> (Session, FaultIo) {
    let memory = before.memory.crash(CrashChoice::ProcessKilled);
    let io = FaultIo::over_memory(&memory, plan);
    (before.moved(&memory, Arc::new(io.clone()), 500), io)
}

fn check(name: &str, session: &Session, choice: CrashChoice, seen: &mut Seen) -> Result<(), String> {
    let state = session.memory.crash(choice);
    let digest = state.digest();
    seen.states.insert(digest);
    let expected = &session.expected;
    if state.unsynced_count() == 0 {
        let ids = |points: &std::collections::BTreeMap<Uid, _>| points.keys().copied().collect::<Vec<_>>();
        if !seen.settled.insert((digest, ids(&expected.points), ids(&expected.unsure))) {
            return Ok(());
        }
    }
    if !recreated(&state, expected)? {
        check_recovery_cuts(&state, session, seen)?;
    }
    let mut after = session.moved(&state, Arc::new(state.clone()), 600);
    check_open(&mut after)?;
    go_on(&mut after).map_err(|error| format!("going on: {error}"))?;
    check_sound(&after)?;
    // What was acknowledged since then needs nothing that the crash had left unsynced.
    let later = after.memory.crash(CrashChoice::LoseUnsynced);
    let mut later = after.moved(&later, Arc::new(later.clone()), 700);
    check_open(&mut later).map_err(|failure| format!("after {}, going on and a power cut: {failure}", name))
}

/// Without a store `create` was cut off; it is then repeated, and succeeds.
fn recreated(state: &MemoryIo, expected: &Expected) -> Result<bool, String> {
    match Engine::open(memory_parts(state, 1), Path::new(STORE), OPEN) {
        Ok(_) => Ok(false),
        Err(error) if error.code() == Code::StoreNotFound && !expected.created => {
            Engine::create(&memory_parts(state, 800), Path::new(STORE), &CREATE)
                .map(|()| true)
                .map_err(|error| format!("creating again: {error}"))
        }
        Err(error) => Err(format!("opening: {error}")),
    }
}

/// A second crash, while the store is opened after the first.
fn check_recovery_cuts(state: &MemoryIo, session: &Session, seen: &mut Seen) -> Result<(), String> {
    let every = sized(7, 2);
    let mut call = seen.cuts % every;
    loop {
        let memory = state.crash(CrashChoice::ProcessKilled);
        let io = FaultIo::over_memory(&memory, FaultPlan::one(Fault::Crash { call, torn: None }));
        let mut opening = session.moved(&memory, Arc::new(io.clone()), 900);
        if opening.open(OPEN).is_ok() {
            return Ok(());
        }
        let choice = if call.is_multiple_of(2) { CrashChoice::LoseUnsynced } else { CrashChoice::Seeded(call) };
        let again = memory.crash(choice);
        seen.cuts += 1;
        seen.states.insert(again.digest());
        if !session.expected.created {
            recreated(&again, &session.expected)?;
        }
        let mut again = session.moved(&again, Arc::new(again.clone()), 901);
        check_open(&mut again).map_err(|failure| format!("after {choice:?} at call {call} of opening: {failure}"))?;
        call += every;
    }
}

/// Opens, and compares with what is expected.
fn check_open(session: &mut Session) -> Result<(), String> {
    session.open(OPEN).map_err(|error| format!("opening: {error}"))?;
    let unfinished = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "tmp");
    if let Some(path) = store_files(&session.memory).iter().find(unfinished) {
        return Err(format!("{} is left", path.display()));
    }
    let findings = session.engine().findings();
    if !findings.is_empty() {
        return Err(format!("opening found {findings:?}"));
    }
    session.expected.check(session.engine())?;
    session.expected.settle(&session.engine().clone());
    check_sound(session)
}

fn check_sound(session: &Session) -> Result<(), String> {
    session.expected.check(session.engine())?;
    let report = session.engine().verify(true, &Control::default()).map_err(|error| error.to_string())?;
    if report.findings.is_empty() { Ok(()) } else { Err(format!("verify found {:?}", report.findings)) }
}

fn go_on(session: &mut Session) -> stillpoint_engine::error::Result<()> {
    session.run(&[
        Step::Change { disk: 0, first: 2, count: 1, seed: 8_000 },
        Step::Capture(session.disks()),
        Step::Delete(0),
        Step::Collect,
        Step::Capture(session.disks()),
    ])
}

/// Whether all that a crash cut off was the removal of files of the index that nothing lists any more: those may fail as they
/// like, so the last ones of a script do not stop it.
fn is_nobodys_concern(io: &FaultIo) -> bool {
    let log = io.log().to_string();
    let mut crashed = log.lines().filter(|line| line.ends_with("[crashed]"));
    crashed.all(|line| line.contains(" remove_file ") && line.contains("/index/"))
}
