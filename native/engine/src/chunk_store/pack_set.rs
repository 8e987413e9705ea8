//! The packs of a region: which exist, under which handle, and a bounded number of them open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::Result;
use crate::format::PackKind;
use crate::io::{Io, IoFile, OpenMode};
use crate::units::Uid;

/// Open pack files at most: well below the usual limit of 1,024 descriptors a process.
const OPEN_FILES_MAX: usize = 256;

/// A pack in this process; a handle is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackHandle(u32);

/// A sealed pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Its id.
    pub id: Uid,
    /// What it holds.
    pub kind: PackKind,
    /// Length of its file.
    pub bytes: u64,
}

impl Pack {
    /// Its file's name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.id, self.kind.extension())
    }
}

#[derive(Default)]
struct Known {
    by_handle: Vec<Option<Pack>>, // None once it was removed
    by_name: HashMap<(Uid, PackKind), PackHandle>,
}

/// The packs of a region.
pub struct PackSet {
    io: Arc<dyn Io>,
    directory: PathBuf,
    known: RwLock<Known>,
    removed_count: AtomicU64,
    open: Mutex<HashMap<PackHandle, Arc<dyn IoFile>>>,
}

impl PackSet {
    /// An empty set of packs that lie in `directory`.
    #[must_use]
    pub fn new(io: Arc<dyn Io>, directory: PathBuf) -> Self {
        Self { io, directory, known: RwLock::default(), removed_count: AtomicU64::new(0), open: Mutex::default() }
    }

    /// Where the packs lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds a sealed pack.
    pub fn add(&self, pack: Pack) -> PackHandle {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let handle = PackHandle(u32::try_from(known.by_handle.len()).expect("fewer than 2^32 packs in one process"));
        let before = known.by_name.insert((pack.id, pack.kind), handle);
        assert!(before.is_none(), "pack {} is known already", pack.file_name());
        known.by_handle.push(Some(pack));
        handle
    }

    /// Forgets a pack, and returns what it was.
    pub fn remove(&self, handle: PackHandle) -> Option<Pack> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let pack = known.by_handle[handle.0 as usize].take();
        if let Some(pack) = &pack {
            known.by_name.remove(&(pack.id, pack.kind));
            self.removed_count.fetch_add(1, Ordering::Release);
        }
        drop(known);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        pack
    }

    /// How many packs were removed so far. Who meets a pack that is gone looks whether this moved since it was located:
    /// what was in it then lies elsewhere, if anybody needs it.
    #[must_use]
    pub fn removed_count(&self) -> u64 {
        self.removed_count.load(Ordering::Acquire)
    }

    /// The pack behind a handle, unless it was removed.
    #[must_use]
    pub fn get(&self, handle: PackHandle) -> Option<Pack> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_handle[handle.0 as usize]
    }

    /// The handle of a pack.
    #[must_use]
    pub fn find(&self, id: Uid, kind: PackKind) -> Option<PackHandle> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(&(id, kind)).copied()
    }

    /// All packs, sorted by handle.
    #[must_use]
    pub fn all(&self) -> Vec<(PackHandle, Pack)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let packs = known.by_handle.iter().enumerate();
        packs.filter_map(|(index, pack)| Some((PackHandle(index as u32), (*pack)?))).collect()
    }

    /// The pack's path.
    #[must_use]
    pub fn path(&self, pack: &Pack) -> PathBuf {
        self.directory.join(pack.file_name())
    }

    /// Closes all files, so that what is read next is read from what bears the pack's name now.
    pub fn close_files(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The pack's file; `None` when it was removed.
    ///
    /// # Errors
    /// What opening gives.
    pub fn file(&self, handle: PackHandle) -> Result<Option<Arc<dyn IoFile>>> {
        if let Some(file) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&handle) {
            return Ok(Some(Arc::clone(file)));
        }
        let Some(pack) = self.get(handle) else { return Ok(None) };
        let file = match self.io.open(&self.path(&pack), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_FILES_MAX {
            open.clear(); // readers keep their own Arc; reopening 256 files costs about a millisecond
        }
        // Under the lock of `open`: a pack that is removed meanwhile must not stay open, and keep its space, for ever.
        if self.get(handle).is_some() {
            open.insert(handle, Arc::clone(&file));
        }
        Ok(Some(file))
    }
}
