//! The collector: what no root reaches goes, and packs that are mostly garbage, or small, are rewritten.
//!
//! What it is: a [`Collection`] that is taken step by step, beside captures, restores and reads:
//!
//! ```text
//! mark roots -> plan -> condemn -> wait for older writers -> mark what they published -> sweep, a pack or so a step
//! ```
//!
//! What it guarantees (I-4, I-5, I-15 to I-18): a root or node that cannot be read stops it before anything is removed. Nobody
//! waits for it; it waits for writers that opened their lease before it condemned, since they may have counted on
//! what it condemned, and marks again what they made of it. Of a step, new packs are durable and indexed before the
//! old ones go; so a crash anywhere leaves every live chunk findable, and what earlier steps did stays done. It never
//! decides by time.
//! What it costs: every node and every trailer is read; live frames of rewritten packs are copied. In memory: 8 to 11
//! bytes a live chunk (`marks`), 4 a dead one. On the disk, at worst: one new pack before the old ones go.
//! What it must not import: `scan`, `restore`, the engine's top.

mod contents;
mod duplicates;
mod leases;
mod marks;
mod moving;
mod order;
mod plan;
mod reencode;

pub use leases::{Epoch, Lease, Leases, Purpose};

use std::collections::HashSet;
use std::sync::Arc;

use crate::block_map::MapReader;
use crate::chunk_store::ChunkStore;
use crate::chunk_store::condemned::Condemned;
use crate::chunk_store::pack_set::PackHandle;
use crate::chunk_store::pack_writer::PackWriter;
use crate::clock::Clock;
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::PackKind;
use crate::format::node::Root;
use crate::throttle::Throttle;
use crate::units::{ContentId, u64_from};

use marks::Marks;
use plan::{Bounds, Plan, Planner};

/// Waiting by a rate is cut into pieces of this length, so that a cancelled call ends soon.
const WAIT_NS_MAX: u64 = 50_000_000;

/// How to collect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Change nothing, only tell.
    pub dry_run: bool,
    /// Move at most so many bytes a second on average; `None`: as fast as possible.
    pub bytes_per_second: Option<u64>,
}

/// What collecting did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Packs without any live frame, removed.
    pub packs_removed: u64,
    /// Packs whose live frames were moved to new ones.
    pub packs_rewritten: u64,
    /// Frames removed.
    pub chunks_removed: u64,
    /// Bytes of packs and index before, less those after, as far as the collector changed them.
    pub bytes_freed: u64,
    /// Bytes of frames moved.
    pub bytes_rewritten: u64,
}

/// Where a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    Working,
    /// Writers of this epoch, or an earlier one, have to end first.
    Waiting(Epoch),
    /// All is done.
    Ended,
}

enum State {
    Marking,
    Waiting { epoch: Epoch, newest: Option<PackHandle> },
    Sweeping { batch: Option<usize> }, // None: the dead packs come first
    Trimming,
    Ended,
}

/// A collection under way. Dropped before its end it leaves what its steps did, and condemns nothing any more.
pub struct Collection {
    maps: Arc<MapReader>,
    leases: Arc<Leases>,
    clock: Arc<dyn Clock>,
    options: Options,
    throttle: Option<Throttle>,
    state: State,
    marks: Marks,
    plan: Plan,
    kept_bases: HashSet<u64>, // beginnings of ids: packs that stay hold deltas on them
    report: Report,
    bytes_grown: i64,
}

