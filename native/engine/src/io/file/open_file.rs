//! The operating system's files: bytes.

use std::fs::File;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

use super::{identity, writeback};
use crate::error::{Error, Result};
use crate::io::{FileKind, Identity, IoFile};
use crate::units::{u64_from, usize_from};

/// An open file or device. The path is kept for messages only.
pub(super) struct OpenFile {
    file: File,
    kind: FileKind,
    path: PathBuf,
}

impl OpenFile {
    pub(super) fn new(file: File, kind: FileKind, path: PathBuf) -> Self {
        Self { file, kind, path }
    }

    fn failed(&self, action: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |cause| Error::from_io(cause, action, &self.path)
    }

    fn size(&self) -> std::io::Result<u64> {
        identity::of_file(&self.file).map(|identity| identity.size)
    }

    fn zero_range(&self, offset: u64, length: u64) -> std::io::Result<()> {
        let end = offset.saturating_add(length).min(self.size()?);
        if offset >= end {
            return Ok(());
        }
        let length = end - offset;
        // On a block device a hole is a discard that must read as zero, or an error; ZERO_RANGE writes zeros in the
        // device or in the kernel. On a file ZERO_RANGE would allocate, so it is not tried.
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let ways: &[FallocateFlags] = if self.kind == FileKind::BlockDevice { &[punch, zero] } else { &[punch] };
        for &way in ways {
            match retry_on_intr(|| rustix::fs::fallocate(&self.file, way, offset, length)) {
                Ok(()) => return Ok(()),
                // EINVAL: a device refuses ranges that are not whole sectors of its own.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.write_zeros(offset..end)
    }

    fn allocate(&self, length: u64) -> std::io::Result<()> {
        let size = self.size()?;
        if length <= size {
            return Ok(());
        }
        let taken = match retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, FallocateFlags::empty(), size, length - size)
        }) {
            Ok(()) => return Ok(()),
            // Not known here (NFS before 4.2, old FUSE): written zeros take space too, once they are on their way.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(size..length).and_then(|()| self.file.sync_data()),
            Err(errno) => Err(errno.into()),
        };
        if taken.is_err() {
            // Both ways may have come part of the way. What failed is the error to tell.
            let _ = self.file.set_len(size);
        }
        taken
    }

    fn write_zeros(&self, range: Range<u64>) -> std::io::Result<()> {
        static ZEROS: [u8; 1 << 18] = [0; 1 << 18];
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(u64_from(ZEROS.len()));
            self.file.write_all_at(&ZEROS[..usize_from(count)], at)?;
            at += count;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> std::io::Result<Option<Range<u64>>> {
        if self.kind == FileKind::Regular {
            // The position that this moves is not used: reads and writes name theirs.
            match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
                Ok(start) => return self.end_of_data(start),
                Err(Errno::NXIO) => return Ok(None),
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let size = self.size()?;
        Ok((offset < size).then_some(offset..size))
    }

    fn end_of_data(&self, start: u64) -> std::io::Result<Option<Range<u64>>> {
        match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => Ok(Some(start..end)),
            // Cut off since.
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl IoFile for OpenFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset.saturating_add(u64_from(done))) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read")(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(self.failed("write"))
    }

    fn sync(&self) -> Result<()> {
        // fdatasync(2) also flushes what is needed to read the bytes again: the length and the extents.
        self.file.sync_data().map_err(|cause| Error::from_failed_sync(cause, "sync", &self.path))
    }

    fn write_back(&self, offset: u64, length: u64) -> Result<()> {
        writeback::finish(&self.file, offset, length).map_err(self.failed("write back"))
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<()> {
        writeback::start(&self.file, offset, length).map_err(self.failed("start writing back"))
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(self.failed("set the length of"))
    }

    fn allocate(&self, length: u64) -> Result<()> {
        self.allocate(length).map_err(self.failed("take space for"))
    }

    fn zero_range(&self, offset: u64, length: u64) -> Result<()> {
        self.zero_range(offset, length).map_err(self.failed("zero a range of"))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        self.next_data(offset).map_err(self.failed("look for data in"))
    }

    fn identity(&self) -> Result<Identity> {
        identity::of_file(&self.file).map_err(self.failed("look at"))
    }

    fn expect_write(&self, offset: u64, length: u64) {
        if length > 0 {
            let _ = rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, length);
        }
    }

    fn forget(&self, offset: u64, length: u64) {
        // A length of 0 would mean "to the end". A hint: what takes no advice keeps its pages.
        if let Some(length) = NonZeroU64::new(length) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(length), Advice::DontNeed);
        }
    }

    fn advise_sequential(&self, sequential: bool) {
        let advice = if sequential { Advice::Sequential } else { Advice::Random };
        // A hint: a file that takes no advice reads as well without.
        let _ = rustix::fs::fadvise(&self.file, 0, None, advice);
    }
}
