//! The header of a write log's record (format.md 13.3).
//!
//! ```text
//! 0        80            80 + 8 n         88 + 8 n                 the next multiple of 8
//! | fields | n checksums | header checksum | payload                | next record
//! ```
//!
//! A record is one of its incarnation when the header checksum holds over salt and header; it follows another when it
//! names that one's header checksum and the next LSN. A guest chooses the payload and may put a record's image there,
//! but it cannot know the salt, and nobody looks for records anywhere but where the one before ends.

use super::{Defect, Fields, FieldsMut, RunningChecksum, checksum};
use crate::limits::{DISK_BYTES_MAX, RECORD_BLOCK_BYTES, RECORD_BYTES_MAX};
use crate::units::{Lsn, Uid};

/// Bytes in front of the checksums of the payload.
pub const FIELDS_BYTES: usize = 80;

const MAGIC: u32 = u32::from_le_bytes(*b"SPLR");
const LSN_AT: usize = 8;
const TIME_AT: usize = 56;
const DURABLE_AT: usize = 64;
const PREDECESSOR_AT: usize = 72;
const SUM_BYTES: usize = 8;

/// Random bytes of an incarnation, over which its header checksums are made.
pub type Salt = [u8; 16];

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Bytes at an offset of a disk.
    Write,
    /// Zeros that stay allocated.
    Zero,
    /// Zeros that are holes.
    Trim,
    /// A disk becomes larger.
    Grow,
    /// Disks get another content, all at once.
    Reset,
    /// A disk comes to the machine.
    Join,
    /// A disk leaves the machine.
    Leave,
    /// A position of the log that a restore point stands at.
    Cut,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Write, Self::Zero, Self::Trim, Self::Grow, Self::Reset, Self::Join, Self::Leave, Self::Cut];

    /// Its number in files.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Zero => 2,
            Self::Trim => 3,
            Self::Grow => 4,
            Self::Reset => 5,
            Self::Join => 6,
            Self::Leave => 7,
            Self::Cut => 8,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether its payload says what the record means, so that opening reads it: the others' payload is a disk's bytes or
    /// nothing.
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Reset | Self::Join | Self::Leave | Self::Cut)
    }
}

/// The fields of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it does.
    pub kind: RecordKind,
    /// Its number.
    pub lsn: Lsn,
    /// The disk, or zero where the body names several or none.
    pub disk_id: Uid,
    /// Where on the disk.
    pub offset: u64,
    /// How much of the disk; with `Grow` the new size.
    pub length: u64,
    /// Bytes behind the header.
    pub payload_bytes: u32,
    /// Milliseconds since 1970-01-01 UTC; never less than the record before.
    pub time_ms: u64,
    /// The highest LSN that was known durable when this one was given.
    pub durable: Lsn,
    /// The header checksum of the record before.
    pub predecessor: u64,
}

/// Checksums that a payload has.
#[must_use]
pub const fn block_count(payload_bytes: u32) -> usize {
    payload_bytes.div_ceil(RECORD_BLOCK_BYTES) as usize
}

/// Bytes in front of the payload.
#[must_use]
pub const fn header_bytes(payload_bytes: u32) -> usize {
    FIELDS_BYTES + SUM_BYTES * block_count(payload_bytes) + SUM_BYTES
}

/// From the start of a record to the start of the next.
#[must_use]
pub const fn record_bytes(payload_bytes: u32) -> u64 {
    (header_bytes(payload_bytes) as u64 + payload_bytes as u64).next_multiple_of(8)
}

/// A header without what only its place in the log gives it: LSN, time, durable LSN and predecessor are zero, the header
/// checksum is missing. The checksums of the payload, which cost most, are in it.
#[must_use]
pub fn encode_unchained(kind: RecordKind, disk_id: Uid, offset: u64, length: u64, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= RECORD_BYTES_MAX as usize, "a record's payload has a limit");
    let payload_bytes = payload.len() as u32;
    let mut fields = FieldsMut::with_capacity(header_bytes(payload_bytes));
    fields.u32(MAGIC).u8(kind.number()).zero_to(16).slice(&disk_id.0).u64(offset).u64(length);
    fields.u32(payload_bytes).u32(block_count(payload_bytes) as u32).zero_to(FIELDS_BYTES);
    for block in payload.chunks(RECORD_BLOCK_BYTES as usize) {
        fields.u64(checksum(block));
    }
    fields.u64(0);
    fields.finish()
}

