//! Law: whatever happens to disks and store, every point gives back every disk as it was, diffs lead from any version
//! to any other, and without points nothing is left.
#![allow(clippy::print_stdout, reason = "counts are part of what a test run says")]

mod simulation;

use simulation::history::{Settings, draw};
use simulation::{run, seeds, sized};

const OPERATIONS: usize = 40;

#[test]
fn every_history_agrees_with_the_model() {
    let (mut histories, mut operations) = (0, 0);
    for seed in seeds(sized(200, 2_000)) {
        let settings = Settings::draw(seed);
        let ops = draw(&settings, OPERATIONS);
        run::run(&settings, &ops);
        histories += 1;
        operations += ops.len();
    }
    println!("{histories} histories with {operations} operations");
}
