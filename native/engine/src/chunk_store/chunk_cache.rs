//! Decoded chunks, kept for those who read a little of them at a time.
//!
//! What it is: a bounded map from ids to proven bytes, which all readers of a store share. Whoever misses a chunk reads it
//! for all who ask meanwhile.
//! What it guarantees: at most the bytes that it was given, and those of chunks that somebody holds. A chunk is read by one
//! thread at a time. Nobody waits while others wait for him: what a call has claimed is read before it waits. A failed
//! reading keeps nothing; those who waited try it themselves.
//! What it costs: a look-up is one lock of a part of the cache, and no copy.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::units::{ContentId, u64_from, usize_from};

/// Parts with a lock of their own, at most.
const PARTS_MAX: u64 = 16;

/// A part is at least this big, so that it holds a few of the largest chunks.
const PART_BYTES_MIN: u64 = 8 << 20;

/// The bytes of a chunk, shared with the cache.
pub type CachedChunk = Arc<[u8]>;

/// Chunks in memory.
pub struct ChunkCache {
    parts: Vec<Part>,
    generation_bytes: usize,
}

#[derive(Default)]
struct Part {
    state: Mutex<State>,
    loaded: Condvar,
}

/// Two generations, as in the cache of map nodes: what is used moves to the young one; when that is full the old one goes.
#[derive(Default)]
struct State {
    young: HashMap<ContentId, CachedChunk>,
    old: HashMap<ContentId, CachedChunk>,
    young_bytes: usize,
    loading: HashSet<ContentId>,
}

/// Where a chunk is.
pub enum Presence {
    /// Here.
    Here(CachedChunk),
    /// Another thread reads it just now: [`ChunkCache::get_each`] waits for that.
    Coming,
    /// Nowhere.
    Absent,
}

enum Claim {
    Cached(CachedChunk),
    Claimed,
    Loading,
}

impl ChunkCache {
    /// A cache of so many bytes; of 0, one that only keeps two threads from reading the same at once.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let part_count = (bytes_max / PART_BYTES_MIN).clamp(1, PARTS_MAX);
        let parts = (0..part_count).map(|_| Part::default()).collect();
        Self { parts, generation_bytes: usize_from(bytes_max / part_count / 2) }
    }

    /// How many bytes of chunks of this length it keeps, whatever else comes.
    #[must_use]
    pub fn room_for(&self, chunk_bytes: u64) -> u64 {
        let in_part = u64_from(self.generation_bytes) / chunk_bytes * chunk_bytes;
        in_part * u64_from(self.parts.len())
    }

    /// Where a chunk is, without waiting.
    #[must_use]
    pub fn find(&self, id: &ContentId) -> Presence {
        let mut state = self.part(id).state();
        match state.get(id, self.generation_bytes) {
            Some(chunk) => Presence::Here(chunk),
            None if state.loading.contains(id) => Presence::Coming,
            None => Presence::Absent,
        }
    }

    /// A chunk that is here.
    #[must_use]
    pub fn get(&self, id: &ContentId) -> Option<CachedChunk> {
        self.part(id).state().get(id, self.generation_bytes)
    }

    /// Chunks, as many as `ids`. Those that are not here are read with `load`, together; those that other threads read
    /// just now are waited for.
    ///
    /// # Errors
    /// What `load` gives.
    pub fn get_each(
        &self,
        ids: &[ContentId],
        load: &mut dyn FnMut(&[ContentId]) -> Result<Vec<CachedChunk>>,
    ) -> Result<Vec<CachedChunk>> {
        let mut found: Vec<Option<CachedChunk>> = vec![None; ids.len()];
        loop {
            let mut claims = Claims { cache: self, ids: Vec::new() };
            let mut loading = None;
            for (id, found) in ids.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                match self.claim(id) {
                    Claim::Cached(chunk) => *found = Some(chunk),
                    Claim::Claimed => claims.ids.push(*id),
                    Claim::Loading => loading = Some(id),
                }
            }
            if !claims.ids.is_empty() {
                let chunks = load(&claims.ids)?;
                assert_eq!(chunks.len(), claims.ids.len(), "every chunk that was asked for was read");
                for (id, chunk) in claims.ids.iter().zip(&chunks) {
                    self.part(id).state().put(*id, Arc::clone(chunk), self.generation_bytes);
                }
                for (id, found) in ids.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                    let at = claims.ids.iter().position(|claimed| claimed == id);
                    *found = at.map(|at| Arc::clone(&chunks[at]));
                }
            } else if let Some(id) = loading {
                self.part(id).wait_for(id);
            } else {
                return Ok(found.into_iter().flatten().collect());
            }
        }
    }

    fn claim(&self, id: &ContentId) -> Claim {
        let mut state = self.part(id).state();
        if let Some(chunk) = state.get(id, self.generation_bytes) {
            return Claim::Cached(chunk);
        }
        if state.loading.insert(*id) { Claim::Claimed } else { Claim::Loading }
    }

    fn part(&self, id: &ContentId) -> &Part {
        &self.parts[usize::from(id.0[31]) % self.parts.len()]
    }
}

