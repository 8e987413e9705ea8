//! Changes on their way: checked, sequenced, appended, acknowledged (I-31, I-35).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::Group;
use crate::cut::{Base, ExtentContent, Layer, Member, Touch, not_found};
use crate::error::{Code, Error, Result};
use crate::limits::{ATOMIC_BLOCK_BYTES, DISK_BYTES_MAX, POINT_DISKS_MAX};
use crate::units::{Lsn, Uid, u64_from, usize_from};
use crate::write_log::{Membership, Record, ResetDisk, ResetList, Ticket};

/// A change that has its LSNs. It has to be appended: dropping it before fences the log, since the log then waits for a
/// record that never comes.
#[must_use]
pub struct Submission {
    parts: Vec<Part>, // in the order of their LSNs
    next: usize,      // the first that is not appended
    lsn: Lsn,
    /// Why it is refused although some of it has an LSN.
    refused: Option<Error>,
}

struct Part {
    lsn: Lsn,
    ticket: Option<Ticket>, // until it is appended
    layer: Arc<Layer>,
    /// What of the caller's bytes it logs.
    data: Range<usize>,
    effect: Effect,
}

/// What a record does to its layer.
enum Effect {
    Shows { disk_id: Uid, range: Range<u64>, shown: Shown },
    Grows { disk_id: Uid, size: u64 },
    Resets { bases: Vec<(Uid, Arc<Base>)> },
    None,
}

enum Shown {
    Data,
    Zero,
    Hole,
}

impl Submission {
    /// Its highest LSN: it is acknowledged once the watermark has passed that. `Lsn::ZERO` when there is nothing to log.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Its records: their LSNs, and which of the submitted bytes each logs.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, Range<usize>)> + '_ {
        self.parts.iter().map(|part| (part.lsn, part.data.clone()))
    }

    /// Whether every record of it was appended.
    #[must_use]
    pub fn is_appended(&self) -> bool {
        self.next == self.parts.len()
    }

    const fn nothing() -> Self {
        Self { parts: Vec::new(), next: 0, lsn: Lsn::ZERO, refused: None }
    }

    fn one(ticket: Ticket, layer: Arc<Layer>, effect: Effect) -> Self {
        let lsn = ticket.lsn();
        let part = Part { lsn, ticket: Some(ticket), layer, data: 0..0, effect };
        Self { parts: vec![part], next: 0, lsn, refused: None }
    }

    /// Of a record that changes no disk.
    pub(super) fn effectless(ticket: Ticket, layer: Arc<Layer>) -> Self {
        Self::one(ticket, layer, Effect::None)
    }
}

impl Group {
    /// Begins a write. The bytes must be the same until it is appended: their checksums are made here.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `ARGUMENT_INVALID`, `NO_SPACE`, `LOG_FENCED`, `LOG_DAMAGED`; then nothing was done.
    pub fn submit_write(&self, disk_id: &Uid, offset: u64, data: &[u8]) -> Result<Submission> {
        let disk = self.disk(disk_id)?;
        let range = disk.range(offset, u64_from(data.len()))?;
        let charged = self.touch(disk_id, &range, Touch::Writes)?;
        let record_bytes_max = u64::from(self.parts.log.record_bytes_max());
        let mut submission = Submission::nothing();
        let mut at = range.start;
        while at < range.end {
            let end = split(at, range.end, record_bytes_max, u64::from(disk.sector_bytes));
            let part = usize_from(at - range.start)..usize_from(end - range.start);
            let record = Record::write(*disk_id, at, &data[part.clone()]);
            if let Err(error) =
                self.sequence_extent(&mut submission, &disk, &charged, record, (at..end, part, Shown::Data))
            {
                if submission.parts.is_empty() {
                    return Err(error);
                }
                submission.refused = Some(error); // what has an LSN must be in the log
                break;
            }
            at = end;
        }
        Ok(submission)
    }

    /// Begins to make a range read as zero; as a hole where `may_trim`.
    ///
    /// # Errors
    /// As [`Group::submit_write`].
    pub fn submit_zeroes(&self, disk_id: &Uid, offset: u64, length: u64, may_trim: bool) -> Result<Submission> {
        let disk = self.disk(disk_id)?;
        let range = disk.range(offset, length)?;
        let mut submission = Submission::nothing();
        if !range.is_empty() {
            let charged = self.touch(disk_id, &range, Touch::Empties)?;
            let (record, shown) = match may_trim {
                true => (Record::trim(*disk_id, offset, length), Shown::Hole),
                false => (Record::zero(*disk_id, offset, length), Shown::Zero),
            };
            self.sequence_extent(&mut submission, &disk, &charged, record, (range, 0..0, shown))?;
        }
        Ok(submission)
    }

