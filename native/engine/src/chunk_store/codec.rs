//! Plain bytes to stored bytes and back, with contexts that are made once per thread of work.

use lz4_flex::block::{self, CompressTable};
use zstd_safe::{CCtx, CParameter, DCtx};

use super::delta_compressor::DeltaCompressor;
use crate::error::{Code, Error, Result};
use crate::format::Codec;
use crate::units::ContentId;

/// A chunk is kept compressed only if that saves at least a sixteenth: less does not pay for decoding it.
const SAVING_SHARE_MIN: usize = 16;

/// A delta of at most this part of the chunk is kept without trying how small the chunk would be by itself.
const DELTA_SHARE_SMALL: usize = 16;

/// So is one of at most this part of what its base takes, which tells about as much.
const DELTA_SHARE_OF_BASE: usize = 2;

/// A larger delta is kept only if it saves at least this part of the chunk's own form: reading it costs two reads and
/// two decodings.
const DELTA_SAVING_SHARE_MIN: usize = 4;

/// Unit in which a chunk and its possible base are compared before a delta is tried: a disk's smallest sector.
const SIMILAR_BLOCK_BYTES: usize = 512;

/// At least this part of a chunk must stand unchanged at the same place in its base. Disks are written in place, so
/// content that moved within its chunk is not looked for.
const SIMILAR_SHARE_MIN: usize = 8;

/// A chunk that another one may stand on.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// Its id.
    pub id: ContentId,
    /// Its bytes, proven.
    pub plain: &'a [u8],
    /// Length of its own stored form: about what a chunk that is like it takes without it.
    pub stored_bytes: u32,
}

/// The stored form of a chunk.
#[derive(Clone, Copy)]
pub struct Encoded<'a> {
    /// How it is stored.
    pub codec: Codec,
    /// With a delta: what it stands on.
    pub base: Option<ContentId>,
    /// The stored bytes.
    pub stored: &'a [u8],
}

/// Compresses, and decodes what it compressed before anyone may store it.
pub struct Encoder {
    compressor: Compressor,
    decoder: Decoder,
    stored: Vec<u8>,
    delta: Vec<u8>,
    decoded: Vec<u8>,
}

enum Compressor {
    None,
    Zstd { full: CCtx<'static>, delta: DeltaCompressor },
    Lz4(CompressTable),
}

impl Encoder {
    /// An encoder for this codec and level; `Codec::None` stores everything as it is. Only zstd has levels, and only
    /// with it are deltas made: they take zstd to decode, which is what a store with lz4 does without.
    ///
    /// # Panics
    /// When the level was not checked against zstd's range.
    #[must_use]
    pub fn new(codec: Codec, level: i32) -> Self {
        let compressor = match codec {
            Codec::None => Compressor::None,
            // The large table also for short chunks: a small one that met a long chunk is exchanged for good, and what a
            // chunk is stored as would depend on those before it.
            Codec::Lz4 => Compressor::Lz4(CompressTable::large()),
            Codec::Zstd | Codec::ZstdDelta => {
                let mut full = CCtx::create();
                full.set_parameter(CParameter::CompressionLevel(level)).expect("the level was checked");
                Compressor::Zstd { full, delta: DeltaCompressor::new(level) }
            }
        };
        let (stored, delta, decoded) = (Vec::new(), Vec::new(), Vec::new());
        Self { compressor, decoder: Decoder::new(), stored, delta, decoded }
    }

    /// Whether a base can make anything smaller.
    #[must_use]
    pub const fn uses_bases(&self) -> bool {
        matches!(self.compressor, Compressor::Zstd { .. })
    }

    /// The stored form of `plain`: compressed where that saves enough.
    ///
    /// # Errors
    /// `INTERNAL` when what was compressed does not decode to the same bytes: a defect of the compressor or of memory.
    pub fn encode<'a>(&'a mut self, plain: &'a [u8]) -> Result<Encoded<'a>> {
        self.encode_against(plain, None)
    }

