//! Spans into a target, by several threads; and single ranges into memory.
//!
//! A thread assembles a lot and writes it itself, while it is still in the processor's cache. File systems let one writer
//! at a time into a file, so the threads take turns: while one writes, the others decode.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::data_runs::DataRuns;
use super::target::Target;
use super::trail::Trail;
use crate::block_map::{DiskVersion, Geometry, MapReader, SPAN_CHUNKS, SpanEntries};
use crate::chunk_store::{Batch, WantedChunk};
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::node::Entry;
use crate::units::{u64_from, usize_from};

/// Bytes that a thread assembles before it writes: few enough for the cache of a core, together with their frames and
/// bases; enough for reads of neighbours to be worth their call.
const LOT_BYTES: u64 = 1 << 20;

/// Space for a run of at least this length is asked for before it is written: for less the call costs what it saves.
const EXPECT_BYTES_MIN: usize = 128 << 10;

struct Job<'a> {
    maps: &'a MapReader,
    version: DiskVersion,
    geometry: Geometry,
    target: &'a Target,
    control: &'a Control,
    counter: AtomicU64,
    turn: Mutex<()>, // held while the target is written
    trail: Trail,
}

/// Writes a disk version to a target; the bytes written as data. With one thread all of it runs on the caller's, so
/// that a simulation stays in one.
pub(super) fn run(
    maps: &MapReader,
    version: DiskVersion,
    target: &Target,
    thread_count: usize,
    control: &Control,
) -> Result<u64> {
    let chunk_bytes = u64::from(maps.store().parameters().chunk_bytes);
    let geometry = Geometry { size: version.size, chunk_bytes };
    let (counter, turn, trail) = (AtomicU64::new(0), Mutex::new(()), Trail::default());
    let job = Job { maps, version, geometry, target, control, counter, turn, trail };
    if thread_count == 1 {
        return job.work();
    }
    std::thread::scope(|scope| {
        let work = || job.work().inspect_err(|_| job.stop_others());
        let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked())));
        results.collect::<Vec<_>>().into_iter().sum()
    })
}

impl Job<'_> {
    /// Restores spans until none is left; the bytes written as data.
    fn work(&self) -> Result<u64> {
        let mut reader = SpanReader::new(self.maps, self.geometry);
        let mut bytes_written = 0;
        while let Some(span) = self.next() {
            self.control.check()?;
            bytes_written += self.restore(span, &mut reader)?;
        }
        Ok(bytes_written)
    }

    fn next(&self) -> Option<u64> {
        let span = self.counter.fetch_add(1, Ordering::Relaxed);
        (span < self.geometry.span_count()).then_some(span)
    }

    fn stop_others(&self) {
        self.counter.store(self.geometry.span_count(), Ordering::Relaxed);
    }

    fn restore(&self, span: u64, reader: &mut SpanReader<'_>) -> Result<u64> {
        let (first, count) = (span * SPAN_CHUNKS, self.geometry.chunks_in_span(span));
        let entries = self.maps.span(&self.version, span)?.entries;
        if matches!(&entries, SpanEntries::Uniform(entry) if entry.reads_zero()) {
            if self.target.is_new() {
                self.control.remove_total(self.bytes_in(first, count)); // a new file reads as zero by itself
                return Ok(0);
            }
            return self.write(&entries, first, count, &[]);
        }
        let lot_chunks = (LOT_BYTES / self.geometry.chunk_bytes).max(1);
        let (mut chunk, mut bytes_written) = (first, 0);
        while chunk < first + count {
            let lot = lot_chunks.min(first + count - chunk);
            reader.read(&entries, chunk, lot)?;
            bytes_written += self.write(&entries, chunk, lot, &reader.bytes)?;
            chunk += lot;
        }
        Ok(bytes_written)
    }

    /// Writes the runs of `count` chunks of a span from `first` on: neighbouring chunks that are data with one call, zeros
    /// as holes. `bytes` may be empty when all of it reads as zero.
    fn write(&self, entries: &SpanEntries, first: u64, count: u64, bytes: &[u8]) -> Result<u64> {
        let base = self.geometry.chunk_offset(first);
        let is_zero = |index: u64| entries.entry(usize_from((first + index) % SPAN_CHUNKS)).reads_zero();
        let (mut index, mut bytes_written) = (0, 0);
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while index < count {
            let zero = is_zero(index);
            let start = index;
            while index < count && is_zero(index) == zero {
                index += 1;
            }
            let range = self.geometry.range(first + start, index - start);
            if zero {
                self.write_zeros(range.start, range.end)?;
            } else {
                let data = &bytes[usize_from(range.start - base)..usize_from(range.end - base)];
                bytes_written += self.write_data(data, range.start)?;
            }
        }
        drop(turn);
        if bytes_written > 0 {
            self.trail.written(self.target.file(), self.geometry.range(first, count))?;
        }
        self.control.add_done(self.bytes_in(first, count));
        Ok(bytes_written)
    }

    /// Writes data, which begins at a chunk; blocks of a new file that hold nothing but zeros stay holes.
    fn write_data(&self, data: &[u8], offset: u64) -> Result<u64> {
        if !self.target.is_new() {
            self.target.file().write_at(data, offset)?;
            return Ok(u64_from(data.len()));
        }
        let mut bytes_written = 0;
        for run in DataRuns::new(data) {
            if run.len() >= EXPECT_BYTES_MIN {
                self.target.file().expect_write(offset + u64_from(run.start), u64_from(run.len()));
            }
            self.target.file().write_at(&data[run.clone()], offset + u64_from(run.start))?;
            bytes_written += u64_from(run.len());
        }
        Ok(bytes_written)
    }

    fn bytes_in(&self, first: u64, count: u64) -> u64 {
        let range = self.geometry.range(first, count);
        range.end - range.start
    }

    fn write_zeros(&self, start: u64, end: u64) -> Result<()> {
        if self.target.is_new() || start == end {
            return Ok(()); // a new file reads as zero, and stays sparse
        }
        self.target.file().zero_range(start, end - start)
    }
}

