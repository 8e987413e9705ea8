//! What a path or an open file is.

use std::fs::{File, FileType, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::SeekFrom;

use super::open;
use crate::io::{FileKind, Identity, OpenMode};

/// `None` when nothing is there.
pub(super) fn of_path(path: &Path) -> std::io::Result<Option<Identity>> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    if kind_of(metadata.file_type()) != FileKind::BlockDevice {
        return Ok(Some(from_metadata(&metadata)));
    }
    // stat(2) gives a device the length 0; only an open one tells its size.
    of_file(&open(path, OpenMode::Read)?).map(Some)
}

pub(super) fn of_file(file: &File) -> std::io::Result<Identity> {
    let mut identity = from_metadata(&file.metadata()?);
    if identity.kind == FileKind::BlockDevice {
        // The position that this moves is not used: reads and writes name theirs.
        identity.size = rustix::fs::seek(file, SeekFrom::End(0))?;
    }
    Ok(identity)
}

pub(super) fn kind_of(file_type: FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::Regular
    } else if file_type.is_dir() {
        FileKind::Directory
    } else if file_type.is_block_device() {
        FileKind::BlockDevice
    } else {
        FileKind::Other
    }
}

fn from_metadata(metadata: &Metadata) -> Identity {
    Identity {
        kind: kind_of(metadata.file_type()),
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}
