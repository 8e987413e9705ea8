//! The directories above one, made so that they survive a power cut.

use std::path::{Path, PathBuf};

use super::Io;
use crate::error::{Code, Result};

/// Makes what is missing above a directory, durably. What is there already may have been made by a `create` that was cut
/// off, so it is synced all the same; one that this user may not read was made by somebody else.
///
/// # Errors
/// What making and syncing give.
pub fn make_parents(io: &dyn Io, directory: &Path) -> Result<()> {
    let above = directory_above(directory);
    if above == directory {
        return Ok(());
    }
    make_parents(io, &above)?;
    if io.identify(&above)?.is_none() {
        io.create_directory(&above)?;
        return io.sync_directory(&directory_above(&above));
    }
    match io.sync_directory(&above) {
        Err(error) if error.code() != Code::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// The directory that holds the name of this one; of the topmost, itself.
#[must_use]
pub fn directory_above(directory: &Path) -> PathBuf {
    match directory.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        Some(_) if directory != Path::new(".") => PathBuf::from("."),
        _ => directory.to_owned(),
    }
}
