//! Spans into a target, in parallel; and single ranges into memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::target::Target;
use crate::block_map::{DiskVersion, Geometry, MapReader, SPAN_CHUNKS, SpanEntries};
use crate::chunk_store::{Batch, Located};
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::node::Entry;
use crate::units::{u64_from, usize_from};

struct Job<'a> {
    maps: &'a MapReader,
    version: DiskVersion,
    geometry: Geometry,
    target: &'a Target,
    control: &'a Control,
    counter: AtomicU64,
    failed: AtomicBool,
    bytes_written: AtomicU64,
}

pub(super) fn run(
    maps: &MapReader,
    version: DiskVersion,
    target: &Target,
    thread_count: usize,
    control: &Control,
) -> Result<u64> {
    let chunk_bytes = u64::from(maps.store().parameters().chunk_bytes);
    let geometry = Geometry { size: version.size, chunk_bytes };
    let (counter, failed, bytes_written) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let job = Job { maps, version, geometry, target, control, counter, failed, bytes_written };
    let work = || work(&job).inspect_err(|_| job.failed.store(true, Ordering::Relaxed));
    if thread_count == 1 {
        work()?; // on the caller's thread, so that a simulation stays in one
    } else {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
            let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked())));
            results.collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>>>()
        })?;
    }
    Ok(job.bytes_written.into_inner())
}

fn work(job: &Job<'_>) -> Result<()> {
    let mut reader = SpanReader::new(job.maps, job.geometry);
    loop {
        let span = job.counter.fetch_add(1, Ordering::Relaxed);
        if span >= job.geometry.span_count() || job.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        job.control.check()?;
        let range = job.geometry.range(span * SPAN_CHUNKS, SPAN_CHUNKS);
        let entries = job.maps.span(&job.version, span)?.entries;
        let zeros = match &entries {
            SpanEntries::Uniform(entry) if entry.reads_zero() => true,
            _ => {
                let count = job.geometry.chunks_in_span(span);
                reader.read(&entries, span * SPAN_CHUNKS, count)?;
                false
            }
        };
        if zeros {
            write_zeros(job, range.start, range.end)?;
        } else {
            write_span(job, &entries, span, reader.bytes())?;
        }
        job.control.add_done(range.end - range.start);
    }
}

fn write_zeros(job: &Job<'_>, start: u64, end: u64) -> Result<()> {
    if job.target.is_new() || start == end {
        return Ok(()); // a new file reads as zero, and stays sparse
    }
    job.target.file().zero_range(start, end - start)
}

/// Writes the runs of a span: neighbouring chunks that are data with one call, zeros as holes.
fn write_span(job: &Job<'_>, entries: &SpanEntries, span: u64, bytes: &[u8]) -> Result<()> {
    let first = span * SPAN_CHUNKS;
    let count = job.geometry.chunks_in_span(span);
    let base = job.geometry.chunk_offset(first);
    let is_zero = |index: u64| entries.entry(usize_from(index)).reads_zero();
    let mut index = 0;
    while index < count {
        let zero = is_zero(index);
        let start = index;
        while index < count && is_zero(index) == zero {
            index += 1;
        }
        let range = job.geometry.range(first + start, index - start);
        if zero {
            write_zeros(job, range.start, range.end)?;
        } else {
            let data = &bytes[usize_from(range.start - base)..usize_from(range.end - base)];
            job.target.file().write_at(data, range.start)?;
            job.bytes_written.fetch_add(range.end - range.start, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Assembles chunks of a span in memory.
struct SpanReader<'a> {
    maps: &'a MapReader,
    geometry: Geometry,
    batch: Batch,
    wanted: Vec<Located>,
    bytes: Vec<u8>,
}

impl<'a> SpanReader<'a> {
    fn new(maps: &'a MapReader, geometry: Geometry) -> Self {
        Self { maps, geometry, batch: Batch::default(), wanted: Vec::new(), bytes: Vec::new() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads `count` chunks from `first` on, all in one span, so that [`SpanReader::bytes`] begins with them.
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
                Entry::Id(id) => {
                    self.wanted.push(self.maps.store().locate_chunk(at, id, length as u32)?);
                }
            }
        }
        let (bytes, chunk_bytes) = (&mut self.bytes, usize_from(self.geometry.chunk_bytes));
        let wanted = std::mem::take(&mut self.wanted);
        self.maps.store().read_batch(wanted, &mut self.batch, |at, plain| {
            let end = bytes.len().min(at + chunk_bytes);
            let (content, rest) = bytes[at..end].split_at_mut(plain.len());
            content.copy_from_slice(plain);
            rest.fill(0); // a disk that grew after its last chunk was stored
            Ok(())
        })
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
        out.extend_from_slice(&reader.bytes()[skip..skip + usize_from(stop - at)]);
        at = stop;
    }
    debug_assert_eq!(u64_from(out.len()), length);
    Ok(out)
}

fn panicked() -> Error {
    Error::new(Code::Internal, "a restoring thread panicked")
}