impl Part {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, id: &ContentId) {
        let mut state = self.state();
        while state.loading.contains(id) {
            state = self.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn get(&mut self, id: &ContentId, generation_bytes: usize) -> Option<CachedChunk> {
        if let Some(chunk) = self.young.get(id) {
            return Some(Arc::clone(chunk));
        }
        let chunk = self.old.remove(id)?;
        self.put(*id, Arc::clone(&chunk), generation_bytes);
        Some(chunk)
    }

    fn put(&mut self, id: ContentId, chunk: CachedChunk, generation_bytes: usize) {
        if chunk.len() > generation_bytes {
            return;
        }
        if self.young_bytes + chunk.len() > generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += chunk.len();
        if let Some(before) = self.young.insert(id, chunk) {
            self.young_bytes -= before.len();
        }
    }
}

/// What a call reads; given up when that ends, well or not.
struct Claims<'a> {
    cache: &'a ChunkCache,
    ids: Vec<ContentId>,
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for id in &self.ids {
            let part = self.cache.part(id);
            part.state().loading.remove(id);
            part.loaded.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Code, Error};
    use crate::random::Seeded;

    fn id(number: u64) -> ContentId {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        ContentId(bytes)
    }

    fn chunk(id: &ContentId, length: usize) -> CachedChunk {
        vec![id.0[31]; length].into()
    }

    fn held_bytes(cache: &ChunkCache) -> usize {
        let bytes = |chunks: &HashMap<ContentId, CachedChunk>| chunks.values().map(|chunk| chunk.len()).sum::<usize>();
        cache.parts.iter().map(|part| part.state()).map(|state| bytes(&state.young) + bytes(&state.old)).sum()
    }

    #[test]
    fn a_chunk_that_was_read_is_here_until_others_push_it_out() {
        let cache = ChunkCache::new(1000);
        let reads = AtomicUsize::new(0);
        let get = |ids: &[ContentId]| {
            cache.get_each(ids, &mut |ids| {
                reads.fetch_add(ids.len(), Ordering::Relaxed);
                Ok(ids.iter().map(|id| chunk(id, 100)).collect())
            })
        };
        assert_eq!(get(&[id(1), id(2), id(1)]).unwrap(), [chunk(&id(1), 100), chunk(&id(2), 100), chunk(&id(1), 100)]);
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        for number in 3..100 {
            get(&[id(1), id(number)]).unwrap();
            assert!(held_bytes(&cache) <= 1000);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 99, "what is used stays");
        assert!(cache.get(&id(2)).is_none());
        assert!(cache.get(&id(99)).is_some());
    }

    #[test]
    fn a_chunk_longer_than_the_cache_passes_through_it() {
        let cache = ChunkCache::new(0);
        let got = cache.get_each(&[id(1), id(1)], &mut |ids| Ok(ids.iter().map(|id| chunk(id, 100)).collect()));
        assert_eq!(got.unwrap(), [chunk(&id(1), 100), chunk(&id(1), 100)]);
        assert_eq!(held_bytes(&cache), 0);
    }

    #[test]
    fn a_reading_that_fails_keeps_nothing_and_is_tried_again() {
        let cache = ChunkCache::new(1000);
        let fails = |_: &[ContentId]| Err(Error::new(Code::ChunkDamaged, "it is damaged"));
        assert_eq!(cache.get_each(&[id(1)], &mut { fails }).unwrap_err().code(), Code::ChunkDamaged);
        assert_eq!(held_bytes(&cache), 0);
        assert!(cache.get_each(&[id(1)], &mut |ids| Ok(ids.iter().map(|id| chunk(id, 100)).collect())).is_ok());
    }

    #[test]
    fn threads_that_want_the_same_chunks_in_any_order_read_each_once_and_never_wait_in_a_circle() {
        for seed in 0..20 {
            let cache = ChunkCache::new(1 << 20);
            let reads = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let (cache, reads) = (&cache, &reads);
                    scope.spawn(move || {
                        let mut random = Seeded::new(seed * 8 + thread);
                        for _ in 0..50 {
                            let ids: Vec<ContentId> = (0..4).map(|_| id(random.below(32))).collect();
                            let got = cache.get_each(&ids, &mut |ids| {
                                reads.fetch_add(ids.len(), Ordering::Relaxed);
                                std::thread::yield_now();
                                Ok(ids.iter().map(|id| chunk(id, 100)).collect())
                            });
                            assert_eq!(got.unwrap(), ids.iter().map(|id| chunk(id, 100)).collect::<Vec<_>>());
                        }
                    });
                }
            });
            assert!(reads.load(Ordering::Relaxed) <= 32, "each chunk was read once");
        }
    }

    #[test]
    fn threads_beside_readings_that_fail_or_panic_all_come_to_an_end() {
        let cache = ChunkCache::new(1 << 20);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Seeded::new(thread);
                    for _ in 0..200 {
                        let ids: Vec<ContentId> = (0..3).map(|_| id(random.below(100))).collect();
                        let fate = random.below(3);
                        let load = &mut |ids: &[ContentId]| match fate {
                            0 => Err(Error::new(Code::ChunkDamaged, "it is damaged")),
                            1 => std::panic::resume_unwind(Box::new("a decoder's defect")),
                            _ => Ok(ids.iter().map(|id| chunk(id, 100)).collect()),
                        };
                        let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get_each(&ids, load)));
                        if let Ok(Ok(got)) = got {
                            assert_eq!(got, ids.iter().map(|id| chunk(id, 100)).collect::<Vec<_>>());
                        }
                    }
                });
            }
        });
        assert!(cache.parts.iter().all(|part| part.state().loading.is_empty()));
    }
}
