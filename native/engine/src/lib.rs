//! Stillpoint's engine: the data side.
//!
//! ```text
//! image file -> scan ------------> chunk_store + block_map -> points (manifest)
//! sealed layer -> background_copy -^         |
//!                               +------------+
//!                               |
//!        diff | restore | read <-+         verify, collect: around it
//! ```
//!
//! [`engine::Engine`] is the top: the only place that knows all stages and turns their values into commits. Everything
//! reaches files through [`io`], time through [`clock`], chance through [`random`], so that all of it runs in a simulation.
#![cfg_attr(test, allow(clippy::unwrap_used))]

// The floor.
pub mod buffers;
pub mod busy_poll;
pub mod clock;
pub mod control;
pub mod error;
pub mod format;
pub mod io;
pub mod limits;
pub mod random;
pub mod units;

// In: an image becomes chunks and a map.
pub mod block_map;
pub mod chunk_store;
pub mod scan;

// Live: what is written while it is served.
pub mod cut;
pub mod disk;
pub mod write_log;

// In: what live disks logged becomes chunks and a map.
pub mod background_copy;

// Out again.
pub mod diff;
pub mod nbd;
pub mod restore;

// Around it.
pub mod collect;
pub mod points;
pub mod statistics;
pub mod throttle;
pub mod verify;

// The top.
pub mod engine;

// For benches only.
pub mod probe;
