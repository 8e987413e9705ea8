//! A source: an image file or block device, opened once and watched for changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::io::{FileKind, Identity, Io, IoFile, OpenMode};
use crate::limits::{DISK_BYTES_MAX, STILL_NS};

/// Which source, and what its caller vouches for.
#[derive(Clone, Debug)]
pub struct SourceRequest {
    /// The image file or block device.
    pub path: PathBuf,
    /// Sector size of the disk; its size is a multiple.
    pub sector_bytes: u32,
    /// A block device is frozen or otherwise still; it need not be opened exclusively.
    pub frozen: bool,
}

/// An open source.
pub struct Source {
    path: PathBuf,
    file: Arc<dyn IoFile>,
    identity: Identity,
}

impl Source {
    /// Opens a source and takes down what it is.
    ///
    /// # Errors
    /// `SOURCE_NOT_FOUND`, `SOURCE_NOT_A_DISK`, `SOURCE_SIZE_INVALID`, `SOURCE_NOT_EXCLUSIVE`, `PERMISSION_DENIED`.
    pub fn open(io: &Arc<dyn Io>, request: &SourceRequest) -> Result<Self> {
        let path = request.path.as_path();
        let kind = io.identify(path)?.map(|identity| identity.kind);
        let mode = match kind {
            None => return Err(fail(Code::SourceNotFound, path, "does not exist")),
            Some(FileKind::Regular) => OpenMode::Read,
            Some(FileKind::BlockDevice) if request.frozen => OpenMode::Read,
            Some(FileKind::BlockDevice) => OpenMode::ReadExclusive,
            Some(FileKind::Directory) => return Err(fail(Code::SourceNotADisk, path, "is a directory")),
            Some(FileKind::Other) => {
                return Err(fail(Code::SourceNotADisk, path, "is neither a regular file nor a block device"));
            }
        };
        let file = io.open(path, mode).map_err(|error| {
            let busy = error.cause().is_some_and(|cause| cause.kind() == std::io::ErrorKind::ResourceBusy);
            if busy {
                return fail(Code::SourceNotExclusive, path, "is mounted or in use");
            }
            if error.is_not_found() { error.with_code(Code::SourceNotFound) } else { error }
        })?;
        let identity = file.identity()?;
        let sectors_fit = identity.size.is_multiple_of(u64::from(request.sector_bytes));
        if identity.size == 0 || !sectors_fit || identity.size > DISK_BYTES_MAX {
            let what = format!(
                "is {} bytes long; a disk is at least one and a whole number of sectors of {} bytes, and at most {} bytes",
                identity.size, request.sector_bytes, DISK_BYTES_MAX
            );
            return Err(fail(Code::SourceSizeInvalid, path, &what).with("sizeBytes", identity.size));
        }
        file.advise_sequential(true);
        Ok(Self { path: path.to_owned(), file, identity })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// Its bytes.
    #[must_use]
    pub fn file(&self) -> &dyn IoFile {
        self.file.as_ref()
    }

    /// Refuses a file one of whose times lies in the window from `from_ns` to `to_ns`, 20 ms added at both ends.
    ///
    /// Why that cannot miss a write: one that comes after the identity was taken is stamped with the kernel's clock, which
    /// is at most some 10 ms behind. If the stamp is another than the ones that were taken down, [`Source::check_unchanged`]
    /// sees it. If it is the same, then a time that was taken down lies in the window in which the write came. So a time in
    /// the past is harmless, and so is one in the future (somebody set it, or the clock was put back), unless the clock gets
    /// there before the last byte was read. The window begins before the first identity is taken and ends after all were
    /// compared. It takes a clock that is not put back in between.
    ///
    /// # Errors
    /// `SOURCE_NOT_STILL`.
    pub fn check_still(&self, from_ns: i128, to_ns: i128) -> Result<()> {
        let window = from_ns - STILL_NS + 1..=to_ns + STILL_NS;
        let times = [self.identity.modified_ns, self.identity.changed_ns];
        if self.identity.kind == FileKind::Regular && times.iter().any(|time| window.contains(time)) {
            return Err(fail(
                Code::SourceNotStill,
                &self.path,
                "was written to less than 20 ms before it was read, or bears a time from then",
            ));
        }
        Ok(())
    }

    /// Refuses a source that is not the same as when it was opened.
    ///
    /// # Errors
    /// `SOURCE_CHANGED`.
    pub fn check_unchanged(&self, io: &dyn Io) -> Result<()> {
        let by_name = io.identify(&self.path)?;
        let same_name =
            by_name.is_some_and(|now| now.device == self.identity.device && now.inode == self.identity.inode);
        if !same_name {
            return Err(self.changed("was replaced"));
        }
        let now = self.file.identity()?;
        // A block device's times say when its node was touched, not its content; exclusive or frozen answers for that.
        let same = match now.kind {
            FileKind::Regular => now == self.identity,
            _ => now.size == self.identity.size,
        };
        if same { Ok(()) } else { Err(self.changed("was written to")) }
    }

    /// The error for a source that gave fewer bytes than it had.
    #[must_use]
    pub fn truncated(&self) -> Error {
        self.changed("became shorter")
    }

    fn changed(&self, how: &str) -> Error {
        fail(Code::SourceChanged, &self.path, &format!("{how} while it was scanned"))
    }
}

fn fail(code: Code, path: &Path, what: &str) -> Error {
    Error::new(code, format!("{} {what}", path.display())).with("path", path)
}
