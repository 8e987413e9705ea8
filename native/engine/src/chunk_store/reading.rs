//! Reading content: one by one, or many in the order in which they lie in their packs.
//!
//! What it guarantees: bytes leave only after the frame's header, its checksum, its decoding and the content's id were
//! checked (I-1). A frame that fails is not the end: other frames of the same content are tried. A delta is decoded with
//! its base, which is looked for among full frames only, so nothing here recurses further than once.
//! What it costs: each frame is read once; neighbours in a pack with one call; the bases of a batch are in memory
//! together with it.

use std::collections::HashMap;
use std::ops::Range;

use super::codec::{Base, Decoder};
use super::index::{Location, Lookup};
use super::pack_reader::{decode_frame_into, plain_bytes_max, stored_bytes};
use super::pack_set::PackHandle;
use super::store::{ChunkStore, PACKS, damaged_code, kind_name, missing};
use crate::error::{Code, Error, Kind, Result};
use crate::format::frame::FrameHeader;
use crate::format::{Codec, PackKind};
use crate::units::{ContentId, u64_from, usize_from};

/// Frames this close together in a pack are read with one call.
const COALESCE_GAP_BYTES: u64 = 32 << 10;

/// One coalesced read is at most this long: a leaf's worth of chunks.
const COALESCE_BYTES_MAX: u64 = 4 << 20;

/// A chunk or node to read, with the frames that hold it.
struct Located {
    at: usize,
    place_bytes: usize,
    id: ContentId,
    locations: Vec<Location>,
}

impl Located {
    fn first(&self) -> &Location {
        &self.locations[0]
    }
}

/// A chunk to read, and where to: the rest of its place is filled with zeros.
#[derive(Clone, Copy, Debug)]
pub struct WantedChunk {
    /// Which chunk.
    pub id: ContentId,
    /// Where its place begins in what is read into.
    pub at: usize,
    /// How long its place is.
    pub place_bytes: usize,
}

/// Buffers and contexts of one reading thread.
#[derive(Default)]
pub struct Batch {
    decoder: Decoder,
    bytes: Vec<u8>,
    bases: Bases,
}

impl Batch {
    /// A chunk that was read for others to stand on, if it could be.
    #[must_use]
    pub fn base(&self, id: &ContentId) -> Option<Base<'_>> {
        let place = self.bases.places.get(id)?;
        Some(Base { id: *id, plain: &self.bases.bytes[place.bytes.clone()], stored_bytes: place.stored_bytes })
    }
}

/// Chunks in memory for others to stand on, one behind the other: in one buffer, because allocating and freeing each by
/// itself gives pages back to the system and faults them in again for every batch.
#[derive(Default)]
struct Bases {
    bytes: Vec<u8>,
    filled: usize,
    places: HashMap<ContentId, BasePlace>,
}

struct BasePlace {
    bytes: Range<usize>,
    stored_bytes: u32,
}

impl Bases {
    /// The bytes of a chunk, if they are here.
    fn get(&self, id: &ContentId) -> Option<&[u8]> {
        self.places.get(id).map(|place| &self.bytes[place.bytes.clone()])
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.places.clear();
    }

    /// Makes room behind the last chunk; what is written there counts once it is kept.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.filled + length;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.filled..end]
    }

    fn keep(&mut self, header: &FrameHeader) {
        let bytes = self.filled..self.filled + header.plain_bytes as usize;
        self.filled = bytes.end;
        self.places.insert(header.id, BasePlace { bytes, stored_bytes: header.stored_bytes });
    }
}

impl ChunkStore {
    /// Reads one content, whole.
    ///
    /// # Errors
    /// `CHUNK_MISSING` or `NODE_MISSING`, `CHUNK_DAMAGED` or `NODE_DAMAGED`, and what reading gives.
    pub fn get(&self, kind: PackKind, id: &ContentId, batch: &mut Batch) -> Result<Vec<u8>> {
        self.get_where(kind, id, batch, |locations| locations)
    }

    /// Reads a chunk that others may stand on: from its full frames only.
    ///
    /// # Errors
    /// As [`ChunkStore::get`].
    pub fn get_base(&self, id: &ContentId, batch: &mut Batch) -> Result<Vec<u8>> {
        self.get_where(PackKind::Chunks, id, batch, full_frames)
    }

