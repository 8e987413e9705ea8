//! Whole packs: their header and trailer, and what can be found again when those are damaged.

use std::sync::Arc;

use super::codec::Decoder;
use super::identity::Identity;
use crate::error::Result;
use crate::format::frame::{FrameHeader, find_magic};
use crate::format::pack::{FOOTER_BYTES, HEADER_BYTES, PackEntry, PackFooter, PackHeader};
use crate::format::{Defect, checksum};
use crate::io::{IoFile, read_exact_at};
use crate::limits::{NODE_BYTES_MAX, PACK_BYTES_MAX};
use crate::units::{ContentId, u64_from, usize_from};

use super::pack_set::Pack;

/// A defect with its place in the pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackDefect {
    /// Where.
    pub offset: u64,
    /// How far.
    pub length: u64,
    /// What.
    pub defect: Defect,
}

/// One pack, open for reading as a whole.
pub struct PackReader {
    /// The pack.
    pub pack: Pack,
    /// Its file.
    pub file: Arc<dyn IoFile>,
}

impl PackReader {
    /// Checks the header against what the pack's name and store say.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with the header.
    pub fn check_header(&self, expected: &PackHeader) -> Result<std::result::Result<(), PackDefect>> {
        let mut bytes = [0; HEADER_BYTES];
        let defect = |defect| PackDefect { offset: 0, length: u64_from(HEADER_BYTES), defect };
        if read_exact_at(self.file.as_ref(), &mut bytes, 0)?.is_none() {
            return Ok(Err(defect(Defect::Wrong("the pack is cut off"))));
        }
        Ok(match PackHeader::decode(&bytes) {
            Ok(header) if header == *expected => Ok(()),
            Ok(_) => Err(defect(Defect::Wrong("the pack header belongs to another pack or store"))),
            Err(wrong) => Err(defect(wrong)),
        })
    }

    /// The frames as the trailer lists them.
    ///
    /// # Errors
    /// What reading gives; inside: what is wrong with footer or trailer.
    pub fn trailer(&self) -> Result<std::result::Result<Vec<PackEntry>, PackDefect>> {
        let file_bytes = self.pack.bytes;
        let whole = |defect| PackDefect { offset: 0, length: file_bytes, defect };
        let Some(footer_at) = file_bytes.checked_sub(u64_from(FOOTER_BYTES)) else {
            return Ok(Err(whole(Defect::Wrong("the pack is cut off"))));
        };
        let mut footer = [0; FOOTER_BYTES];
        if read_exact_at(self.file.as_ref(), &mut footer, footer_at)?.is_none() {
            return Ok(Err(whole(Defect::Wrong("the pack is cut off"))));
        }
        let footer = match PackFooter::decode(&footer, file_bytes) {
            Ok(footer) => footer,
            Err(defect) => {
                return Ok(Err(PackDefect { offset: footer_at, length: u64_from(FOOTER_BYTES), defect }));
            }
        };
        let mut trailer = vec![0; footer.trailer_bytes];
        let place = |defect| PackDefect { offset: footer.trailer_at, length: u64_from(footer.trailer_bytes), defect };
        if read_exact_at(self.file.as_ref(), &mut trailer, footer.trailer_at)?.is_none() {
            return Ok(Err(place(Defect::Wrong("the pack is cut off"))));
        }
        Ok(footer.decode_trailer(self.pack.kind, &trailer).map_err(place))
    }

