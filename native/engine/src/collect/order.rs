//! In which order packs go, and what has to stay for a while because of it.
//!
//! A base goes only after every pack that holds a delta on it, dead ones too, is gone or rewritten, so that no crash
//! leaves a delta that cannot be read. `pending` counts the dead deltas that are still there at each step; a dead frame on
//! which one stands is kept. It is moved with its pack, or left where it is, and goes with a later collection.
//!
//! A base that nobody needs but one delta is let go when both their packs are rewritten anyway: the delta moves as a
//! full frame. That takes no more space than the base did.

use std::collections::HashMap;

use super::contents::Contents;
use super::duplicates::Place;
use super::plan::{Batch, Bounds, Live, Pending, Plan, Tally};
use crate::chunk_store::ChunkStore;
use crate::error::Result;
use crate::format::PackKind;
use crate::format::pack::{ENTRY_BYTES, FOOTER_BYTES, HEADER_BYTES, PackEntry};
use crate::units::{ContentId, u64_from};

/// Bytes that an entry takes in a segment of the index.
const INDEX_ENTRY_BYTES: u64 = 52;

pub(super) struct Order<'a> {
    store: &'a ChunkStore,
    contents: Contents<'a>,
    pending: Pending,
    live: Live<'a>,
    bounds: Option<&'a Bounds<'a>>,
    plan: Plan,
}

impl<'a> Order<'a> {
    pub(super) fn new(
        store: &'a ChunkStore,
        contents: Contents<'a>,
        pending: Pending,
        live: Live<'a>,
        bounds: Option<&'a Bounds<'a>>,
    ) -> Self {
        Self { store, contents, pending, live, bounds, plan: Plan::default() }
    }

    /// `dead` have nothing live in them; `rewritten` are to be moved without their dead frames.
    pub(super) fn plan(mut self, dead: Vec<Tally>, mut rewritten: Vec<Tally>) -> Result<Plan> {
        let deferred = self.remove_dead(dead)?;
        self.flatten(&mut rewritten)?;
        // Packs with deltas to let go come first, so that their bases may follow.
        rewritten.sort_by_key(|tally| (tally.pack.kind, !tally.lets_deltas_go, tally.handle));
        for batch in self.batches(rewritten) {
            self.rewrite(batch)?;
        }
        for tally in deferred {
            self.rewrite(vec![tally])?;
        }
        Ok(self.plan)
    }

    /// Returns packs that have to wait, because a delta elsewhere stands on something in them.
    fn remove_dead(&mut self, dead: Vec<Tally>) -> Result<Vec<Tally>> {
        let (mut going, mut deferred) = (dead, Vec::new());
        loop {
            let leaving = self.leaving(&going)?;
            let mut staying = Vec::new();
            for tally in std::mem::take(&mut going) {
                let is_held = !self.held(&tally, &leaving)?.is_empty();
                if is_held { staying.push(tally) } else { going.push(tally) }
            }
            if staying.is_empty() {
                self.leave(&leaving);
                break;
            }
            deferred.extend(staying);
        }
        self.plan.dead = going.iter().map(|tally| tally.handle).collect();
        for tally in going {
            self.count(tally, false);
        }
        Ok(deferred)
    }

