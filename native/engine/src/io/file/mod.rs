//! The operating system's files: names.
//!
//! What it is: [`FileIo`], the [`Io`] of production. Linux; system calls through `rustix` and the standard library.
//! What it guarantees: interrupted calls are repeated, every descriptor is close-on-exec, opening never waits (a FIFO
//! is opened and then fails to be read). What it must not import: any stage. This folder is the one place where
//! `std::fs` may be used.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, Result};
use crate::io::{DirectoryEntry, FileKind, Identity, Io, IoFile, LockGuard, OpenMode};
use open_file::OpenFile;

mod identity;
mod network;
mod open_file;
mod writeback;

/// Files made here are their owner's alone: they are disk images, or hold keys.
const FILE_MODE: u32 = 0o600;

/// Directories made here likewise.
const DIRECTORY_MODE: u32 = 0o700;

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileIo;

impl Io for FileIo {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn IoFile>> {
        let file = open(path, mode).map_err(|cause| Error::from_io(cause, "open", path))?;
        let kind = identity::of_file(&file).map_err(|cause| Error::from_io(cause, "look at", path))?.kind;
        Ok(Arc::new(OpenFile::new(file, kind, path.to_owned())))
    }

    fn identify(&self, path: &Path) -> Result<Option<Identity>> {
        identity::of_path(path).map_err(|cause| Error::from_io(cause, "look at", path))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system does not know the flag (NFS, old FUSE), or the kernel not the call.
            Err(Errno::INVAL | Errno::NOSYS) => link_and_unlink(from, to),
            renamed => renamed,
        };
        renamed.map_err(|errno| Error::from_io(errno.into(), "rename", from).with("to", to))
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to).map_err(|cause| Error::from_io(cause, "rename", from).with("to", to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path).map_err(|cause| Error::from_io(cause, "remove", path))
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        let made = std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path);
        made.map_err(|cause| Error::from_io(cause, "make the directory", path))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        std::fs::remove_dir(path).map_err(|cause| Error::from_io(cause, "remove the directory", path))
    }

    fn list_directory(&self, path: &Path) -> Result<Vec<DirectoryEntry>> {
        list_directory(path).map_err(|cause| Error::from_io(cause, "list", path))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        open_flags(OpenOptions::new().read(true), OFlags::DIRECTORY)
            .open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| Error::from_failed_directory_sync(cause, "sync the directory", path))
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        // Opened for writing too: over NFS an exclusive flock needs that.
        let file = open(path, OpenMode::ReadWrite).map_err(|cause| Error::from_io(cause, "open", path))?;
        match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Some(Box::new(Lock { _file: file }))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(Error::from_io(errno.into(), "lock", path)),
        }
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        let space = retry_on_intr(|| rustix::fs::statvfs(path))
            .map_err(|errno| Error::from_io(errno.into(), "ask for space at", path))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn capacity_bytes(&self, path: &Path) -> Result<u64> {
        let space = retry_on_intr(|| rustix::fs::statvfs(path))
            .map_err(|errno| Error::from_io(errno.into(), "ask for the size of the file system at", path))?;
        Ok(space.f_blocks.saturating_mul(space.f_frsize))
    }

    fn network_file_system(&self, path: &Path) -> Result<Option<String>> {
        network::of_path(path).map_err(|cause| Error::from_io(cause, "ask for the file system at", path))
    }
}

/// The lock belongs to the open file description, which nobody else has: closing it is enough.
struct Lock {
    _file: File,
}

impl LockGuard for Lock {}

fn open(path: &Path, mode: OpenMode) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(!matches!(mode, OpenMode::Read | OpenMode::ReadExclusive));
    options.create_new(mode == OpenMode::CreateNew).mode(FILE_MODE);
    let exclusive = matches!(mode, OpenMode::ReadExclusive | OpenMode::ReadWriteExclusive);
    // O_EXCL without O_CREAT claims a block device; on a regular file Linux ignores it (open(2)).
    open_flags(&mut options, if exclusive { OFlags::EXCL } else { OFlags::empty() }).open(path)
}

/// O_NONBLOCK keeps the open of a FIFO or a tape from waiting; regular files and block devices ignore it.
fn open_flags(options: &mut OpenOptions, flags: OFlags) -> &mut OpenOptions {
    options.custom_flags((flags | OFlags::NONBLOCK).bits().cast_signed())
}

/// Fails with `EEXIST` when `to` is taken, like the real one. If the unlink fails, both names are left: the file is
/// under its new name, and an unfinished name is what every reader of the store passes over.
fn link_and_unlink(from: &Path, to: &Path) -> rustix::io::Result<()> {
    rustix::fs::link(from, to)?;
    rustix::fs::unlink(from)
}

fn list_directory(path: &Path) -> std::io::Result<Vec<DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let listed = match std::fs::metadata(entry.path()) {
            Ok(metadata) => {
                DirectoryEntry { name, kind: identity::kind_of(metadata.file_type()), size: metadata.len() }
            }
            // Removed since, or a symbolic link that leads nowhere.
            Err(error) if error.kind() == ErrorKind::NotFound => match entry.path().symlink_metadata() {
                Ok(_) => DirectoryEntry { name, kind: FileKind::Other, size: 0 },
                Err(_) => continue,
            },
            Err(error) => return Err(error),
        };
        entries.push(listed);
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_of_rename_new_moves_the_name_and_refuses_a_taken_one() {
        let folder = std::env::temp_dir().join(format!("stillpoint-rename-{}", std::process::id()));
        let io = FileIo;
        io.create_directory(&folder).unwrap();
        let (one, other) = (folder.join("one"), folder.join("other"));
        io.open(&one, OpenMode::CreateNew).unwrap();
        link_and_unlink(&one, &other).unwrap();
        assert_eq!(io.identify(&one).unwrap(), None);
        io.open(&one, OpenMode::CreateNew).unwrap();
        assert_eq!(link_and_unlink(&one, &other), Err(Errno::EXIST));
        assert!(io.identify(&one).unwrap().is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
