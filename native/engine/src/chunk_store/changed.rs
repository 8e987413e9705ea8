//! Chunks that differ from what stood at their places, into frames: looked up together, encoded as deltas where that helps.
//!
//! Scans and copies share it, so that what a chunk is stored as does not depend on the way on which it came.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Batch;
use super::codec::{Base, Encoder};
use super::store::{ChunkStore, Parameters};
use super::writer::{Added, EncodedFrame};
use crate::error::Result;
use crate::format::PackKind;
use crate::units::ContentId;

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
}

impl ChangedEncoder {
    /// An encoder as the store's parameters say.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        Self { encoder: Encoder::new(parameters.codec, parameters.level), batch: Batch::default() }
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

        let mut stands_on: HashMap<ContentId, ContentId> = HashMap::new(); // what stood there to a full frame near it
        if self.encoder.uses_bases() {
            for before in changed.iter().filter_map(|changed| changed.before) {
                if let Some(base) = store.base_near(&before)? {
                    stands_on.insert(before, base);
                }
            }
        }
        let identity = &store.parameters().identity;
        let mut in_hand: HashMap<ContentId, Range<usize>> = HashMap::new();
        for changed in changed.iter() {
            let (Some(before), Some(place)) = (changed.before, changed.before_place.clone()) else { continue };
            if stands_on.get(&before) == Some(&before) && identity.id(PackKind::Chunks, &bytes[place.clone()]) == before
            {
                in_hand.insert(before, place);
            }
        }
        let wanted = stands_on.values().filter(|base| !in_hand.contains_key(base));
        let bases = store.read_bases(wanted.copied().collect(), &mut self.batch)?;
        for Changed { id, place, before, .. } in changed.drain(..) {
            let plain = &bytes[place];
            let base = before.and_then(|before| stands_on.get(&before)).and_then(|id| {
                let plain = in_hand.get(id).map(|place| &bytes[place.clone()]).or_else(|| bases.get(id))?;
                Some(Base { id: *id, plain })
            });
            let encoded = self.encoder.encode_against(plain, base)?;
            frames.push(EncodedFrame::new(PackKind::Chunks, id, plain.len() as u32, encoded));
        }
        Ok(known as u64)
    }
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
