//! An open file of a [`FaultIo`](super::FaultIo).

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::log::{Detail, Verb, Verdict};
use super::{Shared, crashed, failed};
use crate::error::Result;
use crate::io::tear::{SECTOR_BYTES, arrived_parts};
use crate::io::{Identity, IoFile};
use crate::random::Seeded;
use crate::units::{u64_from, usize_from};

pub(super) struct FaultFile {
    shared: Arc<Shared>,
    inner: Arc<dyn IoFile>,
    path: Arc<Path>,
}

impl FaultFile {
    pub(super) fn new(shared: Arc<Shared>, inner: Arc<dyn IoFile>, path: Arc<Path>) -> Self {
        Self { shared, inner, path }
    }

    fn admit(&self, verb: Verb, detail: Detail) -> Result<&dyn IoFile> {
        self.shared.admit(verb, &self.path, detail)?;
        Ok(&*self.inner)
    }

    /// Writes the parts that arrive although the call fails. Their own failure is no news then.
    fn write_parts(&self, bytes: &[u8], offset: u64, parts: &[Range<usize>]) {
        for part in parts {
            let at = offset.saturating_add(u64_from(part.start));
            let _ = self.inner.write_at(&bytes[part.clone()], at);
        }
    }

    fn abandon_unsynced(&self) {
        if let Some(memory) = &self.shared.memory
            && let Ok(identity) = self.inner.identity()
        {
            memory.abandon_unsynced(identity.inode);
        }
    }
}

impl IoFile for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let detail = Detail::Range { offset, length: u64_from(buffer.len()) };
        match self.shared.next(Verb::ReadAt, &self.path, detail) {
            Verdict::Pass => self.inner.read_at(buffer, offset),
            Verdict::Fail { index, failure } => Err(failed(Verb::ReadAt, &self.path, index, failure)),
            Verdict::Crash { .. } => Err(crashed(Verb::ReadAt, &self.path)),
            Verdict::FlipBit { bit } => {
                let count = self.inner.read_at(buffer, offset)?;
                if count > 0 {
                    let bit = bit % u64_from(count).saturating_mul(8);
                    buffer[usize_from(bit / 8)] ^= 1 << (bit % 8);
                }
                Ok(count)
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let detail = Detail::Range { offset, length: u64_from(bytes.len()) };
        match self.shared.next(Verb::WriteAt, &self.path, detail) {
            Verdict::Pass | Verdict::FlipBit { .. } => self.inner.write_at(bytes, offset),
            Verdict::Fail { index, failure } => {
                let half = bytes.len() / 2;
                let written = half - half % usize_from(SECTOR_BYTES);
                self.write_parts(bytes, offset, std::slice::from_ref(&(0..written)));
                Err(failed(Verb::WriteAt, &self.path, index, failure))
            }
            Verdict::Crash { torn } => {
                if let Some(seed) = torn {
                    self.write_parts(bytes, offset, &arrived_parts(offset, bytes.len(), &mut Seeded::new(seed)));
                }
                Err(crashed(Verb::WriteAt, &self.path))
            }
        }
    }

    fn sync(&self) -> Result<()> {
        match self.shared.next(Verb::Sync, &self.path, Detail::None) {
            Verdict::Pass | Verdict::FlipBit { .. } => self.inner.sync(),
            Verdict::Fail { index, failure } => {
                self.abandon_unsynced();
                Err(failed(Verb::Sync, &self.path, index, failure))
            }
            Verdict::Crash { .. } => Err(crashed(Verb::Sync, &self.path)),
        }
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<()> {
        self.admit(Verb::StartWriteback, Detail::Range { offset, length })?.start_writeback(offset, length)
    }

    fn write_back(&self, offset: u64, length: u64) -> Result<()> {
        let range = Detail::Range { offset, length };
        self.admit(Verb::WriteBack, range).inspect_err(|_| self.abandon_unsynced())?.write_back(offset, length)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.admit(Verb::SetLength, Detail::At(length))?.set_length(length)
    }

    fn allocate(&self, length: u64) -> Result<()> {
        self.admit(Verb::Allocate, Detail::At(length))?.allocate(length)
    }

    fn zero_range(&self, offset: u64, length: u64) -> Result<()> {
        self.admit(Verb::ZeroRange, Detail::Range { offset, length })?.zero_range(offset, length)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        self.admit(Verb::NextData, Detail::At(offset))?.next_data(offset)
    }

    fn identity(&self) -> Result<Identity> {
        self.admit(Verb::Identity, Detail::None)?.identity()
    }

    fn expect_write(&self, offset: u64, length: u64) {
        self.inner.expect_write(offset, length);
    }

    fn forget(&self, offset: u64, length: u64) {
        self.inner.forget(offset, length);
    }

    fn advise_sequential(&self, sequential: bool) {
        self.inner.advise_sequential(sequential);
    }
}
