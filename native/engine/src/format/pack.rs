//! A pack's header, trailer and footer (format.md 4.1 and 4.4).

use super::config::PLATFORM_DOMAIN;
use super::frame::{self, FrameHeader};
use super::{Codec, Defect, Fields, FieldsMut, PackKind, VERSION, checksum};
use crate::limits::PACK_BYTES_MAX;
use crate::units::{ContentId, Uid, u64_from, usize_from};

/// Bytes of the header, and offset of the first frame.
pub const HEADER_BYTES: usize = 64;
/// Bytes of an entry of the trailer.
pub const ENTRY_BYTES: usize = 48;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 48;

const HEADER_MAGIC: &[u8; 8] = b"STILLPAK";
const FOOTER_MAGIC: &[u8; 8] = b"STILLEND";

/// What a pack says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// What it holds.
    pub kind: PackKind,
    /// Chunk size of the store.
    pub chunk_bytes: u32,
    /// The pack's id.
    pub pack_id: Uid,
    /// The store's id.
    pub store_id: Uid,
}

impl PackHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES);
        fields.slice(HEADER_MAGIC).u16(VERSION).u8(self.kind.number()).u8(0).u32(self.chunk_bytes);
        fields.slice(&self.pack_id.0).slice(&self.store_id.0).u32(0).u32(PLATFORM_DOMAIN).checksum_from(0);
        let bytes = fields.finish();
        assert_eq!(bytes.len(), HEADER_BYTES);
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// It is damaged or newer.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Defect> {
        let (body, sum) = bytes.split_at(HEADER_BYTES - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("the pack header's checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        fields.magic_and_version(HEADER_MAGIC)?;
        let kind = PackKind::from_number(fields.u8()?).ok_or(Defect::Wrong("the pack's kind is unknown"))?;
        fields.zero(1)?;
        let chunk_bytes = fields.u32()?;
        let (pack_id, store_id) = (Uid(fields.array()?), Uid(fields.array()?));
        fields.zero(4)?; // key id
        if fields.u32()? != PLATFORM_DOMAIN {
            return Err(Defect::Wrong("the pack's key domain is not the platform's"));
        }
        Ok(Self { kind, chunk_bytes, pack_id, store_id })
    }
}

/// A frame as the trailer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// The content's id.
    pub id: ContentId,
    /// Where the frame begins.
    pub offset: u32,
    /// Bytes behind its header.
    pub stored_bytes: u32,
    /// Bytes of the content.
    pub plain_bytes: u32,
    /// How it is stored.
    pub codec: Codec,
    /// With a delta: its base.
    pub base: Option<ContentId>,
}

impl PackEntry {
    /// Bytes of the whole frame.
    #[must_use]
    pub const fn frame_bytes(&self) -> u64 {
        FrameHeader::frame_bytes(self.codec, self.stored_bytes)
    }

    /// Where the next frame begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset as u64 + self.frame_bytes()
    }
}

/// Trailer and footer of a pack whose frames end at `trailer_at`.
#[must_use]
pub fn encode_trailer(entries: &[PackEntry], trailer_at: u64) -> Vec<u8> {
    let mut fields = FieldsMut::with_capacity(entries.len() * ENTRY_BYTES + FOOTER_BYTES);
    let mut base_count = 0;
    for entry in entries {
        fields.slice(&entry.id.0).u32(entry.offset).u32(entry.stored_bytes).u32(entry.plain_bytes);
        fields.u8(entry.codec.number()).slice(&[0; 3]);
    }
    for base in entries.iter().filter_map(|entry| entry.base) {
        fields.slice(&base.0);
        base_count += 1;
    }
    let trailer_bytes = fields.len();
    let mut bytes = fields.finish();
    let mut footer = FieldsMut::with_capacity(FOOTER_BYTES);
    footer.slice(FOOTER_MAGIC).u32(entries.len() as u32).u32(base_count).u64(trailer_at);
    footer.u64(trailer_at + u64_from(trailer_bytes + FOOTER_BYTES)).u64(checksum(&bytes)).checksum_from(0);
    bytes.extend_from_slice(&footer.finish());
    bytes
}

/// What the footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackFooter {
    /// Frames in the pack.
    pub entry_count: u32,
    /// Deltas among them.
    pub base_count: u32,
    /// Where the trailer begins.
    pub trailer_at: u64,
    /// Bytes of the trailer.
    pub trailer_bytes: usize,
    trailer_checksum: u64,
}

impl PackFooter {
    /// Reads the footer of a pack of `file_bytes`.
    ///
    /// # Errors
    /// It is damaged or contradicts the file's length.
    pub fn decode(bytes: &[u8; FOOTER_BYTES], file_bytes: u64) -> Result<Self, Defect> {
        let (body, sum) = bytes.split_at(FOOTER_BYTES - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("the pack footer's checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        if fields.array::<8>()? != *FOOTER_MAGIC {
            return Err(Defect::Wrong("the pack footer's magic is missing"));
        }
        let (entry_count, base_count) = (fields.u32()?, fields.u32()?);
        let (trailer_at, said_bytes, trailer_checksum) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let trailer_bytes = u64::from(entry_count) * u64_from(ENTRY_BYTES) + u64::from(base_count) * 32;
        if said_bytes != file_bytes
            || file_bytes > PACK_BYTES_MAX
            || trailer_at < u64_from(HEADER_BYTES)
            || trailer_at.checked_add(trailer_bytes + u64_from(FOOTER_BYTES)) != Some(file_bytes)
        {
            return Err(Defect::Wrong("the pack footer contradicts the file's length"));
        }
        Ok(Self { entry_count, base_count, trailer_at, trailer_bytes: usize_from(trailer_bytes), trailer_checksum })
    }

    /// Reads the trailer that this footer describes.
    ///
    /// # Errors
    /// It is damaged, or its frames do not follow each other without a gap.
    pub fn decode_trailer(&self, kind: PackKind, bytes: &[u8]) -> Result<Vec<PackEntry>, Defect> {
        if bytes.len() != self.trailer_bytes || checksum(bytes) != self.trailer_checksum {
            return Err(Defect::Wrong("the pack trailer's checksum does not hold"));
        }
        let (entries, bases) = bytes.split_at(self.entry_count as usize * ENTRY_BYTES);
        let mut bases = Fields::new(bases);
        let mut next = u64_from(HEADER_BYTES);
        let mut decoded = Vec::with_capacity(self.entry_count as usize);
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let mut fields = Fields::new(entry);
            let id = ContentId(fields.array()?);
            let (offset, stored_bytes, plain_bytes) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let codec = Codec::from_number(fields.u8()?).ok_or(Defect::Wrong("the trailer names an unknown codec"))?;
            fields.zero(3)?;
            frame::check_lengths(kind, codec, plain_bytes, stored_bytes)?;
            let base = match codec {
                Codec::ZstdDelta => Some(ContentId(bases.array()?)),
                Codec::None | Codec::Zstd | Codec::Lz4 => None,
            };
            let entry = PackEntry { id, offset, stored_bytes, plain_bytes, codec, base };
            if u64::from(offset) != next {
                return Err(Defect::Wrong("the trailer's frames leave a gap"));
            }
            next = entry.end();
            decoded.push(entry);
        }
        if next != self.trailer_at || !bases.rest().is_empty() {
            return Err(Defect::Wrong("the trailer does not describe the whole pack"));
        }
        Ok(decoded)
    }
}
