//! The two slots of the superblock: written in turn, each durable before the other is touched (I-24).
//!
//! A slot is changed in place, and a crash tears the one that is being written. That must never be the only one that a power
//! cut would leave: a slot that is whole when a log is opened may be in the page cache only, where a process was killed
//! between writing and syncing it, or where its sync failed. The sequence tells which of two equal slots that can be: it is
//! odd where `superblock.a` was written first, even where `superblock.b` was. So the first to be written is
//!
//! - the one that is damaged, where one is: the other was durable before it was touched;
//! - the one that is newer, where they differ: the older one was durable before that;
//! - the one that was written last, where they are equal.
//!
//! Of a log that was never finished neither says so: its first slot may be in the page cache only while its second is empty.
//! So after an opening the other one is synced before the first is written.
//!
//! Both are made long enough before either is written, so a full disk is found out about while nothing has happened.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::format::superblock::{SLOT_NAMES, Superblock};
use crate::format::{Defect, superblock};
use crate::io::{Io, IoFile, OpenMode};
use crate::limits::SUPERBLOCK_BYTES_MAX;
use crate::units::{u64_from, usize_from};

/// A slot's file is a multiple of this long, so that it seldom has to grow.
const SLOT_BYTES_STEP: u64 = 16 << 10;

/// What both slots hold, and their files in the order of their names.
pub(super) struct SuperblockSlots {
    pub(super) current: Superblock,
    files: [Arc<dyn IoFile>; 2],
    /// Which of them is written first next time: the other is durable.
    next_first: usize,
    /// Nothing was written yet since they were opened.
    is_as_found: bool,
}

impl SuperblockSlots {
    /// Makes both slots in a directory that has none, durable when this returns: first their names, so that the second is
    /// empty until nothing can take the first away, then the first, then the second.
    pub(super) fn create(io: &dyn Io, directory: &Path, superblock: Superblock) -> Result<Self> {
        let make = |name| io.open(&directory.join(name), OpenMode::CreateNew);
        let files = [make(SLOT_NAMES[0])?, make(SLOT_NAMES[1])?];
        let mut slots = Self { current: superblock.clone(), files, next_first: 0, is_as_found: false };
        slots.make_room(&superblock)?;
        io.sync_directory(directory)?;
        slots.write(superblock)?;
        Ok(slots)
    }

    /// Reads both slots; the valid one with the higher sequence counts.
    pub(super) fn open(io: &dyn Io, directory: &Path, mode: OpenMode) -> Result<Self> {
        let mut defect = Defect::Wrong("there is none");
        let (mut found, mut files) = (Vec::new(), Vec::new());
        for name in SLOT_NAMES {
            let Some(file) = open_slot(io, directory, name, mode)? else { continue };
            let superblock = superblock::Superblock::decode(&read_slot(&*file)?);
            if let Err(wrong) = &superblock {
                defect = *wrong;
            }
            found.push(superblock.ok());
            files.push(file);
        }
        let Ok(files) = <[Arc<dyn IoFile>; 2]>::try_from(files) else { return Err(damaged(directory, &defect)) };
        let sequences = [0, 1].map(|slot| found[slot].as_ref().map(|superblock| superblock.sequence));
        // A damaged one is below any that is whole.
        let (newer, next_first) = match sequences[0].cmp(&sequences[1]) {
            Ordering::Less => (1, usize::from(sequences[0].is_some())),
            Ordering::Greater => (0, usize::from(sequences[1].is_none())),
            Ordering::Equal => (0, sequences[0].map_or(0, |sequence| 1 - written_first(sequence))),
        };
        match found.swap_remove(newer) {
            Some(current) => Ok(Self { current, files, next_first, is_as_found: true }),
            None => Err(damaged(directory, &defect)),
        }
    }

    /// Takes the space that this superblock needs, in both slots. Nothing is changed by it.
    pub(super) fn make_room(&mut self, superblock: &Superblock) -> Result<()> {
        let bytes = u64_from(superblock.encode().len());
        if bytes > SUPERBLOCK_BYTES_MAX {
            let message = format!("a write log's superblock would be {bytes} bytes long");
            return Err(Error::new(Code::ArgumentInvalid, message).with("length", bytes));
        }
        self.files.iter().try_for_each(|file| file.allocate(bytes.next_multiple_of(SLOT_BYTES_STEP)))
    }

    /// Makes a superblock durable in one slot, then in the other, with the next sequence that says in which order. There is
    /// room. After an error either may hold.
    pub(super) fn write(&mut self, mut superblock: Superblock) -> Result<()> {
        superblock.sequence = self.current.sequence + 1;
        if written_first(superblock.sequence) != self.next_first {
            superblock.sequence += 1;
        }
        if self.is_as_found {
            self.files[1 - self.next_first].sync()?;
            self.is_as_found = false;
        }
        let bytes = superblock.encode();
        for slot in [self.next_first, 1 - self.next_first] {
            self.files[slot].write_at(&bytes, 0)?;
            self.files[slot].sync()?;
        }
        self.current = superblock;
        self.next_first = 1 - self.next_first;
        Ok(())
    }
}

/// Which slot a superblock with this sequence is written to first.
fn written_first(sequence: u64) -> usize {
    usize::from(sequence.is_multiple_of(2))
}

/// A slot's file; one that is missing is made, where the other may be whole.
fn open_slot(io: &dyn Io, directory: &Path, name: &str, mode: OpenMode) -> Result<Option<Arc<dyn IoFile>>> {
    let path = directory.join(name);
    match io.open(&path, mode) {
        Err(error) if error.is_not_found() && mode == OpenMode::ReadWrite && io.identify(directory)?.is_some() => {
            let file = io.open(&path, OpenMode::CreateNew)?;
            io.sync_directory(directory)?; // before the other one is written
            Ok(Some(file))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
        Ok(file) => Ok(Some(file)),
    }
}

fn read_slot(file: &dyn IoFile) -> Result<Vec<u8>> {
    let size = file.identity()?.size.min(SUPERBLOCK_BYTES_MAX);
    let mut bytes = vec![0; usize_from(size)];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn damaged(directory: &Path, defect: &Defect) -> Error {
    let message = format!("neither superblock of the write log in {} can be used: {defect}", directory.display());
    Error::new(Code::LogDamaged, message).with("path", directory)
}
