//! What a collector does to the store: condemned frames stop counting, packs that nobody needs go.

use std::sync::{Arc, PoisonError};

use super::{Anomaly, ChunkStore};
use crate::chunk_store::condemned::{CONDEMNED, Condemned, read_condemned, remove_condemned, write_condemned};
use crate::chunk_store::index::Location;
use crate::chunk_store::pack_set::{Pack, PackHandle};
use crate::error::{Code, Result};
use crate::format::condemned::CondemnedPacks;
use crate::format::{Codec, Defect};
use crate::units::ContentId;

impl ChunkStore {
    /// Whether a writer may count on the frame at this place; what [`ChunkStore::contains`] asks besides is the base.
    #[must_use]
    pub fn counts(&self, location: &Location) -> bool {
        !self.condemned().holds_at(location)
    }

    /// Where a writer finds this content as a full frame that it may build on; empty when there is none.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn locate_base(&self, id: &ContentId) -> Result<Vec<Location>> {
        let mut found = self.locate(id)?;
        found.retain(|location| location.codec != Codec::ZstdDelta && self.counts(location));
        Ok(found)
    }

    /// Frames that nobody may build on; they take the place of those before.
    pub fn condemn(&self, condemned: Condemned) {
        *self.condemned.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(condemned);
    }

    /// The condemned frames.
    #[must_use]
    pub fn condemned(&self) -> Arc<Condemned> {
        Arc::clone(&self.condemned.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes packs that nobody needs: what is in them is dead, or indexed elsewhere. They are condemned, durably, then
    /// forgotten, then their names go; the index may name them still, and is not believed.
    ///
    /// On a full disk the file that condemns them may find no room. They go all the same, since that is what makes room:
    /// a power cut may then leave some of them, which is garbage again.
    ///
    /// # Errors
    /// What writing and removing give.
    pub fn retire(&self, packs: &[PackHandle]) -> Result<()> {
        let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        self.guarded(|| {
            let named = packs.iter().filter_map(|handle| self.packs.get(*handle));
            let packs_named = named.map(|pack| (pack.id, pack.kind)).collect();
            let condemned = CondemnedPacks { store_id: self.parameters.store_id, packs: packs_named };
            match write_condemned(self.io.as_ref(), &self.directory, &condemned) {
                Err(error) if error.code() == Code::NoSpace && !error.is_failed_sync() => {}
                written => written?,
            }
            // All are forgotten before the first file goes, and whatever becomes of the files: the next open removes what the
            // list names, so nobody may count on any of them any more.
            let gone: Vec<_> = packs.iter().filter_map(|handle| self.packs.remove(*handle)).collect();
            let removed: Vec<Result<()>> = gone.iter().map(|pack| self.remove_pack_file(pack)).collect();
            removed.into_iter().collect::<Result<()>>()?;
            self.io.sync_directory(self.packs.directory())
        })
    }

    /// Ends what a crash cut off: the files of condemned packs go, and then the file that names them.
    ///
    /// # Errors
    /// What removing gives.
    pub fn finish_retiring(&self) -> Result<()> {
        let found = read_condemned(self.io.as_ref(), &self.directory, self.parameters.store_id)?;
        if matches!(found, Ok(None)) {
            return Ok(());
        }
        self.guarded(|| {
            // A damaged file was reported at the opening; the packs that it named are garbage still.
            if let Ok(Some(condemned)) = found {
                for (id, kind) in condemned.packs {
                    self.remove_pack_file(&Pack { id, kind, bytes: 0 })?;
                }
                self.io.sync_directory(self.packs.directory())?;
            }
            remove_condemned(self.io.as_ref(), &self.directory)
        })
    }

    /// Brings the index in step with the packs, where it names some that are gone. Returns by how many bytes it shrank.
    ///
    /// # Errors
    /// What reading and writing the index give. It is then as before.
    pub fn trim_index(&self) -> Result<i64> {
        if !self.index.names_gone_packs(&self.packs) {
            return Ok(0);
        }
        let gone = self.index.covered_packs(None).into_iter().filter(|pack| self.packs.get(*pack).is_none());
        self.commit_packs(&[], &[], Some(&gone.collect())).map(|grown| -grown)
    }

    /// What is wrong with the file of condemned packs now.
    ///
    /// # Errors
    /// What reading gives.
    pub fn condemned_damage(&self) -> Result<Option<Anomaly>> {
        let found = read_condemned(self.io.as_ref(), &self.directory, self.parameters.store_id)?;
        Ok(found.err().map(condemned_anomaly))
    }

    pub(super) fn may_be_base(&self, base: &Option<ContentId>) -> Result<bool> {
        Ok(match base {
            Some(base) => !self.locate_base(base)?.is_empty(),
            None => false,
        })
    }

    fn remove_pack_file(&self, pack: &Pack) -> Result<()> {
        match self.io.remove_file(&self.packs.path(pack)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

pub(super) fn condemned_anomaly(defect: Defect) -> Anomaly {
    let message = format!("{defect}; packs that it named are taken for what their files say");
    Anomaly { file: CONDEMNED.into(), code: Code::StoreDamaged, message }
}
