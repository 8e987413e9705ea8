//! Reading block maps and the chunks that they name, through a bounded cache of proven nodes.
//!
//! A reader may have overlays: nodes and chunks of points whose copy has not put them into the store yet. They are asked
//! first, so that everything that reads by a reader reads such a point as any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DiskVersion, Overlay, SPAN_CHUNKS, chunks_below};
use crate::chunk_store::{Batch, ChunkStore, WantedChunk};
use crate::error::{Code, Error, Kind, Result};
use crate::format::PackKind;
use crate::format::node::{Entry, Node, Root};
use crate::limits::NODE_FAN_OUT;
use crate::units::ContentId;

/// Nodes kept in each of the cache's two generations: about 9 MiB both together.
const GENERATION_NODES: usize = 2048;

/// A thread reads at least so many: they take longer than to start it.
const THREAD_NODES_MIN: usize = 128;

/// Two generations: what is used moves to the young one; when that is full the old one is dropped. Close to
/// least-recently-used, without a list to keep.
#[derive(Default)]
struct Cache {
    young: HashMap<ContentId, Arc<Node>>,
    old: HashMap<ContentId, Arc<Node>>,
}

impl Cache {
    fn get(&mut self, id: &ContentId) -> Option<Arc<Node>> {
        if let Some(node) = self.young.get(id) {
            return Some(Arc::clone(node));
        }
        let node = self.old.remove(id)?;
        self.put(*id, Arc::clone(&node));
        Some(node)
    }

    fn put(&mut self, id: ContentId, node: Arc<Node>) {
        if self.young.len() >= GENERATION_NODES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, node);
    }
}

/// Reads nodes of a store.
pub struct MapReader {
    store: Arc<ChunkStore>,
    thread_count: usize,
    overlays: Vec<Arc<Overlay>>,
    cache: Arc<Mutex<Cache>>,
}

/// The chunk entries of one span.
#[derive(Clone, Debug)]
pub enum SpanEntries {
    /// All alike.
    Uniform(Entry),
    /// As the node says.
    Node(Arc<Node>),
    /// The map is one chunk.
    Single(Entry),
}

/// A span with its number.
#[derive(Clone, Debug)]
pub struct Span {
    /// Which span of the disk.
    pub index: u64,
    /// Its entries.
    pub entries: SpanEntries,
}

impl SpanEntries {
    /// Entry `index` of 64. Past the disk's end it is hole, or what a fill that covers the whole span says.
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry {
        match self {
            Self::Uniform(entry) => *entry,
            Self::Node(node) => node.entry(index),
            Self::Single(entry) if index == 0 => *entry,
            Self::Single(_) => Entry::Hole,
        }
    }
}

impl MapReader {
    /// A reader of this store's nodes, on the caller's thread.
    #[must_use]
    pub fn new(store: Arc<ChunkStore>) -> Self {
        Self::with_threads(store, 1)
    }

    /// A reader of this store's nodes that uses so many threads where it reads many.
    #[must_use]
    pub fn with_threads(store: Arc<ChunkStore>, thread_count: usize) -> Self {
        assert!(thread_count > 0);
        Self { store, thread_count, overlays: Vec::new(), cache: Arc::default() }
    }

    /// A reader that also knows what this overlay knows, and shares the cache of this one.
    #[must_use]
    pub fn with_overlay(&self, overlay: Arc<Overlay>) -> Self {
        let overlays = self.overlays.iter().cloned().chain([overlay]).collect();
        Self {
            store: Arc::clone(&self.store),
            thread_count: self.thread_count,
            overlays,
            cache: Arc::clone(&self.cache),
        }
    }

    /// The store that it reads.
    #[must_use]
    pub fn store(&self) -> &Arc<ChunkStore> {
        &self.store
    }

    /// A node, proven to be of this level.
    ///
    /// # Errors
    /// `NODE_MISSING`, `NODE_DAMAGED`, and what reading gives.
    pub fn node(&self, id: &ContentId, level: u8) -> Result<Arc<Node>> {
        let laid_over = self.laid_over(id);
        if let Some(node) = laid_over.or_else(|| self.cache().get(id)) {
            check_level(node.level(), level, id)?;
            return Ok(node);
        }
        let node = Arc::new(self.node_uncached(id, level, &mut Batch::default())?);
        self.cache().put(*id, Arc::clone(&node));
        Ok(node)
    }

