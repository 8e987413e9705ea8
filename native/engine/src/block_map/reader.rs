//! Reading block maps, through a bounded cache of proven nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DiskVersion, SPAN_CHUNKS};
use crate::chunk_store::{Batch, ChunkStore};
use crate::error::{Code, Error, Result};
use crate::format::PackKind;
use crate::format::node::{Entry, Node};
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
    cache: Mutex<Cache>,
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
        Self { store, thread_count, cache: Mutex::default() }
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
        if let Some(node) = self.cache().get(id) {
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
            wanted.iter().map(|(id, _)| cache.get(id)).collect()
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
        if span >= super::chunks_below(level) / SPAN_CHUNKS {
            return Ok(Span { index: span, entries: SpanEntries::Uniform(Entry::Hole) });
        }
        while let Entry::Id(id) = entry {
            let node = self.node(&id, level)?;
            if level == 1 {
                return Ok(Span { index: span, entries: SpanEntries::Node(node) });
            }
            let below = super::chunks_below(level - 1) / SPAN_CHUNKS;
            entry = node.entry((span / below) as usize % NODE_FAN_OUT);
            level -= 1;
        }
        Ok(Span { index: span, entries: SpanEntries::Uniform(entry) })
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

fn panicked() -> Error {
    Error::new(Code::Internal, "a thread that reads block map nodes panicked")
}

fn damaged(id: &ContentId, what: &str) -> Error {
    Error::new(Code::NodeDamaged, format!("block map node {id} is damaged: {what}")).with("id", id.to_string())
}