    fn get_where(
        &self,
        kind: PackKind,
        id: &ContentId,
        batch: &mut Batch,
        choose: fn(Vec<Location>) -> Vec<Location>,
    ) -> Result<Vec<u8>> {
        loop {
            let (followed, removed_before) = (self.followed(), self.packs().removed_count());
            let locations = choose(self.locate(id)?);
            match self.get_from(kind, id, &locations, batch) {
                Err(error) if error.kind() == Kind::FixData => {
                    // When a pack went meanwhile, what was in it lies elsewhere; each round needs another one to go.
                    if !self.follow(followed)? && self.packs().removed_count() == removed_before {
                        return Err(error);
                    }
                }
                read => return read,
            }
        }
    }

    /// Looks chunks up together and reads them into their places in `out`, in the order in which they lie.
    ///
    /// # Errors
    /// `CHUNK_MISSING`; as [`ChunkStore::get`].
    pub fn read_chunks(&self, wanted: &[WantedChunk], batch: &mut Batch, out: &mut [u8]) -> Result<()> {
        let ids: Vec<ContentId> = wanted.iter().map(|wanted| wanted.id).collect();
        let followed = self.followed();
        let mut found = self.locate_each(&ids)?;
        if found.iter().any(Vec::is_empty) && self.follow(followed)? {
            found = self.locate_each(&ids)?;
        }
        let mut located = Vec::with_capacity(wanted.len());
        for (WantedChunk { id, at, place_bytes }, mut locations) in wanted.iter().copied().zip(found) {
            if locations.is_empty() {
                return Err(missing(PackKind::Chunks, &id));
            }
            locations.sort_by_key(|location| location.codec == Codec::ZstdDelta); // a full frame takes one read, not two
            located.push(Located { at, place_bytes, id, locations });
        }
        self.read_batch(located, batch, out)
    }

    /// Reads many chunks into their places in `out`, in the order in which they lie.
    ///
    /// # Errors
    /// As [`ChunkStore::get`].
    fn read_batch(&self, mut wanted: Vec<Located>, batch: &mut Batch, out: &mut [u8]) -> Result<()> {
        let deltas = wanted.iter().filter_map(|located| located.first().base);
        let deltas = deltas.collect();
        batch.bases.clear();
        self.read_full(deltas, batch, false)?;
        let bases = std::mem::take(&mut batch.bases);
        let read = self.read_runs(&mut wanted, batch, &mut |located, frame, decoder| {
            let place = &mut out[located.at..located.at + located.place_bytes];
            let base = |id: &ContentId| bases.get(id);
            let kind = PackKind::Chunks;
            let length = match self.open_frame(kind, &located.id, located.first(), frame, base, decoder, place) {
                Ok(length) => length,
                // The frame, or what it stands on, is damaged. Another frame of the same content may be sound, wherever
                // it is by now.
                Err(_) => {
                    let plain = self.get(kind, &located.id, &mut Batch::default())?;
                    let Some(content) = place.get_mut(..plain.len()) else { return Err(too_long(&located.id)) };
                    content.copy_from_slice(&plain);
                    plain.len()
                }
            };
            place[length..].fill(0);
            Ok(())
        });
        batch.bases = bases;
        batch.bases.clear(); // they were not proven
        read
    }

    /// Reads many nodes, looked up together, in the order in which they lie, and hands each to `take` as (place in `ids`,
    /// plain bytes).
    ///
    /// # Errors
    /// As [`ChunkStore::get`]; what `take` gives.
    pub fn read_nodes(
        &self,
        ids: &[ContentId],
        batch: &mut Batch,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let kind = PackKind::Nodes;
        let (mut wanted, mut alone) = (Vec::with_capacity(ids.len()), Vec::new());
        for (at, locations) in self.locate_each(ids)?.into_iter().enumerate() {
            if locations.is_empty() {
                alone.push(at);
            } else {
                wanted.push(Located { at, place_bytes: 0, id: ids[at], locations });
            }
        }
        let mut plain = vec![0; plain_bytes_max(kind, self.parameters().chunk_bytes) as usize];
        self.read_runs(&mut wanted, batch, &mut |located, frame, decoder| match self.open_frame(
            kind,
            &located.id,
            located.first(),
            frame,
            |_| None,
            decoder,
            &mut plain,
        ) {
            Ok(length) => take(located.at, &plain[..length]),
            Err(_) => {
                alone.push(located.at);
                Ok(())
            }
        })?;
        // Damaged there, or moved or made by somebody else meanwhile: wherever it is by now.
        for at in alone {
            take(at, &self.get(kind, &ids[at], batch)?)?;
        }
        Ok(())
    }

