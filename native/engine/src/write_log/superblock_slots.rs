//! The two slots of the superblock: written in turn, each durable before the other is touched (I-24).
//!
//! A slot is changed in place. A crash tears at most the one that is being written, and that is never the only whole one:
//! the first to be written is the one that is damaged or older. Both are made long enough before either is written, so a
//! full disk is found out about while nothing has happened.

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

/// What both slots hold, and their files in the order in which they are written.
pub(super) struct SuperblockSlots {
    pub(super) current: Superblock,
    files: [Arc<dyn IoFile>; 2],
}

impl SuperblockSlots {
    /// Makes both slots in a directory that has none. Their names are durable after the directory's sync.
    pub(super) fn create(io: &dyn Io, directory: &Path, superblock: Superblock) -> Result<Self> {
        let make = |name| io.open(&directory.join(name), OpenMode::CreateNew);
        let mut slots = Self { current: superblock.clone(), files: [make(SLOT_NAMES[0])?, make(SLOT_NAMES[1])?] };
        slots.make_room(&superblock)?;
        slots.write(superblock)?;
        Ok(slots)
    }

    /// Reads both slots; the valid one with the higher sequence counts.
    pub(super) fn open(io: &dyn Io, directory: &Path, mode: OpenMode) -> Result<Self> {
        let mut slots = Vec::new();
        let mut defect = Defect::Wrong("there is none");
        for name in SLOT_NAMES {
            let Some(file) = open_slot(io, directory, name, mode)? else { continue };
            let found = superblock::Superblock::decode(&read_slot(&*file)?);
            if let Err(found) = &found {
                defect = *found;
            }
            slots.push((found.ok(), file));
        }
        // The one that is damaged or older is written first.
        slots.sort_by_key(|(superblock, _)| superblock.as_ref().map(|superblock| superblock.sequence));
        let current = slots.last().and_then(|(superblock, _)| superblock.clone());
        let mut files = slots.into_iter().map(|(_, file)| file);
        match (current, files.next(), files.next()) {
            (Some(current), Some(first), Some(second)) => Ok(Self { current, files: [first, second] }),
            _ => Err(damaged(directory, &defect)),
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

    /// Makes a superblock durable in one slot, then in the other. There is room. After an error either may hold.
    pub(super) fn write(&mut self, superblock: Superblock) -> Result<()> {
        let bytes = superblock.encode();
        for file in &self.files {
            file.write_at(&bytes, 0)?;
            file.sync()?;
        }
        self.current = superblock;
        Ok(())
    }
}

/// A slot's file; one that is missing is made, where the other may be whole.
fn open_slot(io: &dyn Io, directory: &Path, name: &str, mode: OpenMode) -> Result<Option<Arc<dyn IoFile>>> {
    let path = directory.join(name);
    match io.open(&path, mode) {
        Err(error) if error.is_not_found() && mode == OpenMode::ReadWrite && io.identify(directory)?.is_some() => {
            io.open(&path, OpenMode::CreateNew).map(Some)
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