impl Collection {
    /// A collection at its beginning; nothing has been read.
    #[must_use]
    pub fn new(maps: Arc<MapReader>, leases: Arc<Leases>, clock: Arc<dyn Clock>, options: Options) -> Self {
        let throttle = options.bytes_per_second.map(|rate| Throttle::new(rate.max(1), clock.now_ns()));
        Self {
            maps,
            leases,
            clock,
            options,
            throttle,
            state: State::Marking,
            marks: Marks::default(),
            plan: Plan::default(),
            kept_bases: HashSet::new(),
            report: Report { dry_run: options.dry_run, ..Report::default() },
            bytes_grown: 0,
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let freed = u64::try_from(-self.bytes_grown).unwrap_or(0);
        if self.options.dry_run { self.report } else { Report { bytes_freed: freed, ..self.report } }
    }

    /// Takes a step. `roots` lists all roots there are now: first those of the manifests, read from the disk, then those of
    /// the leases. It is asked twice in the course of a collection.
    ///
    /// # Errors
    /// What `roots` gives; `NODE_MISSING` and `NODE_DAMAGED`, before anything is removed; `CANCELLED`; what reading and
    /// writing give. What earlier steps did stays done. After an error the step can be taken again; one that marks or plans
    /// is then begun anew, since what it had seen of a map that it could not read to its end says nothing.
    pub fn step(&mut self, roots: &dyn Fn() -> Result<Vec<Root>>, control: &Control) -> Result<Progress> {
        let progress = self.try_step(roots, control);
        if progress.is_err() && matches!(self.state, State::Marking | State::Waiting { .. }) {
            self.uncondemn();
            (self.marks, self.plan, self.state) = (Marks::default(), Plan::default(), State::Marking);
        }
        progress
    }

    fn try_step(&mut self, roots: &dyn Fn() -> Result<Vec<Root>>, control: &Control) -> Result<Progress> {
        control.check()?;
        match self.state {
            State::Marking => self.mark(roots, control)?,
            State::Waiting { epoch, newest } => {
                if self.leases.any_writer_of(epoch) {
                    return Ok(Progress::Waiting(epoch));
                }
                self.mark_again(roots, newest, control)?;
            }
            State::Sweeping { batch: None } => {
                self.remove_dead()?;
                self.state = State::Sweeping { batch: Some(0) };
            }
            State::Sweeping { batch: Some(index) } if index < self.plan.batches.len() => {
                self.rewrite(index, control)?;
                self.state = State::Sweeping { batch: Some(index + 1) };
            }
            State::Sweeping { .. } => self.state = State::Trimming,
            State::Trimming => self.trim()?,
            State::Ended => {}
        }
        Ok(if matches!(self.state, State::Ended) { Progress::Ended } else { Progress::Working })
    }

    fn store(&self) -> &ChunkStore {
        self.maps.store()
    }

    /// Whether a step that failed can be taken again, with what was done so far: nothing but packs is left to move.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        matches!(self.state, State::Sweeping { .. } | State::Trimming)
    }

    fn mark(&mut self, roots: &dyn Fn() -> Result<Vec<Root>>, control: &Control) -> Result<()> {
        if !self.options.dry_run {
            self.store().guarded(|| Ok(()))?; // a fenced store says so, also when there is nothing to do
        }
        self.marks.add(&self.maps, &roots()?, control)?;
        let planner = Planner { store: self.maps.store(), marks: &self.marks, bounds: None, control };
        self.plan = planner.plan()?;
        if self.options.dry_run {
            let plan = &self.plan;
            self.report.packs_removed = plan.packs_removed;
            self.report.packs_rewritten = plan.packs_rewritten;
            self.report.chunks_removed = plan.frames_removed;
            self.report.bytes_rewritten = plan.bytes_moved;
            self.report.bytes_freed = plan.bytes_freed;
            self.state = State::Ended;
            return Ok(());
        }
        if self.plan.is_empty() {
            self.state = State::Trimming;
            return Ok(());
        }
        control.add_total(self.plan.bytes_moved);
        let newest = self.store().packs().all().last().map(|(handle, _)| *handle);
        self.store().condemn(self.plan.condemned.clone());
        // A lease of the next epoch is opened after the condemning, and never counts on anything condemned.
        self.state = State::Waiting { epoch: self.leases.advance(), newest };
        Ok(())
    }

    /// Whatever was published since the first marking by a writer who may have counted on condemned frames is among the
    /// roots now. Writers that are younger, and their parents, reach nothing that is not marked or uncondemned.
    fn mark_again(
        &mut self,
        roots: &dyn Fn() -> Result<Vec<Root>>,
        newest: Option<PackHandle>,
        control: &Control,
    ) -> Result<()> {
        let grew = self.marks.add(&self.maps, &roots()?, control)?;
        let packs = self.store().packs().all();
        if grew || packs.last().map(|(handle, _)| *handle) > newest {
            let condemned = self.store().condemned();
            let bounds = Some(Bounds { condemned: &condemned, newest });
            self.plan = Planner { store: self.maps.store(), marks: &self.marks, bounds, control }.plan()?;
            self.store().condemn(self.plan.condemned.clone());
        }
        self.state = State::Sweeping { batch: None };
        Ok(())
    }

    /// There is one collection at a time, so all that is condemned is this one's; before it condemns, and at its end, nothing is.
    fn uncondemn(&self) {
        if !matches!(self.state, State::Marking | State::Ended) {
            self.store().condemn(Condemned::default());
        }
    }

    fn remove_dead(&mut self) -> Result<()> {
        if self.plan.dead.is_empty() {
            return Ok(());
        }
        let packs: Vec<_> = self.plan.dead.iter().filter_map(|handle| self.store().packs().get(*handle)).collect();
        self.store().retire(&self.plan.dead)?;
        let dead = std::mem::take(&mut self.plan.dead);
        self.report.packs_removed += u64_from(packs.len());
        self.bytes_grown -= packs.iter().map(|pack| pack.bytes.cast_signed()).sum::<i64>();
        for handle in &dead {
            self.report.chunks_removed += u64_from(self.plan.condemned.of(*handle).len());
        }
        Ok(())
    }

