//! The only way from the engine to files.
//!
//! What it is: two traits, [`Io`] (names) and [`IoFile`] (bytes), with three implementations: [`mod@file`] (the operating
//! system), [`memory`] (a file system in memory that knows what a power cut would leave of it) and [`fault`] (any
//! other one, with failures injected).
//! What it guarantees: a call either did what it says or returns an error; nothing is durable until the matching
//! sync returned. What it must not import: any stage. What it costs: one dynamic call per I/O.
//!
//! There is no mmap: a page fault cannot be simulated, and a truncated file would be a signal instead of an error.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;

pub mod fault;
pub mod file;
pub mod memory;
pub mod parents;
pub mod reserve;
mod tear;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing; its content stays.
    ReadWrite,
    /// A new file, for reading and writing; fails with `AlreadyExists` when the name is taken.
    CreateNew,
    /// A block device, for reading, exclusively: fails with `ResourceBusy` when it is mounted or otherwise held
    /// exclusively. A regular file knows no exclusive open; it is opened as with `Read`.
    ReadExclusive,
    /// A block device, for reading and writing, exclusively; a regular file as with `ReadWrite`.
    ReadWriteExclusive,
}

/// What kind of thing a name leads to (symbolic links are followed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// Something else.
    Other,
}

/// What tells a file from another and shows that it was written to. Times are nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The kind of file.
    pub kind: FileKind,
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes; for a block device the device's.
    pub size: u64,
    /// Last modification of the content.
    pub modified_ns: i128,
    /// Last change of the content or the inode.
    pub changed_ns: i128,
}

/// A directory's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name, without its directory.
    pub name: String,
    /// The kind of file.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
}

/// A held lock; dropping it releases the lock.
pub trait LockGuard: Send + Sync {}

/// Names: open, create, rename, remove, list, lock.
pub trait Io: Send + Sync {
    /// Opens a file. Never waits: a FIFO is opened, and then fails to be read. A directory opens for reading only,
    /// to be identified.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn IoFile>>;

    /// What `path` leads to; `None` when there is nothing.
    fn identify(&self, path: &Path) -> Result<Option<Identity>>;

    /// Renames a file; an error with `AlreadyExists` when `to` is taken. Durable after [`Io::sync_directory`] of the
    /// directory (both, if they differ).
    fn rename_new(&self, from: &Path, to: &Path) -> Result<()>;

    /// Renames a file, replacing what `to` named, atomically. Durable as with [`Io::rename_new`]; until then a power
    /// cut leaves the old state or the new one.
    fn rename_replace(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file's name. Open handles keep the content. Durable after [`Io::sync_directory`].
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Makes a directory, an error with `AlreadyExists` when the name is taken. Its name is durable after
    /// [`Io::sync_directory`] of the directory above.
    fn create_directory(&self, path: &Path) -> Result<()>;

    /// Removes an empty directory's name. Durable after [`Io::sync_directory`] of the directory above.
    fn remove_directory(&self, path: &Path) -> Result<()>;

    /// The entries of a directory, sorted by name. Names that are not UTF-8 are left out.
    fn list_directory(&self, path: &Path) -> Result<Vec<DirectoryEntry>>;

    /// Makes names created, renamed or removed in this directory durable; not the files' contents.
    fn sync_directory(&self, path: &Path) -> Result<()>;

    /// Takes the exclusive advisory lock (`flock`) on an existing file that may be written, without waiting; `None`
    /// when another holds it, in this process or not. Ends with the guard or the process.
    fn lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>>;

    /// Bytes that an unprivileged writer could still store on the file system that holds `path`.
    fn available_bytes(&self, path: &Path) -> Result<u64>;

    /// Bytes that the file system that holds `path` could store in all, used ones included.
    fn capacity_bytes(&self, path: &Path) -> Result<u64>;

    /// The name of the network file system that holds `path`; `None` for a local one, and where nobody can tell.
    fn network_file_system(&self, path: &Path) -> Result<Option<String>>;
}

/// Bytes of one open file. Calls may come from several threads.
pub trait IoFile: Send + Sync {
    /// Reads at `offset` until `buffer` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes the content (and the length) durable. The name is durable by [`Io::sync_directory`]. After an error
    /// what was written since the last sync may never become durable, whatever a later sync says.
    fn sync(&self) -> Result<()>;

    /// Asks that what was written in the range starts its way to the disk, without waiting. A hint: never durable.
    fn start_writeback(&self, offset: u64, length: u64) -> Result<()>;

    /// Writes what was written in the range to the disk and waits for that, as far as the file can. Never durable by it: a
    /// disk may have a cache. After an error as after one of [`IoFile::sync`], and a sync through the same file does not tell it
    /// again: whoever else syncs has the file open for itself.
    fn write_back(&self, offset: u64, length: u64) -> Result<()>;

    /// Sets the length of a regular file; what is added reads as zero and is a hole.
    fn set_length(&self, length: u64) -> Result<()>;

    /// Lengthens a regular file to `length` with the space for what is added really taken: what is written there later
    /// needs none. What is added reads as zero. A file that is as long already stays as it is; after an error the
    /// length is as before.
    fn allocate(&self, length: u64) -> Result<()>;

    /// Makes the range read as zero and frees its space where the file or device can; otherwise writes zeros. The
    /// part past the end is left out: the length never changes.
    fn zero_range(&self, offset: u64, length: u64) -> Result<()>;

    /// The next range at or after `offset` that may hold data (`SEEK_DATA`, `SEEK_HOLE`), cut off at the file's end;
    /// `None` when only holes follow. A file that cannot tell is all data.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>>;

    /// What file this is and when it was last written to.
    fn identity(&self) -> Result<Identity>;

    /// Tells the operating system that what was written in the range is not read again soon: of it, its cache need not
    /// hold what has reached the disk already. A hint.
    fn forget(&self, offset: u64, length: u64);

    /// Tells the operating system that the range is about to be written, all of it: it may take the space for it at once,
    /// which costs less than block by block. A hint: the content stays as it is, and a full disk is told by the writing.
    fn expect_write(&self, _offset: u64, _length: u64) {}

    /// Tells the operating system that the file is read from front to back (`true`) or at random (`false`). A hint.
    fn advise_sequential(&self, sequential: bool);
}

/// Fills `buffer` from `offset`.
///
/// # Errors
/// What reading gives, or `None` inside `Ok` when the file ends before the buffer is full.
pub fn read_exact_at(file: &dyn IoFile, buffer: &mut [u8], offset: u64) -> Result<Option<()>> {
    let length = file.read_at(buffer, offset)?;
    Ok((length == buffer.len()).then_some(()))
}

/// Reads a whole file that is at most `bytes_max` long; `None` when it is longer.
///
/// # Errors
/// What opening and reading give.
pub fn read_whole(io: &dyn Io, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let file = io.open(path, OpenMode::Read)?;
    let size = file.identity()?.size;
    if size > bytes_max {
        return Ok(None);
    }
    let mut bytes = vec![0u8; crate::units::usize_from(size)];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(Some(bytes))
}
