//! What is to be logged.

use std::borrow::Cow;

use crate::format::log_body::{CutBody, Membership, ResetList};
use crate::format::log_record::{RecordKind, encode_unchained, record_bytes};
use crate::limits::DISK_BYTES_MAX;
use crate::units::{Uid, u64_from};

/// A record before it has its place: what is to be logged, with the checksums of its payload made.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub(super) kind: RecordKind,
    pub(super) disk_id: Uid,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) payload: Cow<'a, [u8]>,
    pub(super) header: Vec<u8>,
}

impl<'a> Record<'a> {
    /// Bytes for a disk: 1 to [`RECORD_BYTES_MAX`].
    #[must_use]
    pub fn write(disk_id: Uid, offset: u64, payload: &'a [u8]) -> Self {
        assert!(!payload.is_empty(), "a write has bytes");
        Self::new(RecordKind::Write, disk_id, offset, u64_from(payload.len()), Cow::Borrowed(payload))
    }

    /// Zeros that stay allocated, of any length.
    #[must_use]
    pub fn zero(disk_id: Uid, offset: u64, length: u64) -> Self {
        Self::new(RecordKind::Zero, disk_id, offset, length, Cow::Borrowed(&[]))
    }

    /// Zeros that are holes, of any length.
    #[must_use]
    pub fn trim(disk_id: Uid, offset: u64, length: u64) -> Self {
        Self::new(RecordKind::Trim, disk_id, offset, length, Cow::Borrowed(&[]))
    }

    /// A larger size.
    #[must_use]
    pub fn grow(disk_id: Uid, size: u64) -> Self {
        Self::new(RecordKind::Grow, disk_id, 0, size, Cow::Borrowed(&[]))
    }

    /// Another content for several disks at once.
    #[must_use]
    pub fn reset(list: &ResetList) -> Self {
        Self::new(RecordKind::Reset, Uid::default(), 0, 0, Cow::Owned(list.encode()))
    }

    /// A disk comes.
    #[must_use]
    pub fn join(membership: &Membership) -> Self {
        Self::new(RecordKind::Join, membership.disk_id, 0, 0, Cow::Owned(membership.encode()))
    }

    /// A disk goes.
    #[must_use]
    pub fn leave(membership: &Membership) -> Self {
        Self::new(RecordKind::Leave, membership.disk_id, 0, 0, Cow::Owned(membership.encode()))
    }

    /// A position of the log.
    #[must_use]
    pub fn cut(body: &CutBody) -> Self {
        Self::new(RecordKind::Cut, Uid::default(), 0, 0, Cow::Owned(body.encode()))
    }

    fn new(kind: RecordKind, disk_id: Uid, offset: u64, length: u64, payload: Cow<'a, [u8]>) -> Self {
        let is_inside = offset.checked_add(length).is_some_and(|end| end <= DISK_BYTES_MAX);
        assert!(is_inside, "a record's range lies inside the largest disk");
        let header = encode_unchained(kind, disk_id, offset, length, &payload);
        Self { kind, disk_id, offset, length, payload, header }
    }

    /// Bytes that it takes in a segment.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        record_bytes(self.payload_bytes())
    }

    pub(super) fn payload_bytes(&self) -> u32 {
        self.payload.len() as u32
    }
}
