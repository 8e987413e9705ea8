//! Reads of payloads: nothing leaves a log unchecked (I-25).

use super::segment::Segment;
use super::{Place, WriteLog};
use crate::error::{Code, Error, Result};
use crate::format::log_record::{RecordHeader, block_count, header_bytes};
use crate::format::{Defect, checksum};
use crate::io::IoFile;
use crate::limits::RECORD_BLOCK_BYTES;
use crate::units::{u64_from, usize_from};

/// A record of which no more than this has to be read is read from its front, by one call.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

const BLOCK_BYTES: usize = RECORD_BLOCK_BYTES as usize;

impl WriteLog {
    /// Fills `buffer` with bytes of a record's payload, from byte `skip` of it on.
    ///
    /// # Errors
    /// `LOG_DAMAGED`: the header or a block that is read fails its checksum. What files give.
    ///
    /// # Panics
    /// When the range lies outside the payload, or the record was released: defects of the caller.
    pub fn read(&self, place: &Place, skip: u64, buffer: &mut [u8]) -> Result<()> {
        let end = skip.checked_add(u64_from(buffer.len()));
        assert!(end.is_some_and(|end| end <= u64::from(place.payload_bytes)), "the range lies in the payload");
        if buffer.is_empty() {
            return Ok(());
        }
        let segment = self.segments.get(place.segment);
        let Some(segment) = segment else { panic!("segment {} of the log is held by who reads it", place.segment) };
        read_payload(&segment, place, usize_from(skip), buffer)
    }
}

fn read_payload(segment: &Segment, place: &Place, skip: usize, buffer: &mut [u8]) -> Result<()> {
    let (header_length, payload_length) = (header_bytes(place.payload_bytes), place.payload_bytes as usize);
    let end = ((skip + buffer.len()).div_ceil(BLOCK_BYTES) * BLOCK_BYTES).min(payload_length);
    let first = if header_length + end <= TOGETHER_BYTES_MAX { 0 } else { skip / BLOCK_BYTES };
    let blocks = first * BLOCK_BYTES..end;
    let position = u64::from(place.position);
    let mut bytes = vec![0; header_length + blocks.len()];
    let damaged = |defect: Defect| damaged(segment, position, &defect);
    if blocks.start == 0 {
        exact(&*segment.file, &mut bytes, position, damaged)?;
    } else {
        let (header, payload) = bytes.split_at_mut(header_length);
        exact(&*segment.file, header, position, damaged)?;
        exact(&*segment.file, payload, position + u64_from(header_length + blocks.start), damaged)?;
    }
    let (header, payload) = bytes.split_at(header_length);
    let (fields, _) = RecordHeader::decode(header, &segment.salt).map_err(damaged)?;
    if fields.payload_bytes != place.payload_bytes {
        return Err(damaged(Defect::Wrong("another record stands there")));
    }
    for (index, block) in payload.chunks(BLOCK_BYTES).enumerate() {
        if checksum(block) != RecordHeader::block_sum(header, first + index) {
            return Err(damaged(Defect::Wrong("a block of its payload fails its checksum")));
        }
    }
    let from = skip - blocks.start;
    buffer.copy_from_slice(&payload[from..from + buffer.len()]);
    Ok(())
}

/// Whether the checksums in a header are those of this payload.
pub(super) fn payload_holds(header: &[u8], payload: &[u8]) -> bool {
    header.len() == header_bytes(payload.len() as u32)
        && (0..block_count(payload.len() as u32))
            .zip(payload.chunks(BLOCK_BYTES))
            .all(|(index, block)| checksum(block) == RecordHeader::block_sum(header, index))
}

fn exact(file: &dyn IoFile, buffer: &mut [u8], position: u64, damaged: impl Fn(Defect) -> Error) -> Result<()> {
    match crate::io::read_exact_at(file, buffer, position)? {
        Some(()) => Ok(()),
        None => Err(damaged(Defect::Wrong("the segment ends before it"))),
    }
}

fn damaged(segment: &Segment, position: u64, defect: &Defect) -> Error {
    let number = segment.number;
    let message = format!("the record at byte {position} of log segment {number:016x} cannot be read: {defect}");
    Error::new(Code::LogDamaged, message).with("segment", number).with("offset", position)
}