    /// Finds bases that serve one delta each, both in packs that are rewritten.
    fn flatten(&mut self, rewritten: &mut [Tally]) -> Result<()> {
        if self.live.has_no_bases() {
            return Ok(());
        }
        let mut deltas: HashMap<ContentId, (usize, Place)> = HashMap::new();
        for (index, tally) in rewritten.iter().enumerate() {
            for entry in self.entries(tally)?.iter().filter(|entry| tally.dead.binary_search(&entry.offset).is_err()) {
                if let Some(base) = entry.base.filter(|base| self.live.serves_one_delta(base)) {
                    deltas.insert(base, (index, (tally.handle, entry.offset)));
                }
            }
        }
        for index in 0..rewritten.len() {
            for entry in self.entries(&rewritten[index])? {
                let place = (rewritten[index].handle, entry.offset);
                let may_go = self.bounds.is_none_or(|bounds| bounds.condemned.holds(place.0, place.1));
                let Err(at) = rewritten[index].dead.binary_search(&entry.offset) else { continue };
                if entry.base.is_some() || !may_go {
                    continue;
                }
                let Some((dependant, delta)) = deltas.get(&entry.id) else { continue };
                rewritten[index].dead.insert(at, entry.offset);
                rewritten[index].dead_bytes += entry.frame_bytes();
                rewritten[*dependant].lets_deltas_go = true;
                if self.plan.flattened.insert(*delta) {
                    *self.pending.entry(entry.id.prefix()).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Packs of one kind whose live frames make about one new pack.
    fn batches(&self, rewritten: Vec<Tally>) -> Vec<Vec<Tally>> {
        let target = self.store.parameters().pack_bytes_target;
        let mut batches: Vec<Vec<Tally>> = Vec::new();
        let mut bytes = 0;
        for tally in rewritten {
            let fits =
                |batch: &Vec<Tally>| batch[0].pack.kind == tally.pack.kind && bytes + tally.live_bytes() <= target;
            match batches.last_mut().filter(|batch| fits(batch)) {
                Some(batch) => {
                    bytes += tally.live_bytes();
                    batch.push(tally);
                }
                None => {
                    bytes = tally.live_bytes();
                    batches.push(vec![tally]);
                }
            }
        }
        batches
    }

    fn rewrite(&mut self, mut batch: Vec<Tally>) -> Result<()> {
        let leaving = loop {
            let leaving = self.leaving(&batch)?;
            let mut is_settled = true;
            for tally in &mut batch {
                for (entry, at) in self.held(tally, &leaving)?.into_iter().rev() {
                    tally.dead.remove(at);
                    tally.dead_bytes -= entry.frame_bytes();
                }
            }
            // A pack that is worth it no longer stays, and with it the deltas in it: the others are looked at again.
            batch.retain(|tally| {
                let is_worth_it = tally.is_merged || tally.is_garbage_rich();
                is_settled &= is_worth_it;
                is_worth_it
            });
            if is_settled {
                break leaving;
            }
        };
        self.leave(&leaving);
        let is_alone = batch.len() == 1;
        if is_alone && batch.iter().all(|tally| tally.dead.is_empty()) {
            return Ok(()); // to copy it would give the same
        }
        let Some(kind) = batch.first().map(|tally| tally.pack.kind) else { return Ok(()) };
        self.plan.batches.push(Batch { kind, packs: batch.iter().map(|tally| tally.handle).collect() });
        if batch.iter().any(|tally| tally.live_bytes() > 0) {
            self.plan.bytes_freed = self.plan.bytes_freed.saturating_sub(u64_from(HEADER_BYTES + FOOTER_BYTES));
        }
        for tally in batch {
            self.count(tally, true);
        }
        Ok(())
    }

    fn count(&mut self, tally: Tally, may_move: bool) {
        let plan = &mut self.plan;
        let gone = u64_from(tally.dead.len());
        let moved = tally.frame_count - gone;
        plan.frames_removed += gone;
        plan.bytes_moved += tally.live_bytes();
        plan.bytes_freed += tally.pack.bytes + gone * INDEX_ENTRY_BYTES;
        plan.bytes_freed = plan.bytes_freed.saturating_sub(tally.live_bytes() + moved * u64_from(ENTRY_BYTES));
        if may_move && moved > 0 {
            plan.packs_rewritten += 1;
        } else {
            plan.packs_removed += 1;
        }
        plan.condemned.add(tally.handle, tally.dead);
    }

    /// How many deltas on which base leave with these packs.
    fn leaving(&mut self, packs: &[Tally]) -> Result<Pending> {
        let mut leaving = Pending::new();
        if self.pending.is_empty() {
            return Ok(leaving);
        }
        for tally in packs.iter().filter(|tally| tally.pack.kind == PackKind::Chunks) {
            for entry in self.entries(tally)? {
                let place = (tally.handle, entry.offset);
                let leaves = tally.dead.binary_search(&entry.offset).is_ok() || self.plan.flattened.contains(&place);
                if let Some(base) = entry.base.filter(|_| leaves) {
                    *leaving.entry(base.prefix()).or_default() += 1;
                }
            }
        }
        Ok(leaving)
    }

    fn leave(&mut self, leaving: &Pending) {
        for (base, count) in leaving {
            if let Some(pending) = self.pending.get_mut(base) {
                *pending -= count;
            }
        }
    }

    /// The dead frames of a pack on which a delta will stand that does not leave; with their places in `dead`.
    fn held(&mut self, tally: &Tally, leaving: &Pending) -> Result<Vec<(PackEntry, usize)>> {
        if self.pending.is_empty() || tally.pack.kind == PackKind::Nodes {
            return Ok(Vec::new());
        }
        let count = |counts: &Pending, id: &ContentId| counts.get(&id.prefix()).copied().unwrap_or(0);
        let mut held = Vec::new();
        for entry in self.entries(tally)? {
            let stands_on = entry.base.is_none() && count(&self.pending, &entry.id) > count(leaving, &entry.id);
            if let Ok(at) = tally.dead.binary_search(&entry.offset)
                && stands_on
            {
                held.push((entry, at));
            }
        }
        Ok(held)
    }

    fn entries(&mut self, tally: &Tally) -> Result<Vec<PackEntry>> {
        Ok(self.contents.of(tally.handle)?.map_or_else(Vec::new, |content| content.entries.clone()))
    }
}
