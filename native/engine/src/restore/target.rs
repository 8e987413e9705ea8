//! Where a disk is restored to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::io::{FileKind, Io, IoFile, OpenMode};
use crate::random::Random;
use crate::units::Uid;

/// The longest name that every file system in use takes. A target's own may be as long, so that of its unfinished file
/// repeats only as much of it as fits.
const TEMPORARY_NAME_BYTES_MAX: usize = 255;

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct TargetRequest {
    /// A new file; with `overwrite` an existing file or block device.
    pub path: PathBuf,
    /// Write over what is there.
    pub overwrite: bool,
    /// Make the result durable.
    pub sync: bool,
}

/// An open target.
pub(super) struct Target {
    io: Arc<dyn Io>,
    path: PathBuf,
    temporary: Option<PathBuf>, // a new file until it is whole
    file: Arc<dyn IoFile>,
    sync: bool,
}

impl Target {
    pub(super) fn open(io: &Arc<dyn Io>, random: &dyn Random, request: &TargetRequest, size: u64) -> Result<Self> {
        let path = request.path.as_path();
        let found = io.identify(path)?;
        match found.map(|identity| identity.kind) {
            Some(FileKind::Directory) => Err(fail(Code::TargetInvalid, path, "is a directory")),
            Some(FileKind::Other) => {
                Err(fail(Code::TargetInvalid, path, "is neither a regular file nor a block device"))
            }
            Some(_) if !request.overwrite => Err(fail(Code::TargetExists, path, "exists already")),
            Some(kind) => Self::over(io, request, kind, size),
            None => Self::new_file(io, random, request, size),
        }
    }

    fn over(io: &Arc<dyn Io>, request: &TargetRequest, kind: FileKind, size: u64) -> Result<Self> {
        let path = request.path.as_path();
        let mode = match kind {
            FileKind::BlockDevice => OpenMode::ReadWriteExclusive,
            _ => OpenMode::ReadWrite,
        };
        let file = io.open(path, mode).map_err(|error| {
            let busy = error.cause().is_some_and(|cause| cause.kind() == std::io::ErrorKind::ResourceBusy);
            if busy { fail(Code::TargetInvalid, path, "is mounted or in use") } else { error }
        })?;
        let length = file.identity()?.size;
        if length < size {
            let what = format!("is {length} bytes long, the disk {size}");
            return Err(fail(Code::TargetTooSmall, path, &what).with("sizeBytes", length).with("diskBytes", size));
        }
        if kind == FileKind::Regular && length > size {
            file.set_length(size)?;
        }
        Ok(Self { io: Arc::clone(io), path: path.to_owned(), temporary: None, file, sync: request.sync })
    }

    fn new_file(io: &Arc<dyn Io>, random: &dyn Random, request: &TargetRequest, size: u64) -> Result<Self> {
        let path = request.path.as_path();
        let (Some(name), Some(directory)) = (path.file_name(), directory_of(path)) else {
            return Err(fail(Code::TargetInvalid, path, "does not name a file"));
        };
        match io.identify(&directory)?.map(|identity| identity.kind) {
            Some(FileKind::Directory) => {}
            _ => return Err(fail(Code::TargetInvalid, path, "lies in a directory that does not exist")),
        }
        let mut unique = [0; 16];
        random.fill(&mut unique);
        let unique = Uid(unique).to_string();
        let name = name.to_string_lossy();
        let front = front_of(&name, TEMPORARY_NAME_BYTES_MAX - "..12345678.tmp".len());
        let temporary = directory.join(format!(".{front}.{}.tmp", &unique[..8]));
        let file = io.open(&temporary, OpenMode::CreateNew)?;
        let target =
            Self { io: Arc::clone(io), path: path.to_owned(), temporary: Some(temporary), file, sync: request.sync };
        target.file.set_length(size)?;
        Ok(target)
    }

    /// Whether the target was all zero to begin with.
    pub(super) fn is_new(&self) -> bool {
        self.temporary.is_some()
    }

    pub(super) fn file(&self) -> &dyn IoFile {
        self.file.as_ref()
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if self.sync {
            self.file.sync()?;
        }
        if let Some(temporary) = &self.temporary {
            self.io
                .rename_new(temporary, &self.path)
                .map_err(|error| if error.is_already_exists() { error.with_code(Code::TargetExists) } else { error })?;
            self.temporary = None;
            if self.sync
                && let Some(directory) = directory_of(&self.path)
            {
                self.io.sync_directory(&directory)?;
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = self.io.remove_file(temporary); // the restore failed; its error is what counts
        }
    }
}

/// The front of a text that takes at most so many bytes.
fn front_of(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn directory_of(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

fn fail(code: Code, path: &Path, what: &str) -> Error {
    Error::new(code, format!("{} {what}", path.display())).with("path", path)
}
