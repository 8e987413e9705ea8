//! The scan's pipeline: spans are read, hashed and encoded in parallel, and appended in order.
//!
//! Workers claim spans one after the other; runs of spans that are all hole are claimed as one. A finished span waits
//! in `ready` until all before it are appended; the caller's thread appends, so that writing and syncing packs holds
//! nobody up until the window is full. Packs and maps come out the same for any number of threads (I-7), and memory is
//! bounded by the window of spans that may be ahead.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::ChunkCounts;
use super::span::{Job, ScannedSpan, SpanScanner};
use crate::block_map::{MapBuilder, SPAN_CHUNKS};
use crate::chunk_store::writer::{Added, Writer};
use crate::error::{Code, Error, Result};
use crate::format::node::Root;

/// Plain bytes of the spans that may be ahead of the next one to append, per thread: enough to go on while a pack is
/// synced.
const WINDOW_BYTES: u64 = 32 << 20;

/// Spans that may be ahead at least, per thread.
const WINDOW_SPANS_MIN: u64 = 2;

pub(super) struct Outcome {
    pub(super) root: Root,
    pub(super) bytes_read: u64,
    pub(super) bytes_new: u64,
    pub(super) bytes_stored: u64,
    pub(super) chunks: ChunkCounts,
}

/// Scans a disk. With one thread all of it runs on the caller's, so that a simulation stays in one.
pub(super) fn run(job: &Job<'_>, thread_count: usize, writer: &mut Writer<'_>) -> Result<Outcome> {
    let added = writer.added();
    let mut appender = Appender::new(job, writer);
    if thread_count == 1 {
        let mut claims = Claims::default();
        let mut scanner = SpanScanner::new(job, added);
        while let Some(claim) = claims.next(job)? {
            job.control.check()?;
            let piece = Piece::of(&mut scanner, &claim)?;
            appender.append(piece)?;
            add_done(job, &claim);
        }
    } else {
        run_parallel(job, thread_count, &added, &mut appender)?;
    }
    appender.finish()
}

fn run_parallel(job: &Job<'_>, thread_count: usize, added: &Added, appender: &mut Appender<'_, '_>) -> Result<()> {
    let span_bytes = job.geometry.chunk_bytes * SPAN_CHUNKS;
    let window = (WINDOW_BYTES / span_bytes).max(WINDOW_SPANS_MIN) * thread_count as u64;
    let line = Line { state: Mutex::default(), moved: Condvar::new(), window };
    std::thread::scope(|scope| {
        let work = || {
            let mut stop = StopOthers { line: &line, armed: true };
            let result = work(job, &line, added);
            stop.armed = result.is_err();
            result
        };
        let workers: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        let mut stop = StopOthers { line: &line, armed: true };
        let appended = line.append_all(job, appender);
        stop.armed = appended.is_err();
        drop(stop);
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked())));
        // A worker's error says more than the appender's, which may only have seen that another one failed.
        results.chain([appended]).collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>>>().map(drop)
    })
}

fn work(job: &Job<'_>, line: &Line, added: &Added) -> Result<()> {
    let mut scanner = SpanScanner::new(job, added.clone());
    while let Some(claim) = line.claim(job)? {
        job.control.check()?;
        let piece = Piece::of(&mut scanner, &claim)?;
        line.hand_over(claim.spans.start, piece);
        add_done(job, &claim);
    }
    Ok(())
}

fn add_done(job: &Job<'_>, claim: &Claim) {
    let range =
        job.geometry.range(claim.spans.start * SPAN_CHUNKS, (claim.spans.end - claim.spans.start) * SPAN_CHUNKS);
    job.control.add_done(range.end - range.start);
}

/// What one worker takes: a span with data, or a run of spans without.
struct Claim {
    spans: Range<u64>,
    data: Option<Range<u64>>,
}

/// Where the next claim begins, and the last range of data that the source told of.
#[derive(Default)]
struct Claims {
    next: u64,
    data: Option<Range<u64>>,
}

impl Claims {
    fn next(&mut self, job: &Job<'_>) -> Result<Option<Claim>> {
        let (span, span_count) = (self.next, job.geometry.span_count());
        if span >= span_count {
            return Ok(None);
        }
        let place = job.geometry.range(span * SPAN_CHUNKS, SPAN_CHUNKS);
        if self.data.as_ref().is_none_or(|data| data.end <= place.start) {
            self.data = job.source.file().next_data(place.start)?;
        }
        let end = match &self.data {
            None => span_count,
            Some(data) if data.start >= place.end => data.start / (job.geometry.chunk_bytes * SPAN_CHUNKS),
            Some(data) => {
                self.next = span + 1;
                return Ok(Some(Claim { spans: span..span + 1, data: Some(data.clone()) }));
            }
        };
        self.next = end.min(span_count); // a source that grows meanwhile is found out later
        Ok(Some(Claim { spans: span..self.next, data: None }))
    }
}

