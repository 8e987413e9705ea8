//! Law: the machine may stop at any call. On the next opening every acknowledged point reads back, an
//! unacknowledged one is gone or whole, nothing is reported as damaged, and the store goes on working.
#![allow(clippy::print_stdout, reason = "counts are part of what a test run says")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use simulation::cuts::{Cutting, Seen, counted, cut_everywhere};
use simulation::progress::{count, over_cases, over_seeds};
use simulation::script::{Script, Session, Step, drawn, scripts, short_histories};
use simulation::{is_full, sized};
use stillpoint_engine::io::memory::CrashChoice;

#[test]
fn a_crash_at_any_call_loses_nothing_acknowledged() {
    let scripts = scripts();
    let mut seen = Seen::default();
    over_cases("engine-crash-scripts", scripts.len() as u64, |number, counts| {
        counted(&mut seen, counts, |seen| cut(&scripts[number as usize], 1, seen));
    });
}

#[test]
fn a_crash_at_any_call_of_a_drawn_history_loses_nothing_acknowledged() {
    let mut seen = Seen::default();
    over_seeds("engine-crash-histories", sized(4, 60), |seed, counts| {
        counted(&mut seen, counts, |seen| cut(&drawn(seed), seed, seen));
    });
}

#[test]
fn a_crash_between_any_two_calls_of_any_short_history_loses_nothing_acknowledged() {
    let length = sized(2, 4) as usize;
    let histories: Vec<_> = [1, 3].into_iter().flat_map(|stride| short_histories(length, stride)).collect();
    let mut before = Session::alike(1);
    before.run(&[Step::Create, Step::Open, Step::Capture(&[0]), Step::Turn, Step::Capture(&[0])]).unwrap();
    before.close();
    let mut seen = Seen::default();
    over_cases("engine-short-histories", histories.len() as u64, |number, counts| {
        let history = [vec![Step::Open], histories[number as usize].clone()].concat();
        let cutting = Cutting {
            name: "a short history",
            whole_steps: history.len() - 1, // what is cut in the others, shorter histories have seen
            torn: is_full(),
            choices: |call| vec![CrashChoice::LoseUnsynced, CrashChoice::Seeded(call)],
            seed: 1,
        };
        counted(&mut seen, counts, |seen| {
            cut_everywhere(&before, &history, &cutting, seen);
        });
        count(counts, "histories", 1);
    });
}

fn cut(script: &Script, seed: u64, seen: &mut Seen) {
    let mut before = Session::new(seed);
    before.run(&script.before).unwrap();
    before.close();
    let states_before = seen.states.len();
    let cutting = Cutting { name: script.name, whole_steps: 0, torn: true, choices, seed };
    let call_count = cut_everywhere(&before, &script.steps, &cutting, seen);
    println!("{}: {call_count} calls, {} new states", script.name, seen.states.len() - states_before);
}

fn choices(call: u64) -> Vec<CrashChoice> {
    let drawn = (0..sized(2, 10)).map(|number| CrashChoice::Seeded(call * 100 + number));
    [CrashChoice::LoseUnsynced, CrashChoice::KeepAll, CrashChoice::ProcessKilled].into_iter().chain(drawn).collect()
}
