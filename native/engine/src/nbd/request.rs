//! A request as it was sent, and whether it may be carried out.

use super::export::Facts;
use super::protocol::{
    Errno, MAGIC_REQUEST, MAGIC_REQUEST_EXTENDED, REQUEST_BYTES, REQUEST_EXTENDED_BYTES, command, flag,
};
use crate::limits::{NBD_EXTENTS_MAX, NBD_PAYLOAD_BYTES_MAX};

/// What a request takes besides its data: it, its reply, and its share of what keeps track of it. So some thousand are in flight.
const REQUEST_OVERHEAD_BYTES: u64 = 64 << 10;

/// What a reply about extents takes at most of one context, in its longest form.
const STATUS_BYTES: u64 = 16 * NBD_EXTENTS_MAX as u64;

/// A request whose magic was right; nothing else of it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Flags of the command.
    pub flags: u16,
    /// Which command.
    pub command: u16,
    /// What the client knows the answer by.
    pub cookie: u64,
    /// Where.
    pub offset: u64,
    /// How long.
    pub length: u64,
}

/// What follows a request on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    None,
    /// So many bytes to be written.
    Data(u64),
    /// So many bytes that nobody can use.
    Scrap(u64),
}

impl Request {
    /// From a compact header; `None` when it is none.
    #[must_use]
    pub fn parse(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let (front, length) = bytes.split_last_chunk::<4>()?;
        let front = Self::front(front, MAGIC_REQUEST)?;
        Some(Self { length: u64::from(u32::from_be_bytes(*length)), ..front })
    }

    /// From an extended header; `None` when it is none.
    #[must_use]
    pub fn parse_extended(bytes: &[u8; REQUEST_EXTENDED_BYTES]) -> Option<Self> {
        let (front, length) = bytes.split_last_chunk::<8>()?;
        let front = Self::front(front, MAGIC_REQUEST_EXTENDED)?;
        Some(Self { length: u64::from_be_bytes(*length), ..front })
    }

    /// What both have in common.
    fn front(bytes: &[u8], magic: u32) -> Option<Self> {
        let (found, rest) = bytes.split_first_chunk::<4>()?;
        let (flags, rest) = rest.split_first_chunk::<2>()?;
        let (command, rest) = rest.split_first_chunk::<2>()?;
        let (cookie, rest) = rest.split_first_chunk::<8>()?;
        let (offset, _) = rest.split_first_chunk::<8>()?;
        (u32::from_be_bytes(*found) == magic).then(|| Self {
            flags: u16::from_be_bytes(*flags),
            command: u16::from_be_bytes(*command),
            cookie: u64::from_be_bytes(*cookie),
            offset: u64::from_be_bytes(*offset),
            length: 0,
        })
    }

    /// What follows it. Whatever else is wrong with a request, this is taken off the wire first.
    #[must_use]
    pub const fn payload(&self, is_extended: bool) -> Payload {
        if self.command == command::WRITE {
            if self.length <= NBD_PAYLOAD_BYTES_MAX { Payload::Data(self.length) } else { Payload::Scrap(self.length) }
        } else if is_extended && self.flags & flag::PAYLOAD_LEN != 0 {
            Payload::Scrap(self.length)
        } else {
            Payload::None
        }
    }

    /// Whether the flag is set.
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether an answer may come only when it is durable.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.has(flag::FUA)
    }

    /// Checks command, flags and range.
    ///
    /// # Errors
    /// The number to answer, and why, in words for people.
    pub fn check(&self, facts: &Facts, replies: Replies) -> Result<(), (Errno, &'static str)> {
        let invalid = |why| Err((Errno::Invalid, why));
        let Some(known) = flags_of(self.command, replies) else { return invalid("the command is not known") };
        if self.flags & !known != 0 {
            return invalid("a flag does not belong to the command");
        }
        let writes = matches!(self.command, command::WRITE | command::TRIM | command::WRITE_ZEROES);
        if writes && facts.is_read_only {
            return Err((Errno::Permission, "the export is read-only"));
        }
        if matches!(self.command, command::FLUSH | command::DISC) {
            return Ok(()); // offset and length are reserved
        }
        if self.command == command::BLOCK_STATUS && !replies.has_contexts {
            return invalid("no context was negotiated");
        }
        if self.length == 0 {
            return invalid("the length is 0");
        }
        if self.offset.checked_add(self.length).is_none_or(|end| end > facts.size) {
            let errno = if matches!(self.command, command::WRITE | command::WRITE_ZEROES) {
                Errno::NoSpace
            } else {
                Errno::Invalid
            };
            return Err((errno, "the range ends past the end"));
        }
        if matches!(self.command, command::READ | command::WRITE) && self.length > NBD_PAYLOAD_BYTES_MAX {
            let errno = if replies.is_extended { Errno::Overflow } else { Errno::Invalid };
            return Err((errno, "the length is above the largest payload"));
        }
        Ok(())
    }

    /// Bytes of memory that it needs until it is answered.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let data = if matches!(self.command, command::READ | command::WRITE) { self.length } else { 0 };
        let reply = if self.command == command::BLOCK_STATUS { STATUS_BYTES } else { 0 };
        data + reply + REQUEST_OVERHEAD_BYTES
    }
}

/// How replies look on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// In chunks.
    pub is_structured: bool,
    /// In chunks with lengths of 64 bits.
    pub is_extended: bool,
    /// `BLOCK_STATUS` may be asked for.
    pub has_contexts: bool,
}

