//! Operating errors as values: a code, a kind that says what the caller should do, context as data, a cause.
//!
//! The table of codes here is the single source; `src/store/errors.ts` repeats it for the type checker and
//! `test/boundary/parity.test.ts` compares the two. Programmer errors are assertions, never an [`Error`].

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Try the same call again, perhaps later.
    Retry,
    /// The call itself is wrong; change it.
    FixCall,
    /// Data at rest is damaged or missing; repair or replace it.
    FixData,
    /// The handle is of no further use; open the store again.
    Reopen,
    /// Nothing the caller can do; report it.
    Report,
}

impl Kind {
    /// The kind as the library and the command line print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::FixCall => "fix-call",
            Self::FixData => "fix-data",
            Self::Reopen => "reopen",
            Self::Report => "report",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident;)+) => {
        /// Stable name of what went wrong. Codes are part of the API, message texts are not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// Every code the engine can give.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The code as it crosses the boundary.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// What the caller should do.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind,)+ }
            }
        }
    };
}

codes! {
    /// An argument is outside its range.
    ArgumentInvalid = "ARGUMENT_INVALID", FixCall;
    /// The call was cancelled by its caller.
    Cancelled = "CANCELLED", Retry;
    /// A chunk's frame fails its checksum, does not decode, or has another id.
    ChunkDamaged = "CHUNK_DAMAGED", FixData;
    /// A block map names a chunk that no pack holds.
    ChunkMissing = "CHUNK_MISSING", FixData;
    /// NBD clients may write the disk.
    DiskExported = "DISK_EXPORTED", Retry;
    /// No such disk is attached.
    DiskNotFound = "DISK_NOT_FOUND", FixCall;
    /// Write logs cannot be kept on this file system.
    FileSystemUnsupported = "FILE_SYSTEM_UNSUPPORTED", FixCall;
    /// A file of the chunk index is damaged; the packs' trailers are used instead.
    IndexDamaged = "INDEX_DAMAGED", FixData;
    /// The device or file system failed a call.
    IoFailed = "IO_FAILED", Report;
    /// A defect of Stillpoint itself.
    Internal = "INTERNAL", Report;
    /// A log has as many layers as it may, and none can be merged.
    LayersFull = "LAYERS_FULL", Retry;
    /// A write log is damaged below what it says is durable.
    LogDamaged = "LOG_DAMAGED", FixData;
    /// A write or sync of a write log failed earlier; nothing more is written to it.
    LogFenced = "LOG_FENCED", Reopen;
    /// A write log could not be opened; it can be tried again.
    LogUnavailable = "LOG_UNAVAILABLE", Retry;
    /// A manifest fails its checksum or contradicts itself.
    ManifestDamaged = "MANIFEST_DAMAGED", FixData;
    /// The write log holds nothing of a moment: it lies outside the window, or above the log's end.
    MomentNotKept = "MOMENT_NOT_KEPT", FixCall;
    /// A file system is full.
    NoSpace = "NO_SPACE", Retry;
    /// A block map node is damaged.
    NodeDamaged = "NODE_DAMAGED", FixData;
    /// A block map names a node that no pack holds.
    NodeMissing = "NODE_MISSING", FixData;
    /// The operating system denied access.
    PermissionDenied = "PERMISSION_DENIED", FixCall;
    /// No restore point has this id.
    PointNotFound = "POINT_NOT_FOUND", FixCall;
    /// A source was written to while it was scanned.
    SourceChanged = "SOURCE_CHANGED", Retry;
    /// A source is neither a regular file nor a block device.
    SourceNotADisk = "SOURCE_NOT_A_DISK", FixCall;
    /// A block device could not be opened exclusively and was not declared frozen.
    SourceNotExclusive = "SOURCE_NOT_EXCLUSIVE", FixCall;
    /// A source does not exist.
    SourceNotFound = "SOURCE_NOT_FOUND", FixCall;
    /// A source was written to within 20 ms of the start.
    SourceNotStill = "SOURCE_NOT_STILL", Retry;
    /// A source's length is zero or not a whole number of sectors.
    SourceSizeInvalid = "SOURCE_SIZE_INVALID", FixCall;
    /// The store is being collected, or something else holds what the call needs.
    StoreBusy = "STORE_BUSY", Retry;
    /// The store's config or another vital file is damaged.
    StoreDamaged = "STORE_DAMAGED", FixData;
    /// A store, or something else, is already there.
    StoreExists = "STORE_EXISTS", FixCall;
    /// A write or sync failed earlier; nothing more is written through this handle.
    StoreFenced = "STORE_FENCED", Reopen;
    /// Another process holds the store for writing.
    StoreLocked = "STORE_LOCKED", Retry;
    /// The store was written by a newer version.
    StoreNewerFormat = "STORE_NEWER_FORMAT", FixCall;
    /// There is no store at this path.
    StoreNotFound = "STORE_NOT_FOUND", FixCall;
    /// The store is open for reading only.
    StoreReadOnly = "STORE_READ_ONLY", FixCall;
    /// The target exists and overwriting was not asked for.
    TargetExists = "TARGET_EXISTS", FixCall;
    /// The target cannot take a disk: a directory, or its folder is missing.
    TargetInvalid = "TARGET_INVALID", FixCall;
    /// The target is smaller than the disk.
    TargetTooSmall = "TARGET_TOO_SMALL", FixCall;
}

