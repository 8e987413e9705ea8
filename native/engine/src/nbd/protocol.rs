//! Numbers of the NBD protocol, as its document (doc/proto.md of the NBD project) names them. All fields are big-endian.

/// First eight bytes of a server.
pub const MAGIC_HELLO: u64 = 0x4e42_444d_4147_4943;
/// Announces newstyle, and begins each option.
pub const MAGIC_OPTION: u64 = 0x4948_4156_454f_5054;
/// Begins each reply to an option.
pub const MAGIC_OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Begins a compact request.
pub const MAGIC_REQUEST: u32 = 0x2560_9513;
/// Begins an extended request.
pub const MAGIC_REQUEST_EXTENDED: u32 = 0x21e4_1c71;
/// Begins a simple reply.
pub const MAGIC_REPLY_SIMPLE: u32 = 0x6744_6698;
/// Begins a structured chunk.
pub const MAGIC_CHUNK: u32 = 0x668e_33ef;
/// Begins an extended chunk.
pub const MAGIC_CHUNK_EXTENDED: u32 = 0x6e8a_278c;

/// Length of a compact request.
pub const REQUEST_BYTES: usize = 28;
/// Length of an extended request.
pub const REQUEST_EXTENDED_BYTES: usize = 32;
/// Length of an option's header.
pub const OPTION_BYTES: usize = 16;
/// Zeros that end the answer to `EXPORT_NAME`, unless both sides said `NO_ZEROES`.
pub const EXPORT_NAME_ZEROS: usize = 124;

/// Flags of the handshake.
pub mod handshake {
    /// Both sides keep talking after an option that is not known.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No zeros after `EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Options of the handshake.
pub mod option {
    /// Ends the handshake; the old way.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the connection.
    pub const ABORT: u32 = 2;
    /// The names of all exports.
    pub const LIST: u32 = 3;
    /// Goes on in TLS.
    pub const STARTTLS: u32 = 5;
    /// Tells of an export.
    pub const INFO: u32 = 6;
    /// Tells of an export and ends the handshake.
    pub const GO: u32 = 7;
    /// Replies come in chunks.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Which contexts there are.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Which contexts `BLOCK_STATUS` tells of.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Requests and replies have lengths of 64 bits.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Types of replies to options.
pub mod reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// One export of a list.
    pub const SERVER: u32 = 2;
    /// One fact about an export.
    pub const INFO: u32 = 3;
    /// One context.
    pub const META_CONTEXT: u32 = 4;
    const ERROR: u32 = 1 << 31;
    /// The option is not known.
    pub const ERR_UNSUP: u32 = ERROR + 1;
    /// Known, and not allowed.
    pub const ERR_POLICY: u32 = ERROR + 2;
    /// Its data is not what it should be.
    pub const ERR_INVALID: u32 = ERROR + 3;
    /// TLS comes first.
    pub const ERR_TLS_REQD: u32 = ERROR + 5;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERROR + 6;
    /// The server is going down, or the export has ended.
    pub const ERR_SHUTDOWN: u32 = ERROR + 7;
    /// Too long.
    pub const ERR_TOO_BIG: u32 = ERROR + 9;
    /// Extended headers say it already.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR + 10;
}

/// Facts in replies to `INFO` and `GO`.
pub mod info {
    /// Size and flags.
    pub const EXPORT: u16 = 0;
    /// The canonical name.
    pub const NAME: u16 = 1;
    /// What it is, for people.
    pub const DESCRIPTION: u16 = 2;
    /// Smallest, preferred and largest block.
    pub const BLOCK_SIZE: u16 = 3;
}

/// What an export can do.
pub mod can {
    /// The others mean something.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Nothing can be written.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH`.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// The flag `FUA`.
    pub const SEND_FUA: u16 = 1 << 3;
    /// `TRIM`.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `WRITE_ZEROES`.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// The flag `DF`.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// `CACHE`.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// The flag `FAST_ZERO`.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Commands.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// Ends the connection.
    pub const DISC: u16 = 2;
    /// Make durable what was answered.
    pub const FLUSH: u16 = 3;
    /// Need not be kept.
    pub const TRIM: u16 = 4;
    /// Will be read soon.
    pub const CACHE: u16 = 5;
    /// Write zeros.
    pub const WRITE_ZEROES: u16 = 6;
    /// What is where.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of commands.
pub mod flag {
    /// Durable when answered.
    pub const FUA: u16 = 1 << 0;
    /// Zeros keep their space.
    pub const NO_HOLE: u16 = 1 << 1;
    /// The answer is one piece.
    pub const DF: u16 = 1 << 2;
    /// One extent is enough.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Zeros only if that is fast.
    pub const FAST_ZERO: u16 = 1 << 4;
    /// Extended headers: the length is that of a payload.
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// Types of chunks.
pub mod chunk {
    /// The last of its reply.
    pub const DONE: u16 = 1 << 0;
    /// Nothing to say.
    pub const NONE: u16 = 0;
    /// Bytes at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Extents of a context.
    pub const BLOCK_STATUS: u16 = 5;
    /// The same with lengths of 64 bits.
    pub const BLOCK_STATUS_EXTENDED: u16 = 6;
    /// What went wrong.
    pub const ERROR: u16 = (1 << 15) + 1;
}

/// Flags of `base:allocation`.
pub mod allocation {
    /// Takes no space.
    pub const HOLE: u64 = 1 << 0;
    /// Reads as zero.
    pub const ZERO: u64 = 1 << 1;
}

/// Error numbers of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// Not allowed.
    Permission = 1,
    /// The device failed.
    Io = 5,
    /// The request is wrong.
    Invalid = 22,
    /// Past the end, or no space.
    NoSpace = 28,
    /// Too large for the reply that was asked for.
    Overflow = 75,
    /// Cannot be done fast.
    NotSupported = 95,
    /// The server is going down, or the export has ended.
    Shutdown = 108,
}
