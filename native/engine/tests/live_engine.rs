//! Live disks through the engine, beside the simplest model: a disk is a byte vector, a point a frozen copy of its machine's.
//!
//! Laws: a live disk reads as its model; a point reads, differs and restores as its machine was at the cut, while its copy
//! waits, runs and has ended, whatever is written, reset, moved or deleted meanwhile. After a process crash everything
//! acknowledged is there. After a power cut all disks of a log are as one prefix of what was done to them left them, which
//! holds everything flushed; and every point that was answered is there, bit for bit.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_world;
mod simulation;

use live_world::short::{OPS, Op, cut_off_in_last, fail_everywhere, history_of};
use live_world::{World, crash_everywhere};
use simulation::progress::{count, over_cases, over_seeds};
use simulation::sized;

#[test]
fn any_history_of_live_disks_agrees_with_its_model() {
    over_seeds("live-engine-histories", sized(150, 20_000), |seed, counts| {
        let mut world = World::new(seed);
        world.history(60);
        count(counts, "steps", 60);
    });
}

#[test]
fn a_crash_at_any_call_leaves_a_prefix_of_every_log_and_every_answered_point() {
    over_seeds("live-engine-crashes", sized(6, 400), |seed, counts| {
        count(counts, "crashes", crash_everywhere(seed, 25, sized(40, 1_000)));
    });
}

#[test]
fn a_crash_between_any_two_calls_of_any_short_history_leaves_what_was_acknowledged() {
    let tiny = World::tiny();
    let lengths: Vec<u32> = (1..=sized(2, 4) as u32).collect();
    let numbers = |length: u32| (OPS.len() as u64).pow(length);
    let cases: u64 = lengths.iter().map(|length| numbers(*length)).sum();
    over_cases("live-short-histories", cases, |number, counts| {
        let (mut number, mut length) = (number, 1);
        while number >= numbers(length) {
            number -= numbers(length);
            length += 1;
        }
        // One in which there is nothing to do at some place is a shorter one.
        if let Some(cut_off) = cut_off_in_last(&tiny, &history_of(number, length)) {
            count(counts, "histories", 1);
            count(counts, "crashes", cut_off);
        }
    });
}

#[test]
fn a_call_that_fails_never_costs_what_was_acknowledged_nor_another_machine() {
    use Op::{Clone, Copy, Cut, Delete, Flush, Fua, Move, Release, Reopen, Rotate, Trim, Upkeep, Write};
    let tiny = World::tiny();
    let histories: &[&[Op]] = &[
        &[Write, Fua, Cut, Write, Copy, Release, Flush],
        &[Cut, Clone, Write, Copy, Release, Delete, Upkeep],
        &[Write, Cut, Clone, Delete, Write, Upkeep],
        &[Write, Trim, Move, Write, Fua, Move, Write, Cut],
        &[Rotate, Cut, Rotate, Copy, Release, Upkeep],
        &[Write, Cut, Reopen, Copy, Write, Reopen, Release],
        &[Fua, Cut, Write, Cut, Delete, Copy, Release, Flush],
    ];
    let stride = sized(29, 1);
    over_cases("live-faults", histories.len() as u64, |number, counts| {
        let struck = fail_everywhere(&tiny, histories[number as usize], stride);
        count(counts, "faults", struck.runs);
        count(counts, "failed operations", struck.failed_operations);
    });
}

#[test]
fn a_move_cut_off_or_failing_at_any_call_leaves_the_disk_in_one_log_with_all_its_bytes() {
    use Op::{Cut, Fua, Move, Reopen, Write};
    let tiny = World::tiny();
    let histories: &[&[Op]] = &[&[Write, Move], &[Write, Move, Write, Move], &[Move, Fua, Reopen, Move, Write, Cut]];
    let stride = sized(29, 1);
    over_cases("live-moves", histories.len() as u64, |number, counts| {
        let history = histories[number as usize];
        for end in 1..=history.len() {
            count(counts, "crashes", cut_off_in_last(&tiny, &history[..end]).unwrap());
        }
        count(counts, "faults", fail_everywhere(&tiny, history, stride).runs);
    });
}
