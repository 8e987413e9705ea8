//! Chunks that differ from what stood at their places, into frames: looked up together, encoded as deltas where that helps.
//!
//! Scans and copies share it, so that what a chunk is stored as does not depend on the way on which it came.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Batch;
use super::codec::{Base, Encoder, is_like};
use super::store::{ChunkStore, Parameters};
use super::writer::{Added, EncodedFrame};
use crate::error::Result;
use crate::format::PackKind;
use crate::units::ContentId;

/// Chunks of a lot whose bases are read first. Writes that leave nothing alike (a log that begins anew, a file over freed
/// space) are longer than a lot, so if none of these few is like what stood there, the other bases are not worth reading
/// and decoding. Where a lot is mixed, one of the few is found alike nearly always.
const PROBE_COUNT: usize = 6;

/// A chunk that differs from what stood at its place, by where its bytes lie in a buffer.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The new chunk's id.
    pub id: ContentId,
    /// Where its bytes are.
    pub place: Range<usize>,
    /// The chunk that stood there.
    pub before: Option<ContentId>,
    /// Where its bytes may be, if they were read already. They count if they have its id: in the place of a chunk that was
    /// a disk's last once there is more.
    pub before_place: Option<Range<usize>>,
}

/// Encodes changed chunks on one thread.
pub struct ChangedEncoder {
    encoder: Encoder,
    batch: Batch,
    in_hand: InHand,
}

/// Bases whose bytes the caller has, by their places, and the lengths of their stored forms.
type InHand = HashMap<ContentId, (Range<usize>, u32)>;

impl ChangedEncoder {
    /// An encoder as the store's parameters say.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        let encoder = Encoder::new(parameters.codec, parameters.level);
        Self { encoder, batch: Batch::default(), in_hand: InHand::new() }
    }

    /// Empties `changed`: what neither the writer (that is what `added` tells) nor the store has goes to `frames`, against
    /// what stood there before where that helps (I-19). Returns how many chunks were known.
    ///
    /// # Errors
    /// What reading and encoding give. A base that cannot be read is no error: the chunk is stored by itself.
    pub fn encode(
        &mut self,
        store: &ChunkStore,
        added: &Added,
        changed: &mut Vec<Changed>,
        bytes: &[u8],
        frames: &mut Vec<EncodedFrame>,
    ) -> Result<u64> {
        let count = changed.len();
        let mut seen = HashSet::with_capacity(count);
        changed.retain(|changed| seen.insert(changed.id) && !added.contains(&changed.id));
        let ids: Vec<ContentId> = changed.iter().map(|changed| changed.id).collect();
        let mut stored = store.contains_each(&ids)?.into_iter();
        changed.retain(|_| stored.next() == Some(false));
        let known = count - changed.len();

        let bases = self.bases_of(store, changed, bytes)?;
        for (Changed { id, place, .. }, base) in changed.drain(..).zip(bases) {
            let plain = &bytes[place];
            let base = base.and_then(|id| base_in(&self.in_hand, &self.batch, &id, bytes));
            let encoded = self.encoder.encode_against(plain, base)?;
            frames.push(EncodedFrame::new(PackKind::Chunks, id, plain.len() as u32, encoded));
        }
        Ok(known as u64)
    }

    /// For each chunk what it may stand on, if that is worth trying; those chunks are then in hand.
    fn bases_of(&mut self, store: &ChunkStore, new: &[Changed], bytes: &[u8]) -> Result<Vec<Option<ContentId>>> {
        self.in_hand.clear();
        if !self.encoder.uses_bases() {
            return Ok(vec![None; new.len()]);
        }
        let identity = &store.parameters().identity;
        let mut stands_on: HashMap<ContentId, Option<ContentId>> = HashMap::new(); // what stood there to a full frame near it
        let mut bases = Vec::with_capacity(new.len());
        for Changed { before, before_place, .. } in new {
            let Some(before) = before else {
                bases.push(None);
                continue;
            };
            bases.push(match stands_on.entry(*before) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    let near = store.base_near(before)?;
                    if let (Some((base, stored_bytes)), Some(place)) = (near, before_place)
                        && base == *before
                        && identity.id(PackKind::Chunks, &bytes[place.clone()]) == base
                    {
                        self.in_hand.insert(base, (place.clone(), stored_bytes));
                    }
                    *unknown.insert(near.map(|(base, _)| base))
                }
            });
        }
        let is_missing = |at: &usize| bases[*at].is_some_and(|base| !self.in_hand.contains_key(&base));
        let missing: Vec<usize> = (0..new.len()).filter(is_missing).collect();
        let (probes, rest) = probes_and_rest(&missing);
        store.read_bases(probes.iter().filter_map(|at| bases[*at]).collect(), &mut self.batch)?;
        let is_like = |at: &usize| {
            let base = bases[*at].and_then(|id| self.batch.base(&id));
            base.is_some_and(|base| is_like(&bytes[new[*at].place.clone()], base.plain))
        };
        if probes.iter().any(is_like) {
            store.read_more_bases(rest.iter().filter_map(|at| bases[*at]).collect(), &mut self.batch)?;
        }
        Ok(bases)
    }
}

/// A base that the caller has read, or that is in the batch.
fn base_in<'b>(in_hand: &InHand, batch: &'b Batch, id: &ContentId, bytes: &'b [u8]) -> Option<Base<'b>> {
    match in_hand.get(id) {
        Some((place, stored_bytes)) => {
            Some(Base { id: *id, plain: &bytes[place.clone()], stored_bytes: *stored_bytes })
        }
        None => batch.base(id),
    }
}

/// A few of these, spread evenly, and the others.
fn probes_and_rest(tried: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let count = tried.len().min(PROBE_COUNT);
    let mut probes: Vec<usize> = (0..count).map(|probe| (2 * probe + 1) * tried.len() / (2 * count)).collect();
    probes.dedup();
    let rest = (0..tried.len()).filter(|at| !probes.contains(at)).map(|at| tried[at]).collect();
    (probes.into_iter().map(|at| tried[at]).collect(), rest)
}

/// The value of a chunk whose bytes are all equal. A short last chunk is a fill only of zero (format.md section 5).
#[must_use]
pub fn fill_value(plain: &[u8], chunk_bytes: u64) -> Option<u8> {
    let first = *plain.first()?;
    if first != 0 && (plain.len() as u64) < chunk_bytes {
        return None;
    }
    (plain[..plain.len() - 1] == plain[1..]).then_some(first)
}
