//! Spans into a target: assembled in parallel, written by the caller's thread; and single ranges into memory.
//!
//! File systems let one writer at a time into a file, so more of them would wait for each other instead of decoding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::data_runs::DataRuns;
use super::target::Target;
use crate::block_map::{DiskVersion, Geometry, MapReader, SPAN_CHUNKS, SpanEntries};
use crate::chunk_store::{Batch, WantedChunk};
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::node::Entry;
use crate::units::{u64_from, usize_from};

/// Assembled spans that may wait for the writing thread.
const WAITING_SPANS: usize = 2;

struct Job<'a> {
    maps: &'a MapReader,
    version: DiskVersion,
    geometry: Geometry,
    target: &'a Target,
    control: &'a Control,
    counter: AtomicU64,
}

/// A span in memory.
struct Assembled {
    span: u64,
    entries: SpanEntries,
    bytes: Vec<u8>, // empty when all of it reads as zero
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
    let job = Job { maps, version, geometry, target, control, counter: AtomicU64::new(0) };
    if thread_count > 1 {
        return run_parallel(&job, thread_count);
    }
    let (mut reader, mut bytes_written) = (SpanReader::new(maps, geometry), 0);
    while let Some(assembled) = job.next(&mut reader)? {
        bytes_written += job.write(&assembled)?;
        reader.bytes = assembled.bytes;
    }
    Ok(bytes_written)
}

fn run_parallel(job: &Job<'_>, thread_count: usize) -> Result<u64> {
    let (send, receive) = sync_channel(WAITING_SPANS);
    let spare = Mutex::new(Vec::new()); // buffers that were written, for the next spans
    std::thread::scope(|scope| {
        let (job, spare) = (&*job, &spare);
        let assemble = |send: SyncSender<Assembled>| move || assemble(job, &send, spare);
        let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(assemble(send.clone()))).collect();
        drop(send);
        let written = write_all(job, receive, spare);
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked())));
        results.collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>>>()?;
        written
    })
}

/// Takes the receiver, so that workers find out when writing failed: nobody takes what they send.
fn write_all(job: &Job<'_>, receive: Receiver<Assembled>, spare: &Mutex<Vec<Vec<u8>>>) -> Result<u64> {
    let mut bytes_written = 0;
    for assembled in receive {
        bytes_written += job.write(&assembled)?;
        spare.lock().unwrap_or_else(PoisonError::into_inner).push(assembled.bytes);
    }
    Ok(bytes_written)
}

fn assemble(job: &Job<'_>, send: &SyncSender<Assembled>, spare: &Mutex<Vec<Vec<u8>>>) -> Result<()> {
    let mut reader = SpanReader::new(job.maps, job.geometry);
    let stop_others = |error| {
        job.counter.store(job.geometry.span_count(), Ordering::Relaxed);
        error
    };
    while let Some(assembled) = job.next(&mut reader).map_err(stop_others)? {
        if send.send(assembled).is_err() {
            return Ok(()); // the writing thread failed and says why
        }
        reader.bytes = spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    }
    Ok(())
}

impl Job<'_> {
    /// Assembles the next span in the reader's buffer and takes that along.
    fn next(&self, reader: &mut SpanReader<'_>) -> Result<Option<Assembled>> {
        let (span, entries) = loop {
            let span = self.counter.fetch_add(1, Ordering::Relaxed);
            if span >= self.geometry.span_count() {
                return Ok(None);
            }
            self.control.check()?;
            let entries = self.maps.span(&self.version, span)?.entries;
            if !matches!(&entries, SpanEntries::Uniform(entry) if entry.reads_zero()) {
                break (span, entries);
            }
            if !self.target.is_new() {
                return Ok(Some(Assembled { span, entries, bytes: Vec::new() }));
            }
            self.control.remove_total(self.bytes_in(span)); // a new file reads as zero by itself
        };
        reader.read(&entries, span * SPAN_CHUNKS, self.geometry.chunks_in_span(span))?;
        Ok(Some(Assembled { span, entries, bytes: std::mem::take(&mut reader.bytes) }))
    }

    /// Writes the runs of a span: neighbouring chunks that are data with one call, zeros as holes.
    fn write(&self, assembled: &Assembled) -> Result<u64> {
        let first = assembled.span * SPAN_CHUNKS;
        let count = self.geometry.chunks_in_span(assembled.span);
        let base = self.geometry.chunk_offset(first);
        let is_zero = |index: u64| assembled.entries.entry(usize_from(index)).reads_zero();
        let (mut index, mut bytes_written) = (0, 0);
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
                let data = &assembled.bytes[usize_from(range.start - base)..usize_from(range.end - base)];
                bytes_written += self.write_data(data, range.start)?;
            }
        }
        self.control.add_done(self.bytes_in(assembled.span));
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
            self.target.file().write_at(&data[run.clone()], offset + u64_from(run.start))?;
            bytes_written += u64_from(run.len());
        }
        Ok(bytes_written)
    }

    fn bytes_in(&self, span: u64) -> u64 {
        let range = self.geometry.range(span * SPAN_CHUNKS, SPAN_CHUNKS);
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
