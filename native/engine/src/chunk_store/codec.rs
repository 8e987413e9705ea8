//! Plain bytes to stored bytes and back, with contexts that are made once per thread of work.

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::error::{Code, Error, Result};
use crate::format::Codec;

/// A chunk is kept compressed only if that saves at least a sixteenth: less does not pay for decoding it.
const SAVING_SHARE_MIN: usize = 16;

/// Compresses, and decodes what it compressed before anyone may store it.
pub struct Encoder {
    level: Option<i32>,
    compressor: CCtx<'static>,
    decoder: Decoder,
    stored: Vec<u8>,
    decoded: Vec<u8>,
}

impl Encoder {
    /// An encoder for this codec and level; `Codec::None` stores everything as it is.
    ///
    /// # Panics
    /// When the level was not checked against zstd's range.
    #[must_use]
    pub fn new(codec: Codec, level: i32) -> Self {
        let mut compressor = CCtx::create();
        let level = (codec != Codec::None).then_some(level);
        if let Some(level) = level {
            compressor.set_parameter(CParameter::CompressionLevel(level)).expect("the level was checked");
        }
        Self { level, compressor, decoder: Decoder::new(), stored: Vec::new(), decoded: Vec::new() }
    }

    /// The stored form of `plain`: compressed where that saves enough.
    ///
    /// # Errors
    /// `INTERNAL` when what was compressed does not decode to the same bytes: a defect of the compressor or of memory.
    pub fn encode<'a>(&'a mut self, plain: &'a [u8]) -> Result<(Codec, &'a [u8])> {
        if self.level.is_none() {
            return Ok((Codec::None, plain));
        }
        self.stored.clear();
        self.stored.reserve(zstd_safe::compress_bound(plain.len()));
        let compressed = self.compressor.compress2(&mut self.stored, plain);
        if compressed.is_err() || self.stored.len() > plain.len() - plain.len() / SAVING_SHARE_MIN {
            return Ok((Codec::None, plain));
        }
        self.decoded.resize(plain.len(), 0);
        let decoded = self.decoder.decode(Codec::Zstd, &self.stored, None, &mut self.decoded);
        if decoded.is_err() || self.decoded != plain {
            return Err(Error::new(
                Code::Internal,
                "a chunk did not decode to the bytes that were compressed; memory or compressor is faulty",
            ));
        }
        Ok((Codec::Zstd, &self.stored))
    }
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
            (Codec::Zstd, _) => self.context.get_or_insert_with(DCtx::create).decompress(plain, stored),
            (Codec::ZstdDelta, Some(base)) => {
                // A prefix holds for one frame and borrows the base, so the context lives as long as this call.
                let mut context = DCtx::create();
                context.ref_prefix(base).and_then(|_| context.decompress(plain, stored))
            }
            (Codec::ZstdDelta, None) => return Err("a delta's base is not at hand"),
        };
        match length {
            Ok(length) if length == plain.len() => Ok(()),
            Ok(_) => Err("the stored bytes decode to another length"),
            Err(_) => Err("the stored bytes do not decode"),
        }
    }
}
