//! Collecting on a full disk: what is wholly dead goes first, which writes nothing, and makes room for the rest.

use super::{Collector, Report};
use crate::chunk_store::pack_set::PackHandle;
use crate::control::Control;
use crate::error::{Code, Error, Result};

impl Collector<'_> {
    /// Collects after a run that met a full disk, with `full`. If rewriting still does not fit, what went is what was
    /// collected; if nothing went, `full` stands.
    ///
    /// # Errors
    /// As [`Collector::run`].
    pub fn run_on_full_disk(&self, full: Error, control: &Control) -> Result<Report> {
        let dead = self.remove_dead(control)?;
        match self.run(false, control) {
            Ok(rest) => Ok(both(&dead, &rest)),
            Err(error) if error.code() != Code::NoSpace => Err(error),
            Err(_) if dead.packs_removed > 0 => Ok(dead),
            Err(_) => Err(full),
        }
    }

    /// Removes packs without a live frame and writes nothing, not even an index.
    fn remove_dead(&self, control: &Control) -> Result<Report> {
        let plan = self.plan(&self.mark(control)?, control)?;
        let dead: Vec<PackHandle> = plan.remove.iter().map(|(handle, _)| *handle).collect();
        self.store().drop_packs(&dead)?;
        Ok(Report {
            packs_removed: dead.len() as u64,
            chunks_removed: plan.frames_dead,
            bytes_freed: plan.remove.iter().map(|(_, pack)| pack.bytes).sum(),
            ..Report::default()
        })
    }
}

fn both(first: &Report, then: &Report) -> Report {
    Report {
        dry_run: false,
        packs_removed: first.packs_removed + then.packs_removed,
        packs_rewritten: first.packs_rewritten + then.packs_rewritten,
        chunks_removed: first.chunks_removed + then.chunks_removed,
        bytes_freed: first.bytes_freed + then.bytes_freed,
        bytes_rewritten: first.bytes_rewritten + then.bytes_rewritten,
    }
}
