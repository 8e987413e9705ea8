//! Matches into the zstd frame of a delta.
//!
//! The frame is the one that `ZSTD_CCtx_refPrefix` with the base leads to, but for who chose the matches (format.md
//! section 4.3): zstd is handed the matches and does the rest. It is not told of the base, of which it would make a table
//! first. `zstd-safe` has no call for that, so the context is held here.

use std::ptr::NonNull;

use zstd_safe::zstd_sys::{
    self, ZSTD_CCtx, ZSTD_Sequence, ZSTD_cParameter, ZSTD_compressSequences, ZSTD_createCCtx, ZSTD_freeCCtx,
    ZSTD_isError,
};

use super::delta_matches::{Match, MatchFinder};
use crate::limits::CHUNK_BYTES_MAX;

/// zstd is promised that no match is shorter; the finder's are not.
const MATCH_BYTES_MIN: usize = 4;

/// A window that holds the largest base and chunk: whatever stands in either may be repeated.
const WINDOW_LOG: i32 = (2 * CHUNK_BYTES_MAX).ilog2() as i32;

/// Compresses chunks against a base.
pub(super) struct DeltaCompressor {
    context: NonNull<ZSTD_CCtx>,
    finder: MatchFinder,
    sequences: Vec<ZSTD_Sequence>,
}

// SAFETY: a context belongs to no thread, and only whoever has the compressor exclusively can use it.
#[expect(unsafe_code, reason = "a raw context is not Send by itself")]
unsafe impl Send for DeltaCompressor {}

impl DeltaCompressor {
    /// A compressor whose entropy stage works as at this level.
    ///
    /// # Panics
    /// When the level was not checked against zstd's range, or memory is short.
    #[expect(unsafe_code, reason = "zstd's interface for matches has no safe wrapper")]
    pub(super) fn new(level: i32) -> Self {
        // SAFETY: takes nothing; null is looked for.
        let context = NonNull::new(unsafe { ZSTD_createCCtx() }).expect("there is memory for a context");
        let this = Self { context, finder: MatchFinder::new(), sequences: Vec::new() };
        let parameters = [
            (ZSTD_cParameter::ZSTD_c_compressionLevel, level),
            (ZSTD_cParameter::ZSTD_c_minMatch, MATCH_BYTES_MIN as i32),
            (ZSTD_cParameter::ZSTD_c_windowLog, WINDOW_LOG),
        ];
        for (parameter, value) in parameters {
            // SAFETY: the context is sound, and parameters of any value are checked by zstd.
            let code = unsafe { zstd_sys::ZSTD_CCtx_setParameter(context.as_ptr(), parameter, value) };
            assert!(!is_error(code), "the level was checked, and the others are in zstd's range");
        }
        this
    }

    /// Compresses `plain` against `base` into `out`; whether that could be done.
    #[expect(unsafe_code, reason = "zstd's interface for matches has no safe wrapper")]
    pub(super) fn compress(&mut self, plain: &[u8], base: &[u8], out: &mut Vec<u8>) -> bool {
        let matches = self.finder.find(plain, base);
        check(matches, plain.len(), base.len());
        let sequence = |found: &Match| ZSTD_Sequence {
            offset: found.distance as u32,
            litLength: found.literal_bytes as u32,
            matchLength: found.bytes as u32,
            rep: 0,
        };
        self.sequences.clear();
        self.sequences.extend(matches.iter().map(sequence));
        out.clear();
        out.reserve(zstd_safe::compress_bound(plain.len()));
        // SAFETY: `out` has room for `capacity` bytes. zstd believes the sequences, so that they stay inside the chunk
        // and reach back no further than the base was checked above; it reads only `plain`. What it wrote is initialized.
        unsafe {
            let length = ZSTD_compressSequences(
                self.context.as_ptr(),
                out.as_mut_ptr().cast(),
                out.capacity(),
                self.sequences.as_ptr(),
                self.sequences.len(),
                plain.as_ptr().cast(),
                plain.len(),
            );
            if is_error(length) {
                return false;
            }
            out.set_len(length);
        }
        true
    }
}

impl Drop for DeltaCompressor {
    #[expect(unsafe_code, reason = "zstd's interface for matches has no safe wrapper")]
    fn drop(&mut self) {
        // SAFETY: the context was created here, is freed once, and nobody has it any more.
        unsafe { ZSTD_freeCCtx(self.context.as_ptr()) };
    }
}

/// What zstd takes on trust.
fn check(matches: &[Match], plain_bytes: usize, base_bytes: usize) {
    let mut at = 0;
    for found in matches {
        at += found.literal_bytes;
        assert!(found.bytes >= MATCH_BYTES_MIN && at + found.bytes <= plain_bytes);
        assert!((1..=base_bytes + at).contains(&found.distance));
        at += found.bytes;
    }
}

#[expect(unsafe_code, reason = "zstd's interface for matches has no safe wrapper")]
fn is_error(code: usize) -> bool {
    // SAFETY: looks at a number.
    unsafe { ZSTD_isError(code) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk_store::codec::Decoder;
    use crate::format::Codec;
    use crate::random::Seeded;

    /// A base and a chunk that is like it but for some runs, with what compresses and what does not.
    fn pair(seed: u64, base_bytes: usize, plain_bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let mut random = Seeded::new(seed);
        let mut base = vec![0; base_bytes];
        random.fill(&mut base[base_bytes / 3..]);
        let mut plain = base.clone();
        plain.resize(plain_bytes, 7);
        let mut next = |below: usize| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            usize::from_le_bytes(bytes) % below
        };
        for _ in 0..next(40) {
            let (at, count) = (next(plain_bytes), 1 + next(1 + plain_bytes / 20));
            let end = plain_bytes.min(at + count);
            let (repeats, xor) = (next(2) == 0, next(256) as u8);
            for index in at..end {
                plain[index] = if repeats { plain[next(plain_bytes)] } else { plain[index] ^ xor };
            }
        }
        (base, plain)
    }

    #[test]
    fn a_delta_decodes_with_its_base_for_any_lengths_up_to_the_largest_chunk() {
        let lengths = [1, 6, 500, 16 << 10, 65_535, 64 << 10, (128 << 10) + 1, 256 << 10, 1 << 20];
        for level in [1, 2, 19] {
            let mut compressor = DeltaCompressor::new(level);
            for (index, base_bytes) in lengths.into_iter().enumerate() {
                for (seed, plain_bytes) in lengths.into_iter().enumerate() {
                    let (base, plain) = pair((index * 100 + seed) as u64, base_bytes, plain_bytes);
                    let (mut stored, mut decoded) = (Vec::new(), vec![0; plain_bytes]);
                    assert!(compressor.compress(&plain, &base, &mut stored));
                    let result = Decoder::new().decode(Codec::ZstdDelta, &stored, Some(&base), &mut decoded);
                    assert_eq!(result, Ok(()), "level {level}, {plain_bytes} bytes on {base_bytes}");
                    assert!(decoded == plain, "level {level}, {plain_bytes} bytes on {base_bytes}");
                }
            }
        }
    }

    #[test]
    fn a_chunk_of_the_largest_size_that_equals_its_base_takes_a_few_bytes() {
        let (base, _) = pair(1, 1 << 20, 1);
        let mut stored = Vec::new();
        assert!(DeltaCompressor::new(2).compress(&base, &base, &mut stored));
        assert!(stored.len() < 200, "{} bytes", stored.len());
    }
}
