//! `index/list` in its directory, and the names of segments.

use std::path::Path;

use crate::error::Result;
use crate::format::Defect;
use crate::format::index_list::{self, IndexList};
use crate::io::{Io, OpenMode, read_whole};

/// The list's name in `index/`.
pub(super) const LIST: &str = "list";

/// What stands in the list's place: a list, nothing, or something damaged.
pub(super) type FoundList = std::result::Result<Option<IndexList>, Defect>;

/// Reads what stands in the list's place.
pub(super) fn read(io: &dyn Io, directory: &Path) -> Result<FoundList> {
    match read_whole(io, &directory.join(LIST), index_list::BYTES_MAX) {
        Ok(Some(bytes)) => Ok(IndexList::decode(&bytes).map(Some)),
        Ok(None) => Ok(Err(Defect::Wrong("it is too long"))),
        Err(error) if error.is_not_found() => Ok(Ok(None)),
        Err(error) => Err(error),
    }
}

/// Puts the list in place. Its name is durable with the next sync of the directory.
pub(super) fn replace(io: &dyn Io, directory: &Path, list: &IndexList) -> Result<()> {
    let temporary = directory.join("list.tmp");
    let placed = write(io, &temporary, list).and_then(|()| io.rename_replace(&temporary, &directory.join(LIST)));
    if placed.is_err() {
        let _ = io.remove_file(&temporary); // the next attempt would, or the next open
    }
    placed
}

fn write(io: &dyn Io, temporary: &Path, list: &IndexList) -> Result<()> {
    let file = match io.open(temporary, OpenMode::CreateNew) {
        Err(error) if error.is_already_exists() => {
            io.remove_file(temporary)?; // left by an earlier failure of this process
            io.open(temporary, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    file.write_at(&list.encode(), 0)?;
    file.sync()
}

/// The file of the segment with this number.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// The number that a segment's file name says.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let number = (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())??;
    (number < index_list::NUMBER_LIMIT).then_some(number) // another name is no segment's
}
