//! Live disks through the engine, beside the simplest model: a disk is a byte vector, a point a frozen copy of its machine's.
//!
//! Laws: a live disk reads as its model; a point reads as its machine was at the cut, while its copy waits, runs and has
//! ended, whatever is written, reset, moved or deleted meanwhile; after a process crash everything acknowledged is there;
//! after a power cut everything is that was flushed, and every point that was answered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_world;

use live_world::{World, history};

#[test]
fn any_history_of_live_disks_agrees_with_its_model() {
    for seed in live_world::seeds(live_world::sized(150, 20_000)) {
        let mut world = World::new(seed);
        history(&mut world, 60);
    }
}