    /// Begins a trim: the range reads as zero and takes no space.
    ///
    /// # Errors
    /// As [`Group::submit_write`].
    pub fn submit_trim(&self, disk_id: &Uid, offset: u64, length: u64) -> Result<Submission> {
        self.submit_zeroes(disk_id, offset, length, true)
    }

    /// Begins to give a disk a larger size.
    ///
    /// # Errors
    /// As [`Group::submit_write`].
    pub fn submit_grow(&self, disk_id: &Uid, size: u64) -> Result<Submission> {
        let disk = self.disk(disk_id)?;
        let before = disk.size();
        if size < before || size > DISK_BYTES_MAX || !size.is_multiple_of(u64::from(disk.sector_bytes)) {
            return Err(cannot_grow(&disk, size));
        }
        if size == before {
            return Ok(Submission::nothing());
        }
        // A short last chunk becomes longer, and the map higher.
        self.touch(disk_id, &(before.saturating_sub(1)..before), Touch::Writes)?;
        self.touch(disk_id, &(before..size), Touch::Empties)?;
        let (ticket, (layer, refused)) = self.parts.log.sequence(Record::grow(*disk_id, size), |_| {
            let refused = match (disk.has_left(), size < disk.size()) {
                (true, _) => Some(not_found(disk_id)),
                (false, true) => Some(cannot_grow(&disk, size)),
                (false, false) => None,
            };
            if refused.is_none() {
                disk.set_size(size);
            }
            (self.active(), refused)
        })?;
        let effect = if refused.is_none() { Effect::Grows { disk_id: *disk_id, size } } else { Effect::None };
        Ok(Submission { refused, ..Submission::one(ticket, layer, effect) })
    }

    /// Begins to give disks another content, all at once: one record.
    ///
    /// # Errors
    /// As [`Group::submit_write`], and what pinning the bases gives.
    pub fn submit_reset(&self, list: &[ResetDisk]) -> Result<Submission> {
        let named: BTreeSet<Uid> = list.iter().map(|reset| reset.disk_id).collect();
        if named.len() < list.len() || list.len() > POINT_DISKS_MAX {
            let message = format!("a reset of {} disks names {} different ones", list.len(), named.len());
            return Err(Error::new(Code::ArgumentInvalid, message));
        }
        let mut disks = Vec::with_capacity(list.len());
        for reset in list {
            let disk = self.disk(&reset.disk_id)?;
            if reset.size > DISK_BYTES_MAX || !reset.size.is_multiple_of(u64::from(disk.sector_bytes)) {
                return Err(cannot_grow(&disk, reset.size));
            }
            disks.push((disk, self.parts.bases.pin(&reset.base)?));
        }
        if list.is_empty() {
            return Ok(Submission::nothing());
        }
        let record = Record::reset(&ResetList { disks: list.to_vec() });
        let (ticket, layer) = self.parts.log.sequence(record, |_| {
            for ((disk, _), reset) in disks.iter().zip(list) {
                disk.set_size(reset.size);
            }
            self.active()
        })?;
        let lsn = ticket.lsn();
        let bases = list.iter().zip(disks).map(|(reset, (_, pin))| {
            let base = Base { content: reset.base, size: reset.size, lsn, pin };
            (reset.disk_id, Arc::new(base))
        });
        let effect = Effect::Resets { bases: bases.collect() };
        Ok(Submission::one(ticket, layer, effect))
    }

    /// Begins to take a disk into the group. The commit is the superblock that lists it, with the submission's LSN for its
    /// base's: the caller's, after this is durable.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when it is here, and as [`Group::submit_reset`].
    pub fn submit_join(&self, membership: &Membership) -> Result<Submission> {
        let disk_id = membership.disk_id;
        if self.disk(&disk_id).is_ok() {
            let message = format!("disk {disk_id} is attached already");
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", membership.name.as_str()));
        }
        let pin = self.parts.bases.pin(&membership.base)?;
        let member = Arc::new(member_of(membership));
        let (ticket, layer) = self.parts.log.sequence(Record::join(membership), |_| {
            self.change_stack(|stack| {
                stack.add_member(member);
                Arc::clone(stack.active())
            })
        })?;
        let base = Base { content: membership.base, size: membership.size, lsn: ticket.lsn(), pin };
        let effect = Effect::Resets { bases: vec![(disk_id, Arc::new(base))] };
        Ok(Submission::one(ticket, layer, effect))
    }

