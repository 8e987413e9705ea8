//! One span of a source: read, hashed, compared with the parent's, and what is new of it encoded.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{ChunkCounts, Source};
use crate::block_map::{DiskVersion, Geometry, MapReader, SPAN_CHUNKS, SpanEntries};
use crate::chunk_store::Batch;
use crate::chunk_store::codec::{Encoder, is_like};
use crate::chunk_store::writer::{Added, EncodedFrame};
use crate::control::Control;
use crate::error::Result;
use crate::format::PackKind;
use crate::format::node::Entry;
use crate::units::{ContentId, usize_from};

/// Bytes of chunks that are in hand at once, so that look-ups and reads of their parents go in batches: a span of
/// chunks of the default size.
const LOT_BYTES: u64 = 4 << 20;

/// Chunks of a lot whose parents are read first. Writes that leave nothing alike (a log that begins anew, a file over
/// freed space) are longer than a lot, so if none of these few is like its parent, the other parents are not worth
/// reading and decoding. Where a lot is mixed, one of the few is found alike nearly always.
const PROBE_COUNT: usize = 6;

/// One disk to scan.
pub(super) struct Job<'a> {
    pub(super) source: &'a Source,
    pub(super) geometry: Geometry,
    pub(super) parent: Option<DiskVersion>,
    pub(super) maps: &'a MapReader,
    pub(super) control: &'a Control,
}

/// What became of a span.
#[derive(Default)]
pub(super) struct ScannedSpan {
    pub(super) entries: Vec<Entry>,
    pub(super) frames: Vec<EncodedFrame>,
    pub(super) bytes_read: u64,
    pub(super) counts: ChunkCounts,
}

/// A chunk that differs from the parent's, by its place in the buffer.
struct Changed {
    id: ContentId,
    place: Range<usize>,
    parent: Option<ContentId>,
}

/// Scans spans, one after the other, on one thread.
pub(super) struct SpanScanner<'a> {
    job: &'a Job<'a>,
    added: Added,
    encoder: Encoder,
    batch: Batch,
    buffer: Vec<u8>, // the chunks in `changed`, one behind the other
    filled: usize,
    changed: Vec<Changed>,
}

impl<'a> SpanScanner<'a> {
    /// `added`: what the scan's writer has already.
    pub(super) fn new(job: &'a Job<'a>, added: Added) -> Self {
        let parameters = job.maps.store().parameters();
        let encoder = Encoder::new(parameters.codec, parameters.level);
        Self { job, added, encoder, batch: Batch::default(), buffer: Vec::new(), filled: 0, changed: Vec::new() }
    }

    /// Scans a span; `data` is the first range of data in or after it.
    pub(super) fn scan(&mut self, span: u64, data: Range<u64>) -> Result<ScannedSpan> {
        let geometry = self.job.geometry;
        let end = span * SPAN_CHUNKS + geometry.chunks_in_span(span);
        let lot_chunks = (LOT_BYTES / geometry.chunk_bytes).max(1);
        let mut scanned = ScannedSpan::default();
        let (mut data, mut parent) = (Some(data), None);
        let mut chunk = span * SPAN_CHUNKS;
        while chunk < end {
            let lot_end = end.min(chunk + lot_chunks);
            self.changed.clear();
            self.filled = 0;
            for chunk in chunk..lot_end {
                let entry = self.look_at(chunk, &mut data, &mut parent, &mut scanned)?;
                scanned.entries.push(entry);
            }
            self.encode_changed(&mut scanned)?;
            chunk = lot_end;
        }
        Ok(scanned)
    }

