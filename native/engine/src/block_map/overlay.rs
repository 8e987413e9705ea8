//! The map of a layer that is not copied yet, so that its point can be read, compared and restored at once.
//!
//! What it is: an overlay has the new nodes of the map that the copy will make, in memory, and knows at which place of the
//! disk each new chunk stands. A [`MapReader`] with it reads nodes from it first, and makes chunks from the layer and what
//! it lies on.
//! What it guarantees: its root is the one that the copy makes, so what is read, and what differs, is the same before and
//! after (I-43). A chunk made of the layer leaves only if its id is the one asked for; else the store is asked.
//! What it costs: building reads and hashes each chunk that the layer touches, once. Memory: some 60 bytes for each of
//! them, and the nodes of the changed paths.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DiskVersion, LayerChunks, LayerSource, MapEditor, MapReader};
use crate::chunk_store::WantedChunk;
use crate::control::Control;
use crate::error::{Code, Error, Kind, Result};
use crate::format::node::{Entry, Node};
use crate::units::{ContentId, usize_from};

/// Bytes of chunks that are in hand at once.
const LOT_BYTES: u64 = 4 << 20;

/// Makers of chunks that are kept for the next reader.
const IDLE_MAX: usize = 8;

/// A layer's map, over what the layer lies on.
pub struct Overlay {
    base_maps: Arc<MapReader>,
    base: DiskVersion,
    source: Arc<dyn LayerSource>,
    version: DiskVersion,
    nodes: HashMap<ContentId, Arc<Node>>,
    places: HashMap<ContentId, u64>, // new chunks, and where one of each stands
    idle: Mutex<Vec<LayerChunks>>,
}

impl Overlay {
    /// Makes the map of a disk that stands on `base`, is `size` bytes, and has a layer on it. `maps` reads the base; it may
    /// have overlays itself, where layers that are not copied lie on each other.
    ///
    /// # Errors
    /// `CANCELLED`, what reading the layer and the base gives.
    pub fn build(
        maps: Arc<MapReader>,
        base: DiskVersion,
        size: u64,
        source: Arc<dyn LayerSource>,
        control: &Control,
    ) -> Result<Self> {
        let mut chunks = LayerChunks::new(Arc::clone(&maps), base, size, Arc::clone(&source), 0);
        let mut editor = MapEditor::new(&maps, base, size);
        let (mut nodes, mut places) = (HashMap::new(), HashMap::new());
        let mut add_node = |id, plain: &[u8]| {
            let node = Node::decode(plain).map_err(|defect| made_wrong(&id, &defect.to_string()))?;
            nodes.insert(id, Arc::new(node));
            Ok(())
        };
        while let Some(lot) = chunks.next_lot(LOT_BYTES)? {
            control.check()?;
            for chunk in lot.chunks {
                if chunk.before == Some(chunk.entry) {
                    continue;
                }
                if let Entry::Id(id) = chunk.entry {
                    places.entry(id).or_insert(chunk.first);
                }
                editor.set(&maps, chunk.first, chunk.count, chunk.entry, &mut add_node)?;
            }
        }
        let root = editor.root(&maps, &mut add_node)?;
        let (version, idle) = (DiskVersion { root, size }, Mutex::default());
        Ok(Self { base_maps: maps, base, source, version, nodes, places, idle })
    }

    /// The point's content: what the copy will make.
    #[must_use]
    pub const fn version(&self) -> DiskVersion {
        self.version
    }

    pub(super) fn node(&self, id: &ContentId) -> Option<Arc<Node>> {
        self.nodes.get(id).cloned()
    }

    /// Reads the chunks that it knows into their places. Left over are those that it does not know; and those that it
    /// cannot make any more, with the reason, which the store may have by now.
    pub(super) fn read_chunks(
        &self,
        wanted: Vec<WantedChunk>,
        out: &mut [u8],
    ) -> Result<(Vec<WantedChunk>, Option<Error>)> {
        let mut by_place: Vec<(u64, WantedChunk)> = Vec::new();
        let (mut others, mut failure) = (Vec::new(), None);
        for wanted in wanted {
            match self.places.get(&wanted.id) {
                Some(place) => by_place.push((*place, wanted)),
                None => others.push(wanted),
            }
        }
        by_place.sort_by_key(|(place, _)| *place);
        let lot_chunks = (LOT_BYTES / u64::from(self.base_maps.store().parameters().chunk_bytes)).max(1);
        for group in by_place.chunks(usize_from(lot_chunks)) {
            let mut places: Vec<u64> = group.iter().map(|(place, _)| *place).collect();
            places.dedup();
            let mut is_read = vec![false; group.len()];
            let damage = self.make(&places, |id, bytes| {
                for ((_, wanted), is_read) in group.iter().zip(&mut is_read) {
                    if wanted.id == id && bytes.len() <= wanted.place_bytes {
                        let place = &mut out[wanted.at..wanted.at + wanted.place_bytes];
                        place[..bytes.len()].copy_from_slice(bytes);
                        place[bytes.len()..].fill(0);
                        *is_read = true;
                    }
                }
            })?;
            for ((_, wanted), _) in group.iter().zip(is_read).filter(|(_, is_read)| !is_read) {
                failure = failure.or_else(|| Some(other_bytes(&wanted.id)));
                others.push(*wanted);
            }
            failure = damage.or(failure);
        }
        Ok((others, failure))
    }

    /// The bytes of one chunk; `None` when it is not known here, or cannot be made any more.
    pub(super) fn chunk(&self, id: &ContentId) -> Result<(Option<Vec<u8>>, Option<Error>)> {
        let Some(place) = self.places.get(id) else { return Ok((None, None)) };
        let mut found = None;
        let failure = self.make(&[*place], |made, bytes| found = (made == *id).then(|| bytes.to_vec()))?;
        let failure = if found.is_some() { None } else { failure.or_else(|| Some(other_bytes(id))) };
        Ok((found, failure))
    }

    /// Makes the chunks at these places and hands them out by the ids that their bytes have. What is damaged is left out;
    /// returns what is wrong with the last of that.
    fn make(&self, places: &[u64], mut take: impl FnMut(ContentId, &[u8])) -> Result<Option<Error>> {
        let mut chunks = self.idle().pop().unwrap_or_else(|| {
            LayerChunks::new(Arc::clone(&self.base_maps), self.base, self.version.size, Arc::clone(&self.source), 0)
        });
        let mut failure = None;
        let mut rest = vec![places];
        while let Some(places) = rest.pop() {
            match chunks.read(places) {
                Ok(lot) => {
                    for chunk in lot.chunks {
                        if let Entry::Id(id) = chunk.entry {
                            take(id, &chunks.bytes()[chunk.place]);
                        }
                    }
                }
                // Each by itself, so that one takes no other with it.
                Err(error) if error.kind() == Kind::FixData && places.len() > 1 => rest.extend(places.chunks(1)),
                Err(error) if error.kind() == Kind::FixData => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(chunks);
        }
        Ok(failure)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<LayerChunks>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn made_wrong(id: &ContentId, what: &str) -> Error {
    Error::new(Code::Internal, format!("block map node {id} was made wrong: {what}"))
}

fn other_bytes(id: &ContentId) -> Error {
    let message = format!("the layer that chunk {id} is made of has other bytes than when its map was made");
    Error::new(Code::ChunkDamaged, message).with("id", id.to_string())
}
