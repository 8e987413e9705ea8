//! A layer: what was logged between two cuts.
//!
//! What it guarantees: records go in by LSN, never by time, so that a layer whose last record is in is what its LSNs say,
//! whatever the order was; a record with an LSN below the cut still goes in after the layer was sealed (I-31). Whoever holds
//! a layer has the log keep its records (I-34). What it costs: each disk's extents are behind a lock of their own, which readers share
//! and hold for a look-up only, never while bytes are read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::base::Base;
use super::extent_map::{ExtentContent, ExtentMap};
use super::members::Members;
use super::touched::{Newly, Touch, Touched};
use crate::error::Result;
use crate::limits::FOLD_LAYER_BYTES_MAX;
use crate::units::{Lsn, Uid};
use crate::write_log::{CutBody, Hold};

/// About what a record takes of the log besides its payload, its entry in the summary included. Trims are nothing else.
const RECORD_BYTES_BESIDE: u64 = 176;

/// What a cut says of the layer that it sealed.
pub struct Sealed {
    /// The cut's LSN: every record in the layer is below it.
    pub cut: Lsn,
    /// What the cut record says: point and names.
    pub body: CutBody,
    /// The disks there were.
    pub members: Arc<Members>,
    is_released: AtomicBool,
}

impl Sealed {
    /// Whether a point still needs the cut. An internal cut has none.
    #[must_use]
    pub fn has_point(&self) -> bool {
        self.body.point_id != Uid::default() && !self.is_released.load(Ordering::Acquire)
    }

    /// The point was deleted, or failed: the cut may go.
    pub fn release_point(&self) {
        self.is_released.store(true, Ordering::Release);
    }
}

/// What was logged between two cuts.
pub struct Layer {
    floor: Lsn,
    chunk_bytes: u64,
    sealed: OnceLock<Arc<Sealed>>,
    hold: OnceLock<Hold>,
    disks: RwLock<BTreeMap<Uid, Arc<DiskLayer>>>,
    debt: Mutex<Debt>,
    logged_bytes: AtomicU64,
}

/// One disk of a layer.
#[derive(Default)]
pub struct DiskLayer {
    content: RwLock<Content>,
}

#[derive(Clone, Default)]
struct Content {
    extents: ExtentMap,
    /// The newest reset or join, below which nothing of this disk shows.
    reset: Option<(Lsn, Arc<Base>)>,
    /// The newest grow above it.
    grown: Option<(Lsn, u64)>,
}

#[derive(Default)]
struct Debt {
    disks: BTreeMap<Uid, Touched>,
    charged: u64,
    is_settled: bool,
}

impl Debt {
    /// What folding these too takes at most, with what a layer takes however little there is where they are the first.
    const fn bytes_of(&self, newly: Newly, chunk_bytes: u64) -> u64 {
        match newly.bytes(chunk_bytes) {
            0 => 0,
            bytes if self.charged == 0 => bytes + FOLD_LAYER_BYTES_MAX,
            bytes => bytes,
        }
    }
}

impl Layer {
    /// An empty layer of the records above `floor`.
    #[must_use]
    pub fn new(floor: Lsn, chunk_bytes: u64) -> Self {
        Self {
            floor,
            chunk_bytes,
            sealed: OnceLock::new(),
            hold: OnceLock::new(),
            disks: RwLock::default(),
            debt: Mutex::default(),
            logged_bytes: AtomicU64::new(0),
        }
    }

    /// Its records are above this.
    #[must_use]
    pub const fn floor(&self) -> Lsn {
        self.floor
    }

    /// What the cut says that sealed it; `None` while it is the active one.
    #[must_use]
    pub fn sealed(&self) -> Option<&Arc<Sealed>> {
        self.sealed.get()
    }

    /// Seals it. Under the sequencer's lock, so that every record with a lower LSN has found it already.
    pub fn seal(&self, cut: Lsn, body: CutBody, members: Arc<Members>) {
        let is_released = AtomicBool::new(false);
        let is_first = self.sealed.set(Arc::new(Sealed { cut, body, members, is_released })).is_ok();
        assert!(is_first && cut > self.floor, "a layer is sealed once, above its floor");
    }

    /// Has the log keep its records for as long as anyone has the layer.
    pub fn keep(&self, hold: Hold) {
        let is_first = self.hold.set(hold).is_ok();
        assert!(is_first, "a layer has one hold");
    }

    /// About how many bytes of the log its records take.
    #[must_use]
    pub fn logged_bytes(&self) -> u64 {
        self.logged_bytes.load(Ordering::Relaxed)
    }

