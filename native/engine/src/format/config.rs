//! `config`: the store's parameters and identity key, twice (format.md section 2).

use super::{Codec, Defect, Fields, FieldsMut, VERSION, checksum};
use crate::limits::CHUNK_BYTES_ALLOWED;
use crate::units::Uid;

/// Length of one of the two copies.
pub const BLOCK_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"STILLCFG";
const DOMAINS_AT: usize = 64;
const DOMAIN_BYTES: usize = 64;
const KEY_IN_THE_CLEAR: u8 = 1;

/// The platform's key domain, the only one of version 1.
pub const PLATFORM_DOMAIN: u32 = 0;

/// What a store is, for good.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The store's id.
    pub store_id: Uid,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// Bytes of a whole chunk.
    pub chunk_bytes: u32,
    /// Codec for new chunks: any but a delta.
    pub codec: Codec,
    /// Its level; 0 for a codec without.
    pub level: i8,
    /// Identity key of the platform's domain.
    pub identity_key: [u8; 32],
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("store_id", &self.store_id).finish_non_exhaustive() // no key in any log
    }
}

impl Config {
    /// The whole file: both copies.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = FieldsMut::with_capacity(BLOCK_BYTES);
        block.slice(MAGIC).u16(VERSION).u16(0).u32(BLOCK_BYTES as u32).slice(&self.store_id.0);
        block.u64(self.created_ms).u32(self.chunk_bytes).u8(self.codec.number());
        block.slice(&self.level.to_le_bytes()).u16(1).zero_to(DOMAINS_AT);
        block.u32(PLATFORM_DOMAIN).u8(KEY_IN_THE_CLEAR).slice(&[0; 3]).u32(0).slice(&[0; 4]);
        block.slice(&self.identity_key).zero_to(BLOCK_BYTES - 8).checksum_from(0);
        let block = block.finish();
        assert_eq!(block.len(), BLOCK_BYTES);
        [block.as_slice(), block.as_slice()].concat()
    }

    /// Reads one copy.
    ///
    /// # Errors
    /// The copy is damaged or newer.
    pub fn decode_block(block: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(block);
        if fields.array::<8>()? != *MAGIC {
            return Err(Defect::Wrong("its magic is missing"));
        }
        let version = fields.u16()?;
        if block.len() != BLOCK_BYTES {
            return Err(Defect::Wrong("it is too short"));
        }
        let (body, sum) = block.split_at(BLOCK_BYTES - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("its checksum does not hold"));
        }
        if version != VERSION {
            return Err(Defect::Newer(version)); // the checksum holds, so this is a version and not a flipped bit
        }
        fields.zero(2)?;
        if fields.u32()? != BLOCK_BYTES as u32 {
            return Err(Defect::Wrong("its length field is wrong"));
        }
        let store_id = Uid(fields.array()?);
        let created_ms = fields.u64()?;
        let chunk_bytes = fields.u32()?;
        if !CHUNK_BYTES_ALLOWED.contains(&chunk_bytes) {
            return Err(Defect::Wrong("its chunk size is not allowed"));
        }
        let codec = match Codec::from_number(fields.u8()?) {
            Some(codec @ (Codec::None | Codec::Zstd | Codec::Lz4)) => codec,
            Some(Codec::ZstdDelta) | None => return Err(Defect::Wrong("its codec is unknown")),
        };
        let level = i8::from_le_bytes(fields.array()?);
        if codec != Codec::Zstd && level != 0 {
            return Err(Defect::Wrong("its codec has no levels"));
        }
        if fields.u16()? != 1 {
            return Err(Defect::Wrong("it does not have exactly one key domain"));
        }
        fields.zero(16)?;
        if fields.u32()? != PLATFORM_DOMAIN {
            return Err(Defect::Wrong("its key domain is not the platform's"));
        }
        if fields.u8()? != KEY_IN_THE_CLEAR {
            return Err(Defect::Newer(VERSION + 1)); // a wrapped key: reserved for later versions
        }
        fields.zero(3 + 4 + 4)?;
        let identity_key = fields.array()?;
        fields.zero(16)?;
        fields.zero(BLOCK_BYTES - 8 - DOMAINS_AT - DOMAIN_BYTES)?;
        Ok(Self { store_id, created_ms, chunk_bytes, codec, level, identity_key })
    }
}
