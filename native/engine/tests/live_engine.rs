//! Live disks through the engine, beside the simplest model: a disk is a byte vector, a point a frozen copy of its machine's.
//!
//! Laws: a live disk reads as its model; a point reads, differs and restores as its machine was at the cut, while its copy
//! waits, runs and has ended, whatever is written, reset, moved or deleted meanwhile. After a process crash everything
//! acknowledged is there. After a power cut all disks of a log are as one prefix of what was done to them left them, which
//! holds everything flushed; and every point that was answered is there, bit for bit.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_world;

use live_world::{World, crash_everywhere, seeds, sized};

#[test]
fn any_history_of_live_disks_agrees_with_its_model() {
    for seed in seeds(sized(150, 20_000)) {
        let mut world = World::new(seed);
        world.history(60);
    }
}

#[test]
fn a_crash_at_any_call_leaves_a_prefix_of_every_log_and_every_answered_point() {
    let mut cuts = 0;
    for seed in seeds(sized(6, 400)) {
        cuts += crash_everywhere(seed, 25, sized(40, 1_000));
    }
    assert!(cuts > 0, "something was cut off");
}