/// A claim's outcome.
enum Piece {
    Span(ScannedSpan),
    Holes(u64),
}

impl Piece {
    fn of(scanner: &mut SpanScanner<'_>, claim: &Claim) -> Result<Self> {
        match &claim.data {
            Some(data) => scanner.scan(claim.spans.start, data.clone()).map(Self::Span),
            None => Ok(Self::Holes(claim.spans.end - claim.spans.start)),
        }
    }

    const fn span_count(&self) -> u64 {
        match self {
            Self::Span(_) => 1,
            Self::Holes(count) => *count,
        }
    }
}

#[derive(Default)]
struct State {
    claims: Claims,
    ready: BTreeMap<u64, Piece>,
    appended: u64,
    failed: bool,
}

/// What workers and the appender share.
struct Line {
    state: Mutex<State>,
    moved: Condvar,
    window: u64,
}

impl Line {
    /// The next claim, once it is not too far ahead; `None` when all is claimed, or another worker failed and says why.
    fn claim(&self, job: &Job<'_>) -> Result<Option<Claim>> {
        let mut state = self.lock();
        while !state.failed && state.claims.next >= state.appended + self.window {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed { Ok(None) } else { state.claims.next(job) }
    }

    fn hand_over(&self, span: u64, piece: Piece) {
        self.lock().ready.insert(span, piece);
        self.moved.notify_all();
    }

    fn append_all(&self, job: &Job<'_>, appender: &mut Appender<'_, '_>) -> Result<()> {
        let span_count = job.geometry.span_count();
        let mut state = self.lock();
        while state.appended < span_count && !state.failed {
            let next = state.appended;
            let Some(piece) = state.ready.remove(&next) else {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let count = piece.span_count();
            appender.append(piece)?;
            state = self.lock();
            state.appended += count;
            self.moved.notify_all();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the others when this thread fails or panics: they wait for it, and would for ever.
struct StopOthers<'a> {
    line: &'a Line,
    armed: bool,
}

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.line.lock().failed = true;
            self.line.moved.notify_all();
        }
    }
}

/// Appends spans in order: chunks to the writer, entries to the map.
struct Appender<'a, 'w> {
    writer: &'a mut Writer<'w>,
    builder: MapBuilder<'a>,
    span_count: u64,
    appended: u64,
    last_span_chunks: u64,
    bytes_read: u64,
    bytes_new: u64,
    bytes_stored: u64,
    chunks: ChunkCounts,
}

impl<'a, 'w> Appender<'a, 'w> {
    fn new(job: &'a Job<'_>, writer: &'a mut Writer<'w>) -> Self {
        let parameters = job.maps.store().parameters();
        let height = Root::height_for(job.geometry.size, parameters.chunk_bytes);
        let span_count = job.geometry.span_count();
        Self {
            writer,
            builder: MapBuilder::new(&parameters.identity, height),
            span_count,
            appended: 0,
            last_span_chunks: job.geometry.chunks_in_span(span_count - 1),
            bytes_read: 0,
            bytes_new: 0,
            bytes_stored: 0,
            chunks: ChunkCounts::default(),
        }
    }

    fn append(&mut self, piece: Piece) -> Result<()> {
        self.appended += piece.span_count();
        match piece {
            Piece::Span(span) => self.append_span(&span),
            Piece::Holes(count) => self.append_holes(count),
        }
    }

    fn append_span(&mut self, span: &ScannedSpan) -> Result<()> {
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
        Ok(())
    }

    fn append_holes(&mut self, span_count: u64) -> Result<()> {
        let short = if self.appended == self.span_count { SPAN_CHUNKS - self.last_span_chunks } else { 0 };
        self.chunks.hole += span_count * SPAN_CHUNKS - short;
        let (writer, bytes_stored) = (&mut *self.writer, &mut self.bytes_stored);
        self.builder.push_hole_spans(span_count, &mut |id, plain| {
            *bytes_stored += writer.add_node(id, plain)?;
            Ok(())
        })
    }

    fn finish(self) -> Result<Outcome> {
        assert_eq!(self.appended, self.span_count, "every span was appended");
        let (writer, mut bytes_stored) = (self.writer, self.bytes_stored);
        let root = self.builder.finish(&mut |id, plain| {
            bytes_stored += writer.add_node(id, plain)?;
            Ok(())
        })?;
        let (bytes_read, bytes_new, chunks) = (self.bytes_read, self.bytes_new, self.chunks);
        Ok(Outcome { root, bytes_read, bytes_new, bytes_stored, chunks })
    }
}

fn panicked() -> Error {
    Error::new(Code::Internal, "a scanning thread panicked")
}
