//! Live frames into new packs.
//!
//! A frame moves as it is, once the checksums of its header and its stored bytes say that these are the bytes that were
//! written. (To decode it would show a defect of whoever wrote it, which moving it does not make worse; readers prove
//! the id.) A delta whose base goes is decoded, proven, and encoded anew as a full frame.

use std::sync::Arc;

use super::duplicates::Place;
use super::plan::{Batch, Plan};
use super::reencode::full_frame;
use crate::chunk_store::pack_reader::stored_bytes;
use crate::chunk_store::pack_set::{Pack, PackHandle};
use crate::chunk_store::pack_writer::{PackWriter, SealedPack};
use crate::chunk_store::{Anomaly, ChunkStore, damaged_code};
use crate::error::{Kind, Result};
use crate::format::checksum;
use crate::format::frame::FrameHeader;
use crate::format::pack::PackEntry;
use crate::io::IoFile;
use crate::units::{u64_from, usize_from};

/// Bytes read at once; at least the longest frame.
const READ_BYTES: u64 = 2 << 20;

/// What became of a batch.
#[derive(Default)]
pub(super) struct Moved {
    /// The new packs, durable and known to nobody yet.
    pub(super) sealed: Vec<SealedPack>,
    /// Packs of which everything live was moved.
    pub(super) done: Vec<(PackHandle, Pack)>,
    /// Those in which nothing was live.
    pub(super) dead_count: u64,
    /// Packs that stay as they are, because a live frame in them is damaged.
    pub(super) staying: Vec<PackHandle>,
    /// Bytes of frames moved.
    pub(super) bytes: u64,
}

/// Moves what is live in a batch. `keeps` says of a condemned frame that it has to stay all the same; `pace` is told of the bytes
/// of each frame.
pub(super) fn move_batch(
    store: &ChunkStore,
    plan: &Plan,
    batch: &Batch,
    keeps: &dyn Fn(&PackEntry) -> bool,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Moved> {
    let mut writer = PackWriter::new(store.pack_target(), batch.kind);
    let mut moved = Moved::default();
    let result = batch
        .packs
        .iter()
        .try_for_each(|handle| move_pack(store, plan, *handle, keeps, pace, &mut writer, &mut moved))
        .and_then(|()| store.guarded(|| writer.finish()));
    if let Err(error) = result {
        writer.discard();
        return Err(error);
    }
    moved.sealed = writer.take_sealed();
    Ok(moved)
}

fn move_pack(
    store: &ChunkStore,
    plan: &Plan,
    handle: PackHandle,
    keeps: &dyn Fn(&PackEntry) -> bool,
    pace: &mut dyn FnMut(u64) -> Result<()>,
    writer: &mut PackWriter,
    moved: &mut Moved,
) -> Result<()> {
    let (Some((entries, true)), Some(reader)) = (store.pack_content(handle)?, store.pack_reader(handle)?) else {
        moved.staying.push(handle); // it was sound when the plan was made
        return Ok(());
    };
    let condemned = plan.condemned.of(handle);
    let live = entries.iter().filter(|entry| condemned.binary_search(&entry.offset).is_err() || keeps(entry));
    let mut window = Window { file: &reader.file, file_bytes: reader.pack.bytes, start: 0, bytes: Vec::new() };
    let mut bytes = 0;
    for entry in live {
        pace(entry.frame_bytes())?;
        let place: Place = (handle, entry.offset);
        if plan.flattened.contains(&place) {
            match full_frame(store, &entry.id) {
                Ok(frame) => store.guarded(|| frame.append_to(writer))?,
                Err(error) if error.kind() == Kind::FixData => return stay(store, &reader.pack, handle, entry, moved),
                Err(error) => return Err(error),
            }
        } else {
            match window.get(u64::from(entry.offset), entry.frame_bytes())? {
                Some(frame) if is_frame(frame, entry) => store.guarded(|| writer.append(frame, *entry))?,
                _ => return stay(store, &reader.pack, handle, entry, moved),
            }
        }
        bytes += entry.frame_bytes();
    }
    moved.dead_count += u64::from(bytes == 0);
    moved.bytes += bytes;
    moved.done.push((handle, reader.pack));
    Ok(())
}

/// What was moved of the pack so far is then there twice, and the next collection sees to that.
fn stay(store: &ChunkStore, pack: &Pack, handle: PackHandle, entry: &PackEntry, moved: &mut Moved) -> Result<()> {
    let message = format!("its frame at {} cannot be read; the pack was left as it is", entry.offset);
    store.report(Anomaly { file: format!("packs/{}", pack.file_name()), code: damaged_code(pack.kind), message });
    moved.staying.push(handle);
    Ok(())
}

/// Whether these bytes are the frame that `entry` means.
fn is_frame(frame: &[u8], entry: &PackEntry) -> bool {
    let Ok(header) = FrameHeader::decode(frame) else { return false };
    header.id == entry.id
        && header.codec == entry.codec
        && header.base == entry.base
        && header.plain_bytes == entry.plain_bytes
        && header.stored_bytes == entry.stored_bytes
        && stored_bytes(frame, &header).is_some_and(|stored| checksum(stored) == header.stored_checksum)
}

/// A part of a pack, read ahead.
struct Window<'a> {
    file: &'a Arc<dyn IoFile>,
    file_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn get(&mut self, offset: u64, length: u64) -> Result<Option<&[u8]>> {
        let is_inside = offset >= self.start && offset + length <= self.start + u64_from(self.bytes.len());
        if !is_inside {
            let wanted = READ_BYTES.max(length).min(self.file_bytes.saturating_sub(offset));
            self.bytes.resize(usize_from(wanted), 0);
            let read = self.file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        let at = usize_from(offset - self.start);
        Ok(self.bytes.get(at..at + usize_from(length)))
    }
}
