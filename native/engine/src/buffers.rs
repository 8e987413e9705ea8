//! Buffers for what requests carry, used again and again: memory that was just used is neither cleared nor mapped anew.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the idle buffers of one owner may take together.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// The buffers of one owner: a client, or a queue of requests.
#[derive(Default)]
pub struct Buffers {
    spare: Mutex<Spare>,
}

#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Bytes of one request. A new one holds anything that was in the owner's earlier ones.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Buffers {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of this length.
    #[must_use]
    pub fn take(&self, length: usize) -> Buffer {
        if length == 0 {
            return Buffer::default();
        }
        let mut spare = self.spare();
        let found = spare.buffers.iter().rposition(|bytes| bytes.len() >= length);
        let bytes = found.map(|at| spare.buffers.swap_remove(at));
        spare.bytes -= bytes.as_ref().map_or(0, Vec::len);
        drop(spare);
        Buffer { bytes: bytes.unwrap_or_else(|| vec![0; length]), length }
    }

    /// A buffer with these bytes.
    #[must_use]
    pub fn copy_of(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.take(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Buffer) {
        let mut spare = self.spare();
        if !buffer.bytes.is_empty() && spare.bytes + buffer.bytes.len() <= SPARE_BYTES_MAX {
            spare.bytes += buffer.bytes.len();
            spare.buffers.push(buffer.bytes);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_idle_ones_are_bounded() {
        let buffers = Buffers::default();
        let mut first = buffers.take(4096);
        first.fill(7);
        buffers.give(first);
        let again = buffers.take(512);
        assert_eq!((again.len(), again.bytes.len()), (512, 4096));
        buffers.give(again);
        let many: Vec<Buffer> = (0..20).map(|_| buffers.take(1 << 20)).collect();
        many.into_iter().for_each(|buffer| buffers.give(buffer));
        let spare = buffers.spare();
        assert_eq!(spare.bytes, spare.buffers.iter().map(Vec::len).sum::<usize>());
        assert!(spare.bytes <= SPARE_BYTES_MAX && spare.bytes > SPARE_BYTES_MAX - (1 << 20));
    }
}
