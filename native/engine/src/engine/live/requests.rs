//! Bytes of live disks.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::super::Engine;
use super::DiskSeat;
use super::log::LiveLog;
use crate::cut::View;
use crate::disk::Submission;
use crate::error::Result;
use crate::limits::READ_BYTES_MAX;
use crate::units::{Lsn, Uid, u64_from};

/// One request of a batch.
#[derive(Debug)]
pub enum DiskRequest<'a> {
    /// Fills the buffer.
    Read {
        /// Where.
        offset: u64,
        /// How much, and into what.
        buffer: &'a mut [u8],
    },
    /// Writes.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: &'a [u8],
        /// Durable with all before it.
        fua: bool,
    },
    /// Makes a range zero, as a hole where `trims`.
    Zero {
        /// Where.
        offset: u64,
        /// How much.
        length: u64,
        /// Whether the range is given up.
        trims: bool,
    },
    /// Makes all before it durable.
    Flush,
}

impl Engine {
    /// Fills a buffer from a live disk.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `ARGUMENT_INVALID`, `LOG_DAMAGED`, what reading gives.
    pub fn read_disk(&self, disk_id: &Uid, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.on_disk(disk_id, |log| log.group.read(disk_id, offset, buffer))
    }

    /// As [`Engine::read_disk`], through a seat that may have ended.
    pub(super) fn read_seat(&self, seat: &DiskSeat, disk_id: &Uid, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.on_seat(seat, disk_id, |log| log.group.read(disk_id, offset, buffer))
    }

    /// Writes to a live disk; returns the LSN once it and all before it are in the log, with `fua` once they are durable.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `ARGUMENT_INVALID`, `NO_SPACE`, `LOG_FENCED`, `LOG_DAMAGED`, `STORE_READ_ONLY`.
    pub fn write_disk(&self, disk_id: &Uid, offset: u64, bytes: &[u8], fua: bool) -> Result<Lsn> {
        self.check_writable()?;
        self.on_disk(disk_id, |log| self.write_log(log, disk_id, offset, bytes, fua))
    }

    /// As [`Engine::write_disk`], through a seat that may have ended.
    pub(super) fn write_seat(
        &self,
        seat: &DiskSeat,
        disk_id: &Uid,
        offset: u64,
        bytes: &[u8],
        fua: bool,
    ) -> Result<Lsn> {
        self.check_writable()?;
        self.on_seat(seat, disk_id, |log| self.write_log(log, disk_id, offset, bytes, fua))
    }

    fn write_log(&self, log: &Arc<LiveLog>, disk_id: &Uid, offset: u64, bytes: &[u8], fua: bool) -> Result<Lsn> {
        self.pace(log)?;
        self.with_relief(|| log.group.write(disk_id, offset, bytes, fua))
    }

    /// Makes a range of a live disk zero, as a hole where `trims`.
    ///
    /// # Errors
    /// As [`Engine::write_disk`].
    pub fn zero_disk(&self, disk_id: &Uid, offset: u64, length: u64, trims: bool, fua: bool) -> Result<Lsn> {
        self.check_writable()?;
        self.on_disk(disk_id, |log| self.zero_log(log, disk_id, offset..offset.saturating_add(length), trims, fua))
    }

    /// As [`Engine::zero_disk`], through a seat that may have ended.
    pub(super) fn zero_seat(
        &self,
        seat: &DiskSeat,
        disk_id: &Uid,
        range: Range<u64>,
        trims: bool,
        fua: bool,
    ) -> Result<Lsn> {
        self.check_writable()?;
        self.on_seat(seat, disk_id, |log| self.zero_log(log, disk_id, range, trims, fua))
    }

    fn zero_log(&self, log: &Arc<LiveLog>, disk_id: &Uid, range: Range<u64>, trims: bool, fua: bool) -> Result<Lsn> {
        self.pace(log)?;
        let Range { start, end } = range;
        self.with_relief(|| log.group.write_zeroes(disk_id, start, end - start, trims, fua))
    }

    /// Makes a live disk larger.
    ///
    /// # Errors
    /// As [`Engine::write_disk`].
    pub fn grow_disk(&self, disk_id: &Uid, size: u64) -> Result<Lsn> {
        self.check_writable()?;
        self.on_disk(disk_id, |log| self.relieved(|| log.group.grow(disk_id, size)))
    }