    /// Extents in it.
    #[must_use]
    pub fn extent_count(&self) -> usize {
        self.each_disk().iter().map(|(_, disk)| disk.content().extents.len()).sum()
    }

    /// About how much memory its extents take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.each_disk().iter().map(|(_, disk)| disk.content().extents.memory_bytes()).sum()
    }

    /// The disks that it has anything of.
    #[must_use]
    pub fn disk_ids(&self) -> Vec<Uid> {
        self.disks.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// What it has of a disk.
    #[must_use]
    pub fn disk(&self, disk_id: &Uid) -> Option<Arc<DiskLayer>> {
        self.disks.read().unwrap_or_else(PoisonError::into_inner).get(disk_id).cloned()
    }

    fn disk_or_new(&self, disk_id: &Uid) -> Arc<DiskLayer> {
        if let Some(disk) = self.disk(disk_id) {
            return disk;
        }
        let mut disks = self.disks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(disks.entry(*disk_id).or_default())
    }

    fn each_disk(&self) -> Vec<(Uid, Arc<DiskLayer>)> {
        let disks = self.disks.read().unwrap_or_else(PoisonError::into_inner);
        disks.iter().map(|(id, disk)| (*id, Arc::clone(disk))).collect()
    }

    /// A record's content, over what has a lower LSN.
    pub fn insert(&self, disk_id: &Uid, range: Range<u64>, lsn: Lsn, content: ExtentContent) {
        self.check(lsn);
        let payload_bytes = if let ExtentContent::Data { .. } = content { range.end - range.start } else { 0 };
        self.logged_bytes.fetch_add(payload_bytes + RECORD_BYTES_BESIDE, Ordering::Relaxed);
        self.disk_or_new(disk_id).insert(range, lsn, content);
    }

    /// From `lsn` on the disk is what `base` says.
    pub fn reset(&self, disk_id: &Uid, lsn: Lsn, base: Arc<Base>) {
        self.check(lsn);
        self.disk_or_new(disk_id).reset(lsn, base);
    }

    /// From `lsn` on the disk has this size.
    pub fn grow(&self, disk_id: &Uid, lsn: Lsn, size: u64) {
        self.check(lsn);
        self.disk_or_new(disk_id).grow(lsn, size);
    }

    fn check(&self, lsn: Lsn) {
        debug_assert!(lsn > self.floor && self.sealed().is_none_or(|sealed| lsn < sealed.cut), "by LSN, never by time");
    }

    /// A point whose copy ended is a map now: resets that name it stand on that from here on.
    pub(crate) fn exchange_bases(&self, exchange: &dyn Fn(&Base) -> Option<Base>) {
        for (_, disk) in self.each_disk() {
            let mut content = disk.content.write().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, base)) = &mut content.reset
                && let Some(exchanged) = exchange(base)
            {
                *base = Arc::new(exchanged);
            }
        }
    }

    /// Before a record gets its LSN: has `charge` take what touching `range` adds to what folding the layer takes, and notes
    /// it when that did not fail (I-35).
    ///
    /// # Errors
    /// What `charge` gives.
    pub fn touch(
        &self,
        disk_id: &Uid,
        range: &Range<u64>,
        touch: Touch,
        charge: impl FnOnce(u64) -> Result<()>,
    ) -> Result<()> {
        let mut debt = self.debt();
        if debt.is_settled {
            return Ok(()); // another layer is the active one by now
        }
        let touched = debt.disks.entry(*disk_id).or_default();
        if touched.holds(range, touch, self.chunk_bytes) {
            return Ok(());
        }
        let newly = touched.newly(range, touch, self.chunk_bytes);
        let bytes = debt.bytes_of(newly, self.chunk_bytes);
        charge(bytes)?;
        debt.disks.entry(*disk_id).or_default().add(range, touch, self.chunk_bytes);
        debt.charged += bytes;
        Ok(())
    }

    /// What folding it takes at most.
    #[must_use]
    pub fn debt_bytes(&self) -> u64 {
        self.debt().charged
    }

    /// It is folded, merged or given up: returns what was charged for it, and nothing more will be.
    #[must_use]
    pub fn settle(&self) -> u64 {
        let mut debt = self.debt();
        debt.is_settled = true;
        debt.disks = BTreeMap::new();
        std::mem::take(&mut debt.charged)
    }

    fn debt(&self) -> MutexGuard<'_, Debt> {
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The two as one layer, which has the cut of the newer. Both are sealed and have all their records; they stay as they are
    /// for those who pinned them.
    #[must_use]
    pub fn merged(older: &Self, newer: &Self) -> Self {
        let merged = Self::new(older.floor, older.chunk_bytes);
        let (Some(below), Some(above)) = (older.sealed(), newer.sealed()) else {
            unreachable!("only sealed layers are merged")
        };
        assert_eq!(below.cut, newer.floor, "only adjacent layers are merged");
        let _ = merged.sealed.set(Arc::clone(above));
        merged.logged_bytes.store(older.logged_bytes() + newer.logged_bytes(), Ordering::Relaxed);
        let mut disks: BTreeMap<Uid, Arc<DiskLayer>> = BTreeMap::new();
        for (id, disk) in newer.each_disk().into_iter().chain(older.each_disk()) {
            let content = match disks.get(&id) {
                Some(above) => Content::merged(&disk.content(), &above.content()),
                None => disk.content().clone(),
            };
            disks.insert(id, Arc::new(DiskLayer { content: RwLock::new(content) }));
        }
        *merged.disks.write().unwrap_or_else(PoisonError::into_inner) = disks;
        {
            let mut debt = merged.debt();
            for layer in [older, newer] {
                for (id, other) in &layer.debt().disks {
                    let newly = debt.disks.entry(*id).or_default().add_all(other);
                    debt.charged += debt.bytes_of(newly, merged.chunk_bytes);
                }
            }
        }
        merged
    }
}

