//! Law: whatever happens to disks and store, every point gives back every disk as it was, diffs lead from any version
//! to any other, and without points nothing is left.

mod simulation;

use simulation::history::{Settings, draw};
use simulation::progress::{count, over_seeds};
use simulation::{run, sized};

const OPERATIONS: usize = 40;

#[test]
fn every_history_agrees_with_the_model() {
    over_seeds("engine-histories", sized(200, 20_000), |seed, counts| {
        let settings = Settings::draw(seed);
        let ops = draw(&settings, OPERATIONS);
        run::run(&settings, &ops);
        count(counts, "histories", 1);
        count(counts, "operations", ops.len() as u64);
    });
}
