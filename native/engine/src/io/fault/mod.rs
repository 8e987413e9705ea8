//! Any other [`Io`], with failures injected by plan.
//!
//! What it is: [`FaultIo`] counts and logs every call and fails those that its [`FaultPlan`] names. Running the same
//! thing with a fault at call 0, 1, 2, ... until one run meets none visits every place where an I/O can fail.
//! What it guarantees: the same plan over the same calls strikes the same ones; without faults it changes nothing.
//! What it must not import: any stage. What it costs: one lock and one log entry per call.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::io::memory::MemoryIo;
use crate::io::{DirectoryEntry, Identity, Io, IoFile, LockGuard, OpenMode};
use fault_file::FaultFile;
use log::{Run, Verdict};

mod fault_file;
mod log;
mod plan;

pub use log::{Call, Detail, Struck, Verb};
pub use plan::{Counts, Failure, Fault, FaultPlan, Lasting};

/// The cause of every error after a [`Fault::Crash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SimulatedCrash;

impl fmt::Display for SimulatedCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated crash")
    }
}

impl std::error::Error for SimulatedCrash {}

/// Whether an error says that the process is to be taken for dead.
#[must_use]
pub fn is_simulated_crash(error: &Error) -> bool {
    error.cause().and_then(std::io::Error::get_ref).is_some_and(|cause| cause.is::<SimulatedCrash>())
}

struct Shared {
    inner: Arc<dyn Io>,
    /// The same as `inner`, where it is one that can give up what a failed sync left.
    memory: Option<MemoryIo>,
    run: Mutex<Run>,
}

impl Shared {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, verb: Verb, path: &Arc<Path>, detail: Detail) -> Verdict {
        self.run().next(verb, Arc::clone(path), detail)
    }

    /// For calls that a fault can only fail.
    fn admit(&self, verb: Verb, path: &Arc<Path>, detail: Detail) -> Result<()> {
        match self.next(verb, path, detail) {
            Verdict::Pass | Verdict::FlipBit { .. } => Ok(()),
            Verdict::Fail { index, failure } => Err(failed(verb, path, index, failure)),
            Verdict::Crash { .. } => Err(crashed(verb, path)),
        }
    }
}

fn failed(verb: Verb, path: &Path, index: u64, failure: Failure) -> Error {
    let error = match verb {
        Verb::Sync => Error::from_failed_sync(failure.errno().into(), verb.name(), path),
        Verb::SyncDirectory => Error::from_failed_directory_sync(failure.errno().into(), verb.name(), path),
        _ => Error::from_io(failure.errno().into(), verb.name(), path),
    };
    error.with("injectedAtCall", index)
}

fn crashed(verb: Verb, path: &Path) -> Error {
    Error::from_io(std::io::Error::other(SimulatedCrash), verb.name(), path)
}

/// Another [`Io`] with failures injected. Clones are handles to the same run.
#[derive(Clone)]
pub struct FaultIo {
    shared: Arc<Shared>,
}

impl FaultIo {
    /// Failures over any `Io`. What a failed sync leaves is up to `inner`, which never learns of that sync.
    #[must_use]
    pub fn new(inner: Arc<dyn Io>, plan: FaultPlan) -> Self {
        Self::make(inner, None, plan)
    }

    /// Failures over a file system in memory: the unsynced changes of a file whose sync failed never become durable
    /// ([`MemoryIo::abandon_unsynced`]).
    #[must_use]
    pub fn over_memory(memory: &MemoryIo, plan: FaultPlan) -> Self {
        Self::make(Arc::new(memory.clone()), Some(memory.clone()), plan)
    }

    /// How many calls were made so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.run().counts
    }

    /// Whether the run met its [`Fault::Crash`].
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.shared.run().crashed
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.run().calls.clone()
    }

    /// The plan and the calls so far, one a line, to be printed beside a failing seed.
    #[must_use]
    pub fn log(&self) -> String {
        let run = self.shared.run();
        let mut text = format!("{:?}\n", run.plan);
        for call in &run.calls {
            text.push_str(&call.to_string());
            text.push('\n');
        }
        text
    }

    fn make(inner: Arc<dyn Io>, memory: Option<MemoryIo>, plan: FaultPlan) -> Self {
        let run = Mutex::new(Run { plan, ..Run::default() });
        Self { shared: Arc::new(Shared { inner, memory, run }) }
    }

    fn admit(&self, verb: Verb, path: &Path, detail: Detail) -> Result<&dyn Io> {
        self.shared.admit(verb, &Arc::from(path), detail)?;
        Ok(&*self.shared.inner)
    }
}

impl Io for FaultIo {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn IoFile>> {
        let inner = self.admit(Verb::Open, path, Detail::Mode(mode))?.open(path, mode)?;
        Ok(Arc::new(FaultFile::new(Arc::clone(&self.shared), inner, Arc::from(path))))
    }

    fn identify(&self, path: &Path) -> Result<Option<Identity>> {
        self.admit(Verb::Identify, path, Detail::None)?.identify(path)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        self.admit(Verb::RenameNew, from, Detail::To(to.to_owned()))?.rename_new(from, to)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> Result<()> {
        self.admit(Verb::RenameReplace, from, Detail::To(to.to_owned()))?.rename_replace(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.admit(Verb::RemoveFile, path, Detail::None)?.remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        self.admit(Verb::CreateDirectory, path, Detail::None)?.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.admit(Verb::RemoveDirectory, path, Detail::None)?.remove_directory(path)
    }

    fn list_directory(&self, path: &Path) -> Result<Vec<DirectoryEntry>> {
        self.admit(Verb::ListDirectory, path, Detail::None)?.list_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.admit(Verb::SyncDirectory, path, Detail::None)?.sync_directory(path)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        self.admit(Verb::Lock, path, Detail::None)?.lock(path)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.admit(Verb::AvailableBytes, path, Detail::None)?.available_bytes(path)
    }

    fn capacity_bytes(&self, path: &Path) -> Result<u64> {
        self.admit(Verb::CapacityBytes, path, Detail::None)?.capacity_bytes(path)
    }

    fn network_file_system(&self, path: &Path) -> Result<Option<String>> {
        self.admit(Verb::NetworkFileSystem, path, Detail::None)?.network_file_system(path)
    }
}
