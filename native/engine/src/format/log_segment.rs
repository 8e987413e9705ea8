//! The header and the summary of a write log's segment (format.md 13.2 and 13.4).
//!
//! ```text
//! 0        4096                                          segment bytes - 48
//! | header | records ...      | summary: 64 n bytes | ...  | footer |
//! ```
//!
//! The summary repeats what an opening needs of each record. It is written after the segment is full and counts only
//! where all that it lists is durable: it is made from what was sequenced, which a crash may have kept from the file.

use super::log_record::{RecordHeader, RecordKind, Salt, salted_checksum};
use super::{Defect, Fields, FieldsMut, VERSION, checksum};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::units::{Lsn, Uid, u64_from, usize_from};

/// Bytes of the header, and position of the first record.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of an entry of the summary.
pub const ENTRY_BYTES: usize = 64;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 48;

/// LSNs given anew begin below: each opening takes 2^32 of them, so no log comes near it, and one more is a number.
pub const LSN_LIMIT: u64 = 1 << 63;

const HEADER_MAGIC: &[u8; 8] = b"STILLLOG";
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"SPLE");

/// The name of a segment's file.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// The number in a segment's file name.
#[must_use]
pub fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// What a segment says of itself: whose it is, and where its incarnation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store.
    pub store_id: Uid,
    /// The log.
    pub log_id: Uid,
    /// Its number, equal to the file's name.
    pub number: u64,
    /// Length of the file.
    pub segment_bytes: u64,
    /// The incarnation that writes it.
    pub incarnation: Incarnation,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
}

/// One opening of a log for writing: which LSNs are its own and what it continues (format.md 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// Its number, one above the one before.
    pub counter: u64,
    /// Its salt.
    pub salt: Salt,
    /// The last LSN of the log that it continues.
    pub predecessor_lsn: Lsn,
    /// The header checksum of that record; 0 before the first.
    pub predecessor_sum: u64,
    /// The first of the records that were written anew under the LSNs that they had; `lowest` if there are none.
    pub carried_first: Lsn,
    /// The last of them; `predecessor_lsn` if there are none.
    pub carried_last: Lsn,
    /// The first LSN that was given anew.
    pub lowest: Lsn,
}

/// Bytes of an incarnation in files.
pub(super) const INCARNATION_BYTES: usize = 64;

impl Incarnation {
    /// The LSN that comes after `lsn`.
    #[must_use]
    pub fn after(&self, lsn: Lsn) -> Lsn {
        if lsn < self.carried_first {
            self.carried_first
        } else if lsn < self.carried_last || lsn >= self.lowest {
            lsn.next()
        } else {
            self.lowest
        }
    }

    /// The LSN that comes before `lsn`, which is one of the incarnation's.
    #[must_use]
    pub fn before(&self, lsn: Lsn) -> Lsn {
        if lsn == self.lowest {
            self.carried_last
        } else if lsn == self.carried_first {
            self.predecessor_lsn
        } else {
            Lsn(lsn.0.saturating_sub(1))
        }
    }

    pub(super) fn encode_into(&self, fields: &mut FieldsMut) {
        fields.u64(self.counter).slice(&self.salt).u64(self.predecessor_lsn.0).u64(self.predecessor_sum);
        fields.u64(self.carried_first.0).u64(self.carried_last.0).u64(self.lowest.0);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self, Defect> {
        let (counter, salt) = (fields.u64()?, fields.array()?);
        let (predecessor_lsn, predecessor_sum) = (Lsn(fields.u64()?), fields.u64()?);
        let (carried_first, carried_last, lowest) = (Lsn(fields.u64()?), Lsn(fields.u64()?), Lsn(fields.u64()?));
        let carries_none = carried_first == lowest && carried_last == predecessor_lsn;
        let carries = carried_first <= carried_last && carried_last < lowest;
        if predecessor_lsn >= carried_first || lowest.0 >= LSN_LIMIT || !(carries_none || carries) {
            return Err(Defect::Wrong("an incarnation's LSNs contradict each other"));
        }
        Ok(Self { counter, salt, predecessor_lsn, predecessor_sum, carried_first, carried_last, lowest })
    }
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES);
        fields.slice(HEADER_MAGIC).u16(VERSION).zero_to(16).slice(&self.store_id.0).slice(&self.log_id.0);
        fields.u64(self.number).u64(self.segment_bytes);
        self.incarnation.encode_into(&mut fields);
        fields.u64(self.created_ms).u32(0).u32(0).zero_to(HEADER_BYTES - 8).checksum_from(0);
        fields.finish()
    }

    /// Reads a header.
    ///
    /// # Errors
    /// It is damaged or newer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        if bytes.len() != HEADER_BYTES {
            return Err(Defect::Wrong("it is too short"));
        }
        let (body, sum) = bytes.split_at(HEADER_BYTES - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("the segment header's checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        fields.magic_and_version(HEADER_MAGIC)?;
        fields.zero(6)?;
        let (store_id, log_id) = (Uid(fields.array()?), Uid(fields.array()?));
        let (number, segment_bytes) = (fields.u64()?, fields.u64()?);
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) || !segment_bytes.is_multiple_of(4096) {
            return Err(Defect::Wrong("the segment's length is not allowed"));
        }
        let incarnation = Incarnation::decode(&mut fields)?;
        let created_ms = fields.u64()?;
        if fields.u32()? != 0 {
            return Err(Defect::Newer(VERSION + 1)); // encrypted: reserved for later versions
        }
        if fields.u32()? != super::config::PLATFORM_DOMAIN {
            return Err(Defect::Wrong("the segment's key domain is not the platform's"));
        }
        fields.zero(fields.rest().len())?;
        Ok(Self { store_id, log_id, number, segment_bytes, incarnation, created_ms })
    }
}

