//! Reads of payloads: nothing leaves a log unchecked (I-25).

use super::segment::Segment;
use super::{Place, WriteLog};
use crate::error::{Code, Error, Result};
use crate::format::log_record::{RecordHeader, block_count, header_bytes};
use crate::format::{Defect, checksum};
use crate::limits::RECORD_BLOCK_BYTES;
use crate::units::{u64_from, usize_from};

/// A record of which no more than this has to be read is read from its front, by one call.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

const BLOCK_BYTES: usize = RECORD_BLOCK_BYTES as usize;

/// What is read before it is checked: few enough for the cache of a core, enough for the call to cost nothing.
const PIECE_BYTES: usize = 128 << 10;

const _: () = assert!(PIECE_BYTES.is_multiple_of(BLOCK_BYTES));

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
    let is_short = header_length + end <= TOGETHER_BYTES_MAX;
    let first = if is_short { 0 } else { skip / BLOCK_BYTES };
    let blocks = first * BLOCK_BYTES..end;
    let record = Record { segment, place };
    if is_short {
        let mut bytes = vec![0; header_length + blocks.len()];
        record.fill(&mut bytes, 0)?;
        let (header, payload) = bytes.split_at(header_length);
        record.check_header(header)?;
        record.check_blocks(header, first, payload)?;
        buffer.copy_from_slice(&payload[skip..skip + buffer.len()]);
        return Ok(());
    }
    let mut header = vec![0; header_length];
    record.fill(&mut header, 0)?;
    record.check_header(&header)?;
    if (blocks.start, blocks.len()) == (skip, buffer.len()) {
        let filled = record.read_blocks(&header, first, buffer);
        if filled.is_err() {
            buffer.fill(0); // of what was not checked nothing leaves
        }
        return filled;
    }
    let mut payload = vec![0; blocks.len()];
    record.read_blocks(&header, first, &mut payload)?;
    let from = skip - blocks.start;
    buffer.copy_from_slice(&payload[from..from + buffer.len()]);
    Ok(())
}

/// A record where it lies.
struct Record<'a> {
    segment: &'a Segment,
    place: &'a Place,
}

impl Record<'_> {
    /// Fills a buffer with the record's bytes from `at` on, header included.
    fn fill(&self, buffer: &mut [u8], at: usize) -> Result<()> {
        match crate::io::read_exact_at(&*self.segment.file, buffer, u64::from(self.place.position) + u64_from(at))? {
            Some(()) => Ok(()),
            None => Err(self.damaged(Defect::Wrong("the segment ends before it"))),
        }
    }

    fn check_header(&self, header: &[u8]) -> Result<()> {
        let decoded = RecordHeader::decode(header, &self.segment.salt);
        let (fields, _) = decoded.map_err(|defect| self.damaged(defect))?;
        if fields.payload_bytes != self.place.payload_bytes {
            return Err(self.damaged(Defect::Wrong("another record stands there")));
        }
        Ok(())
    }

    /// Fills a buffer with blocks of the payload from the `first` on, checked; each piece while it is in the processor's cache.
    fn read_blocks(&self, header: &[u8], mut first: usize, buffer: &mut [u8]) -> Result<()> {
        for piece in buffer.chunks_mut(PIECE_BYTES) {
            self.fill(piece, header.len() + first * BLOCK_BYTES)?;
            self.check_blocks(header, first, piece)?;
            first += PIECE_BYTES / BLOCK_BYTES;
        }
        Ok(())
    }

    fn check_blocks(&self, header: &[u8], first: usize, blocks: &[u8]) -> Result<()> {
        let holds = |(index, block): (usize, &[u8])| checksum(block) == RecordHeader::block_sum(header, first + index);
        if blocks.chunks(BLOCK_BYTES).enumerate().all(holds) {
            return Ok(());
        }
        Err(self.damaged(Defect::Wrong("a block of its payload fails its checksum")))
    }

    fn damaged(&self, defect: Defect) -> Error {
        let (number, position) = (self.segment.number, u64::from(self.place.position));
        let message = format!("the record at byte {position} of log segment {number:016x} cannot be read: {defect}");
        Error::new(Code::LogDamaged, message).with("segment", number).with("offset", position)
    }
}

/// Whether the checksums in a header are those of this payload.
pub(super) fn payload_holds(header: &[u8], payload: &[u8]) -> bool {
    header.len() == header_bytes(payload.len() as u32)
        && (0..block_count(payload.len() as u32))
            .zip(payload.chunks(BLOCK_BYTES))
            .all(|(index, block)| checksum(block) == RecordHeader::block_sum(header, index))
}
