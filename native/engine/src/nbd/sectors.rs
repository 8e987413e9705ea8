//! Ranges of any bytes on a disk of whole sectors.
//!
//! Clients are told that any byte may be a request's first: many never ask for a smallest block. What does not begin or end at
//! a sector is widened; a write reads the sectors at its ends first, with no other write to this disk in between.

use std::sync::PoisonError;

use super::export::Export;
use crate::error::Result;
use crate::units::{u64_from, usize_from};

/// The sectors that a range touches, cut off at nothing: a size is a whole number of sectors.
fn widened(export: &dyn Export, offset: u64, length: u64) -> (u64, u64) {
    let sector = u64::from(export.facts().sector_bytes);
    let start = offset - offset % sector;
    let end = (offset + length).next_multiple_of(sector);
    (start, end - start)
}

/// Reads any range.
///
/// # Errors
/// What reading gives.
pub(super) fn read(export: &dyn Export, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let (start, length) = widened(export, offset, u64_from(buffer.len()));
    if (start, length) == (offset, u64_from(buffer.len())) {
        return export.read(offset, buffer);
    }
    let mut wide = vec![0; usize_from(length)];
    export.read(start, &mut wide)?;
    let skip = usize_from(offset - start);
    buffer.copy_from_slice(&wide[skip..skip + buffer.len()]);
    Ok(())
}

/// Writes any range.
///
/// # Errors
/// What reading and writing give.
pub(super) fn write(export: &dyn Export, offset: u64, bytes: &[u8], durable: bool) -> Result<()> {
    let (start, length) = widened(export, offset, u64_from(bytes.len()));
    if (start, length) == (offset, u64_from(bytes.len())) {
        let _shared = export.sector_lock().read().unwrap_or_else(PoisonError::into_inner);
        return export.write(offset, bytes, durable);
    }
    let _alone = export.sector_lock().write().unwrap_or_else(PoisonError::into_inner);
    let mut wide = vec![0; usize_from(length)];
    export.read(start, &mut wide)?;
    let skip = usize_from(offset - start);
    wide[skip..skip + bytes.len()].copy_from_slice(bytes);
    export.write(start, &wide, durable)
}

/// What a range without data asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clearing {
    /// It reads as zero.
    Zeroes,
    /// It reads as zero and its space stays taken.
    ZeroesWithSpace,
    /// It need not be kept.
    Trim,
}

/// Clears any range: whole sectors by one call, the rest of a zeroed range by writing. A trim leaves the rest alone.
///
/// # Errors
/// What reading and writing give.
pub(super) fn clear(export: &dyn Export, offset: u64, length: u64, clearing: Clearing, durable: bool) -> Result<()> {
    let sector = u64::from(export.facts().sector_bytes);
    let end = offset + length;
    let (first, last) = (offset.next_multiple_of(sector), end - end % sector);
    if clearing == Clearing::ZeroesWithSpace {
        return write_zeros(export, offset, length, durable);
    }
    if first >= last {
        return if clearing == Clearing::Trim { Ok(()) } else { write_zeros(export, offset, length, durable) };
    }
    if clearing == Clearing::Trim {
        return export.trim(first, last - first, durable);
    }
    if offset < first {
        write_zeros(export, offset, first - offset, durable)?;
    }
    if last < end {
        write_zeros(export, last, end - last, durable)?;
    }
    let _shared = export.sector_lock().read().unwrap_or_else(PoisonError::into_inner);
    export.write_zeroes(first, last - first, durable)
}

/// Zeros as data.
fn write_zeros(export: &dyn Export, offset: u64, length: u64, durable: bool) -> Result<()> {
    static ZEROS: [u8; 1 << 18] = [0; 1 << 18];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let piece = (end - at).min(u64_from(ZEROS.len()) - at % 4096); // pieces after the first begin at a block
        write(export, at, &ZEROS[..usize_from(piece)], durable)?;
        at += piece;
    }
    Ok(())
}
