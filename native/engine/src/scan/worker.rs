//! The scan's pipeline: spans are read, hashed and compressed in parallel and appended in order.
//!
//! Workers take span numbers from one counter. A finished span waits in `ready` until all before it are appended;
//! whoever finishes the next one in order appends it and what waits behind it. So packs and maps come out the same for any number of
//! threads, and memory is bounded by the window of spans that may be ahead.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::{ChunkCounts, Source};
use crate::block_map::{DiskVersion, Geometry, MapBuilder, MapReader, SPAN_CHUNKS, SpanEntries};
use crate::chunk_store::codec::Encoder;
use crate::chunk_store::writer::{EncodedFrame, Writer};
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::PackKind;
use crate::format::node::{Entry, Root};
use crate::units::usize_from;

/// Spans that may be finished or under way ahead of the next one to append, per thread.
const WINDOW_SPANS: u64 = 4;

pub(super) struct Job<'a> {
    pub(super) source: &'a Source,
    pub(super) geometry: Geometry,
    pub(super) parent: Option<DiskVersion>,
    pub(super) maps: &'a MapReader,
    pub(super) control: &'a Control,
}

pub(super) struct Outcome {
    pub(super) root: Root,
    pub(super) bytes_read: u64,
    pub(super) bytes_new: u64,
    pub(super) bytes_stored: u64,
    pub(super) chunks: ChunkCounts,
}

/// A span, or a run of spans that are all holes.
#[derive(Default)]
struct ScannedSpan {
    hole_spans: u64, // 0: one span, with its entries
    entries: Vec<Entry>,
    frames: Vec<EncodedFrame>,
    bytes_read: u64,
    counts: ChunkCounts,
}

struct Appender<'a, 'w, 's> {
    writer: &'w mut Writer<'s>,
    builder: MapBuilder<'a>,
    next: u64,
    ready: BTreeMap<u64, ScannedSpan>,
    bytes_read: u64,
    bytes_new: u64,
    bytes_stored: u64,
    chunks: ChunkCounts,
}

pub(super) fn run(job: &Job<'_>, thread_count: usize, writer: &mut Writer<'_>) -> Result<Outcome> {
    let parameters = job.maps.store().parameters();
    let height = Root::height_for(job.geometry.size, parameters.chunk_bytes);
    let appender = Mutex::new(Appender {
        writer,
        builder: MapBuilder::new(&parameters.identity, height),
        next: 0,
        ready: BTreeMap::new(),
        bytes_read: 0,
        bytes_new: 0,
        bytes_stored: 0,
        chunks: ChunkCounts::default(),
    });
    let line = Line { counter: AtomicU64::new(0), failed: AtomicBool::new(false), moved: Condvar::new() };
    let window = WINDOW_SPANS * thread_count as u64;
    let work = || {
        let mut stop = StopOthers { line: &line, appender: &appender, armed: true };
        let result = work(job, &line, &appender, window);
        stop.armed = result.is_err();
        result
    };
    if thread_count == 1 {
        work()?; // on the caller's thread, so that a simulation stays in one
    } else {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
            let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked())));
            results.collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>>>()
        })?;
    }
    let appender = appender.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(appender.next, job.geometry.span_count(), "every span was appended");
    let (writer, mut bytes_stored) = (appender.writer, appender.bytes_stored);
    let root = appender.builder.finish(&mut |id, plain| {
        bytes_stored += writer.add_node(id, plain)?;
        Ok(())
    })?;
    Ok(Outcome {
        root,
        bytes_read: appender.bytes_read,
        bytes_new: appender.bytes_new,
        bytes_stored,
        chunks: appender.chunks,
    })
}

struct Line {
    counter: AtomicU64,
    failed: AtomicBool,
    moved: Condvar,
}

/// Ends the other workers when this one fails or panics: they wait for its span, and would for ever.
struct StopOthers<'a, 'b, 'w, 's> {
    line: &'a Line,
    appender: &'a Mutex<Appender<'b, 'w, 's>>,
    armed: bool,
}

impl Drop for StopOthers<'_, '_, '_, '_> {
    fn drop(&mut self) {
        if self.armed {
            // Under the lock, so that a waiter either sees the flag or is woken.
            let _held = self.appender.lock().unwrap_or_else(PoisonError::into_inner);
            self.line.failed.store(true, Ordering::Release);
            self.line.moved.notify_all();
        }
    }
}

fn work(job: &Job<'_>, line: &Line, appender: &Mutex<Appender<'_, '_, '_>>, window: u64) -> Result<()> {
    let parameters = job.maps.store().parameters();
    let mut encoder = Encoder::new(parameters.codec, parameters.level);
    let mut buffer = vec![0; parameters.chunk_bytes as usize];
    loop {
        let span = line.counter.fetch_add(1, Ordering::Relaxed);
        if span >= job.geometry.span_count() || !wait_for_window(line, appender, span, window) {
            return Ok(()); // done, or another worker failed and says why
        }
        job.control.check()?;
        let data = job.source.file().next_data(job.geometry.chunk_offset(span * SPAN_CHUNKS))?;
        let hole_spans = hole_spans(&job.geometry, span, data.as_ref());
        let scanned = if hole_spans > 1 {
            // Nobody needs to look at these. Spans among them that others have taken meanwhile are dropped when this is
            // appended.
            line.counter.fetch_max(span + hole_spans, Ordering::Relaxed);
            ScannedSpan { hole_spans, ..ScannedSpan::default() }
        } else {
            scan_span(job, span, data, &mut encoder, &mut buffer, appender)?
        };
        let mut held = appender.lock().unwrap_or_else(PoisonError::into_inner);
        if span >= held.next {
            held.ready.insert(span, scanned);
        }
        let appended = held.append_ready(job);
        drop(held);
        line.moved.notify_all();
        appended?;
    }
}