/// Gives a header its place, and returns its checksum. Allocates nothing: this runs under the sequencer's lock.
pub fn chain(header: &mut [u8], salt: &Salt, lsn: Lsn, time_ms: u64, durable: Lsn, predecessor: u64) -> u64 {
    put(header, LSN_AT, lsn.0);
    put(header, TIME_AT, time_ms);
    put(header, DURABLE_AT, durable.0);
    put(header, PREDECESSOR_AT, predecessor);
    let at = header.len() - SUM_BYTES;
    let sum = salted_checksum(salt, &header[..at]);
    put(header, at, sum);
    sum
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// The checksum that only who knows the salt can make.
#[must_use]
pub fn salted_checksum(salt: &Salt, bytes: &[u8]) -> u64 {
    let mut sum = RunningChecksum::default();
    sum.update(salt);
    sum.update(bytes);
    sum.value()
}

/// The length of the header that begins with these bytes, as far as they can be trusted without its checksum.
///
/// # Errors
/// No record begins so.
pub fn peek_header_bytes(bytes: &[u8]) -> Result<usize, Defect> {
    let mut fields = Fields::new(bytes);
    if fields.u32()? != MAGIC {
        return Err(Defect::Wrong("a record's magic is missing"));
    }
    fields.slice(44)?;
    let payload_bytes = fields.u32()?;
    if payload_bytes > RECORD_BYTES_MAX {
        return Err(Defect::Wrong("a record's payload is longer than allowed"));
    }
    Ok(header_bytes(payload_bytes))
}

impl RecordHeader {
    /// Reads the header that `bytes` begin with; what follows it is left alone. Also gives its checksum.
    ///
    /// # Errors
    /// It is none of this salt's, or contradicts itself.
    pub fn decode(bytes: &[u8], salt: &Salt) -> Result<(Self, u64), Defect> {
        let length = peek_header_bytes(bytes)?;
        let (body, rest) = bytes.split_at_checked(length - SUM_BYTES).ok_or(Defect::Wrong("it is too short"))?;
        let sum = Fields::new(rest).u64()?;
        if salted_checksum(salt, body) != sum {
            return Err(Defect::Wrong("a record's header checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        fields.slice(4)?;
        let kind = RecordKind::from_number(fields.u8()?).ok_or(Defect::Wrong("a record's kind is unknown"))?;
        fields.zero(3)?;
        let (lsn, disk_id) = (Lsn(fields.u64()?), Uid(fields.array()?));
        let (offset, length, payload_bytes) = (fields.u64()?, fields.u64()?, fields.u32()?);
        if fields.u32()? as usize != block_count(payload_bytes) {
            return Err(Defect::Wrong("a record's number of checksums contradicts its payload"));
        }
        let (time_ms, durable, predecessor) = (fields.u64()?, Lsn(fields.u64()?), fields.u64()?);
        let header = Self { kind, lsn, disk_id, offset, length, payload_bytes, time_ms, durable, predecessor };
        header.check()?;
        Ok((header, sum))
    }

    /// The checksum of block `index` of the payload, out of a header that was proven.
    #[must_use]
    pub fn block_sum(header: &[u8], index: usize) -> u64 {
        let mut sum = [0; SUM_BYTES];
        let at = FIELDS_BYTES + SUM_BYTES * index;
        sum.copy_from_slice(&header[at..at + SUM_BYTES]);
        u64::from_le_bytes(sum)
    }

    fn check(&self) -> Result<(), Defect> {
        let payload = u64::from(self.payload_bytes);
        let is_inside = self.offset.checked_add(self.length).is_some_and(|end| end <= DISK_BYTES_MAX);
        let fits = match self.kind {
            RecordKind::Write => is_inside && payload == self.length && payload > 0,
            RecordKind::Zero | RecordKind::Trim => is_inside && payload == 0,
            RecordKind::Grow => is_inside && payload == 0 && self.offset == 0,
            RecordKind::Reset | RecordKind::Join | RecordKind::Leave | RecordKind::Cut => {
                payload > 0 && self.offset == 0 && self.length == 0
            }
        };
        if !fits {
            return Err(Defect::Wrong("a record's range contradicts its kind"));
        }
        if self.lsn == Lsn::ZERO || self.durable >= self.lsn {
            return Err(Defect::Wrong("a record's LSNs contradict each other"));
        }
        Ok(())
    }
}
