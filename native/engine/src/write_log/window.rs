//! A segment read from front to back, a piece at a time.

use crate::error::Result;
use crate::format::log_record::{FIELDS_BYTES, RecordHeader, Salt, header_bytes, peek_header_bytes, record_bytes};
use crate::format::log_segment::FOOTER_BYTES;
use crate::units::{u64_from, usize_from};

use super::reading::payload_holds;
use super::segment::Segment;

/// How much is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// The piece of a segment that was read last.
pub(super) struct Window<'a> {
    segment: &'a Segment,
    /// At least this much is read at once.
    piece_bytes: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment, piece_bytes: PIECE_BYTES, start: 0, bytes: Vec::new() }
    }

    /// One that reads no more than it is asked for.
    pub(super) fn narrow(segment: &'a Segment) -> Self {
        Self { piece_bytes: 0, ..Self::new(segment) }
    }

    /// These bytes of the segment; `None` when the file ends before them.
    pub(super) fn get(&mut self, position: u64, length: usize) -> Result<Option<&[u8]>> {
        let held = self.start..self.start + u64_from(self.bytes.len());
        if position < held.start || position + u64_from(length) > held.end {
            self.bytes.resize(length.max(self.piece_bytes), 0);
            let count = self.segment.file.read_at(&mut self.bytes, position)?;
            self.bytes.truncate(count);
            self.start = position;
        }
        let at = usize_from(position - self.start);
        Ok(self.bytes.get(at..at + length))
    }

    /// The header of the record at `position`, and its checksum; `None` where there is none of this salt.
    pub(super) fn header(&mut self, position: u64, salt: &Salt) -> Result<Option<(RecordHeader, u64)>> {
        let end = self.segment.segment_bytes - u64_from(FOOTER_BYTES);
        if position + u64_from(FIELDS_BYTES) > end {
            return Ok(None);
        }
        let Some(Ok(length)) = self.get(position, FIELDS_BYTES)?.map(peek_header_bytes) else { return Ok(None) };
        let decoded = self.get(position, length)?.and_then(|bytes| RecordHeader::decode(bytes, salt).ok());
        Ok(decoded.filter(|(header, _)| position + record_bytes(header.payload_bytes) <= end))
    }

    /// The payload of the record at `position`, whose header was proven; `None` when it does not hold.
    pub(super) fn payload(&mut self, position: u64, payload_bytes: u32) -> Result<Option<&[u8]>> {
        let length = header_bytes(payload_bytes);
        let Some(record) = self.get(position, length + payload_bytes as usize)? else { return Ok(None) };
        let (header, payload) = record.split_at(length);
        Ok(payload_holds(header, payload).then_some(payload))
    }

    /// Header and payload as they stand, of a record that was proven.
    pub(super) fn record(&mut self, position: u64, payload_bytes: u32) -> Result<Option<(Vec<u8>, &[u8])>> {
        let length = header_bytes(payload_bytes);
        let Some(record) = self.get(position, length + payload_bytes as usize)? else { return Ok(None) };
        let (header, payload) = record.split_at(length);
        Ok(payload_holds(header, payload).then(|| (header.to_vec(), payload)))
    }
}
