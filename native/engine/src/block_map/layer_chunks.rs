//! The chunks that a layer makes new: what stood there, with the layer's ranges laid over it.
//!
//! What it is: [`LayerChunks`] goes through a layer in lots of chunks. The entries that stood there are looked up together,
//! the chunks that are needed of them are read in the order in which they lie, and the layer's bytes are laid over them.
//! What it guarantees: a chunk that the layer fills whole is not read. A chunk of which no byte is allocated any more is a
//! hole; one of equal bytes is a fill; of others the id was computed from the bytes in hand (I-42).
//! What it costs: memory for one lot (twice, where what stood there is kept); a run of whole chunks of zeros or holes is one step, however long.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::layer_source::{LayerContent, LayerRange, LayerSource};
use super::{DiskVersion, Geometry, MapReader};
use crate::chunk_store::{Batch, WantedChunk, fill_value};
use crate::error::Result;
use crate::format::PackKind;
use crate::format::node::Entry;
use crate::units::{u64_from, usize_from};

/// Ranges that are asked for together.
const PAGE_RANGES: usize = 256;

/// Bytes of a lot at most, whatever it may take.
const LOT_BYTES_MAX: u64 = 4 << 20;

/// A chunk that the layer touches, or a run of them that it makes hole or zero.
#[derive(Clone, Debug)]
pub struct LayerChunk {
    /// The first chunk.
    pub first: u64,
    /// How many; 1 where there are bytes.
    pub count: u64,
    /// What stood there; nobody has looked below a run.
    pub before: Option<Entry>,
    /// What stands there now.
    pub entry: Entry,
    /// Where its bytes are in [`LayerChunks::bytes`].
    pub place: Range<usize>,
    /// Where the bytes are that stood there, if they had to be read and were to be kept.
    pub before_place: Option<Range<usize>>,
}

/// Some chunks of a layer, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Lot {
    /// The chunks.
    pub chunks: Vec<LayerChunk>,
    /// Bytes of the layer's ranges in them.
    pub touched_bytes: u64,
    /// Bytes of the chunks that were put together: the measure of the work.
    pub work_bytes: u64,
    /// Bytes read: those of chunks that stood there, and those of the layer.
    pub bytes_read: u64,
}

/// A chunk with the ranges in it, or a run.
struct Planned {
    first: u64,
    count: u64,
    ranges: Vec<LayerRange>, // cut off at the chunk's ends
}

/// Goes through the chunks that a layer touches.
pub struct LayerChunks {
    maps: Arc<MapReader>,
    base: DiskVersion,
    geometry: Geometry,
    source: Arc<dyn LayerSource>,
    next: u64,
    keeps_before: bool,
    ranges: VecDeque<LayerRange>, // those that are known behind what was planned
    batch: Batch,
    bytes: Vec<u8>,
}

impl LayerChunks {
    /// In front of chunk `next`, of a disk that stood on `base` and is `size` bytes now.
    #[must_use]
    pub fn new(maps: Arc<MapReader>, base: DiskVersion, size: u64, source: Arc<dyn LayerSource>, next: u64) -> Self {
        assert!(base.size <= size, "a smaller disk stands on another base");
        let chunk_bytes = u64::from(maps.store().parameters().chunk_bytes);
        let geometry = Geometry { size, chunk_bytes };
        let (ranges, batch, bytes) = (VecDeque::new(), Batch::default(), Vec::new());
        Self { maps, base, geometry, source, next, keeps_before: false, ranges, batch, bytes }
    }

    /// Keeps the bytes that stood there, where they had to be read, beside the new ones.
    #[must_use]
    pub fn keeping_before(mut self) -> Self {
        self.keeps_before = true;
        self
    }

    /// The first chunk that was not looked at.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The bytes of the last lot.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The next chunks, up to so many bytes and at least one; `None` at the end. After an error the same can be asked
    /// for again.
    ///
    /// # Errors
    /// What reading the layer and what stood there gives.
    pub fn next_lot(&mut self, budget_bytes: u64) -> Result<Option<Lot>> {
        let lot = self.plan(budget_bytes).and_then(|planned| {
            let Some(last) = planned.last() else { return Ok(None) };
            let next = last.first + last.count;
            Ok(Some((self.put_together(&planned)?, next)))
        });
        match lot {
            Ok(None) => Ok(None),
            Ok(Some((lot, next))) => {
                self.next = next;
                Ok(Some(lot))
            }
            Err(error) => {
                self.ranges.clear();
                Err(error)
            }
        }
    }

