//! What lies in which pack, from the packs themselves. A plan goes over all packs several times; the frames of small
//! stores are kept in memory between the rounds, those of large ones are read again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::chunk_store::ChunkStore;
use crate::chunk_store::pack_set::PackHandle;
use crate::error::Result;
use crate::format::pack::PackEntry;

/// Frames kept at most, of about 90 bytes each.
const FRAMES_KEPT_MAX: usize = 1 << 18;

/// The frames of a pack.
pub(super) struct Content {
    pub(super) entries: Vec<PackEntry>,
    /// Whether those are all for certain, which only a sound pack can say.
    pub(super) complete: bool,
}

/// The packs of a store, opened up.
pub(super) struct Contents<'a> {
    store: &'a ChunkStore,
    kept: HashMap<PackHandle, Arc<Content>>,
    frames_kept: usize,
}

impl<'a> Contents<'a> {
    pub(super) fn new(store: &'a ChunkStore) -> Self {
        Self { store, kept: HashMap::new(), frames_kept: 0 }
    }

    /// The frames of a pack; `None` when its file is gone.
    pub(super) fn of(&mut self, pack: PackHandle) -> Result<Option<Arc<Content>>> {
        if let Some(content) = self.kept.get(&pack) {
            return Ok(Some(Arc::clone(content)));
        }
        let Some((mut entries, complete)) = self.store.pack_content(pack)? else { return Ok(None) };
        if !complete {
            // What the index learned while the pack was sound counts too: a delta, say, that cannot be found by searching.
            let known: HashSet<u32> = entries.iter().map(|entry| entry.offset).collect();
            let indexed = self.store.index().entries_in(pack)?;
            entries.extend(indexed.into_iter().filter(|entry| !known.contains(&entry.offset)));
            entries.sort_by_key(|entry| entry.offset);
        }
        let content = Arc::new(Content { entries, complete });
        if self.frames_kept + content.entries.len() <= FRAMES_KEPT_MAX {
            self.frames_kept += content.entries.len();
            self.kept.insert(pack, Arc::clone(&content));
        }
        Ok(Some(content))
    }
}
