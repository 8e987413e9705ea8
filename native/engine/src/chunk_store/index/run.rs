//! Entries in memory, sorted as in a segment: 56 bytes each. What no segment covers yet, and what is on its way into one.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Location;
use crate::chunk_store::pack_set::PackHandle;
use crate::format::index_segment::SegmentEntry;
use crate::format::pack::PackEntry;
use crate::units::{ContentId, u64_from};

/// Sorted entries with their tables, as a segment has them. `P` is what a pack is called.
#[derive(Debug)]
pub(super) struct Run<P> {
    /// Packs by their number, those without entries too.
    pub(super) packs: Vec<P>,
    /// Bases by their number.
    pub(super) bases: Vec<ContentId>,
    /// By id, then pack, then offset.
    pub(super) entries: Vec<SegmentEntry>,
}

/// The order of entries in a run or segment.
pub(super) fn compare(one: &SegmentEntry, other: &SegmentEntry) -> Ordering {
    // The first eight bytes decide nearly always, and compare as one number.
    let prefixes = one.id.prefix().cmp(&other.id.prefix());
    prefixes.then_with(|| (one.id, one.pack, one.offset).cmp(&(other.id, other.pack, other.offset)))
}

impl<P: Copy> Run<P> {
    /// The frames of some packs.
    pub(super) fn of<'a>(packs: impl Iterator<Item = (P, &'a [PackEntry])>) -> Self {
        let mut run = Self { packs: Vec::new(), bases: Vec::new(), entries: Vec::new() };
        for (pack, entries) in packs {
            let number = run.packs.len() as u32;
            run.packs.push(pack);
            run.entries.reserve(entries.len());
            for entry in entries {
                let base = entry.base.map(|base| {
                    run.bases.push(base);
                    run.bases.len() as u32 - 1
                });
                run.entries.push(SegmentEntry {
                    id: entry.id,
                    pack: number,
                    offset: entry.offset,
                    stored_bytes: entry.stored_bytes,
                    codec: entry.codec,
                    base,
                });
            }
        }
        run.entries.sort_unstable_by(compare);
        run
    }

    /// Both as one.
    fn merged(&self, newer: &Self) -> Self {
        let (packs, bases) = (self.packs.len() as u32, self.bases.len() as u32);
        let mut entries = Vec::with_capacity(self.entries.len() + newer.entries.len());
        let mut older = self.entries.iter().copied().peekable();
        for mut entry in newer.entries.iter().copied() {
            entry.pack += packs;
            entry.base = entry.base.map(|base| base + bases);
            while let Some(before) = older.next_if(|older| compare(older, &entry).is_lt()) {
                entries.push(before);
            }
            entries.push(entry);
        }
        entries.extend(older);
        let joined = |one: &[P], other: &[P]| [one, other].concat();
        Self {
            packs: joined(&self.packs, &newer.packs),
            bases: [self.bases.as_slice(), newer.bases.as_slice()].concat(),
            entries,
        }
    }

    /// The id of an entry's base.
    pub(super) fn base(&self, entry: &SegmentEntry) -> Option<&ContentId> {
        entry.base.map(|base| &self.bases[base as usize])
    }
}

impl Run<PackHandle> {
    fn location(&self, entry: &SegmentEntry) -> Location {
        Location {
            pack: self.packs[entry.pack as usize],
            offset: entry.offset,
            stored_bytes: entry.stored_bytes,
            codec: entry.codec,
            base: self.base(entry).copied(),
        }
    }
}

/// The frames of packs that no segment covers: few as a rule, all of them when the index is lost and may not be
/// written anew. Runs, each at least twice as long as the next, so that many packs come in at a bounded cost.
#[derive(Clone, Default)]
pub(super) struct Recent {
    runs: Vec<Arc<Run<PackHandle>>>,
}

impl Recent {
    /// Adds the frames of a pack.
    pub(super) fn add(&mut self, pack: PackHandle, entries: &[PackEntry]) {
        let mut run = Arc::new(Run::of(std::iter::once((pack, entries))));
        while let Some(older) = self.runs.pop_if(|older| older.entries.len() < run.entries.len() * 2) {
            run = Arc::new(older.merged(&run));
        }
        self.runs.push(run);
    }

    /// Hands over where the id lies.
    pub(super) fn lookup(&self, id: &ContentId, take: &mut impl FnMut(Location)) {
        for run in self.runs.iter().rev() {
            let first = run.entries.partition_point(|entry| entry.id < *id);
            for entry in run.entries[first..].iter().take_while(|entry| entry.id == *id) {
                take(run.location(entry));
            }
        }
    }

    /// The frames in a pack.
    pub(super) fn entries_in(&self, pack: PackHandle) -> Vec<(ContentId, Location)> {
        let all = self.runs.iter().flat_map(|run| run.entries.iter().map(|entry| (entry.id, run.location(entry))));
        all.filter(|(_, location)| location.pack == pack).collect()
    }

    /// The packs.
    pub(super) fn packs(&self) -> impl Iterator<Item = PackHandle> + '_ {
        self.runs.iter().flat_map(|run| run.packs.iter().copied())
    }

    /// The runs, oldest first.
    pub(super) fn runs(&self) -> &[Arc<Run<PackHandle>>] {
        &self.runs
    }

    /// How many frames there are.
    pub(super) fn entry_count(&self) -> u64 {
        self.runs.iter().map(|run| u64_from(run.entries.len())).sum()
    }
}