fn wait_for_window(line: &Line, appender: &Mutex<Appender<'_, '_, '_>>, span: u64, window: u64) -> bool {
    let mut held = appender.lock().unwrap_or_else(PoisonError::into_inner);
    while span >= held.next + window && !line.failed.load(Ordering::Acquire) {
        held = line.moved.wait(held).unwrap_or_else(PoisonError::into_inner);
    }
    !line.failed.load(Ordering::Acquire)
}

impl Appender<'_, '_, '_> {
    fn append_ready(&mut self, job: &Job<'_>) -> Result<()> {
        while let Some(span) = self.ready.remove(&self.next) {
            let range = job.geometry.range(self.next * SPAN_CHUNKS, span.hole_spans.max(1) * SPAN_CHUNKS);
            job.control.add_done(range.end - range.start);
            if span.hole_spans > 0 {
                self.append_holes(&span, (range.end - range.start).div_ceil(job.geometry.chunk_bytes))?;
                continue;
            }
            for frame in &span.frames {
                // Two spans may have met the same new chunk at the same time; the writer keeps one.
                if self.writer.add_chunk(frame)? {
                    self.bytes_new += u64::from(frame.plain_bytes());
                    self.bytes_stored += frame.frame_bytes();
                    self.chunks.stored += 1;
                } else {
                    self.chunks.known += 1;
                }
            }
            let (writer, bytes_stored) = (&mut *self.writer, &mut self.bytes_stored);
            self.builder.push_span(&span.entries, &mut |id, plain| {
                *bytes_stored += writer.add_node(id, plain)?;
                Ok(())
            })?;
            self.bytes_read += span.bytes_read;
            self.chunks.hole += span.counts.hole;
            self.chunks.fill += span.counts.fill;
            self.chunks.unchanged += span.counts.unchanged;
            self.chunks.known += span.counts.known;
            self.next += 1;
        }
        Ok(())
    }

    fn append_holes(&mut self, span: &ScannedSpan, chunk_count: u64) -> Result<()> {
        let (writer, bytes_stored) = (&mut *self.writer, &mut self.bytes_stored);
        self.builder.push_hole_spans(span.hole_spans, &mut |id, plain| {
            *bytes_stored += writer.add_node(id, plain)?;
            Ok(())
        })?;
        self.chunks.hole += chunk_count;
        self.next += span.hole_spans;
        self.ready = self.ready.split_off(&self.next); // what others made of the same holes
        Ok(())
    }
}

fn scan_span(
    job: &Job<'_>,
    span: u64,
    mut data: Option<Range<u64>>,
    encoder: &mut Encoder,
    buffer: &mut [u8],
    appender: &Mutex<Appender<'_, '_, '_>>,
) -> Result<ScannedSpan> {
    let store = job.maps.store();
    let first = span * SPAN_CHUNKS;
    let mut scanned = ScannedSpan::default();
    let mut parent: Option<SpanEntries> = None;
    for chunk in first..first + job.geometry.chunks_in_span(span) {
        let place = job.geometry.range(chunk, 1);
        while data.as_ref().is_some_and(|data| data.end <= place.start) {
            data = job.source.file().next_data(place.start)?;
        }
        if !data.as_ref().is_some_and(|data| overlaps(data, &place)) {
            scanned.entries.push(Entry::Hole);
            scanned.counts.hole += 1;
            continue;
        }
        let plain = &mut buffer[..usize_from(place.end - place.start)];
        if job.source.file().read_at(plain, place.start)? < plain.len() {
            return Err(job.source.truncated());
        }
        scanned.bytes_read += place.end - place.start;
        if let Some(value) = fill_value(plain, job.geometry.chunk_bytes) {
            scanned.entries.push(Entry::Fill(value));
            scanned.counts.fill += 1;
            continue;
        }
        let id = store.parameters().identity.id(PackKind::Chunks, plain);
        scanned.entries.push(Entry::Id(id));
        if let Some(version) = &job.parent {
            if parent.is_none() {
                parent = Some(job.maps.span(version, span)?.entries);
            }
            let before = parent.as_ref().map(|entries| entries.entry(usize_from(chunk - first)));
            if before == Some(Entry::Id(id)) {
                scanned.counts.unchanged += 1;
                continue;
            }
        }
        let added = appender.lock().unwrap_or_else(PoisonError::into_inner).writer.added(&id);
        if added || store.contains(&id)? {
            scanned.counts.known += 1;
            continue;
        }
        let plain_bytes = plain.len() as u32;
        let (codec, stored) = encoder.encode(plain)?;
        scanned.frames.push(EncodedFrame::new(PackKind::Chunks, id, plain_bytes, codec, stored));
    }
    Ok(scanned)
}

/// Whole spans from this one on that hold no data.
fn hole_spans(geometry: &Geometry, span: u64, data: Option<&Range<u64>>) -> u64 {
    let end = match data {
        Some(data) => data.start / (geometry.chunk_bytes * SPAN_CHUNKS),
        None => geometry.span_count(),
    };
    end.saturating_sub(span).min(geometry.span_count() - span)
}

/// The value of a chunk whose bytes are all equal. A short last chunk is a fill only of zero (format.md section 5).
fn fill_value(plain: &[u8], chunk_bytes: u64) -> Option<u8> {
    let first = *plain.first()?;
    if first != 0 && (plain.len() as u64) < chunk_bytes {
        return None;
    }
    (plain[..plain.len() - 1] == plain[1..]).then_some(first)
}

fn overlaps(data: &Range<u64>, place: &Range<u64>) -> bool {
    data.start < place.end && data.end > place.start
}

fn panicked() -> Error {
    Error::new(Code::Internal, "a scanning thread panicked")
}