    /// Makes everything durable that was acknowledged before, for all disks of the log.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `LOG_FENCED`, a failed sync.
    pub fn flush_disk(&self, disk_id: &Uid) -> Result<()> {
        self.on_disk(disk_id, |log| log.group.flush())
    }

    /// As [`Engine::flush_disk`], through a seat that may have ended.
    pub(super) fn flush_seat(&self, seat: &DiskSeat, disk_id: &Uid) -> Result<()> {
        self.on_seat(seat, disk_id, |log| log.group.flush())
    }

    /// Submits requests in their order and waits for all of them: one wait for the log instead of one each.
    ///
    /// # Errors
    /// Of the first that failed; those before it are done, those after it are not.
    pub fn batch_disk(&self, disk_id: &Uid, requests: &mut [DiskRequest<'_>]) -> Result<()> {
        self.on_disk(disk_id, |log| {
            let mut last: Option<Submission> = None;
            for request in requests {
                let submission = match request {
                    DiskRequest::Read { offset, buffer } => {
                        log.group.read(disk_id, *offset, buffer)?;
                        continue;
                    }
                    DiskRequest::Write { offset, bytes, fua } => {
                        self.check_writable()?;
                        self.pace(log)?;
                        let mut submission = self.with_relief(|| log.group.submit_write(disk_id, *offset, bytes))?;
                        log.group.append(&mut submission, bytes)?;
                        if *fua {
                            log.log().flush(submission.lsn())?;
                        }
                        submission
                    }
                    DiskRequest::Zero { offset, length, trims } => {
                        self.check_writable()?;
                        self.pace(log)?;
                        let mut submission =
                            self.with_relief(|| log.group.submit_zeroes(disk_id, *offset, *length, *trims))?;
                        log.group.append(&mut submission, &[])?;
                        submission
                    }
                    DiskRequest::Flush => {
                        if let Some(last) = last.take() {
                            log.log().wait_until_logged(last.lsn())?;
                        }
                        log.group.flush()?;
                        continue;
                    }
                };
                last = Some(submission).filter(|submission| submission.lsn() > Lsn::ZERO).or(last);
            }
            last.map_or(Ok(()), |last| log.log().wait_until_logged(last.lsn()))
        })
    }

    /// What is read of a live disk now.
    pub(super) fn seat_view(&self, seat: &DiskSeat, disk_id: &Uid) -> Result<View> {
        self.on_seat(seat, disk_id, |log| log.group.view(disk_id))
    }

    /// Whether a range of a live disk can be expected to be read without waiting for a device.
    pub(super) fn is_seat_at_hand(&self, seat: &DiskSeat, disk_id: &Uid, offset: u64, length: u64) -> bool {
        let end = offset.saturating_add(length);
        self.seat_view(seat, disk_id).is_ok_and(|view| self.live().is_view_at_hand(&view, offset..end))
    }

    fn on_disk<T>(&self, disk_id: &Uid, work: impl FnOnce(&Arc<LiveLog>) -> Result<T>) -> Result<T> {
        loop {
            let seat = self.live().seat(disk_id)?;
            let place = seat.log.read().unwrap_or_else(PoisonError::into_inner);
            if seat.has_ended() {
                continue; // it has another one by now
            }
            return self.on_place(&seat, place.as_ref(), disk_id, work);
        }
    }

    /// As [`Engine::on_disk`], for whoever must learn that the disk's log was opened anew.
    fn on_seat<T>(&self, seat: &DiskSeat, disk_id: &Uid, work: impl FnOnce(&Arc<LiveLog>) -> Result<T>) -> Result<T> {
        let place = seat.log.read().unwrap_or_else(PoisonError::into_inner);
        self.on_place(seat, place.as_ref(), disk_id, work)
    }

    fn on_place<T>(
        &self,
        seat: &DiskSeat,
        place: Option<&Arc<LiveLog>>,
        disk_id: &Uid,
        work: impl FnOnce(&Arc<LiveLog>) -> Result<T>,
    ) -> Result<T> {
        let _request = self.live().load.request(); // from here on copies make room for it
        work(place.ok_or_else(|| seat.missing(disk_id))?)
    }
}

const _: () = assert!(READ_BYTES_MAX <= u64_from(usize::MAX));
