//! `index/list`: which index segments are in force (format.md 8.1).

use super::{Defect, Fields, FieldsMut, VERSION, checksum};
use crate::units::{Uid, u64_from};

const MAGIC: &[u8; 8] = b"STILLLST";
const HEADER_BYTES: usize = 40;
const ENTRY_BYTES: usize = 24;

/// The longest list: 64 Ki segments, far beyond what merging leaves.
pub const BYTES_MAX: u64 = (HEADER_BYTES + ENTRY_BYTES * 65_536 + 8) as u64;

/// Numbers and sequences stay below: each is one more than the last, so no store comes near it, and one more is a number.
pub const NUMBER_LIMIT: u64 = 1 << 63;

/// A segment in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSegment {
    /// Names its file; never used twice.
    pub number: u64,
    /// Entries in it.
    pub entry_count: u64,
    /// Length of its file.
    pub file_bytes: u64,
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexList {
    /// The store that it belongs to.
    pub store_id: Uid,
    /// One higher each time the list is written.
    pub sequence: u64,
    /// From the oldest to the newest.
    pub segments: Vec<ListedSegment>,
}

impl IndexList {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES + self.segments.len() * ENTRY_BYTES + 8);
        fields.slice(MAGIC).u16(VERSION).u16(0).u32(self.segments.len() as u32).slice(&self.store_id.0);
        fields.u64(self.sequence);
        for segment in &self.segments {
            fields.u64(segment.number).u64(segment.entry_count).u64(segment.file_bytes);
        }
        fields.checksum_from(0);
        fields.finish()
    }

    /// Reads a list.
    ///
    /// # Errors
    /// It is damaged or newer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(bytes);
        fields.magic_and_version(MAGIC)?;
        fields.zero(2)?;
        let count = u64::from(fields.u32()?);
        if u64_from(bytes.len()) != u64_from(HEADER_BYTES) + count * u64_from(ENTRY_BYTES) + 8 {
            return Err(Defect::Wrong("its length contradicts its number of segments"));
        }
        let (body, sum) = bytes.split_at(bytes.len() - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("its checksum does not hold"));
        }
        let (store_id, sequence) = (Uid(fields.array()?), fields.u64()?);
        let mut segments = Vec::new();
        for _ in 0..count {
            let (number, entry_count, file_bytes) = (fields.u64()?, fields.u64()?, fields.u64()?);
            segments.push(ListedSegment { number, entry_count, file_bytes });
        }
        if sequence >= NUMBER_LIMIT || segments.iter().any(|segment| segment.number >= NUMBER_LIMIT) {
            return Err(Defect::Wrong("its sequence or a segment's number is beyond what counting reaches"));
        }
        Ok(Self { store_id, sequence, segments })
    }
}
