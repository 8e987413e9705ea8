//! Reading: through the layers, newest first, then from the base.

use std::ops::Range;

use super::Group;
use crate::cut::{ExtentContent, Resolved, View, not_found, resolve};
use crate::error::{Code, Error, Result};
use crate::units::{Uid, u64_from, usize_from};

impl Group {
    /// Reads a live disk: everything that was acknowledged before, and of what is under way any part, in whole blocks.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `ARGUMENT_INVALID`, `LOG_DAMAGED`, and what reading the base gives.
    pub fn read(&self, disk_id: &Uid, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let stack = self.stack();
        let disk = stack.members().get(disk_id).ok_or_else(|| not_found(disk_id))?;
        let range = disk.range(offset, u64_from(buffer.len()))?;
        let resolved = resolve(stack.newest_first(), stack.base(disk_id), disk_id, range);
        self.read_resolved(&resolved, offset, buffer)
    }

    /// Reads a pinned view.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID`, `LOG_DAMAGED`, and what reading the base gives.
    pub fn read_view(&self, view: &View, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let (length, size) = (u64_from(buffer.len()), view.size());
        let Some(end) = offset.checked_add(length).filter(|end| *end <= size) else {
            let message = format!("{length} bytes at {offset} are not inside a disk of {size} bytes");
            let error = Error::new(Code::ArgumentInvalid, message).with("disk", view.disk_id.to_string());
            return Err(error.with("offset", offset).with("length", length).with("sizeBytes", size));
        };
        self.read_resolved(&view.resolve(offset..end), offset, buffer)
    }

    /// Reads what was looked up of the range that begins at `offset`.
    fn read_resolved(&self, resolved: &Resolved, offset: u64, buffer: &mut [u8]) -> Result<()> {
        for (range, content) in &resolved.extents {
            let part = part_of(buffer, range, offset);
            match content {
                ExtentContent::Data { place, skip } => self.parts.log.read(place, u64::from(*skip), part)?,
                ExtentContent::Zero | ExtentContent::Hole => part.fill(0),
            }
        }
        for range in &resolved.below {
            let part = part_of(buffer, range, offset);
            let Some(base) = &resolved.base else {
                part.fill(0);
                continue;
            };
            let inside = base.size.clamp(range.start, range.end) - range.start;
            let (inside, behind) = part.split_at_mut(usize_from(inside));
            if !inside.is_empty() {
                self.parts.bases.read(base, range.start, inside)?;
            }
            behind.fill(0);
        }
        Ok(())
    }
}

/// The part of a buffer, which begins at `offset` of the disk, that holds `range`.
fn part_of<'a>(buffer: &'a mut [u8], range: &Range<u64>, offset: u64) -> &'a mut [u8] {
    &mut buffer[usize_from(range.start - offset)..usize_from(range.end - offset)]
}