/// The flags that a command knows, besides FUA, which each one takes.
const fn flags_of(command: u16, replies: Replies) -> Option<u16> {
    let own = match command {
        command::READ if replies.is_structured => flag::DF,
        command::WRITE if replies.is_extended => flag::PAYLOAD_LEN,
        command::READ | command::WRITE | command::DISC | command::FLUSH | command::TRIM | command::CACHE => 0,
        command::WRITE_ZEROES => flag::NO_HOLE | flag::FAST_ZERO,
        command::BLOCK_STATUS if replies.is_structured => flag::REQ_ONE,
        _ => return None,
    };
    Some(own | flag::FUA)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(is_read_only: bool) -> Facts {
        Facts { name: String::new(), description: String::new(), size: 1 << 30, sector_bytes: 512, is_read_only }
    }

    const STRUCTURED: Replies = Replies { is_structured: true, is_extended: false, has_contexts: true };

    fn request(command: u16, flags: u16, offset: u64, length: u64) -> Request {
        Request { flags, command, cookie: 7, offset, length }
    }

    #[test]
    fn headers_of_both_kinds_are_read_and_others_are_refused() {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC_REQUEST.to_be_bytes());
        bytes.extend([0, 1, 0, 3]);
        bytes.extend(9u64.to_be_bytes());
        bytes.extend(4096u64.to_be_bytes());
        bytes.extend(512u32.to_be_bytes());
        let compact: [u8; REQUEST_BYTES] = bytes.clone().try_into().unwrap();
        let expected = Request { flags: 1, command: 3, cookie: 9, offset: 4096, length: 512 };
        assert_eq!(Request::parse(&compact), Some(expected));
        bytes[..4].copy_from_slice(&MAGIC_REQUEST_EXTENDED.to_be_bytes());
        bytes.truncate(24);
        bytes.extend((1u64 << 40).to_be_bytes());
        let extended: [u8; REQUEST_EXTENDED_BYTES] = bytes.try_into().unwrap();
        assert_eq!(Request::parse_extended(&extended), Some(Request { length: 1 << 40, ..expected }));
        assert_eq!(Request::parse(extended.first_chunk().unwrap()), None);
    }

    #[test]
    fn fua_is_taken_on_every_command() {
        for command in [command::READ, command::WRITE, command::TRIM, command::CACHE, command::WRITE_ZEROES] {
            assert_eq!(request(command, flag::FUA, 0, 512).check(&facts(false), STRUCTURED), Ok(()));
        }
        assert_eq!(request(command::FLUSH, flag::FUA, 0, 0).check(&facts(false), STRUCTURED), Ok(()));
        assert_eq!(request(command::BLOCK_STATUS, flag::FUA, 0, 512).check(&facts(false), STRUCTURED), Ok(()));
    }

    #[test]
    fn a_request_past_the_end_gets_the_number_of_its_command() {
        let numbers = [
            (command::READ, Errno::Invalid),
            (command::WRITE, Errno::NoSpace),
            (command::WRITE_ZEROES, Errno::NoSpace),
            (command::TRIM, Errno::Invalid),
            (command::CACHE, Errno::Invalid),
            (command::BLOCK_STATUS, Errno::Invalid),
        ];
        for (command, errno) in numbers {
            for offset in [(1 << 30) - 1, u64::MAX] {
                let found = request(command, 0, offset, 2).check(&facts(false), STRUCTURED);
                assert_eq!(found.unwrap_err().0, errno, "command {command} at {offset}");
            }
        }
    }

    #[test]
    fn nothing_is_written_to_what_is_read_only() {
        for command in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
            let found = request(command, 0, 0, 512).check(&facts(true), STRUCTURED);
            assert_eq!(found.unwrap_err().0, Errno::Permission);
        }
        assert_eq!(request(command::READ, 0, 0, 512).check(&facts(true), STRUCTURED), Ok(()));
    }

    #[test]
    fn flags_and_commands_that_were_not_negotiated_are_refused() {
        let plain = Replies::default();
        let wrong = [
            request(command::READ, flag::DF, 0, 1),
            request(command::WRITE, flag::PAYLOAD_LEN, 0, 1),
            request(command::READ, flag::NO_HOLE, 0, 1),
            request(command::BLOCK_STATUS, 0, 0, 1),
            request(8, 0, 0, 1),
            request(command::READ, 1 << 15, 0, 1),
        ];
        for each in wrong {
            assert_eq!(each.check(&facts(false), plain).unwrap_err().0, Errno::Invalid, "{each:?}");
        }
    }

    #[test]
    fn what_follows_a_request_is_known_whatever_else_is_wrong() {
        assert_eq!(request(command::WRITE, !0, u64::MAX, 77).payload(false), Payload::Data(77));
        let long = NBD_PAYLOAD_BYTES_MAX + 1;
        assert_eq!(request(command::WRITE, 0, 0, long).payload(true), Payload::Scrap(long));
        assert_eq!(request(99, flag::PAYLOAD_LEN, 0, 5).payload(true), Payload::Scrap(5));
        assert_eq!(request(99, flag::PAYLOAD_LEN, 0, 5).payload(false), Payload::None);
        assert_eq!(request(command::READ, 0, 0, 5).payload(true), Payload::None);
    }
}