    /// Reads a chunk and says what it is; what differs from the parent's goes to `changed`.
    fn look_at(
        &mut self,
        chunk: u64,
        data: &mut Option<Range<u64>>,
        parent: &mut Option<SpanEntries>,
        scanned: &mut ScannedSpan,
    ) -> Result<Entry> {
        let Job { source, geometry, maps, .. } = self.job;
        let place = geometry.range(chunk, 1);
        while data.as_ref().is_some_and(|data| data.end <= place.start) {
            *data = source.file().next_data(place.start)?;
        }
        if data.as_ref().is_none_or(|data| data.start >= place.end) {
            scanned.counts.hole += 1;
            return Ok(Entry::Hole);
        }
        // Behind what is kept of the lot: an unchanged chunk leaves its room, still in the cache, to the next one.
        let in_buffer = self.filled..self.filled + usize_from(place.end - place.start);
        if self.buffer.len() < in_buffer.end {
            self.buffer.resize(in_buffer.end, 0);
        }
        let plain = &mut self.buffer[in_buffer.clone()];
        if source.file().read_at(plain, place.start)? < plain.len() {
            return Err(source.truncated());
        }
        scanned.bytes_read += place.end - place.start;
        if let Some(value) = fill_value(plain, geometry.chunk_bytes) {
            scanned.counts.fill += 1;
            return Ok(Entry::Fill(value));
        }
        let id = maps.store().parameters().identity.id(PackKind::Chunks, plain);
        let before = match &self.job.parent {
            Some(version) => {
                if parent.is_none() {
                    *parent = Some(maps.span(version, chunk / SPAN_CHUNKS)?.entries);
                }
                parent.as_ref().map(|entries| entries.entry(usize_from(chunk % SPAN_CHUNKS)))
            }
            None => None,
        };
        if before == Some(Entry::Id(id)) {
            scanned.counts.unchanged += 1;
        } else {
            let parent = if let Some(Entry::Id(parent)) = before { Some(parent) } else { None };
            self.filled = in_buffer.end;
            self.changed.push(Changed { id, place: in_buffer, parent });
        }
        Ok(Entry::Id(id))
    }

    /// Encodes what neither this scan nor the store has, against the parent's chunk where that helps.
    fn encode_changed(&mut self, scanned: &mut ScannedSpan) -> Result<()> {
        let store = self.job.maps.store();
        let (mut new, mut seen) = (Vec::new(), HashSet::new());
        for changed in self.changed.drain(..) {
            if !seen.insert(changed.id) || self.added.contains(&changed.id) || store.contains(&changed.id)? {
                scanned.counts.known += 1;
            } else {
                new.push(changed);
            }
        }
        let bases = self.bases_of(&new)?;
        for (Changed { id, place, .. }, base) in new.iter().zip(bases) {
            let plain = &self.buffer[place.clone()];
            let base = base.and_then(|id| self.batch.base(&id));
            let encoded = self.encoder.encode_against(plain, base)?;
            scanned.frames.push(EncodedFrame::new(PackKind::Chunks, *id, plain.len() as u32, encoded));
        }
        Ok(())
    }

    /// For each chunk what it may stand on, if that is worth trying; those chunks are then in the batch.
    fn bases_of(&mut self, new: &[Changed]) -> Result<Vec<Option<ContentId>>> {
        let store = self.job.maps.store();
        if !self.encoder.uses_bases() {
            return Ok(vec![None; new.len()]);
        }
        let mut stands_on: HashMap<ContentId, Option<ContentId>> = HashMap::new(); // parent's chunk to a full frame near it
        let mut bases = Vec::with_capacity(new.len());
        for changed in new {
            bases.push(match changed.parent {
                Some(parent) => match stands_on.entry(parent) {
                    MapEntry::Occupied(known) => *known.get(),
                    MapEntry::Vacant(unknown) => *unknown.insert(store.base_near(&parent)?),
                },
                None => None,
            });
        }
        let tried: Vec<usize> = (0..new.len()).filter(|at| bases[*at].is_some()).collect();
        let (probes, rest) = probes_and_rest(&tried);
        store.read_bases(probes.iter().filter_map(|at| bases[*at]).collect(), &mut self.batch)?;
        let is_like = |at: &usize| {
            let base = bases[*at].and_then(|id| self.batch.base(&id));
            base.is_some_and(|base| is_like(&self.buffer[new[*at].place.clone()], base.plain))
        };
        if probes.iter().any(is_like) {
            store.read_more_bases(rest.iter().filter_map(|at| bases[*at]).collect(), &mut self.batch)?;
        }
        Ok(bases)
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