    /// Reads those of these chunks that can be read from full frames, proven, for others to stand on
    /// ([`Batch::base`]).
    ///
    /// # Errors
    /// What reading gives. Damage is no error: that chunk is left out.
    pub fn read_bases(&self, ids: Vec<ContentId>, batch: &mut Batch) -> Result<()> {
        batch.bases.clear();
        self.read_full(ids, batch, true)
    }

    /// As [`ChunkStore::read_bases`], besides those that are in the batch already.
    ///
    /// # Errors
    /// As [`ChunkStore::read_bases`].
    pub fn read_more_bases(&self, ids: Vec<ContentId>, batch: &mut Batch) -> Result<()> {
        self.read_full(ids, batch, true)
    }

    /// Whether the frame at this place can be read and is what the id says.
    ///
    /// # Errors
    /// What reading gives.
    pub fn proves(&self, location: &Location, id: &ContentId) -> Result<bool> {
        let Some(pack) = self.packs().get(location.pack) else { return Ok(false) };
        match self.get_from(pack.kind, id, &[*location], &mut Batch::default()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::FixData => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The plain bytes of a base, for frames that are found again without a trailer; `None` when no full frame of it can
    /// be read, as far as the sound segments of the index know. Takes no lock, so an index that is being mended may ask.
    pub(super) fn find_base(&self, id: &ContentId) -> Result<Option<Vec<u8>>> {
        let Lookup::Found(locations) = self.index().lookup(id)? else { return Ok(None) };
        match self.get_from(PackKind::Chunks, id, &full_frames(locations), &mut Batch::default()) {
            Ok(plain) => Ok(Some(plain)),
            Err(error) if error.kind() == Kind::FixData => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads chunks from full frames into the batch's bases. Without `prove` the ids are not computed: whoever decodes a
    /// delta with these bytes computes the id of what comes out.
    fn read_full(&self, mut ids: Vec<ContentId>, batch: &mut Batch, prove: bool) -> Result<()> {
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| !batch.bases.places.contains_key(id));
        let mut wanted = Vec::with_capacity(ids.len());
        for id in ids {
            let locations = full_frames(self.locate(&id)?);
            if !locations.is_empty() {
                wanted.push(Located { at: 0, place_bytes: 0, id, locations });
            }
        }
        let mut bases = std::mem::take(&mut batch.bases);
        let read = self.read_runs(&mut wanted, batch, &mut |located, frame, decoder| {
            let Ok((header, stored)) = self.check_header(PackKind::Chunks, &located.id, located.first(), frame) else {
                return Ok(());
            };
            let length = header.plain_bytes as usize;
            let plain = bases.room(length);
            let sound = decode_frame_into(&header, stored, decoder, None, plain).is_ok();
            if sound && (!prove || self.parameters().identity.id(PackKind::Chunks, plain) == located.id) {
                bases.keep(&header);
            }
            Ok(())
        });
        batch.bases = bases;
        read
    }

    /// Reads the first frame of each, neighbours with one call, and hands each to `take` (cut off where the pack ends).
    fn read_runs(&self, wanted: &mut [Located], batch: &mut Batch, take: &mut TakeFrame<'_>) -> Result<()> {
        wanted.sort_by_key(|located| (located.first().pack, located.first().offset));
        let mut rest = &*wanted;
        while let Some(run) = next_run(rest) {
            let (located, later) = rest.split_at(run.count);
            batch.bytes.resize(usize_from(run.end - run.start), 0);
            let length = match self.packs().file(run.pack)? {
                Some(file) => file.read_at(&mut batch.bytes, run.start)?,
                None => 0,
            };
            for located in located {
                let at = usize_from(u64::from(located.first().offset) - run.start);
                let frame = batch.bytes[..length].get(at..).unwrap_or_default();
                take(located, frame, &mut batch.decoder)?;
            }
            rest = later;
        }
        Ok(())
    }

    fn get_from(&self, kind: PackKind, id: &ContentId, locations: &[Location], batch: &mut Batch) -> Result<Vec<u8>> {
        let mut failure = None;
        for location in locations {
            let (Some(pack), Some(file)) = (self.packs().get(location.pack), self.packs().file(location.pack)?) else {
                continue;
            };
            let base = match location.base {
                Some(base) => match self.get_base(&base, &mut Batch::default()) {
                    Ok(base) => Some(base),
                    Err(error) if error.kind() == Kind::FixData => {
                        failure = Some((pack, *location, "its base cannot be read"));
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                None => None,
            };
            batch.bytes.resize(usize_from(FrameHeader::frame_bytes(location.codec, location.stored_bytes)), 0);
            let length = file.read_at(&mut batch.bytes, u64::from(location.offset))?;
            let frame = &batch.bytes[..length];
            let mut plain = vec![0; plain_bytes_max(kind, self.parameters().chunk_bytes) as usize];
            match self.open_frame(kind, id, location, frame, |_| base.as_deref(), &mut batch.decoder, &mut plain) {
                Ok(length) => {
                    plain.truncate(length);
                    return Ok(plain);
                }
                Err(what) => failure = Some((pack, *location, what)),
            }
        }
        let Some((pack, location, what)) = failure else { return Err(missing(kind, id)) };
        let file = format!("{PACKS}/{}", pack.file_name());
        Err(Error::new(damaged_code(kind), format!("{} {id} in {file} is damaged: {what}", kind_name(kind)))
            .with("id", id.to_string())
            .with("file", file)
            .with("offset", u64::from(location.offset)))
    }

    /// Proves a frame that stands at the front of `frame`, into the front of `plain`; the length.
    #[allow(clippy::too_many_arguments)] // what is known of one frame
    fn open_frame<'b>(
        &self,
        kind: PackKind,
        id: &ContentId,
        location: &Location,
        frame: &[u8],
        base: impl FnOnce(&ContentId) -> Option<&'b [u8]>,
        decoder: &mut Decoder,
        plain: &mut [u8],
    ) -> std::result::Result<usize, &'static str> {
        let (header, stored) = self.check_header(kind, id, location, frame)?;
        let base = match &header.base {
            Some(id) => Some(base(id).ok_or("its base cannot be read")?),
            None => None,
        };
        let length = header.plain_bytes as usize;
        let plain = plain.get_mut(..length).ok_or("it is longer than its place")?;
        decode_frame_into(&header, stored, decoder, base, plain)?;
        if self.parameters().identity.id(kind, plain) != *id {
            return Err("the plain bytes have another id");
        }
        Ok(length)
    }

    /// Checks that a frame's header is what the index says, and finds its stored bytes.
    fn check_header<'f>(
        &self,
        kind: PackKind,
        id: &ContentId,
        location: &Location,
        frame: &'f [u8],
    ) -> std::result::Result<(FrameHeader, &'f [u8]), &'static str> {
        let header = FrameHeader::decode(frame).map_err(|_| "its frame header is damaged")?;
        if header.id != *id
            || header.kind != kind
            || header.codec != location.codec
            || header.stored_bytes != location.stored_bytes
            || header.base != location.base
        {
            return Err("another frame stands in its place");
        }
        if header.plain_bytes > plain_bytes_max(kind, self.parameters().chunk_bytes) {
            return Err("it is longer than the store's chunks");
        }
        let stored = stored_bytes(frame, &header).ok_or("its frame is cut off")?;
        Ok((header, stored))
    }
}

/// What is done with a frame that was read.
type TakeFrame<'a> = dyn FnMut(&Located, &[u8], &mut Decoder) -> Result<()> + 'a;

/// Frames that one call reads.
struct Run {
    pack: PackHandle,
    start: u64,
    end: u64,
    count: usize,
}

/// The run at the front of chunks that are sorted by their place.
fn next_run(sorted: &[Located]) -> Option<Run> {
    let head = sorted.first()?.first();
    let mut run = Run { pack: head.pack, start: u64::from(head.offset), end: u64::from(head.offset), count: 0 };
    for location in sorted.iter().map(Located::first) {
        let offset = u64::from(location.offset);
        let end = offset + FrameHeader::frame_bytes(location.codec, location.stored_bytes);
        let near = offset <= run.end + COALESCE_GAP_BYTES && end <= run.start + COALESCE_BYTES_MAX;
        if location.pack != run.pack || (run.count > 0 && !near) {
            break;
        }
        run.end = run.end.max(end);
        run.count += 1;
    }
    Some(run)
}

fn full_frames(mut locations: Vec<Location>) -> Vec<Location> {
    locations.retain(|location| location.codec != Codec::ZstdDelta);
    locations
}

fn too_long(id: &ContentId) -> Error {
    Error::new(Code::ChunkDamaged, format!("chunk {id} is longer than its place")).with("chunk", id.to_string())
}

const _: () = assert!(u64_from(crate::limits::NODE_BYTES_MAX) < COALESCE_BYTES_MAX);
