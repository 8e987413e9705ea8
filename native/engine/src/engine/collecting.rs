//! The engine's top, continued: the calls that collect.

use std::sync::Arc;

use super::{CollectOptions, CollectProgress, CollectReport, DiskReference, Engine, HOME};
use crate::collect::{self, Collection, Purpose, Turn};
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::node::Root;

impl Engine {
    /// Removes what no point reaches, beside whatever else runs. Waits for captures that began before it knew what to
    /// remove.
    ///
    /// # Errors
    /// `STORE_BUSY` beside another collection, `STORE_READ_ONLY`, `CANCELLED`; `MANIFEST_DAMAGED`, `NODE_DAMAGED` or
    /// `NODE_MISSING` before anything is removed; what reading and writing give. What was freed until then stays freed.
    pub fn collect(&self, dry_run: bool, control: &Control) -> Result<CollectReport> {
        self.collect_with(CollectOptions { dry_run, bytes_per_second: None }, control)
    }

    /// As [`Engine::collect`], with all its options.
    ///
    /// # Errors
    /// As [`Engine::collect`].
    pub fn collect_with(&self, options: CollectOptions, control: &Control) -> Result<CollectReport> {
        let (_turn, mut collection) = self.new_collection(options)?;
        let _loan = (!options.dry_run).then(|| self.borrow_reserve());
        let mut loan_on_full_disk = None;
        loop {
            match collection.step(&|| self.roots(), control) {
                Ok(CollectProgress::Working) => {}
                Ok(CollectProgress::Waiting(epoch)) => self.leases.wait_for_writers_of(epoch, control)?,
                Ok(CollectProgress::Ended) => return Ok(collection.report()),
                Err(error)
                    if error.code() == Code::NoSpace && collection.is_sweeping() && loan_on_full_disk.is_none() =>
                {
                    loan_on_full_disk = Some(self.reserve.borrow_at_once()); // and the same step again
                }
                // What does not fit is not rewritten. What went before is what was collected.
                Err(error) if error.code() == Code::NoSpace && collection.report().packs_removed > 0 => {
                    return Ok(collection.report());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A collection that its caller takes step by step.
    ///
    /// # Errors
    /// `STORE_BUSY` beside another one, `STORE_READ_ONLY`.
    pub fn begin_collect(self: &Arc<Self>, options: CollectOptions) -> Result<Collecting> {
        let (turn, collection) = self.new_collection(options)?;
        Ok(Collecting { engine: Arc::clone(self), collection, _turn: turn })
    }

    /// Stores another frame of a chunk of a point: full, or as a delta on another chunk of the same disk. Whether it was
    /// stored: holes and fills are not, nor what gains nothing. The collector does this to deltas whose base is to go;
    /// here it is for tests, which make of it what captures make rarely.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `STORE_READ_ONLY`, missing or damaged content, what writing gives.
    pub fn reencode(&self, disk: &DiskReference, chunk: u64, base: Option<u64>) -> Result<bool> {
        self.check_writable()?;
        let (version, _lease) = self.leases.open(Purpose::Write, || {
            let version = self.version(disk)?;
            Ok((version, vec![version.root]))
        })?;
        let Some(id) = self.maps.chunk_id(&version, chunk)? else { return Ok(false) };
        let base = match base {
            None => None,
            Some(base) => match self.maps.chunk_id(&version, base)? {
                Some(base) => Some(base),
                None => return Ok(false),
            },
        };
        collect::reencode(&self.store, &id, base.as_ref())
    }

    fn new_collection(&self, options: CollectOptions) -> Result<(Turn, Collection)> {
        if !options.dry_run {
            self.check_writable()?;
        }
        let turn = collect::take_turn(&self.collecting)?;
        let (maps, leases, clock) = (&self.maps, &self.leases, &self.parts.clock);
        Ok((turn, Collection::new(Arc::clone(maps), Arc::clone(leases), Arc::clone(clock), options)))
    }

    /// All roots there are, for the collector: the manifests first, read from the disk, then the leases. In this order a
    /// point that is deleted meanwhile is either still listed, or its reader's lease is.
    fn roots(&self) -> Result<Vec<Root>> {
        let (sound, damaged) = self.points.read_all()?;
        if let Some(damaged) = damaged.first() {
            // What this point reaches is unknown, so nothing may go.
            let message = format!("{HOME}/{}: {}; nothing more was collected", damaged.file, damaged.defect);
            return Err(Error::new(Code::ManifestDamaged, message).with("point", damaged.point_id.to_string()));
        }
        self.live().check_known()?;
        let disks = sound.values().flat_map(|manifest| &manifest.disks);
        let mut roots: Vec<Root> = disks.map(|disk| disk.root).collect();
        roots.extend(self.leases.roots());
        Ok(roots)
    }
}

/// A collection that its caller takes step by step. Dropped before its end it leaves what its steps did.
pub struct Collecting {
    engine: Arc<Engine>,
    collection: Collection,
    _turn: Turn,
}

impl Collecting {
    /// Takes a step.
    ///
    /// # Errors
    /// As [`Engine::collect`].
    pub fn step(&mut self, control: &Control) -> Result<CollectProgress> {
        let engine = &self.engine;
        self.collection.step(&|| engine.roots(), control)
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> CollectReport {
        self.collection.report()
    }
}
