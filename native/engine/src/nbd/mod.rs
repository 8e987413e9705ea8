//! Disks over the network block device protocol, for every hypervisor and tool that speaks it.
//!
//! ```text
//! listener -> socket (-> TLS) -> channel -> negotiation -> terms -> session -> sectors -> export
//! ```
//!
//! What it is: a server of the protocol's document (doc/proto.md of the NBD project, with its branch of extended headers) over
//! any connected stream, in the clear or in TLS; an [`Export`] is what the engine's top makes of a disk: a live one, one of
//! a restore point, a clone.
//! What it guarantees: a flush on any connection covers every write that was answered on any connection before; a client can
//! hurt nobody but itself, and holds no more memory than [`limits`](crate::limits) say.
//! What it costs: one thread for a client that asks for what is at hand, with one receive and one send for all requests that
//! arrive together.
//! What it must not import: the engine's top.

pub mod channel;
pub mod export;
mod listener;
pub mod negotiation;
pub mod protocol;
mod relay;
mod reply;
pub mod request;
mod sectors;
mod sequence;
mod server;
mod session;
mod socket;
mod status;
mod tls;
mod tls_channel;

use std::io;

pub use channel::Channel;
pub use export::{Export, Exports, Facts, Listed, StatusExtent};
pub use listener::{Address, Listener};
pub use negotiation::Tls;
pub use relay::{READY, TlsRelay};
pub use server::{Encryption, PlainClients, Server, ServerParts};
pub use tls::TlsContext;

use channel::Inbox;
use negotiation::{Negotiated, Terms, negotiate};

/// How much may wait to be understood: some thousand requests, or several small writes.
const INBOX_BYTES: usize = 256 << 10;

/// How a handshake ended that broke no rule.
pub enum Agreed {
    /// The client wanted no more.
    Nothing,
    /// TLS: once its handshake is done, the same client begins again with [`Tls::Active`].
    StartTls {
        /// Both sides said `NO_ZEROES`.
        no_zeroes: bool,
    },
    /// An export.
    Session(Session),
}

/// A client that has chosen.
pub struct Session {
    inbox: Inbox,
    terms: Terms,
}

/// Speaks with a client until it has chosen.
///
/// # Errors
/// What the connection gives; `InvalidData` when the client broke a rule after which it cannot be understood. Either way the
/// channel is of no further use.
pub fn begin(channel: &dyn Channel, exports: &dyn Exports, tls: Tls) -> io::Result<Agreed> {
    let mut inbox = Inbox::new(INBOX_BYTES);
    Ok(match negotiate(channel, &mut inbox, exports, tls)? {
        Negotiated::Ended => Agreed::Nothing,
        Negotiated::StartTls { no_zeroes } => Agreed::StartTls { no_zeroes },
        Negotiated::Agreed(terms) => Agreed::Session(Session { inbox, terms }),
    })
}

impl Session {
    /// Serves the client to its last byte.
    ///
    /// # Errors
    /// As [`begin`].
    pub fn serve(mut self, channel: &dyn Channel) -> io::Result<()> {
        session::serve(channel, &mut self.inbox, &self.terms)
    }
}
