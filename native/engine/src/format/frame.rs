//! A frame's header (format.md 4.2).

use super::config::PLATFORM_DOMAIN;
use super::{Codec, Defect, Fields, FieldsMut, PackKind, checksum};
use crate::limits::{CHUNK_BYTES_MAX, NODE_BYTES_MAX};
use crate::units::{ContentId, u64_from, usize_from};

/// Bytes of a header without a base id.
pub const HEADER_BYTES: usize = 72;

/// Bytes of a base id behind the header of a delta.
pub const BASE_BYTES: usize = 32;

/// How a frame begins.
pub const MAGIC: &[u8; 4] = b"SPFR";

/// What a frame says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it holds.
    pub kind: PackKind,
    /// How the bytes are stored.
    pub codec: Codec,
    /// The content's id.
    pub id: ContentId,
    /// Bytes of the content.
    pub plain_bytes: u32,
    /// Bytes that follow the header (and the base id).
    pub stored_bytes: u32,
    /// XXH64 of those.
    pub stored_checksum: u64,
    /// With a delta: the chunk it stands on.
    pub base: Option<ContentId>,
}

impl FrameHeader {
    /// Bytes of the header with its base id.
    #[must_use]
    pub const fn header_bytes(codec: Codec) -> usize {
        match codec {
            Codec::ZstdDelta => HEADER_BYTES + BASE_BYTES,
            Codec::None | Codec::Zstd | Codec::Lz4 => HEADER_BYTES,
        }
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub const fn frame_bytes(codec: Codec, stored_bytes: u32) -> u64 {
        u64_from(Self::header_bytes(codec)) + stored_bytes as u64
    }

    /// Appends the header (and base id) to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        assert_eq!(self.codec == Codec::ZstdDelta, self.base.is_some());
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES + BASE_BYTES);
        fields.slice(MAGIC).u8(self.codec.number()).u8(self.kind.number()).u16(0).slice(&self.id.0);
        fields.u32(self.plain_bytes).u32(self.stored_bytes).u32(0).u32(PLATFORM_DOMAIN).u64(self.stored_checksum);
        let mut header = fields.finish();
        debug_assert_eq!(header.len(), HEADER_BYTES - 8);
        let base = self.base.as_ref().map_or(&[][..], |base| &base.0);
        let sum = checksum(&[header.as_slice(), base].concat());
        header.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(base);
    }

    /// Reads a header (and base id) from the front of `bytes`.
    ///
    /// # Errors
    /// The header is damaged or says something that the format does not allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(bytes);
        if fields.array::<4>()? != *MAGIC {
            return Err(Defect::Wrong("a frame's magic is missing"));
        }
        let codec = Codec::from_number(fields.u8()?).ok_or(Defect::Wrong("a frame's codec is unknown"))?;
        let header_bytes = Self::header_bytes(codec);
        if bytes.len() < header_bytes {
            return Err(Defect::Wrong("a frame is cut off"));
        }
        let (checked, base) = (&bytes[..HEADER_BYTES - 8], &bytes[HEADER_BYTES..header_bytes]);
        let sum = if base.is_empty() { checksum(checked) } else { checksum(&[checked, base].concat()) };
        if sum != Fields::new(&bytes[HEADER_BYTES - 8..]).u64()? {
            return Err(Defect::Wrong("a frame header's checksum does not hold"));
        }
        let kind = PackKind::from_number(fields.u8()?).ok_or(Defect::Wrong("a frame's kind is unknown"))?;
        fields.zero(2)?;
        let id = ContentId(fields.array()?);
        let (plain_bytes, stored_bytes) = (fields.u32()?, fields.u32()?);
        fields.zero(4)?; // key id: nothing is encrypted in version 1
        if fields.u32()? != PLATFORM_DOMAIN {
            return Err(Defect::Wrong("a frame's key domain is not the platform's"));
        }
        let stored_checksum = fields.u64()?;
        check_lengths(kind, codec, plain_bytes, stored_bytes)?;
        let base = (codec == Codec::ZstdDelta).then(|| {
            let mut id = [0; BASE_BYTES];
            id.copy_from_slice(base);
            ContentId(id)
        });
        Ok(Self { kind, codec, id, plain_bytes, stored_bytes, stored_checksum, base })
    }
}

/// What lengths and codecs may stand together.
///
/// # Errors
/// The combination is not allowed.
pub fn check_lengths(kind: PackKind, codec: Codec, plain_bytes: u32, stored_bytes: u32) -> Result<(), Defect> {
    let allowed = match kind {
        PackKind::Chunks => 1..=CHUNK_BYTES_MAX,
        PackKind::Nodes => 8..=NODE_BYTES_MAX as u32,
    };
    if !allowed.contains(&plain_bytes) {
        return Err(Defect::Wrong("a frame's plain length is not allowed"));
    }
    if stored_bytes == 0 || stored_bytes > plain_bytes || (codec == Codec::None && stored_bytes != plain_bytes) {
        return Err(Defect::Wrong("a frame's stored length is not allowed"));
    }
    if codec == Codec::ZstdDelta && kind == PackKind::Nodes {
        return Err(Defect::Wrong("a node is stored as a delta"));
    }
    Ok(())
}

/// Offset of the next `SPFR` in `bytes` at or after `from`.
#[must_use]
pub fn find_magic(bytes: &[u8], from: u64) -> Option<u64> {
    let start = usize_from(from);
    bytes.get(start..)?.windows(MAGIC.len()).position(|window| window == MAGIC).map(|at| from + u64_from(at))
}
