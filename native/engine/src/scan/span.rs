//! One span of a source: read, hashed, compared with the parent's, and what is new of it encoded.

use std::ops::Range;

use super::{ChunkCounts, Source};
use crate::block_map::{DiskVersion, Geometry, MapReader, SPAN_CHUNKS, SpanEntries};
use crate::chunk_store::writer::{Added, EncodedFrame};
use crate::chunk_store::{Changed, ChangedEncoder, fill_value};
use crate::control::Control;
use crate::error::Result;
use crate::format::PackKind;
use crate::format::node::Entry;
use crate::units::usize_from;

/// Bytes of chunks that are in hand at once, so that look-ups and reads of their parents go in batches: a span of
/// chunks of the default size.
const LOT_BYTES: u64 = 4 << 20;

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

/// Scans spans, one after the other, on one thread.
pub(super) struct SpanScanner<'a> {
    job: &'a Job<'a>,
    added: Added,
    encoder: ChangedEncoder,
    buffer: Vec<u8>, // the chunks in `changed`, one behind the other
    filled: usize,
    changed: Vec<Changed>,
}

impl<'a> SpanScanner<'a> {
    /// `added`: what the scan's writer has already.
    pub(super) fn new(job: &'a Job<'a>, added: Added) -> Self {
        let encoder = ChangedEncoder::new(job.maps.store().parameters());
        Self { job, added, encoder, buffer: Vec::new(), filled: 0, changed: Vec::new() }
    }

    /// Scans a span; `data` is the first range of data in or after it.
    pub(super) fn scan(&mut self, span: u64, data: Range<u64>) -> Result<ScannedSpan> {
        let job = self.job;
        let geometry = job.geometry;
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
            let (store, frames) = (job.maps.store(), &mut scanned.frames);
            scanned.counts.known += self.encoder.encode(store, &self.added, &mut self.changed, &self.buffer, frames)?;
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
            let before = if let Some(Entry::Id(before)) = before { Some(before) } else { None };
            self.filled = in_buffer.end;
            self.changed.push(Changed { id, place: in_buffer, before, before_place: None });
        }
        Ok(Entry::Id(id))
    }
}
