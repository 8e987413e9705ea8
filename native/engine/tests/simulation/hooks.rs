//! Any other `Io` with something done before each call: another party that cancels, writes to a source, or panics.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use stillpoint_engine::error::Result;
use stillpoint_engine::io::{DirectoryEntry, Identity, Io, IoFile, LockGuard, OpenMode};

type Hook = Arc<dyn Fn(u64, &Path) + Send + Sync>;

struct Shared {
    inner: Arc<dyn Io>,
    calls: AtomicU64,
    hook: Mutex<Option<Hook>>,
}

/// Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct HookIo {
    shared: Arc<Shared>,
}

struct HookFile {
    shared: Arc<Shared>,
    inner: Arc<dyn IoFile>,
    path: PathBuf,
}

impl Shared {
    fn meet(&self, path: &Path) {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(call, path);
        }
    }
}

impl HookIo {
    pub(crate) fn new(inner: Arc<dyn Io>) -> Self {
        Self { shared: Arc::new(Shared { inner, calls: AtomicU64::new(0), hook: Mutex::new(None) }) }
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// From now on `hook` is given each call's number and path before the call is made.
    pub(crate) fn hook(&self, hook: impl Fn(u64, &Path) + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    fn meet(&self, path: &Path) -> &dyn Io {
        self.shared.meet(path);
        &*self.shared.inner
    }
}

impl HookFile {
    fn meet(&self) -> &dyn IoFile {
        self.shared.meet(&self.path);
        &*self.inner
    }
}

impl Io for HookIo {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn IoFile>> {
        let inner = self.meet(path).open(path, mode)?;
        Ok(Arc::new(HookFile { shared: Arc::clone(&self.shared), inner, path: path.to_owned() }))
    }

    fn identify(&self, path: &Path) -> Result<Option<Identity>> {
        self.meet(path).identify(path)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        self.meet(from).rename_new(from, to)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> Result<()> {
        self.meet(from).rename_replace(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.meet(path).remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        self.meet(path).create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.meet(path).remove_directory(path)
    }

    fn list_directory(&self, path: &Path) -> Result<Vec<DirectoryEntry>> {
        self.meet(path).list_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.meet(path).sync_directory(path)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        self.meet(path).lock(path)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.meet(path).available_bytes(path)
    }

    fn capacity_bytes(&self, path: &Path) -> Result<u64> {
        self.meet(path).capacity_bytes(path)
    }

    fn network_file_system(&self, path: &Path) -> Result<Option<String>> {
        self.meet(path).network_file_system(path)
    }
}

impl IoFile for HookFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.meet().read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.meet().write_at(bytes, offset)
    }

    fn sync(&self) -> Result<()> {
        self.meet().sync()
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<()> {
        self.meet().start_writeback(offset, length)
    }

    fn write_back(&self, offset: u64, length: u64) -> Result<()> {
        self.meet().write_back(offset, length)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.meet().set_length(length)
    }

    fn allocate(&self, length: u64) -> Result<()> {
        self.meet().allocate(length)
    }

    fn zero_range(&self, offset: u64, length: u64) -> Result<()> {
        self.meet().zero_range(offset, length)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        self.meet().next_data(offset)
    }

    fn identity(&self) -> Result<Identity> {
        self.meet().identity()
    }

    fn forget(&self, offset: u64, length: u64) {
        self.inner.forget(offset, length);
    }

    fn advise_sequential(&self, sequential: bool) {
        self.inner.advise_sequential(sequential);
    }
}