    /// As [`Encoder::encode`], or as a delta on `base` where that is clearly smaller.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_against<'a>(&'a mut self, plain: &'a [u8], base: Option<Base<'_>>) -> Result<Encoded<'a>> {
        let delta_bytes = match base {
            Some(base) if self.uses_bases() && is_like(plain, base.plain) => self.compress_delta(plain, base.plain),
            _ => None,
        };
        let base_bytes = base.map_or(0, |base| base.stored_bytes as usize);
        let small = (plain.len() / DELTA_SHARE_SMALL).max(base_bytes / DELTA_SHARE_OF_BASE);
        if delta_bytes.is_none_or(|bytes| bytes > small) {
            let full_bytes = self.compress_full(plain);
            let full_bytes_or_plain = full_bytes.unwrap_or(plain.len());
            let limit = full_bytes_or_plain - full_bytes_or_plain / DELTA_SAVING_SHARE_MIN;
            if delta_bytes.is_none_or(|bytes| bytes > limit) {
                if full_bytes.is_none() {
                    return Ok(Encoded { codec: Codec::None, base: None, stored: plain });
                }
                let codec = if matches!(self.compressor, Compressor::Lz4(_)) { Codec::Lz4 } else { Codec::Zstd };
                self.prove(codec, None, plain)?;
                return Ok(Encoded { codec, base: None, stored: &self.stored });
            }
        }
        self.prove(Codec::ZstdDelta, base, plain)?;
        Ok(Encoded { codec: Codec::ZstdDelta, base: base.map(|base| base.id), stored: &self.delta })
    }

    /// Compresses into `stored`; the length, or `None` when that does not save enough.
    fn compress_full(&mut self, plain: &[u8]) -> Option<usize> {
        self.stored.clear();
        let compressed = match &mut self.compressor {
            Compressor::None => return None,
            Compressor::Zstd { full, .. } => {
                self.stored.reserve(zstd_safe::compress_bound(plain.len()));
                full.compress2(&mut self.stored, plain).is_ok()
            }
            Compressor::Lz4(table) => {
                self.stored.resize(block::get_maximum_output_size(plain.len()), 0);
                let length = block::compress_into_with_table(plain, &mut self.stored, table).ok();
                self.stored.truncate(length.unwrap_or_default());
                length.is_some()
            }
        };
        (compressed && saves(self.stored.len(), plain.len())).then_some(self.stored.len())
    }

    /// Compresses against a base into `delta`; the length, or `None` when that does not save enough.
    fn compress_delta(&mut self, plain: &[u8], base: &[u8]) -> Option<usize> {
        let Compressor::Zstd { delta, .. } = &mut self.compressor else { return None };
        let compressed = delta.compress(plain, base, &mut self.delta);
        (compressed && saves(self.delta.len(), plain.len())).then_some(self.delta.len())
    }

    /// Decodes what was compressed last and compares it with the plain bytes still in hand.
    fn prove(&mut self, codec: Codec, base: Option<Base<'_>>, plain: &[u8]) -> Result<()> {
        let stored = if codec == Codec::ZstdDelta { &self.delta } else { &self.stored };
        self.decoded.resize(plain.len(), 0);
        let decoded = self.decoder.decode(codec, stored, base.map(|base| base.plain), &mut self.decoded);
        if decoded.is_err() || self.decoded != plain {
            return Err(Error::new(
                Code::Internal,
                "a chunk did not decode to the bytes that were compressed; memory or compressor is faulty",
            ));
        }
        Ok(())
    }
}

const fn saves(stored_bytes: usize, plain_bytes: usize) -> bool {
    stored_bytes <= plain_bytes - plain_bytes / SAVING_SHARE_MIN
}

/// Whether enough of `plain` stands at the same place in `base` for a delta to be worth trying.
#[must_use]
pub fn is_like(plain: &[u8], base: &[u8]) -> bool {
    let blocks = plain.chunks(SIMILAR_BLOCK_BYTES).zip(base.chunks(SIMILAR_BLOCK_BYTES));
    let wanted = plain.len().div_ceil(SIMILAR_BLOCK_BYTES).div_ceil(SIMILAR_SHARE_MIN);
    blocks.filter(|(plain, base)| plain == base).take(wanted).count() == wanted
}

