//! Replies as they go over the wire: simple, structured, or extended.

use super::export::StatusExtent;
use super::protocol::{Errno, MAGIC_CHUNK, MAGIC_CHUNK_EXTENDED, MAGIC_REPLY_SIMPLE, chunk, command};
use super::request::{Replies, Request};
use crate::units::u64_from;

/// Texts of errors are cut off here: QEMU ends a connection over any chunk without data that is longer than 1,000 bytes.
const ERROR_TEXT_BYTES_MAX: usize = 800;

/// Writes replies of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    replies: Replies,
}

impl Encoder {
    /// For a connection that negotiated this.
    #[must_use]
    pub(super) const fn new(replies: Replies) -> Self {
        Self { replies }
    }

    /// What stands before the bytes that were read.
    pub(super) fn data(&self, out: &mut Vec<u8>, request: &Request, length: u64) {
        if self.replies.is_structured {
            self.chunk(out, request, chunk::OFFSET_DATA, chunk::DONE, 8 + length);
            out.extend(request.offset.to_be_bytes());
        } else {
            simple(out, request, 0);
        }
    }

    /// It is done, and there is nothing more to say.
    pub(super) fn done(&self, out: &mut Vec<u8>, request: &Request) {
        if self.replies.is_extended {
            self.chunk(out, request, chunk::NONE, chunk::DONE, 0);
        } else {
            simple(out, request, 0);
        }
    }

    /// It failed. Structured replies carry the text along.
    pub(super) fn error(&self, out: &mut Vec<u8>, request: &Request, errno: Errno, text: &str) {
        // Once replies are structured, a read never gets a simple one; a client may have its buffers ready for chunks.
        if self.replies.is_extended
            || self.replies.is_structured && matches!(request.command, command::READ | command::BLOCK_STATUS)
        {
            let text = &text.as_bytes()[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)];
            self.chunk(out, request, chunk::ERROR, chunk::DONE, 6 + u64_from(text.len()));
            out.extend((errno as u32).to_be_bytes());
            out.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
            out.extend(text);
        } else {
            simple(out, request, errno as u32);
        }
    }

    /// Extents of one context; the last one ends the reply.
    pub(super) fn status(
        &self,
        out: &mut Vec<u8>,
        request: &Request,
        id: u32,
        extents: &[StatusExtent],
        is_last: bool,
    ) {
        let done = if is_last { chunk::DONE } else { 0 };
        let count = u64_from(extents.len());
        if self.replies.is_extended {
            self.chunk(out, request, chunk::BLOCK_STATUS_EXTENDED, done, 8 + 16 * count);
            out.extend(id.to_be_bytes());
            out.extend(u32::try_from(count).unwrap_or(0).to_be_bytes());
            for extent in extents {
                out.extend(extent.length.to_be_bytes());
                out.extend(extent.flags.to_be_bytes());
            }
        } else {
            self.chunk(out, request, chunk::BLOCK_STATUS, done, 4 + 8 * count);
            out.extend(id.to_be_bytes());
            for extent in extents {
                // Neither is longer: lengths are cut off at the request's, and compact requests have 32 bits.
                out.extend(u32::try_from(extent.length).unwrap_or(u32::MAX).to_be_bytes());
                out.extend(u32::try_from(extent.flags).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
    }

    fn chunk(&self, out: &mut Vec<u8>, request: &Request, kind: u16, flags: u16, length: u64) {
        let magic = if self.replies.is_extended { MAGIC_CHUNK_EXTENDED } else { MAGIC_CHUNK };
        out.extend(magic.to_be_bytes());
        out.extend(flags.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(request.cookie.to_be_bytes());
        if self.replies.is_extended {
            out.extend(request.offset.to_be_bytes());
            out.extend(length.to_be_bytes());
        } else {
            out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

fn simple(out: &mut Vec<u8>, request: &Request, errno: u32) {
    out.extend(MAGIC_REPLY_SIMPLE.to_be_bytes());
    out.extend(errno.to_be_bytes());
    out.extend(request.cookie.to_be_bytes());
}
