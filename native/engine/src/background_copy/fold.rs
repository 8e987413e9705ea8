//! One disk's part of a layer, folded step by step.

use std::sync::Arc;

use super::Pace;
use crate::block_map::{ChunkCounts, DiskVersion, LayerChunk, LayerChunks, LayerSource, MapEditor, MapReader};
use crate::chunk_store::writer::{EncodedFrame, Writer};
use crate::chunk_store::{Changed, ChangedEncoder};
use crate::error::{Code, Error, Result};
use crate::format::node::{Entry, Root};

/// How far a fold is, for another one to go on from. It counts once what the writer had then is durable and indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The map with everything before `next_chunk` folded, and the base's entries behind it.
    pub root: Root,
    /// The first chunk that is not folded.
    pub next_chunk: u64,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the layer's ranges that are folded.
    pub done_bytes: u64,
    /// Bytes of all its ranges.
    pub total_bytes: u64,
}

/// A folded disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Its content.
    pub version: DiskVersion,
    /// Bytes read: of old chunks that show, and of the layer.
    pub bytes_read: u64,
    /// Plain bytes of the chunks stored anew.
    pub bytes_new: u64,
    /// Bytes of all frames stored anew, nodes included, those of checkpoints too.
    pub bytes_stored: u64,
    /// What became of the chunks that the layer touches.
    pub chunks: ChunkCounts,
}

/// Folds one layer of one disk.
pub struct Fold {
    maps: Arc<MapReader>,
    size: u64,
    chunks: LayerChunks,
    editor: MapEditor,
    encoder: ChangedEncoder,
    changed: Vec<Changed>,
    frames: Vec<EncodedFrame>,
    counts: Folded,
    progress: Progress,
    is_ended: bool,
    is_failed: bool,
}

impl Fold {
    /// A fold of what `source` touches on a disk that stood on `base` and is `size` bytes now; from the beginning, or
    /// from where an earlier one was.
    ///
    /// # Errors
    /// What the layer gives.
    pub fn new(
        maps: Arc<MapReader>,
        base: DiskVersion,
        size: u64,
        source: Arc<dyn LayerSource>,
        from: Option<Checkpoint>,
    ) -> Result<Self> {
        // What the earlier fold did not reach stands in its map as it stands in the base.
        let (base, next) = match from {
            Some(Checkpoint { root, next_chunk }) => (DiskVersion { root, size }, next_chunk),
            None => (base, 0),
        };
        let parameters = maps.store().parameters();
        let next_offset = next.saturating_mul(u64::from(parameters.chunk_bytes)).min(size);
        let total_bytes = source.touched_bytes(0)?;
        let done_bytes = total_bytes - if next == 0 { total_bytes } else { source.touched_bytes(next_offset)? };
        let counts =
            Folded { version: base, bytes_read: 0, bytes_new: 0, bytes_stored: 0, chunks: ChunkCounts::default() };
        Ok(Self {
            editor: MapEditor::new(&maps, base, size),
            encoder: ChangedEncoder::new(parameters),
            chunks: LayerChunks::new(Arc::clone(&maps), base, size, source, next).keeping_before(),
            maps,
            size,
            changed: Vec::new(),
            frames: Vec::new(),
            counts,
            progress: Progress { done_bytes, total_bytes },
            is_ended: false,
            is_failed: false,
        })
    }

    /// How much is done.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Folds chunks of up to `budget_bytes`, and at least one; returns the bytes of the chunks that were put together, or
    /// `None` when nothing is left. After an error this fold is over, and its writer with it: another one goes on from the
    /// last checkpoint.
    ///
    /// # Errors
    /// What reading the layer and the base, and writing, give.
    pub fn step(&mut self, budget_bytes: u64, writer: &mut Writer<'_>) -> Result<Option<u64>> {
        self.check_sound()?;
        self.is_failed = true; // until this step is whole
        let lot = self.chunks.next_lot(budget_bytes)?;
        let mut worked = None;
        if let Some(lot) = lot {
            for chunk in &lot.chunks {
                self.count(chunk);
            }
            self.store_changed(writer)?;
            for LayerChunk { first, count, before, entry, .. } in &lot.chunks {
                if *before != Some(*entry) {
                    let stored = &mut self.counts.bytes_stored;
                    self.editor.set(&self.maps, *first, *count, *entry, &mut |id, plain| {
                        *stored += writer.add_node(id, plain)?;
                        Ok(())
                    })?;
                }
            }
            self.counts.bytes_read += lot.bytes_read;
            self.progress.done_bytes += lot.touched_bytes;
            worked = Some(lot.work_bytes);
        }
        self.is_ended = worked.is_none();
        self.is_failed = false;
        Ok(worked)
    }

