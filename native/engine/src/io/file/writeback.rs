//! sync_file_range(2), which neither the standard library nor `rustix` offers.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Starts writing dirty pages of the range without waiting. Does nothing where the kernel or the file cannot.
pub(super) fn start(file: &File, offset: u64, length: u64) -> std::io::Result<()> {
    sync_file_range(file, offset, length, libc::SYNC_FILE_RANGE_WRITE)
}

/// Writes dirty pages of the range and waits until they are written. Does nothing where the kernel or the file cannot. An
/// error of theirs is told once to each open file description.
pub(super) fn finish(file: &File, offset: u64, length: u64) -> std::io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_file_range(file, offset, length, flags)
}

#[expect(unsafe_code, reason = "a system call that no safe wrapper offers")]
fn sync_file_range(file: &File, offset: u64, length: u64, flags: libc::c_uint) -> std::io::Result<()> {
    // A length of 0 would mean "to the end"; ranges past 2^63 hold nothing.
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return Ok(()) };
    if length == 0 {
        return Ok(());
    }
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call touches no memory of ours.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    let waits = flags != libc::SYNC_FILE_RANGE_WRITE;
    match error.raw_os_error() {
        Some(libc::ESPIPE | libc::ENOSYS) => Ok(()),
        Some(libc::EINVAL | libc::EINTR) if !waits => Ok(()), // else it may be what became of the pages
        _ => Err(error),
    }
}