impl Content {
    fn merged(older: &Self, newer: &Self) -> Self {
        if newer.reset.is_some() {
            return newer.clone();
        }
        let (mut extents, others) = if older.extents.len() > newer.extents.len() {
            (older.extents.clone(), &newer.extents)
        } else {
            (newer.extents.clone(), &older.extents)
        };
        for (range, lsn, content) in others.extents() {
            extents.insert(range, lsn, content);
        }
        Self { extents, reset: older.reset.clone(), grown: newer.grown.or(older.grown) }
    }
}

impl DiskLayer {
    fn content(&self) -> std::sync::RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, lsn: Lsn, change: impl FnOnce(&mut Content)) {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        if content.reset.as_ref().is_none_or(|(reset, _)| *reset < lsn) {
            change(&mut content);
        }
    }

    fn insert(&self, range: Range<u64>, lsn: Lsn, shown: ExtentContent) {
        self.changed(lsn, |content| content.extents.insert(range, lsn, shown));
    }

    fn reset(&self, lsn: Lsn, base: Arc<Base>) {
        self.changed(lsn, |content| {
            content.extents.forget_below(lsn);
            content.grown = content.grown.filter(|(grown, _)| *grown > lsn);
            content.reset = Some((lsn, base));
        });
    }

    fn grow(&self, lsn: Lsn, size: u64) {
        self.changed(lsn, |content| {
            if content.grown.is_none_or(|(grown, _)| grown < lsn) {
                content.grown = Some((lsn, size));
            }
        });
    }

    /// The size that it gives the disk, if it does.
    pub(crate) fn size(&self) -> Option<u64> {
        let content = self.content();
        content.grown.map(|(_, size)| size).or_else(|| content.reset.as_ref().map(|(_, base)| base.size))
    }

    /// What a reset or join put below it.
    pub(crate) fn bottom(&self) -> Option<Arc<Base>> {
        self.content().reset.as_ref().map(|(_, base)| Arc::clone(base))
    }

    /// Adds what it has of the open ranges to `found` and leaves the others open; returns the base where a reset put one: then
    /// no older layer counts.
    pub(crate) fn look_up(
        &self,
        open: &mut Vec<Range<u64>>,
        found: &mut Vec<(Range<u64>, ExtentContent)>,
    ) -> Option<Arc<Base>> {
        let content = self.content();
        if !content.extents.is_empty() {
            let mut rest = Vec::new();
            for range in open.drain(..) {
                for (piece, shown) in content.extents.pieces(range) {
                    match shown {
                        Some((_, shown)) => found.push((piece, shown)),
                        None => rest.push(piece),
                    }
                }
            }
            *open = rest;
        }
        content.reset.as_ref().map(|(_, base)| Arc::clone(base))
    }

    /// Where the extent ends that is number `count` behind `offset`; `None` where there are fewer.
    pub(crate) fn end_of(&self, offset: u64, count: usize) -> Option<u64> {
        self.content().extents.end_of(offset, count)
    }
}
