//! A file system in memory that knows what a power cut would leave of it.
//!
//! What it is: [`MemoryIo`], an [`Io`] for simulations and property tests. Every file has a durable content and an
//! ordered list of changes that no sync has covered, every directory the same for its names. [`MemoryIo::crash`]
//! gives the file system after a crash as a new, independent one.
//! What it guarantees: the same calls, the same times and the same seed give the same bytes; it never reads a clock.
//! What it costs: a write copies its bytes twice; a snapshot copies page tables, not pages; a sync copies nothing,
//! and the first write after it one page table. What it must not import: any stage.
//!
//! Differences from Linux: no hard or symbolic links, no permissions, directories are renamed only within their
//! parent and their times stand still, relative paths start at `/`, only pages of 4096 bytes cost space.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use xxhash_rust::xxh64::Xxh64;

use crate::error::{Error, Result};
use crate::io::{DirectoryEntry, FileKind, Identity, Io, IoFile, LockGuard, OpenMode};
use content::Content;
use handle::{MemoryFile, MemoryLock, whole_content};
use state::{Outcome, State};

mod content;
mod crash;
mod handle;
mod names;
mod node;
mod state;

pub use crash::CrashChoice;

struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system in memory. Clones are handles to the same one.
#[derive(Clone)]
pub struct MemoryIo {
    shared: Arc<Shared>,
}

impl Default for MemoryIo {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryIo {
    /// An empty file system of unlimited capacity at time 0.
    #[must_use]
    pub fn new() -> Self {
        Self::from_state(State::new())
    }

    /// Sets the time that later changes are marked with, in nanoseconds since 1970-01-01 UTC.
    pub fn set_time_ns(&self, now_ns: i128) {
        self.shared.state().now_ns = now_ns;
    }

    /// Limits what all regular files together may occupy, in whole pages of 4096 bytes; `None` lifts the limit.
    /// A write that does not fit leaves the pages that did, and fails with `NO_SPACE`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state().capacity_bytes = bytes;
    }

    /// Says of itself that it is this network file system; `None`: a local one.
    pub fn set_network(&self, name: Option<&'static str>) {
        self.shared.state().network = name;
    }