    /// Steps at this pace, until chunks of `bytes` were put together or nothing is left; returns whether something is.
    ///
    /// # Errors
    /// `CANCELLED`, after a whole step: the fold can go on. Else as [`Fold::step`].
    pub fn run(&mut self, bytes: u64, writer: &mut Writer<'_>, pace: &mut Pace<'_>) -> Result<bool> {
        let mut done = 0;
        while done < bytes {
            pace.check()?;
            let before = self.progress.done_bytes;
            let Some(worked) = self.step(pace.step_bytes(), writer)? else { return Ok(false) };
            pace.add_done(self.progress.done_bytes - before);
            done += worked.max(1);
            pace.worked(worked)?;
        }
        Ok(true)
    }

    /// How far it is, with a map that the writer gets the nodes of. It counts once the writer is committed; the fold goes
    /// on with another writer then.
    ///
    /// # Errors
    /// What writing gives.
    pub fn checkpoint(&mut self, writer: &mut Writer<'_>) -> Result<Checkpoint> {
        self.check_sound()?;
        let stored = &mut self.counts.bytes_stored;
        let root = self.editor.root(&self.maps, &mut |id, plain| {
            *stored += writer.add_node(id, plain)?;
            Ok(())
        })?;
        Ok(Checkpoint { root, next_chunk: self.chunks.next() })
    }

    /// The folded disk, with the last nodes of its map.
    ///
    /// # Errors
    /// What writing gives.
    ///
    /// # Panics
    /// When something is left.
    pub fn finish(mut self, writer: &mut Writer<'_>) -> Result<Folded> {
        assert!(self.is_ended, "a fold ends when nothing is left");
        let root = self.checkpoint(writer)?.root;
        Ok(Folded { version: DiskVersion { root, size: self.size }, ..self.counts })
    }

    /// Counts a chunk, and puts it to the changed ones if it may have to be stored.
    fn count(&mut self, chunk: &LayerChunk) {
        let counts = &mut self.counts.chunks;
        match chunk.entry {
            Entry::Hole => counts.hole += chunk.count,
            Entry::Fill(_) => counts.fill += chunk.count,
            Entry::Id(_) if chunk.before == Some(chunk.entry) => counts.unchanged += 1,
            Entry::Id(id) => {
                let before = if let Some(Entry::Id(before)) = chunk.before { Some(before) } else { None };
                let (place, before_place) = (chunk.place.clone(), chunk.before_place.clone());
                self.changed.push(Changed { id, place, before, before_place });
            }
        }
    }

    fn store_changed(&mut self, writer: &mut Writer<'_>) -> Result<()> {
        let (store, bytes) = (self.maps.store(), self.chunks.bytes());
        self.counts.chunks.known +=
            self.encoder.encode(store, &writer.added(), &mut self.changed, bytes, &mut self.frames)?;
        for frame in self.frames.drain(..) {
            assert!(writer.add_chunk(&frame)?, "the writer was asked before");
            self.counts.bytes_new += u64::from(frame.plain_bytes());
            self.counts.bytes_stored += frame.frame_bytes();
            self.counts.chunks.stored += 1;
        }
        Ok(())
    }

    fn check_sound(&self) -> Result<()> {
        if self.is_failed {
            return Err(Error::new(Code::Internal, "a fold whose step failed was used again"));
        }
        Ok(())
    }
}