/// A record as the summary knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryEntry {
    /// Where it begins in the segment.
    pub position: u32,
    /// What it does.
    pub kind: RecordKind,
    /// Its number.
    pub lsn: Lsn,
    /// The disk.
    pub disk_id: Uid,
    /// Where on the disk.
    pub offset: u64,
    /// How much of the disk.
    pub length: u64,
    /// Bytes behind its header.
    pub payload_bytes: u32,
    /// Its time.
    pub time_ms: u64,
}

impl SummaryEntry {
    /// The entry of a record.
    #[must_use]
    pub fn new(header: &RecordHeader, position: u32) -> Self {
        let RecordHeader { kind, lsn, disk_id, offset, length, payload_bytes, time_ms, .. } = *header;
        Self { position, kind, lsn, disk_id, offset, length, payload_bytes, time_ms }
    }
}

/// The end of a full segment: where its summary lies and what chain it is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Where the summary begins.
    pub position: u32,
    /// Entries in it.
    pub count: u32,
    /// Its checksum.
    pub summary_sum: u64,
    /// What the first record names as its predecessor's header checksum.
    pub predecessor: u64,
    /// The last record's header checksum.
    pub last: u64,
}

/// Bytes that summary and footer of `count` records take.
#[must_use]
pub const fn end_bytes(count: u64) -> u64 {
    count * ENTRY_BYTES as u64 + FOOTER_BYTES as u64
}

/// The summary's bytes.
#[must_use]
pub fn encode_summary(entries: &[SummaryEntry]) -> Vec<u8> {
    let mut fields = FieldsMut::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        fields.u32(entry.position).u8(entry.kind.number()).slice(&[0; 3]).u64(entry.lsn.0).slice(&entry.disk_id.0);
        fields.u64(entry.offset).u64(entry.length).u32(entry.payload_bytes).u32(0).u64(entry.time_ms);
    }
    fields.finish()
}

/// Reads a summary that `footer` leads to.
///
/// # Errors
/// It is damaged.
pub fn decode_summary(bytes: &[u8], footer: &Footer) -> Result<Vec<SummaryEntry>, Defect> {
    if bytes.len() != footer.count as usize * ENTRY_BYTES || checksum(bytes) != footer.summary_sum {
        return Err(Defect::Wrong("the summary's checksum does not hold"));
    }
    let mut fields = Fields::new(bytes);
    let mut entries = Vec::with_capacity(footer.count as usize);
    for _ in 0..footer.count {
        let position = fields.u32()?;
        let kind = RecordKind::from_number(fields.u8()?).ok_or(Defect::Wrong("a record's kind is unknown"))?;
        fields.zero(3)?;
        let (lsn, disk_id) = (Lsn(fields.u64()?), Uid(fields.array()?));
        let (offset, length, payload_bytes) = (fields.u64()?, fields.u64()?, fields.u32()?);
        fields.zero(4)?;
        let time_ms = fields.u64()?;
        entries.push(SummaryEntry { position, kind, lsn, disk_id, offset, length, payload_bytes, time_ms });
    }
    Ok(entries)
}

impl Footer {
    /// The footer's bytes. The salt makes sure that it is this incarnation's.
    #[must_use]
    pub fn encode(&self, salt: &Salt) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(FOOTER_BYTES);
        fields.u32(FOOTER_MAGIC).u32(self.position).u32(self.count).u32(0);
        fields.u64(self.summary_sum).u64(self.predecessor).u64(self.last);
        let mut bytes = fields.finish();
        let sum = salted_checksum(salt, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a footer of a segment of `segment_bytes`.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn decode(bytes: &[u8], salt: &Salt, segment_bytes: u64) -> Result<Self, Defect> {
        if bytes.len() != FOOTER_BYTES {
            return Err(Defect::Wrong("it is too short"));
        }
        let (body, sum) = bytes.split_at(FOOTER_BYTES - 8);
        if salted_checksum(salt, body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("the footer's checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        if fields.u32()? != FOOTER_MAGIC {
            return Err(Defect::Wrong("the footer's magic is missing"));
        }
        let (position, count) = (fields.u32()?, fields.u32()?);
        fields.zero(4)?;
        let (summary_sum, predecessor, last) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let end = u64::from(position) + end_bytes(u64::from(count));
        if usize_from(u64::from(position)) < HEADER_BYTES || count == 0 || end > segment_bytes {
            return Err(Defect::Wrong("the footer leads out of its segment"));
        }
        Ok(Self { position, count, summary_sum, predecessor, last })
    }
}

const _: () = assert!(SEGMENT_BYTES_MIN > HEADER_BYTES as u64 + 2 * 4096);

/// The largest payload of a record in a segment of this length, in whole blocks.
#[must_use]
pub fn payload_bytes_max(segment_bytes: u64) -> u32 {
    use super::log_record::record_bytes;
    use crate::limits::{RECORD_BLOCK_BYTES, RECORD_BYTES_MAX};
    let room = segment_bytes.saturating_sub(u64_from(HEADER_BYTES) + end_bytes(1));
    let mut payload_bytes = RECORD_BYTES_MAX;
    while payload_bytes > 0 && record_bytes(payload_bytes) > room {
        payload_bytes -= RECORD_BLOCK_BYTES;
    }
    payload_bytes
}