    /// Nodes, each proven to be of the level beside its id. Those that are not in the cache are looked up together and
    /// read in the order in which they lie, neighbours with one call, on all threads when there are many.
    ///
    /// # Errors
    /// As [`MapReader::node`], of any of them.
    pub fn nodes(&self, wanted: &[(ContentId, u8)]) -> Result<Vec<Arc<Node>>> {
        let mut cached: Vec<Option<Arc<Node>>> = {
            let mut cache = self.cache();
            wanted.iter().map(|(id, _)| self.laid_over(id).or_else(|| cache.get(id))).collect()
        };
        let missing: Vec<usize> = (0..wanted.len()).filter(|index| cached[*index].is_none()).collect();
        if !missing.is_empty() {
            let read = self.read_nodes(&missing.iter().map(|index| wanted[*index].0).collect::<Vec<_>>())?;
            let mut cache = self.cache();
            for (index, node) in missing.into_iter().zip(read) {
                cache.put(wanted[index].0, Arc::clone(&node));
                cached[index] = Some(node);
            }
        }
        let mut nodes = Vec::with_capacity(wanted.len());
        for ((id, level), node) in wanted.iter().zip(cached.into_iter().flatten()) {
            check_level(node.level(), *level, id)?;
            nodes.push(node);
        }
        assert_eq!(nodes.len(), wanted.len(), "every node was cached or read");
        Ok(nodes)
    }