    fn rewrite(&mut self, index: usize, control: &Control) -> Result<()> {
        let store = self.maps.store();
        let (clock, throttle) = (self.clock.as_ref(), &mut self.throttle);
        let mut pace = |bytes| {
            control.check()?;
            control.add_done(bytes);
            wait_for(throttle.as_mut(), clock, bytes, control)
        };
        let kept_bases = &self.kept_bases;
        let keeps = |entry: &crate::format::pack::PackEntry| kept_bases.contains(&entry.id.prefix());
        let batch = &self.plan.batches[index];
        let moved = moving::move_batch(store, &self.plan, batch, &keeps, &mut pace)?;
        self.bytes_grown += store.adopt(&moved.sealed, &[]).inspect_err(|_| store.discard(&moved.sealed))?;
        let done: Vec<PackHandle> = moved.done.iter().map(|(handle, _)| *handle).collect();
        store.retire(&done)?;
        let bytes = |packs: &mut dyn Iterator<Item = u64>| packs.sum::<u64>().cast_signed();
        self.bytes_grown += bytes(&mut moved.sealed.iter().map(|sealed| sealed.pack.bytes));
        self.bytes_grown -= bytes(&mut moved.done.iter().map(|(_, pack)| pack.bytes));
        self.report.packs_removed += moved.dead_count;
        self.report.packs_rewritten += u64_from(done.len()) - moved.dead_count;
        self.report.bytes_rewritten += moved.bytes;
        self.report.chunks_removed +=
            done.iter().map(|handle| u64_from(self.plan.condemned.of(*handle).len())).sum::<u64>();
        for handle in moved.staying {
            for entry in store.pack_entries(handle)? {
                self.kept_bases.extend(entry.base.map(|base| base.prefix()));
            }
        }
        Ok(())
    }

    fn trim(&mut self) -> Result<()> {
        let store = self.maps.store();
        match store.trim_index() {
            Ok(shrunk) => self.bytes_grown -= shrunk,
            // It is a cache, and no worse than before; there may be room for a shorter one the next time.
            Err(error) if error.code() == Code::NoSpace && !error.is_failed_sync() => {}
            Err(error) => return Err(error),
        }
        store.finish_retiring()?;
        store.condemn(Condemned::default());
        self.state = State::Ended;
        Ok(())
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.uncondemn();
    }
}

fn wait_for(throttle: Option<&mut Throttle>, clock: &dyn Clock, bytes: u64, control: &Control) -> Result<()> {
    let Some(throttle) = throttle else { return Ok(()) };
    let mut left = throttle.take(bytes, clock.now_ns());
    while left > 0 {
        let now = left.min(WAIT_NS_MAX);
        clock.wait_ns(now);
        control.check()?;
        left -= now;
    }
    Ok(())
}

/// Stores another frame of a chunk: full, or as a delta on `base`. Whether it was stored; a base that may not be built on,
/// or a delta that gains nothing, is none. The caller holds a lease.
///
/// # Errors
/// Missing or damaged chunks; what reading and writing give.
pub fn reencode(store: &ChunkStore, id: &ContentId, base: Option<&ContentId>) -> Result<bool> {
    let frame = match base {
        None => Some(reencode::full_frame(store, id)?),
        Some(base) => reencode::delta_frame(store, id, base)?,
    };
    let Some(frame) = frame else { return Ok(false) };
    let mut writer = PackWriter::new(store.pack_target(), PackKind::Chunks);
    if let Err(error) = store.guarded(|| frame.append_to(&mut writer).and_then(|()| writer.finish())) {
        writer.discard();
        return Err(error);
    }
    let sealed = writer.take_sealed();
    store.adopt(&sealed, &[]).inspect_err(|_| store.discard(&sealed))?;
    Ok(true)
}

/// One collection at a time.
///
/// # Errors
/// `STORE_BUSY`.
pub fn take_turn(turn: &Arc<std::sync::atomic::AtomicBool>) -> Result<Turn> {
    use std::sync::atomic::Ordering;
    if turn.swap(true, Ordering::AcqRel) {
        return Err(Error::new(Code::StoreBusy, "another collection is running"));
    }
    Ok(Turn { turn: Arc::clone(turn) })
}

/// The one collection's turn; it ends when this is dropped.
pub struct Turn {
    turn: Arc<std::sync::atomic::AtomicBool>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turn.store(false, std::sync::atomic::Ordering::Release);
    }
}