    /// The chunks with these numbers, which the layer touches; sorted. The walk has to begin anew after it.
    ///
    /// # Errors
    /// As [`LayerChunks::next_lot`].
    pub fn read(&mut self, chunks: &[u64]) -> Result<Lot> {
        let mut planned = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            self.ranges.clear();
            planned.push(self.plan_chunk(*chunk)?);
        }
        self.ranges.clear();
        self.put_together(&planned)
    }

    fn plan(&mut self, budget_bytes: u64) -> Result<Vec<Planned>> {
        let budget_bytes = budget_bytes.min(LOT_BYTES_MAX);
        let chunk_bytes = self.geometry.chunk_bytes;
        let (mut planned, mut bytes, mut chunk) = (Vec::new(), 0, self.next);
        while (planned.is_empty() || bytes + chunk_bytes <= budget_bytes) && chunk < self.geometry.chunk_count() {
            let Some(range) = self.range_behind(self.geometry.chunk_offset(chunk))? else { break };
            chunk = chunk.max(range.offset / chunk_bytes);
            let start = range.offset.max(self.geometry.chunk_offset(chunk));
            let whole_end = match range.end() {
                end if end == self.geometry.size => self.geometry.chunk_count(),
                end => end / chunk_bytes,
            };
            if range.content != LayerContent::Data && start.is_multiple_of(chunk_bytes) && whole_end > chunk {
                let place = self.geometry.range(chunk, whole_end - chunk);
                let (offset, length) = (place.start, place.end - place.start);
                let ranges = vec![LayerRange { offset, length, content: range.content }];
                planned.push(Planned { first: chunk, count: whole_end - chunk, ranges });
                chunk = whole_end;
            } else {
                planned.push(self.plan_chunk(chunk)?);
                chunk += 1;
            }
            bytes += chunk_bytes;
        }
        Ok(planned)
    }

    fn plan_chunk(&mut self, chunk: u64) -> Result<Planned> {
        let place = self.geometry.range(chunk, 1);
        let (mut ranges, mut at) = (Vec::new(), place.start);
        while at < place.end {
            let Some(range) = self.range_behind(at)?.filter(|range| range.offset < place.end) else { break };
            let offset = range.offset.max(at);
            at = range.end().min(place.end);
            ranges.push(LayerRange { offset, length: at - offset, content: range.content });
        }
        Ok(Planned { first: chunk, count: 1, ranges })
    }

    /// The first range that ends behind `at`, cut off at the disk's end.
    fn range_behind(&mut self, at: u64) -> Result<Option<LayerRange>> {
        loop {
            while self.ranges.front().is_some_and(|range| range.end() <= at) {
                self.ranges.pop_front();
            }
            if let Some(range) = self.ranges.front() {
                return Ok(Some(*range));
            }
            let size = self.geometry.size;
            let page = self.source.ranges(at, PAGE_RANGES)?;
            let on_disk = page.iter().filter(|range| range.offset < size);
            self.ranges
                .extend(on_disk.map(|range| LayerRange { length: range.end().min(size) - range.offset, ..*range }));
            if self.ranges.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Reads what stood there where it shows, and lays the ranges over it.
    fn put_together(&mut self, planned: &[Planned]) -> Result<Lot> {
        let singles: Vec<u64> =
            planned.iter().filter(|planned| !planned.is_run()).map(|planned| planned.first).collect();
        let mut before = self.maps.entries(&self.base, &singles)?.into_iter();
        let mut lot = Lot::default();
        let (mut wanted, mut filled) = (Vec::new(), 0);
        let mut room = |length: usize| {
            filled += length;
            filled - length..filled
        };
        for planned in planned {
            lot.touched_bytes += planned.covered_bytes();
            let (first, count) = (planned.first, planned.count);
            if let Some(entry) = planned.run() {
                lot.chunks.push(LayerChunk { first, count, before: None, entry, place: 0..0, before_place: None });
                continue;
            }
            let before = before.next().unwrap_or(Entry::Hole);
            let length = usize_from(self.geometry.chunk_length(first));
            let (place, mut before_place) = (room(length), None);
            if self.bytes.len() < place.end {
                self.bytes.resize(place.end, 0);
            }
            if planned.covered_bytes() < u64_from(length) {
                match before {
                    Entry::Hole => self.bytes[place.clone()].fill(0),
                    Entry::Fill(value) => self.bytes[place.clone()].fill(value),
                    Entry::Id(id) => {
                        wanted.push(WantedChunk { id, at: place.start, place_bytes: length });
                        lot.bytes_read += u64_from(length);
                        before_place = self.keeps_before.then(|| room(length));
                    }
                }
            }
            lot.work_bytes += u64_from(length);
            // What it is is known once its bytes are there.
            let (before, entry) = (Some(before), Entry::Hole);
            lot.chunks.push(LayerChunk { first, count, before, entry, place, before_place });
        }
        if self.bytes.len() < filled {
            self.bytes.resize(filled, 0);
        }
        self.maps.read_chunks(&wanted, &mut self.batch, &mut self.bytes)?;
        for (chunk, planned) in lot.chunks.iter_mut().zip(planned) {
            let Some(before) = chunk.before else { continue };
            if let Some(place) = &chunk.before_place {
                self.bytes.copy_within(chunk.place.clone(), place.start);
            }
            for range in &planned.ranges {
                let at = chunk.place.start + usize_from(range.offset - self.geometry.chunk_offset(chunk.first));
                let bytes = &mut self.bytes[at..at + usize_from(range.length)];
                if range.content == LayerContent::Data {
                    self.source.read(range.offset, bytes)?;
                    lot.bytes_read += range.length;
                } else {
                    bytes.fill(0);
                }
            }
            chunk.entry = self.entry_of(&self.bytes[chunk.place.clone()], before, planned);
        }
        Ok(lot)
    }

    fn entry_of(&self, bytes: &[u8], before: Entry, planned: &Planned) -> Entry {
        let is_covered = planned.covered_bytes() == u64_from(bytes.len());
        let is_hole = |range: &LayerRange| range.content == LayerContent::Hole;
        if planned.ranges.iter().all(is_hole) && (is_covered || before == Entry::Hole) {
            return Entry::Hole;
        }
        match fill_value(bytes, self.geometry.chunk_bytes) {
            Some(value) => Entry::Fill(value),
            None => Entry::Id(self.maps.store().parameters().identity.id(PackKind::Chunks, bytes)),
        }
    }
}

impl Planned {
    fn is_run(&self) -> bool {
        self.run().is_some()
    }

    /// What all of it is, when one range without bytes says it all.
    fn run(&self) -> Option<Entry> {
        match self.ranges.as_slice() {
            [range] if self.count > 1 => match range.content {
                LayerContent::Data => None,
                LayerContent::Zero => Some(Entry::Fill(0)),
                LayerContent::Hole => Some(Entry::Hole),
            },
            _ => None,
        }
    }

    fn covered_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.length).sum()
    }
}
