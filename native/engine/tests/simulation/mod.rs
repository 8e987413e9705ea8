//! A store on a file system in memory, beside the simplest model of it: disks are byte vectors, points are frozen
//! copies of them.
//!
//! One seed drives everything. `STILLPOINT_SEED=n` repeats one history; `STILLPOINT_TEST_SIZE=full` runs the full
//! counts.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod content;
pub(crate) mod cuts;
pub(crate) mod damage;
pub(crate) mod history;
pub(crate) mod hooks;
pub(crate) mod laws;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod store;
pub(crate) mod world;

/// Whether the full counts were asked for.
pub(crate) fn is_full() -> bool {
    std::env::var("STILLPOINT_TEST_SIZE").is_ok_and(|size| size == "full")
}

/// One of two counts, by the size asked for.
pub(crate) fn sized(quick: u64, full: u64) -> u64 {
    if is_full() { full } else { quick }
}

/// The seeds to run: the one asked for, or the first `count`.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("STILLPOINT_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("STILLPOINT_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}