    /// Reads nodes past the cache.
    fn read_nodes(&self, ids: &[ContentId]) -> Result<Vec<Arc<Node>>> {
        let part = ids.len().div_ceil(self.thread_count).max(THREAD_NODES_MIN);
        let mut parts = ids.chunks(part);
        let own = parts.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = parts.map(|part| scope.spawn(|| self.read_part(part))).collect();
            let mut nodes = self.read_part(own)?;
            for other in others {
                nodes.extend(other.join().unwrap_or_else(|_| Err(panicked()))?);
            }
            Ok(nodes)
        })
    }

    fn read_part(&self, ids: &[ContentId]) -> Result<Vec<Arc<Node>>> {
        let mut nodes: Vec<Option<Arc<Node>>> = vec![None; ids.len()];
        self.store.read_nodes(ids, &mut Batch::default(), |at, plain| {
            let node = Node::decode(plain).map_err(|defect| damaged(&ids[at], &defect.to_string()))?;
            nodes[at] = Some(Arc::new(node));
            Ok(())
        })?;
        Ok(nodes.into_iter().flatten().collect())
    }

    /// A node, read and proven anew.
    ///
    /// # Errors
    /// As [`MapReader::node`].
    pub fn node_uncached(&self, id: &ContentId, level: u8, batch: &mut Batch) -> Result<Node> {
        if let Some(node) = self.laid_over(id) {
            check_level(node.level(), level, id)?;
            return Ok(Node::clone(&node));
        }
        let plain = self.store.get(PackKind::Nodes, id, batch)?;
        let node = Node::decode(&plain).map_err(|defect| damaged(id, &defect.to_string()))?;
        check_level(node.level(), level, id)?;
        Ok(node)
    }

    /// The entries of one span.
    ///
    /// # Errors
    /// As [`MapReader::node`].
    pub fn span(&self, version: &DiskVersion, span: u64) -> Result<Span> {
        let mut entry = version.root.entry;
        let mut level = version.root.height;
        if level == 0 {
            let entries = if span == 0 { SpanEntries::Single(entry) } else { SpanEntries::Uniform(Entry::Hole) };
            return Ok(Span { index: span, entries });
        }
        if span >= chunks_below(level) / SPAN_CHUNKS {
            return Ok(Span { index: span, entries: SpanEntries::Uniform(Entry::Hole) });
        }
        while let Entry::Id(id) = entry {
            let node = self.node(&id, level)?;
            if level == 1 {
                return Ok(Span { index: span, entries: SpanEntries::Node(node) });
            }
            let below = chunks_below(level - 1) / SPAN_CHUNKS;
            entry = node.entry((span / below) as usize % NODE_FAN_OUT);
            level -= 1;
        }
        Ok(Span { index: span, entries: SpanEntries::Uniform(entry) })
    }

    /// What stands at a chunk, if that can be told without reading.
    #[must_use]
    pub fn cached_entry(&self, version: &DiskVersion, chunk: u64) -> Option<Entry> {
        let Root { mut entry, height } = version.root;
        if chunk >= chunks_below(height) {
            return Some(Entry::Hole);
        }
        for level in (1..=height).rev() {
            let Entry::Id(id) = entry else { break };
            let node = self.laid_over(&id).or_else(|| self.cache().get(&id))?;
            entry = node.entry((chunk / chunks_below(level - 1)) as usize % NODE_FAN_OUT);
        }
        Some(entry)
    }

    /// The id of one chunk; `None` for holes and fills.
    ///
    /// # Errors
    /// As [`MapReader::node`].
    pub fn chunk_id(&self, version: &DiskVersion, chunk: u64) -> Result<Option<ContentId>> {
        let entries = self.span(version, chunk / SPAN_CHUNKS)?.entries;
        Ok(match entries.entry((chunk % SPAN_CHUNKS) as usize) {
            Entry::Id(id) => Some(id),
            Entry::Hole | Entry::Fill(_) => None,
        })
    }

    /// What stands at each of these chunks, which are sorted. The nodes of a level are read together.
    ///
    /// # Errors
    /// As [`MapReader::node`], of any of them.
    pub fn entries(&self, version: &DiskVersion, chunks: &[u64]) -> Result<Vec<Entry>> {
        debug_assert!(chunks.is_sorted());
        if let [chunk] = chunks {
            let entries = self.span(version, chunk / SPAN_CHUNKS)?.entries;
            return Ok(vec![entries.entry((chunk % SPAN_CHUNKS) as usize)]);
        }
        let Root { entry, height } = version.root;
        let reach = chunks_below(height);
        let mut found: Vec<Entry> =
            chunks.iter().map(|chunk| if *chunk < reach { entry } else { Entry::Hole }).collect();
        let mut wanted: Vec<(ContentId, u8)> = Vec::new();
        for level in (1..=height).rev() {
            wanted.clear();
            for entry in &found {
                match entry {
                    // Neighbours below one node want it once.
                    Entry::Id(id) if wanted.last().is_none_or(|(last, _)| last != id) => wanted.push((*id, level)),
                    _ => {}
                }
            }
            if wanted.is_empty() {
                break;
            }
            let nodes = self.nodes(&wanted)?;
            let mut at = 0;
            for (chunk, entry) in chunks.iter().zip(&mut found) {
                if let Entry::Id(id) = entry {
                    if wanted[at].0 != *id {
                        at += 1;
                    }
                    *entry = nodes[at].entry((chunk / chunks_below(level - 1)) as usize % NODE_FAN_OUT);
                }
            }
        }
        Ok(found)
    }

    /// The bytes of one chunk, whole and proven.
    ///
    /// # Errors
    /// `CHUNK_MISSING`, `CHUNK_DAMAGED`, and what reading gives.
    pub fn chunk(&self, id: &ContentId, batch: &mut Batch) -> Result<Vec<u8>> {
        let mut failure = None;
        for overlay in &self.overlays {
            match overlay.chunk(id)? {
                (Some(bytes), _) => return Ok(bytes),
                (None, damage) => failure = damage.or(failure),
            }
        }
        self.store.get(PackKind::Chunks, id, batch).map_err(|error| or_damage(error, failure))
    }

    /// Reads chunks into their places in `out`, looked up together and in the order in which they lie.
    ///
    /// # Errors
    /// As [`MapReader::chunk`], of any of them.
    pub fn read_chunks(&self, wanted: &[WantedChunk], batch: &mut Batch, out: &mut [u8]) -> Result<()> {
        if self.overlays.is_empty() {
            return self.store.read_chunks(wanted, batch, out);
        }
        let (mut rest, mut failure) = (wanted.to_vec(), None);
        for overlay in &self.overlays {
            let damage;
            (rest, damage) = overlay.read_chunks(rest, out)?;
            failure = damage.or(failure);
        }
        self.store.read_chunks(&rest, batch, out).map_err(|error| or_damage(error, failure))
    }

    /// A node that only an overlay may know.
    fn laid_over(&self, id: &ContentId) -> Option<Arc<Node>> {
        self.overlays.iter().find_map(|overlay| overlay.node(id))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_level(found: u8, level: u8, id: &ContentId) -> Result<()> {
    if found == level {
        return Ok(());
    }
    Err(damaged(id, "it has another level than its place in the map"))
}

/// Why a chunk that an overlay should have made cannot be read: the store has good reason not to have it.
fn or_damage(error: Error, damage: Option<Error>) -> Error {
    match damage {
        Some(damage) if error.kind() == Kind::FixData => damage,
        _ => error,
    }
}

fn panicked() -> Error {
    Error::new(Code::Internal, "a thread that reads block map nodes panicked")
}

fn damaged(id: &ContentId, what: &str) -> Error {
    Error::new(Code::NodeDamaged, format!("block map node {id} is damaged: {what}")).with("id", id.to_string())
}