/// Assembles chunks of a span in memory.
struct SpanReader<'a> {
    maps: &'a MapReader,
    geometry: Geometry,
    batch: Batch,
    wanted: Vec<WantedChunk>,
    bytes: Vec<u8>,
}

impl<'a> SpanReader<'a> {
    fn new(maps: &'a MapReader, geometry: Geometry) -> Self {
        Self { maps, geometry, batch: Batch::default(), wanted: Vec::new(), bytes: Vec::new() }
    }

    /// Reads `count` chunks from `first` on, all in one span, so that `bytes` holds just them.
    fn read(&mut self, entries: &SpanEntries, first: u64, count: u64) -> Result<()> {
        let range = self.geometry.range(first, count);
        self.bytes.resize(usize_from(range.end - range.start), 0);
        self.wanted.clear();
        for chunk in first..first + count {
            let place = self.geometry.range(chunk, 1);
            let length = place.end - place.start;
            let at = usize_from(place.start - range.start);
            match entries.entry(usize_from(chunk % SPAN_CHUNKS)) {
                Entry::Hole => self.bytes[at..at + usize_from(length)].fill(0),
                Entry::Fill(value) => self.bytes[at..at + usize_from(length)].fill(value),
                Entry::Id(id) => self.wanted.push(WantedChunk { id, at, place_bytes: usize_from(length) }),
            }
        }
        self.maps.read_chunks(&self.wanted, &mut self.batch, &mut self.bytes)
    }
}

/// Bytes of a disk version. The range lies inside the disk.
///
/// # Errors
/// Missing or damaged content, what reading gives.
pub fn read_range(maps: &MapReader, version: &DiskVersion, offset: u64, length: u64) -> Result<Vec<u8>> {
    let chunk_bytes = u64::from(maps.store().parameters().chunk_bytes);
    let geometry = Geometry { size: version.size, chunk_bytes };
    assert!(offset.checked_add(length).is_some_and(|end| end <= version.size));
    let mut out = Vec::with_capacity(usize_from(length));
    let mut reader = SpanReader::new(maps, geometry);
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let chunk = at / chunk_bytes;
        let span = chunk / SPAN_CHUNKS;
        let span_end = geometry.range(span * SPAN_CHUNKS, SPAN_CHUNKS).end;
        let stop = end.min(span_end);
        let count = stop.div_ceil(chunk_bytes) - chunk;
        let entries = maps.span(version, span)?.entries;
        reader.read(&entries, chunk, count)?;
        let skip = usize_from(at - geometry.chunk_offset(chunk));
        out.extend_from_slice(&reader.bytes[skip..skip + usize_from(stop - at)]);
        at = stop;
    }
    debug_assert_eq!(u64_from(out.len()), length);
    Ok(out)
}

fn panicked() -> Error {
    Error::new(Code::Internal, "a restoring thread panicked")
}