    /// Begins to let a disk go. What is submitted after this is refused.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `NO_SPACE`, `LOG_FENCED`, `LOG_DAMAGED`.
    pub fn submit_leave(&self, membership: &Membership) -> Result<Submission> {
        self.disk(&membership.disk_id)?;
        let (ticket, layer) = self.parts.log.sequence(Record::leave(membership), |_| {
            self.change_stack(|stack| {
                stack.remove_member(&membership.disk_id);
                Arc::clone(stack.active())
            })
        })?;
        Ok(Submission::one(ticket, layer, Effect::None))
    }

    /// A disk whose leave does not count, because no other log got it, is here again. Nothing was cut since it left.
    pub fn take_back(&self, membership: &Membership) {
        let member = Arc::new(member_of(membership));
        self.change_stack(|stack| stack.add_member(member));
    }

    /// A disk whose join does not count, because no superblock lists it, is here no more.
    pub fn expel(&self, disk_id: &Uid) {
        self.change_stack(|stack| stack.remove_member(disk_id));
    }

    /// Puts all records of a submission into the log and into their layers. `data` is what was submitted.
    ///
    /// # Errors
    /// A failed write, which fences the log; or why the change, whose records are in the log now, has no effect.
    pub fn append(&self, submission: &mut Submission, data: &[u8]) -> Result<()> {
        while self.append_one(submission, data)? {}
        match submission.refused.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Appends the next record of a submission; returns whether there was one.
    ///
    /// # Errors
    /// A failed write, which fences the log.
    pub fn append_one(&self, submission: &mut Submission, data: &[u8]) -> Result<bool> {
        let Some(part) = submission.parts.get_mut(submission.next) else { return Ok(false) };
        submission.next += 1;
        let Some(ticket) = part.ticket.take() else { return Ok(true) };
        let place = self.parts.log.append(&ticket, &data[part.data.clone()])?;
        let lsn = ticket.lsn();
        match &part.effect {
            Effect::Shows { disk_id, range, shown } => {
                let content = match shown {
                    Shown::Data => ExtentContent::Data { place, skip: 0 },
                    Shown::Zero => ExtentContent::Zero,
                    Shown::Hole => ExtentContent::Hole,
                };
                part.layer.insert(disk_id, range.clone(), lsn, content);
            }
            Effect::Grows { disk_id, size } => part.layer.grow(disk_id, lsn, *size),
            Effect::Resets { bases } => {
                for (disk_id, base) in bases {
                    part.layer.reset(disk_id, lsn, Arc::clone(base));
                }
            }
            Effect::None => {}
        }
        self.parts.log.complete(ticket); // only now may the watermark pass it: layers below that are final (I-32)
        Ok(true)
    }

    /// Whether a submission is acknowledged: it and all with lower LSNs are in the log. Never waits.
    ///
    /// # Errors
    /// `LOG_FENCED`: it may never be.
    pub fn is_done(&self, submission: &Submission) -> Result<bool> {
        Ok(submission.is_appended() && (submission.lsn == Lsn::ZERO || self.parts.log.is_logged(submission.lsn)?))
    }

    /// Writes; returns the LSN when it is acknowledged, and with `fua` when all that was acknowledged survives a power cut.
    ///
    /// # Errors
    /// As [`Group::submit_write`], and a failed write or sync.
    pub fn write(&self, disk_id: &Uid, offset: u64, data: &[u8], fua: bool) -> Result<Lsn> {
        self.carry_out(self.submit_write(disk_id, offset, data)?, data, fua)
    }

    /// Makes a range read as zero, as a hole where `may_trim`.
    ///
    /// # Errors
    /// As [`Group::write`].
    pub fn write_zeroes(&self, disk_id: &Uid, offset: u64, length: u64, may_trim: bool, fua: bool) -> Result<Lsn> {
        self.carry_out(self.submit_zeroes(disk_id, offset, length, may_trim)?, &[], fua)
    }

    /// Trims.
    ///
    /// # Errors
    /// As [`Group::write`].
    pub fn trim(&self, disk_id: &Uid, offset: u64, length: u64) -> Result<Lsn> {
        self.carry_out(self.submit_trim(disk_id, offset, length)?, &[], false)
    }

    /// Gives a disk a larger size.
    ///
    /// # Errors
    /// As [`Group::write`].
    pub fn grow(&self, disk_id: &Uid, size: u64) -> Result<Lsn> {
        self.carry_out(self.submit_grow(disk_id, size)?, &[], false)
    }

    /// Gives disks another content, all at once.
    ///
    /// # Errors
    /// As [`Group::write`].
    pub fn reset(&self, list: &[ResetDisk]) -> Result<Lsn> {
        self.carry_out(self.submit_reset(list)?, &[], false)
    }

    /// Appends a submission and waits until it is acknowledged, or durable.
    pub(super) fn carry_out(&self, mut submission: Submission, data: &[u8], fua: bool) -> Result<Lsn> {
        self.append(&mut submission, data)?;
        let lsn = submission.lsn;
        match (lsn, fua) {
            (Lsn::ZERO, false) => {}
            (Lsn::ZERO, true) => self.flush()?,
            (_, true) => self.parts.log.flush(lsn)?,
            (_, false) => self.parts.log.wait_until_logged(lsn)?,
        }
        Ok(lsn)
    }

    fn sequence_extent(
        &self,
        submission: &mut Submission,
        disk: &Arc<Member>,
        charged: &Arc<Layer>,
        record: Record<'_>,
        (range, data, shown): (Range<u64>, Range<usize>, Shown),
    ) -> Result<()> {
        let (ticket, (layer, admitted)) = self.parts.log.sequence(record, |_| (self.active(), disk.admit(&range)))?;
        submission.lsn = ticket.lsn();
        let touch = if let Shown::Data = shown { Touch::Writes } else { Touch::Empties };
        let effect = match admitted {
            Ok(()) => {
                if !Arc::ptr_eq(&layer, charged) {
                    // A cut came between the charge and the LSN: it counts in the new layer too. It can't be refused any more;
                    // that is one request of each writer at most.
                    layer.touch(&disk.disk_id, &range, touch, |bytes| {
                        self.parts.gate.charge_anyway(bytes);
                        Ok(())
                    })?;
                }
                Effect::Shows { disk_id: disk.disk_id, range, shown }
            }
            Err(error) => {
                submission.refused = Some(error);
                Effect::None
            }
        };
        submission.parts.push(Part { lsn: submission.lsn, ticket: Some(ticket), layer, data, effect });
        Ok(())
    }

    /// Charges what the change adds to the debt, before it has an LSN; returns the layer for which that was.
    fn touch(&self, disk_id: &Uid, range: &Range<u64>, touch: Touch) -> Result<Arc<Layer>> {
        let layer = self.active();
        layer.touch(disk_id, range, touch, |bytes| self.parts.gate.charge(bytes))?;
        Ok(layer)
    }
}

/// Where the record that begins at `at` ends: at the request's end, or at the last block boundary within a record's limit.
fn split(at: u64, end: u64, record_bytes_max: u64, sector_bytes: u64) -> u64 {
    if end - at <= record_bytes_max {
        return end;
    }
    let limit = at + record_bytes_max;
    let block_end = limit - limit % ATOMIC_BLOCK_BYTES;
    if block_end > at { block_end } else { limit - limit % sector_bytes }
}

pub(super) fn member_of(membership: &Membership) -> Member {
    let Membership { disk_id, generation, name, role, sector_bytes, size, .. } = membership;
    Member::new(*disk_id, *generation, name.clone(), role.clone(), *sector_bytes, *size)
}

fn cannot_grow(disk: &Member, size: u64) -> Error {
    let message = format!(
        "the disk {} cannot get {size} bytes: it has {} now, the largest has {DISK_BYTES_MAX}, and its sectors have {}",
        disk.name,
        disk.size(),
        disk.sector_bytes
    );
    let error = Error::new(Code::ArgumentInvalid, message).with("disk", disk.name.as_str());
    error.with("sizeBytes", size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_request_is_split_at_block_boundaries_only() {
        for (start, length, record_max, sector) in [
            (512, 1 << 21, 1 << 20, 512),
            (0, 100_000, 12_000, 512),
            (4096, 1 << 20, 8192, 4096),
            (512, 9000, 1024, 512),
        ] {
            let end = start + length;
            let mut at = start;
            while at < end {
                let next = split(at, end, record_max, sector);
                assert!(next > at && next - at <= record_max);
                assert!(next == end || record_max < 4096 || next.is_multiple_of(4096));
                at = next;
            }
        }
    }
}
