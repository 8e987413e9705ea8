//! Runs a history beside its model; what fails is shrunk and printed as a script.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::history::{Op, Settings};
use super::world::World;

/// Attempts to leave something out of a failing history.
const SHRINK_ATTEMPTS: usize = 400;

/// Runs a history.
///
/// # Panics
/// When it fails: with the shortest failing part of it that was found.
pub(crate) fn run(settings: &Settings, ops: &[Op]) {
    let Err(first) = attempt(settings, ops) else { return };
    let (ops, failure) = shrink(settings, ops.to_vec(), first);
    let script: Vec<String> = ops.iter().map(|op| format!("    {op:?},")).collect();
    panic!("{failure}\nrepeat it with STILLPOINT_SEED={}\n{settings:?}\n[\n{}\n]", settings.seed, script.join("\n"));
}

fn attempt(settings: &Settings, ops: &[Op]) -> Result<(), String> {
    let run = || {
        let mut world = World::new(settings);
        for (index, op) in ops.iter().enumerate() {
            world.step(op).map_err(|failure| format!("operation {index}, {op:?}: {failure}"))?;
        }
        world.finish()
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// Leaves out halves, quarters, ... and single operations as long as it still fails, in whatever way.
fn shrink(settings: &Settings, mut ops: Vec<Op>, mut failure: String) -> (Vec<Op>, String) {
    let mut attempts = 0;
    let mut length = ops.len() / 2;
    while length > 0 && attempts < SHRINK_ATTEMPTS {
        let mut at = 0;
        while at < ops.len() && attempts < SHRINK_ATTEMPTS {
            let mut shorter = ops.clone();
            shorter.drain(at..(at + length).min(ops.len()));
            attempts += 1;
            match attempt(settings, &shorter) {
                Err(still) => (ops, failure) = (shorter, still),
                Ok(()) => at += length,
            }
        }
        length /= 2;
    }
    (ops, failure)
}
