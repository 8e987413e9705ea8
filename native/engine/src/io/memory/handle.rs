//! An open file, and a held lock, of a [`MemoryIo`](super::MemoryIo).

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::Shared;
use super::state::{Outcome, State};
use crate::error::{Error, Result};
use crate::io::{FileKind, Identity, IoFile, LockGuard, OpenMode};
use crate::units::{u64_from, usize_from};

pub(super) struct MemoryFile {
    shared: Arc<Shared>,
    inode: u64,
    path: PathBuf,
    mode: OpenMode,
}

impl MemoryFile {
    /// Takes over the holder that [`State::open`] counted.
    pub(super) fn new(shared: Arc<Shared>, inode: u64, path: PathBuf, mode: OpenMode) -> Self {
        Self { shared, inode, path, mode }
    }

    fn run<T>(&self, action: &'static str, call: impl FnOnce(&mut State) -> Outcome<T>) -> Result<T> {
        call(&mut self.shared.state()).map_err(|errno| Error::from_io(errno.into(), action, &self.path))
    }

    fn run_writing<T>(&self, action: &'static str, call: impl FnOnce(&mut State) -> Outcome<T>) -> Result<T> {
        let read_only = matches!(self.mode, OpenMode::Read | OpenMode::ReadExclusive);
        self.run(action, |state| if read_only { Err(Errno::BADF) } else { call(state) })
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if matches!(self.mode, OpenMode::ReadExclusive | OpenMode::ReadWriteExclusive)
            && let Ok(node) = state.node_mut(self.inode)
        {
            node.held_exclusively = false;
        }
        state.release(self.inode);
    }
}

impl IoFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.run("read", |state| {
            let node = state.node(self.inode)?;
            if node.kind == FileKind::Directory {
                return Err(Errno::ISDIR);
            }
            Ok(node.visible.read(buffer, offset))
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.run_writing("write", |state| state.write(self.inode, bytes, offset))
    }

    fn sync(&self) -> Result<()> {
        self.run("sync", |state| {
            state.node_mut(self.inode)?.sync();
            Ok(())
        })
    }

    fn start_writeback(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn write_back(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.run_writing("set the length of", |state| state.set_length(self.inode, length))
    }

    fn allocate(&self, length: u64) -> Result<()> {
        self.run_writing("take space for", |state| state.allocate(self.inode, length))
    }

    fn zero_range(&self, offset: u64, length: u64) -> Result<()> {
        self.run_writing("zero a range of", |state| state.zero(self.inode, offset, length))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        self.run("look for data in", |state| {
            let node = state.node(self.inode)?;
            if node.kind == FileKind::BlockDevice {
                let size = node.visible.length();
                return Ok((offset < size).then_some(offset..size));
            }
            Ok(node.visible.next_data(offset))
        })
    }

    fn identity(&self) -> Result<Identity> {
        self.run("look at", |state| state.identity(self.inode))
    }

    fn forget(&self, _offset: u64, _length: u64) {}

    fn advise_sequential(&self, _sequential: bool) {}
}

pub(super) struct MemoryLock {
    shared: Arc<Shared>,
    inode: u64,
}

impl MemoryLock {
    /// Takes over the lock that [`State::lock`] took.
    pub(super) fn new(shared: Arc<Shared>, inode: u64) -> Self {
        Self { shared, inode }
    }
}

impl LockGuard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Ok(node) = state.node_mut(self.inode) {
            node.locked = false;
        }
        state.release(self.inode);
    }
}

/// The whole content, for tests.
pub(super) fn whole_content(state: &State, inode: u64) -> Outcome<Vec<u8>> {
    let node = state.node(inode)?;
    if node.kind == FileKind::Directory {
        return Err(Errno::ISDIR);
    }
    let mut bytes = vec![0u8; usize_from(node.visible.length())];
    let count = node.visible.read(&mut bytes, 0);
    assert_eq!(u64_from(count), node.visible.length(), "a content reads to its length");
    Ok(bytes)
}