/// Decodes. Its context is made when it is first needed: nodes and incompressible chunks never need one.
#[derive(Default)]
pub struct Decoder {
    context: Option<DCtx<'static>>,
}

impl Decoder {
    /// A decoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes into all of `plain`; `base` is the plain base of a delta.
    ///
    /// # Errors
    /// What is wrong with the stored bytes.
    pub fn decode(
        &mut self,
        codec: Codec,
        stored: &[u8],
        base: Option<&[u8]>,
        plain: &mut [u8],
    ) -> std::result::Result<(), &'static str> {
        let length = match (codec, base) {
            (Codec::None, _) => {
                if stored.len() != plain.len() {
                    return Err("the stored bytes have another length than the plain ones");
                }
                plain.copy_from_slice(stored);
                return Ok(());
            }
            (Codec::Zstd, _) => self.context().decompress(plain, stored).ok(),
            (Codec::Lz4, _) => block::decompress_into(stored, plain).ok(),
            (Codec::ZstdDelta, Some(base)) => self.decode_delta(stored, base, plain).ok(),
            (Codec::ZstdDelta, None) => return Err("a delta's base is not at hand"),
        };
        match length {
            Some(length) if length == plain.len() => Ok(()),
            Some(_) => Err("the stored bytes decode to another length"),
            None => Err("the stored bytes do not decode"),
        }
    }

    #[expect(unsafe_code, reason = "a context that is kept takes only prefixes that live as long as it does")]
    fn decode_delta(&mut self, stored: &[u8], base: &[u8], plain: &mut [u8]) -> zstd_safe::SafeResult {
        let context = self.context();
        // SAFETY: the context reads the prefix during `decompress` only, and forgets it in `ref_prefix(&[])`, which
        // drops every dictionary; both happen while `base` is borrowed.
        let prefix: &'static [u8] = unsafe { std::slice::from_raw_parts(base.as_ptr(), base.len()) };
        let length = context.ref_prefix(prefix).and_then(|_| context.decompress(plain, stored));
        context.ref_prefix(&[]).expect("dropping a prefix cannot fail between frames");
        length
    }

    fn context(&mut self) -> &mut DCtx<'static> {
        self.context.get_or_insert_with(DCtx::create)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: i32 = 2;

    /// Bytes that do not compress, other ones for each seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    fn base_of(plain: &[u8]) -> Base<'_> {
        Base { id: ContentId([7; 32]), plain, stored_bytes: plain.len() as u32 }
    }

    fn encode(plain: &[u8], base: &[u8]) -> (Codec, Option<ContentId>, Vec<u8>) {
        let mut encoder = Encoder::new(Codec::Zstd, LEVEL);
        let encoded = encoder.encode_against(plain, Some(base_of(base))).expect("encoding gives what was put in");
        (encoded.codec, encoded.base, encoded.stored.to_vec())
    }

    fn decode(codec: Codec, stored: &[u8], base: &[u8], length: usize) -> Vec<u8> {
        let mut plain = vec![0; length];
        Decoder::new().decode(codec, stored, Some(base), &mut plain).expect("it decodes");
        plain
    }

    #[test]
    fn a_chunk_that_changed_a_little_becomes_a_small_delta() {
        let base = noise(1, 65536);
        let mut plain = base.clone();
        plain[8192..12288].copy_from_slice(&noise(2, 4096));
        let (codec, id, stored) = encode(&plain, &base);
        assert_eq!((codec, id), (Codec::ZstdDelta, Some(ContentId([7; 32]))));
        assert!(stored.len() < 4500, "{} bytes for 4096 new ones", stored.len());
        assert_eq!(decode(codec, &stored, &base, plain.len()), plain);
    }

    #[test]
    fn a_base_that_looks_like_a_trained_dictionary_is_taken_as_content() {
        let mut base = noise(1, 65536);
        base[..4].copy_from_slice(&[0x37, 0xa4, 0x30, 0xec]);
        let mut plain = base.clone();
        plain[40_000] ^= 1;
        let (codec, _, stored) = encode(&plain, &base);
        assert_eq!(codec, Codec::ZstdDelta);
        assert_eq!(decode(codec, &stored, &base, plain.len()), plain);
    }

    #[test]
    fn lz4_takes_no_base_and_keeps_what_saves_a_sixteenth() {
        let mut encoder = Encoder::new(Codec::Lz4, 0);
        assert!(!encoder.uses_bases());
        let text = b"all work and no play ".repeat(4000)[..65536].to_vec();
        for plain in [&text[..], &text[..100], &text[..1 << 10], &text[..65_535]] {
            let encoded = encoder.encode_against(plain, Some(base_of(plain))).expect("encoding gives what was put in");
            assert_eq!((encoded.codec, encoded.base), (Codec::Lz4, None));
            assert_eq!(decode(Codec::Lz4, encoded.stored, &[], plain.len()), plain);
        }
        let mut mostly_noise = noise(1, 65536);
        mostly_noise[..4000].fill(7); // a sixteenth is 4096
        for plain in [&mostly_noise[..], &text[..7], &text[..1]] {
            assert_eq!(encoder.encode(plain).expect("encoding gives what was put in").codec, Codec::None);
        }
        mostly_noise[..4400].fill(7);
        assert_eq!(encoder.encode(&mostly_noise).expect("encoding gives what was put in").codec, Codec::Lz4);
    }

    #[test]
    fn what_lz4_makes_of_a_chunk_does_not_depend_on_those_before_it() {
        let text = b"abcdefghijklmnopqrstuvwxyz0123456789".repeat(30_000)[..1 << 20].to_vec();
        let alone = Encoder::new(Codec::Lz4, 0).encode(&text[..20_000]).map(|encoded| encoded.stored.to_vec());
        let mut encoder = Encoder::new(Codec::Lz4, 0);
        encoder.encode(&text).expect("encoding gives what was put in");
        let after = encoder.encode(&text[..20_000]).map(|encoded| encoded.stored.to_vec());
        assert_eq!(alone.expect("it encodes"), after.expect("it encodes"));
    }

    #[test]
    fn a_chunk_without_likeness_to_its_base_is_stored_by_itself() {
        let text = b"all work and no play ".repeat(4000)[..65536].to_vec();
        assert_eq!(encode(&text, &noise(1, 65536)).0, Codec::Zstd);
        assert_eq!(encode(&noise(2, 65536), &noise(1, 65536)).0, Codec::None);
    }

    #[test]
    fn a_delta_that_saves_little_is_not_kept() {
        let base = noise(1, 65536);
        let mut plain = base.clone();
        plain[9000..].copy_from_slice(&noise(2, 65536 - 9000)); // an eighth is alike, which is less than a quarter
        assert_eq!(encode(&plain, &base).0, Codec::None);
    }

    #[test]
    fn chunk_and_base_may_have_different_lengths() {
        let base = noise(1, 65536);
        let short = &base[..5000];
        let (codec, _, stored) = encode(short, &base);
        assert_eq!(decode(codec, &stored, &base, short.len()), short);
        let (codec, _, stored) = encode(&base, short);
        assert_eq!(decode(codec, &stored, short, base.len()), base);
    }

    #[test]
    fn an_encoder_forgets_a_base_after_one_chunk() {
        let base = noise(1, 65536);
        let mut plain = base.clone();
        plain[0] ^= 1;
        let mut encoder = Encoder::new(Codec::Zstd, LEVEL);
        let delta = encoder.encode_against(&plain, Some(base_of(&base)));
        assert_eq!(delta.expect("encoding gives what was put in").codec, Codec::ZstdDelta);
        let full = encoder.encode(&plain).expect("encoding gives what was put in");
        assert_eq!(full.codec, Codec::None, "noise does not compress without its base");
    }
}