    /// The frames found without the trailer: by walking from the first, and past damage by searching for the next
    /// header. Whatever is found counts only because its id is proven here; a delta only if `base` gives the plain
    /// bytes that it stands on.
    ///
    /// # Errors
    /// What reading and `base` give.
    pub fn salvage(
        &self,
        identity: &Identity,
        mut base: impl FnMut(&ContentId) -> Result<Option<Vec<u8>>>,
    ) -> Result<Vec<PackEntry>> {
        let mut bytes = vec![0; usize_from(self.pack.bytes.min(PACK_BYTES_MAX))];
        let length = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(length);
        let (mut decoder, mut plain) = (Decoder::new(), Vec::new());
        let mut found = Vec::new();
        let mut at = u64_from(HEADER_BYTES);
        while let Some(offset) = find_magic(&bytes, at) {
            at = offset + 1;
            let Some((header, stored)) = self.frame_at(&bytes, offset) else { continue };
            let base = match &header.base {
                Some(id) => match base(id)? {
                    Some(base) => Some(base),
                    None => continue,
                },
                None => None,
            };
            let proven = check_frame(&header, stored, identity, &mut decoder, base.as_deref(), &mut plain).is_ok();
            let (true, Ok(offset)) = (proven, u32::try_from(offset)) else { continue };
            let FrameHeader { id, codec, stored_bytes, plain_bytes, base, .. } = header;
            let entry = PackEntry { id, offset, stored_bytes, plain_bytes, codec, base };
            at = entry.end();
            found.push(entry);
        }
        Ok(found)
    }

    fn frame_at<'b>(&self, bytes: &'b [u8], offset: u64) -> Option<(FrameHeader, &'b [u8])> {
        let frame = bytes.get(usize_from(offset)..)?;
        let header = FrameHeader::decode(frame).ok()?;
        let stored = stored_bytes(frame, &header)?;
        (header.kind == self.pack.kind).then_some((header, stored))
    }
}

/// The stored bytes behind a header at the front of `frame`.
#[must_use]
pub fn stored_bytes<'a>(frame: &'a [u8], header: &FrameHeader) -> Option<&'a [u8]> {
    let start = FrameHeader::header_bytes(header.codec);
    frame.get(start..start + header.stored_bytes as usize)
}

/// Proves a frame: checksum, decoding, id. Leaves the plain bytes in `plain`.
///
/// # Errors
/// What is wrong.
pub fn check_frame(
    header: &FrameHeader,
    stored: &[u8],
    identity: &Identity,
    decoder: &mut Decoder,
    base: Option<&[u8]>,
    plain: &mut Vec<u8>,
) -> std::result::Result<(), &'static str> {
    plain.resize(header.plain_bytes as usize, 0);
    check_frame_into(header, stored, identity, decoder, base, plain)
}

/// As [`check_frame`], into a slice of exactly the plain length.
///
/// # Errors
/// What is wrong.
pub fn check_frame_into(
    header: &FrameHeader,
    stored: &[u8],
    identity: &Identity,
    decoder: &mut Decoder,
    base: Option<&[u8]>,
    plain: &mut [u8],
) -> std::result::Result<(), &'static str> {
    decode_frame_into(header, stored, decoder, base, plain)?;
    if identity.id(header.kind, plain) != header.id {
        return Err("the plain bytes have another id");
    }
    Ok(())
}

/// The first half of [`check_frame_into`]: checksum and decoding. What comes out is not proven by its id yet.
///
/// # Errors
/// What is wrong.
pub fn decode_frame_into(
    header: &FrameHeader,
    stored: &[u8],
    decoder: &mut Decoder,
    base: Option<&[u8]>,
    plain: &mut [u8],
) -> std::result::Result<(), &'static str> {
    assert_eq!(plain.len(), header.plain_bytes as usize);
    if checksum(stored) != header.stored_checksum {
        return Err("the checksum of the stored bytes does not hold");
    }
    decoder.decode(header.codec, stored, base, plain)
}

/// The largest plain length of this kind of content in a store.
#[must_use]
pub fn plain_bytes_max(kind: crate::format::PackKind, chunk_bytes: u32) -> u32 {
    match kind {
        crate::format::PackKind::Chunks => chunk_bytes,
        crate::format::PackKind::Nodes => NODE_BYTES_MAX as u32,
    }
}

/// The header that a pack of this store must have.
#[must_use]
pub fn expected_header(pack: &Pack, store_id: crate::units::Uid, chunk_bytes: u32) -> PackHeader {
    PackHeader { kind: pack.kind, chunk_bytes, pack_id: pack.id, store_id }
}

/// Ids and places of frames, for building an index.
pub type Entries = Vec<(ContentId, PackEntry)>;