/// One value of an error's context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A path, a name, an id.
    Text(String),
    /// Bytes, offsets, counts.
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&Path> for Value {
    fn from(path: &Path) -> Self {
        Self::Text(path.display().to_string())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// An operating error.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    code: Code,
    message: String,
    context: Vec<(&'static str, Value)>,
    cause: Option<std::io::Error>,
    failed_sync: FailedSync,
}

/// Whether a failed call was a sync, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailedSync {
    No,
    File,
    Directory,
}

/// What the engine's calls return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error. `message` says what failed, on what, expected and found.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (context, cause, failed_sync) = (Vec::new(), None, FailedSync::No);
        Self { inner: Box::new(Inner { code, message: message.into(), context, cause, failed_sync }) }
    }

    /// Turns a failed system call on `path` into the code that fits its errno.
    #[must_use]
    pub fn from_io(cause: std::io::Error, action: &'static str, path: &Path) -> Self {
        let code = match cause.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::PermissionDenied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Code::NoSpace,
            _ => Code::IoFailed,
        };
        let mut error = Self::new(code, format!("cannot {action} {}: {cause}", path.display())).with("path", path);
        error.inner.cause = Some(cause);
        error
    }

    /// As [`Error::from_io`], for a sync of a file: whatever its errno, what was written before may never become durable.
    #[must_use]
    pub fn from_failed_sync(cause: std::io::Error, action: &'static str, path: &Path) -> Self {
        let mut error = Self::from_io(cause, action, path);
        error.inner.failed_sync = FailedSync::File;
        error
    }

    /// As [`Error::from_failed_sync`], for a directory: which of its names are durable is not known.
    #[must_use]
    pub fn from_failed_directory_sync(cause: std::io::Error, action: &'static str, path: &Path) -> Self {
        let mut error = Self::from_io(cause, action, path);
        error.inner.failed_sync = FailedSync::Directory;
        error
    }

    /// Adds a piece of context.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.inner.context.push((key, value.into()));
        self
    }

    /// Gives the error another code, where the caller knows better what the failure means.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.inner.code = code;
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.code.kind()
    }

    /// What failed, on what, expected and found.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Paths, ids, offsets.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, Value)] {
        &self.inner.context
    }

    /// The system call's error, if one failed.
    #[must_use]
    pub fn cause(&self) -> Option<&std::io::Error> {
        self.inner.cause.as_ref()
    }

    /// Whether a sync failed. A full disk (`NO_SPACE`) can show as late as that.
    #[must_use]
    pub fn is_failed_sync(&self) -> bool {
        self.inner.failed_sync != FailedSync::No
    }

    /// Whether nobody can tell what the disk holds now: the device failed, or a sync did. A file system that is full when a
    /// *file* is synced is not among it: every file of a store is synced under a temporary name that nothing leads to, and
    /// is removed when that fails.
    #[must_use]
    pub fn leaves_unknown(&self) -> bool {
        match self.inner.failed_sync {
            FailedSync::No => self.code() == Code::IoFailed,
            FailedSync::File => self.code() != Code::NoSpace,
            FailedSync::Directory => true,
        }
    }

    /// Whether the system call said that the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.cause().is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
    }

    /// Whether the system call said that the path leads through something that is no directory.
    #[must_use]
    pub fn is_not_a_directory(&self) -> bool {
        self.cause().is_some_and(|cause| cause.kind() == ErrorKind::NotADirectory)
    }

    /// Whether the system call said that the file exists already.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.cause().is_some_and(|cause| cause.kind() == ErrorKind::AlreadyExists)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code().name(), self.message())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.cause.as_ref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}
