//! Stillpoint's engine: the data side.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod error;
pub mod io;
pub mod units;
