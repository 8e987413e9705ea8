//! Condemned content: what nobody may build on any more, although it is still there.
//!
//! A collector first condemns *frames*, in memory: from then on they do not count for a writer that looks an id up,
//! while readers go on reading them. Leases live in memory as well, so nothing about this has to survive a crash.
//! Once nobody needs a *pack* any more, its name goes into the file `condemned`, durably, before its own file goes: a
//! power cut may then take any part of the removal, and the next open ends it (docs/decisions/0003).

use std::collections::HashMap;
use std::path::Path;

use super::index::Location;
use super::pack_set::PackHandle;
use crate::error::Result;
use crate::format::Defect;
use crate::format::condemned::{BYTES_MAX, CondemnedPacks};
use crate::io::{Io, OpenMode, read_whole};
use crate::units::Uid;

/// The file's name, below the region's directory.
pub const CONDEMNED: &str = "condemned";

/// Condemned frames, by pack: 4 bytes each.
#[derive(Clone, Debug, Default)]
pub struct Condemned {
    offsets: HashMap<PackHandle, Vec<u32>>, // ascending
}

impl Condemned {
    /// Adds frames of a pack, named by where they begin, in ascending order.
    pub fn add(&mut self, pack: PackHandle, offsets: Vec<u32>) {
        debug_assert!(offsets.is_sorted());
        if !offsets.is_empty() {
            self.offsets.insert(pack, offsets);
        }
    }

    /// Whether the frame that begins there is condemned.
    #[must_use]
    pub fn holds(&self, pack: PackHandle, offset: u32) -> bool {
        self.offsets.get(&pack).is_some_and(|offsets| offsets.binary_search(&offset).is_ok())
    }

    /// Whether the frame at this place is condemned.
    #[must_use]
    pub fn holds_at(&self, location: &Location) -> bool {
        self.holds(location.pack, location.offset)
    }

    /// The condemned frames of a pack.
    #[must_use]
    pub fn of(&self, pack: PackHandle) -> &[u32] {
        self.offsets.get(&pack).map_or(&[], Vec::as_slice)
    }
}

/// The packs that the file names; none when there is no file. Inside: what is wrong with it.
///
/// # Errors
/// What reading gives.
pub fn read_condemned(
    io: &dyn Io,
    directory: &Path,
    store_id: Uid,
) -> Result<std::result::Result<Option<CondemnedPacks>, Defect>> {
    match read_whole(io, &directory.join(CONDEMNED), BYTES_MAX) {
        Ok(Some(bytes)) => Ok(CondemnedPacks::decode(&bytes).and_then(|found| {
            if found.store_id == store_id { Ok(Some(found)) } else { Err(Defect::Wrong("it belongs to another store")) }
        })),
        Ok(None) => Ok(Err(Defect::Wrong("it is too long"))),
        Err(error) if error.is_not_found() => Ok(Ok(None)),
        Err(error) => Err(error),
    }
}

/// Puts the file in the place of an earlier one, durably.
///
/// # Errors
/// What writing gives. The earlier one is then still there, or this one.
pub fn write_condemned(io: &dyn Io, directory: &Path, condemned: &CondemnedPacks) -> Result<()> {
    let temporary = directory.join(format!("{CONDEMNED}.tmp"));
    let placed = write(io, &temporary, &condemned.encode())
        .and_then(|()| io.rename_replace(&temporary, &directory.join(CONDEMNED)));
    if placed.is_err() {
        let _ = io.remove_file(&temporary); // the next attempt would, or the next open
    }
    placed?;
    io.sync_directory(directory)
}

fn write(io: &dyn Io, temporary: &Path, bytes: &[u8]) -> Result<()> {
    let file = match io.open(temporary, OpenMode::CreateNew) {
        Err(error) if error.is_already_exists() => {
            io.remove_file(temporary)?; // left by an earlier failure of this process
            io.open(temporary, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    file.write_at(bytes, 0)?;
    file.sync()
}

/// Removes the file, durably; none is no error.
///
/// # Errors
/// What removing gives.
pub fn remove_condemned(io: &dyn Io, directory: &Path) -> Result<()> {
    match io.remove_file(&directory.join(CONDEMNED)) {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => io.sync_directory(directory),
    }
}
