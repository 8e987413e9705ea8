//! What a collection is to do, from the marks and the packs; nothing is changed here.
//!
//! A frame is live when roots reach its content, or when it is the base of a live delta and full. A pack goes as a whole
//! when nothing in it is live; it is rewritten when at least a quarter of it is garbage; packs that are small are
//! brought together, four or more of about one size at a time, so that their number grows with the logarithm of what
//! is stored and each frame is moved about as often.
//!
//! The order in which packs go, and what must stay for a while because of it, is `order`'s.

use std::collections::{HashMap, HashSet};

use super::contents::{Content, Contents};
use super::duplicates::{self, Place};
use super::marks::{Bits, MarkSet, Marks};
use super::order::Order;
use crate::chunk_store::ChunkStore;
use crate::chunk_store::condemned::Condemned;
use crate::chunk_store::pack_set::{Pack, PackHandle};
use crate::control::Control;
use crate::error::Result;
use crate::format::PackKind;
use crate::format::pack::PackEntry;
use crate::units::{ContentId, u64_from};

/// A pack is rewritten when at least this part of it is garbage: rewriting costs what is live, and frees what is not.
const REWRITE_GARBAGE_SHARE: u64 = 4; // one in four

/// A pack is small below this part of the length at which packs are closed.
const SMALL_SHARE: u64 = 4; // a quarter

/// Small packs of about one size (within a factor of four) are brought together once there are so many.
const MERGE_COUNT_MIN: usize = 4;

/// Packs that are rewritten in one step: their live frames make about one new pack.
pub(super) struct Batch {
    pub(super) kind: PackKind,
    pub(super) packs: Vec<PackHandle>,
}

/// What is to be done, in this order.
#[derive(Default)]
pub(super) struct Plan {
    /// Packs without anything live, removed first and together: on a full disk nothing may have to be written before.
    pub(super) dead: Vec<PackHandle>,
    pub(super) batches: Vec<Batch>,
    /// All frames that go; the others of packs in batches move.
    pub(super) condemned: Condemned,
    /// Deltas that move as full frames, because their bases go.
    pub(super) flattened: HashSet<Place>,
    pub(super) packs_removed: u64,
    pub(super) packs_rewritten: u64,
    pub(super) frames_removed: u64,
    pub(super) bytes_moved: u64,
    pub(super) bytes_freed: u64,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.batches.is_empty()
    }
}

/// What an earlier plan of the same collection allowed: nothing else may go, since writers count on it by now.
pub(super) struct Bounds<'a> {
    pub(super) condemned: &'a Condemned,
    /// The newest pack that there was then.
    pub(super) newest: Option<PackHandle>,
}

/// A pack as a plan sees it.
pub(super) struct Tally {
    pub(super) handle: PackHandle,
    pub(super) pack: Pack,
    complete: bool,
    pub(super) frame_count: u64,
    bytes: u64,
    /// Where the frames begin that may go; ascending.
    pub(super) dead: Vec<u32>,
    pub(super) dead_bytes: u64,
    /// Whether a delta is among them, or is to become a full frame.
    pub(super) lets_deltas_go: bool,
    /// Whether it is brought together with others of its size.
    pub(super) is_merged: bool,
}

impl Tally {
    pub(super) fn live_bytes(&self) -> u64 {
        self.bytes - self.dead_bytes
    }

    fn is_dead(&self) -> bool {
        u64_from(self.dead.len()) == self.frame_count
    }

    pub(super) fn is_garbage_rich(&self) -> bool {
        !self.dead.is_empty() && self.dead_bytes >= self.bytes / REWRITE_GARBAGE_SHARE
    }
}

pub(super) struct Planner<'a> {
    pub(super) store: &'a ChunkStore,
    pub(super) marks: &'a Marks,
    pub(super) bounds: Option<Bounds<'a>>,
    pub(super) control: &'a Control,
}

/// Dead deltas that are still there, by the beginning of their base's id.
pub(super) type Pending = HashMap<u64, u32>;