    /// Puts a file, durable in name and content, with the directories above it. What had the name is replaced.
    ///
    /// # Errors
    /// `IO_FAILED` when a directory above is a file.
    pub fn install_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let content = Content::from_bytes(bytes);
        self.run("install", path.as_ref(), |state| state.install(path.as_ref(), FileKind::Regular, content))
    }

    /// Puts a block device of `bytes.len()` bytes, like [`MemoryIo::install_file`].
    ///
    /// # Errors
    /// As [`MemoryIo::install_file`].
    pub fn install_device(&self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let content = Content::from_bytes(bytes);
        self.run("install", path.as_ref(), |state| state.install(path.as_ref(), FileKind::BlockDevice, content))
    }

    /// The whole content of a file or device as a reader sees it; `None` when there is no such file.
    #[must_use]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.shared.state();
        let inode = state.resolve(path.as_ref()).ok()?;
        whole_content(&state, inode).ok()
    }

    /// The paths of all files and devices, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.shared.state();
        let is_file = |inode: &u64| state.node(*inode).is_ok_and(|node| node.kind != FileKind::Directory);
        state.walk().into_iter().filter(|(_, inode)| is_file(inode)).map(|(path, _)| path).collect()
    }

    /// Bit rot: inverts one bit of what is stored, without a trace in the file's times.
    ///
    /// # Errors
    /// `IO_FAILED` when there is no such file or byte.
    ///
    /// # Panics
    /// When `bit` is not below 8.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u8) -> Result<()> {
        assert!(bit < 8, "a byte has bits 0 to 7");
        self.rot(path.as_ref(), offset, 1, |stored| stored.iter_mut().for_each(|byte| *byte ^= 1 << bit))
    }

    /// Damage: replaces what is stored at `offset`, without a trace in the file's times.
    ///
    /// # Errors
    /// `IO_FAILED` when there is no such file or it ends before the last byte.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> Result<()> {
        self.rot(path.as_ref(), offset, bytes.len(), |stored| stored.copy_from_slice(bytes))
    }

    /// The file system after a crash. This one stays as it is: several crash states can be taken from one moment.
    #[must_use]
    pub fn crash(&self, choice: CrashChoice) -> Self {
        Self::from_state(crash::crashed(&self.shared.state(), choice))
    }

    /// How many changes of bytes and of names no sync has covered; with 0 every power cut leaves the same state.
    #[must_use]
    pub fn unsynced_count(&self) -> usize {
        let state = self.shared.state();
        state.tree.unsynced.len() + state.nodes.values().map(|node| node.unsynced.len()).sum::<usize>()
    }

    /// A digest of all names, kinds, lengths and bytes that can be seen. Two states with one digest are the same
    /// state; times, holes and what is durable do not count.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let state = self.shared.state();
        let mut hash = Xxh64::new(0);
        for (path, inode) in state.walk() {
            let Ok(node) = state.node(inode) else { continue };
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(&[0, node.kind as u8]);
            hash.update(&node.visible.length().to_le_bytes());
            for (index, page) in node.visible.pages().filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
                hash.update(&index.to_le_bytes());
                hash.update(page);
            }
        }
        hash.digest()
    }

    /// Makes the file's unsynced changes what a failed sync makes of them on Linux: still read, never written, not
    /// even by a later sync that succeeds. `inode` is that of [`Identity`]. A power cut before that later sync may
    /// still have kept any of them.
    pub fn abandon_unsynced(&self, inode: u64) {
        if let Ok(node) = self.shared.state().node_mut(inode) {
            node.abandon_unsynced();
        }
    }

    fn from_state(state: State) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    fn run<T>(&self, action: &'static str, path: &Path, call: impl FnOnce(&mut State) -> Outcome<T>) -> Result<T> {
        call(&mut self.shared.state()).map_err(|errno| Error::from_io(errno.into(), action, path))
    }

    fn rot(&self, path: &Path, offset: u64, length: usize, change: impl Fn(&mut [u8])) -> Result<()> {
        self.run("corrupt", path, |state| {
            let inode = state.resolve(path)?;
            let node = state.node_mut(inode)?;
            let mut stored = vec![0u8; length];
            if node.visible.read(&mut stored, offset) < length {
                return Err(Errno::NXIO);
            }
            for content in [&mut node.visible, &mut node.durable] {
                let count = content.read(&mut stored, offset);
                change(&mut stored);
                Arc::make_mut(content).write(&stored[..count], offset, u64::MAX);
            }
            Ok(())
        })
    }
}

impl Io for MemoryIo {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn IoFile>> {
        let inode = self.run("open", path, |state| state.open(path, mode))?;
        Ok(Arc::new(MemoryFile::new(Arc::clone(&self.shared), inode, path.to_owned(), mode)))
    }

    fn identify(&self, path: &Path) -> Result<Option<Identity>> {
        self.run("look at", path, |state| match state.resolve(path) {
            Ok(inode) => state.identity(inode).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        self.run("rename", from, |state| state.rename(from, to, false)).map_err(|error| error.with("to", to))
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> Result<()> {
        self.run("rename", from, |state| state.rename(from, to, true)).map_err(|error| error.with("to", to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.run("remove", path, |state| state.remove_file(path))
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        self.run("make the directory", path, |state| state.create(path, FileKind::Directory).map(drop))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.run("remove the directory", path, |state| state.remove_directory(path))
    }

    fn list_directory(&self, path: &Path) -> Result<Vec<DirectoryEntry>> {
        self.run("list", path, |state| state.list(path))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.run("sync the directory", path, |state| state.sync_directory(path))
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        let inode = self.run("lock", path, |state| state.lock(path))?;
        Ok(inode.map(|inode| Box::new(MemoryLock::new(Arc::clone(&self.shared), inode)) as Box<dyn LockGuard>))
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.run("ask for space at", path, |state| state.resolve(path).map(|_| state.available_bytes()))
    }

    fn capacity_bytes(&self, path: &Path) -> Result<u64> {
        self.run("ask for the size at", path, |state| state.resolve(path).map(|_| state.capacity_bytes()))
    }

    fn network_file_system(&self, path: &Path) -> Result<Option<String>> {
        self.run("ask for the file system at", path, |state| {
            state.resolve(path).map(|_| state.network.map(str::to_owned))
        })
    }
}
