//! A store that is open for reading only follows the process that writes to it.
//!
//! What the writer commits while this one is open is not known here: packs of newer points, and those into which its
//! collector has moved the live frames of older ones. So a content that is not found, or not where it was, is looked for
//! again once the directory of packs has changed. Nothing is watched: what is found costs nothing.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::store::{ChunkStore, listed_packs};
use crate::error::Result;

impl ChunkStore {
    /// How often something new was taken in: to be asked before what [`ChunkStore::follow`] may have to be called for.
    pub(super) fn followed(&self) -> u64 {
        self.followed.load(Ordering::Acquire)
    }

    /// Takes in the packs and the index as they are now. Whether anything has changed since `followed` was asked for:
    /// whatever failed since then is worth another attempt.
    ///
    /// # Errors
    /// What reading gives.
    pub(super) fn follow(&self, followed: u64) -> Result<bool> {
        if !self.parameters().follows {
            return Ok(false);
        }
        let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        if self.followed() != followed {
            return Ok(true); // another thread has done it
        }
        let present = listed_packs(self.io.as_ref(), self.packs.directory())?;
        let names: HashSet<_> = present.iter().map(|pack| (pack.id, pack.kind)).collect();
        let mut gone = self.packs.all();
        gone.retain(|(_, pack)| !names.contains(&(pack.id, pack.kind)));
        let new: Vec<_> = present.iter().filter(|pack| self.packs.find(pack.id, pack.kind).is_none()).collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(false);
        }
        for pack in new {
            self.packs.add(*pack);
        }
        for damage in self.index.reload(&self.packs)? {
            self.report_index(&damage);
        }
        self.cover_packs()?;
        for (handle, _) in gone {
            self.packs.remove(handle);
        }
        self.followed.fetch_add(1, Ordering::AcqRel);
        Ok(true)
    }

    /// As [`ChunkStore::follow`], whatever was taken in before.
    ///
    /// # Errors
    /// What reading gives.
    pub fn catch_up(&self) -> Result<bool> {
        self.follow(self.followed())
    }
}
