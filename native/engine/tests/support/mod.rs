//! A temporary directory and short ways to write a file and make it durable.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stillpoint_engine::io::{Io, IoFile, OpenMode};

/// A directory of the operating system that goes when the test ends.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("stillpoint-io-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).unwrap();
    }
}

/// A new file with these bytes; nothing is synced.
pub(crate) fn create(io: &dyn Io, path: impl AsRef<Path>, bytes: &[u8]) -> Arc<dyn IoFile> {
    let file = io.open(path.as_ref(), OpenMode::CreateNew).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

/// All bytes of a file.
pub(crate) fn read(io: &dyn Io, path: impl AsRef<Path>) -> Vec<u8> {
    let file = io.open(path.as_ref(), OpenMode::Read).unwrap();
    read_all(&*file)
}

/// All bytes of an open file.
pub(crate) fn read_all(file: &dyn IoFile) -> Vec<u8> {
    let mut bytes = vec![0xaa; usize::try_from(file.identity().unwrap().size).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}
