//! Frames anew: content that is there, proven, in another encoding.

use zstd_safe::{CCtx, CParameter};

use crate::chunk_store::codec::{Decoder, Encoded, Encoder};
use crate::chunk_store::writer::EncodedFrame;
use crate::chunk_store::{Batch, ChunkStore};
use crate::error::{Code, Error, Result};
use crate::format::{Codec, PackKind};
use crate::units::ContentId;

/// A window of this size holds two of the largest chunks.
const WINDOW_LOG: u32 = 21;

/// A chunk as a full frame, whatever it is stored as.
///
/// # Errors
/// The chunk is missing or damaged, or what reading gives.
pub(super) fn full_frame(store: &ChunkStore, id: &ContentId) -> Result<EncodedFrame> {
    let plain = store.get(PackKind::Chunks, id, &mut Batch::default())?;
    let parameters = store.parameters();
    let mut encoder = Encoder::new(parameters.codec, parameters.level);
    Ok(EncodedFrame::new(PackKind::Chunks, *id, plain.len() as u32, encoder.encode(&plain)?))
}

/// A chunk as a delta on another one; `None` when that is no full frame that may be built on, or nothing is gained.
///
/// # Errors
/// The chunks are missing or damaged, or what reading gives.
pub(super) fn delta_frame(store: &ChunkStore, id: &ContentId, base: &ContentId) -> Result<Option<EncodedFrame>> {
    if id == base || store.locate_base(base)?.is_empty() {
        return Ok(None);
    }
    let mut batch = Batch::default();
    let plain = store.get(PackKind::Chunks, id, &mut batch)?;
    let before = store.get(PackKind::Chunks, base, &mut batch)?;
    let mut stored = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    let mut compressor = CCtx::create();
    let compressed = compressor
        .set_parameter(CParameter::CompressionLevel(store.parameters().level.max(1)))
        .and_then(|_| compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG)))
        .and_then(|_| compressor.ref_prefix(&before))
        .and_then(|_| compressor.compress2(&mut stored, &plain));
    if compressed.is_err() || stored.len() > plain.len() {
        return Ok(None);
    }
    let mut decoded = vec![0; plain.len()];
    let proven = Decoder::new().decode(Codec::ZstdDelta, &stored, Some(&before), &mut decoded);
    if proven.is_err() || decoded != plain {
        let message = format!("chunk {id} did not decode to the bytes that were compressed");
        return Err(Error::new(Code::Internal, message));
    }
    let encoded = Encoded { codec: Codec::ZstdDelta, base: Some(*base), stored: &stored };
    Ok(Some(EncodedFrame::new(PackKind::Chunks, *id, plain.len() as u32, encoded)))
}