impl Planner<'_> {
    pub(super) fn plan(&self) -> Result<Plan> {
        let packs = self.store.packs().all();
        let mut contents = Contents::new(self.store);
        let (nodes, chunks) = (&self.marks.nodes, &self.marks.chunks);
        let reached = |pack: &Pack, entry: &PackEntry| match pack.kind {
            PackKind::Nodes => nodes.rank(&entry.id),
            PackKind::Chunks => chunks.rank(&entry.id).map(|rank| nodes.len() + rank),
        };
        let wanted_count = nodes.len() + chunks.len();
        let found = duplicates::find(self.store, &mut contents, &packs, wanted_count, &reached, self.control)?;
        let mut superfluous = found.superfluous;
        let (bases, lone) = self.bases(&mut contents, &packs, &superfluous)?;
        if bases.len() > 0 {
            let base = |pack: &Pack, entry: &PackEntry| {
                let only_base = pack.kind == PackKind::Chunks && entry.base.is_none() && !chunks.contains(&entry.id);
                only_base.then(|| bases.rank(&entry.id)).flatten()
            };
            let found = duplicates::find(self.store, &mut contents, &packs, bases.len(), &base, self.control)?;
            superfluous.extend(found.superfluous);
        }
        let is_live = |pack: &Pack, place: Place, entry: &PackEntry| {
            let wanted = match pack.kind {
                PackKind::Nodes => nodes.contains(&entry.id),
                PackKind::Chunks => chunks.contains(&entry.id) || (entry.base.is_none() && bases.contains(&entry.id)),
            };
            wanted && !superfluous.contains(&place)
        };
        let mut pending = Pending::new();
        let mut tallies = Vec::new();
        for (handle, pack) in &packs {
            self.control.check()?;
            let Some(content) = contents.of(*handle)? else { continue };
            tallies.push(self.tally(*handle, *pack, &content, &is_live, &mut pending));
        }
        // While something live is nowhere to be found, a damaged pack may hold it, and stays as it is.
        let nothing_is_missing = found.count == wanted_count;
        tallies.retain(|tally| {
            let known = self.bounds.as_ref().is_none_or(|bounds| Some(tally.handle) <= bounds.newest);
            known && (tally.complete || (nothing_is_missing && tally.is_dead()))
        });
        let (dead, rest): (Vec<Tally>, Vec<Tally>) = tallies.into_iter().partition(Tally::is_dead);
        let rewritten = self.choose_rewritten(rest);
        let live = Live { chunks, bases: &bases, lone: &lone };
        Order::new(self.store, contents, pending, live, self.bounds.as_ref()).plan(dead, rewritten)
    }

    /// The bases of live deltas, and which of them serve one only.
    fn bases(
        &self,
        contents: &mut Contents<'_>,
        packs: &[(PackHandle, Pack)],
        superfluous: &HashSet<Place>,
    ) -> Result<(MarkSet, Lone)> {
        let mut bases = MarkSet::default();
        let chunks = &self.marks.chunks;
        let each = |contents: &mut Contents<'_>, take: &mut dyn FnMut(&ContentId)| -> Result<()> {
            for (handle, _) in packs {
                self.control.check()?;
                let Some(content) = contents.of(*handle)? else { continue };
                for entry in &content.entries {
                    if let Some(base) = &entry.base
                        && chunks.contains(&entry.id)
                        && !superfluous.contains(&(*handle, entry.offset))
                    {
                        take(base);
                    }
                }
            }
            Ok(())
        };
        each(contents, &mut |base| bases.insert(base))?;
        bases.seal();
        let mut lone = Lone { once: Bits::new(bases.len()), more: Bits::new(bases.len()) };
        if bases.len() > 0 {
            each(contents, &mut |base| {
                if let Some(rank) = bases.rank(base)
                    && lone.once.set(rank)
                {
                    lone.more.set(rank);
                }
            })?;
        }
        Ok((bases, lone))
    }

    fn tally(
        &self,
        handle: PackHandle,
        pack: Pack,
        content: &Content,
        is_live: &dyn Fn(&Pack, Place, &PackEntry) -> bool,
        pending: &mut Pending,
    ) -> Tally {
        let (mut dead, mut dead_bytes, mut bytes, mut lets_deltas_go) = (Vec::new(), 0, 0, false);
        for entry in &content.entries {
            bytes += entry.frame_bytes();
            if is_live(&pack, (handle, entry.offset), entry) {
                continue;
            }
            if let Some(base) = &entry.base {
                *pending.entry(base.prefix()).or_default() += 1;
            }
            if self.bounds.as_ref().is_none_or(|bounds| bounds.condemned.holds(handle, entry.offset)) {
                dead.push(entry.offset);
                dead_bytes += entry.frame_bytes();
                lets_deltas_go |= entry.base.is_some();
            }
        }
        let (frame_count, complete) = (u64_from(content.entries.len()), content.complete);
        Tally { handle, pack, complete, frame_count, bytes, dead, dead_bytes, lets_deltas_go, is_merged: false }
    }

    /// Packs with much garbage, and small ones of which there are many.
    fn choose_rewritten(&self, tallies: Vec<Tally>) -> Vec<Tally> {
        let small_max = self.store.parameters().pack_bytes_target / SMALL_SHARE;
        let class = |tally: &Tally| {
            let small = tally.live_bytes() < small_max && !tally.is_garbage_rich();
            small.then(|| (tally.pack.kind, (small_max / tally.live_bytes().max(1)).ilog2() / 2))
        };
        let mut sizes: HashMap<(PackKind, u32), usize> = HashMap::new();
        for class in tallies.iter().filter_map(class) {
            *sizes.entry(class).or_default() += 1;
        }
        let mut chosen = tallies;
        for tally in &mut chosen {
            tally.is_merged = class(tally).is_some_and(|class| sizes[&class] >= MERGE_COUNT_MIN);
        }
        chosen.retain(|tally| tally.is_merged || tally.is_garbage_rich());
        chosen
    }
}

/// How many live deltas stand on each base, as far as it matters: one, or more.
pub(super) struct Lone {
    once: Bits,
    more: Bits,
}

/// Live chunks as the order sees them.
pub(super) struct Live<'a> {
    chunks: &'a MarkSet,
    bases: &'a MarkSet,
    lone: &'a Lone,
}

impl Live<'_> {
    pub(super) fn has_no_bases(&self) -> bool {
        self.bases.len() == 0
    }

    /// Whether nobody but one delta needs this content.
    pub(super) fn serves_one_delta(&self, id: &ContentId) -> bool {
        let rank = self.bases.rank(id);
        !self.chunks.contains(id) && rank.is_some_and(|rank| !self.lone.more.get(rank))
    }
}
