//! The handshake: fixed newstyle, option by option, until an export is chosen.
//!
//! What it guarantees: after any option the stream is where the next one begins, whatever its data was; nothing is read past
//! an option's data; nothing that was said before TLS is believed after it. What it costs: a client can make the server hold
//! one option's data, no more, and as many options as it may send.

use std::io;
use std::sync::Arc;

use super::channel::{Channel, Inbox, send_all};
use super::export::{Export, Exports};
use super::protocol::{
    EXPORT_NAME_ZEROS, MAGIC_HELLO, MAGIC_OPTION, MAGIC_OPTION_REPLY, OPTION_BYTES, can, handshake, info, option, reply,
};
use super::request::Replies;
use crate::limits::{
    NBD_CONTEXTS_MAX, NBD_NAME_BYTES_MAX, NBD_OPTION_BYTES_MAX, NBD_OPTION_SCRAP_BYTES_MAX, NBD_OPTIONS_MAX,
    NBD_PAYLOAD_BYTES_MAX, NBD_PREFERRED_BYTES,
};

/// Whether a connection is, or has to be, encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not offered.
    Absent,
    /// Offered.
    Offered,
    /// Nothing but `STARTTLS` is answered.
    Required,
    /// This is it already. What was said before it is forgotten, but for the client's flags, which are said once.
    Active {
        /// Both sides said `NO_ZEROES`.
        no_zeroes: bool,
    },
}

/// A context that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// What replies call it.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// What both sides agreed on.
pub struct Terms {
    /// What the client reads and writes.
    pub export: Arc<dyn Export>,
    /// How replies look.
    pub replies: Replies,
    /// What `BLOCK_STATUS` tells of.
    pub contexts: Vec<Context>,
}

/// How a handshake ended.
pub enum Negotiated {
    /// The client has what it wanted, or broke the rules: nothing more is said.
    Ended,
    /// TLS comes next, and then options from the beginning.
    StartTls {
        /// Both sides said `NO_ZEROES`.
        no_zeroes: bool,
    },
    /// Requests come next.
    Agreed(Terms),
}

/// Speaks with a client until it has chosen.
///
/// # Errors
/// What the connection gives; `InvalidData` when the client broke a rule after which it cannot be understood.
pub fn negotiate(channel: &dyn Channel, inbox: &mut Inbox, exports: &dyn Exports, tls: Tls) -> io::Result<Negotiated> {
    let (no_zeroes, tls) = match tls {
        Tls::Active { no_zeroes } => (no_zeroes, tls),
        _ => match greet(channel, inbox)? {
            Some(flags) if flags.is_fixed => (flags.no_zeroes, tls),
            // Such a client knows one option, which cannot be refused.
            Some(flags) if tls != Tls::Required => (flags.no_zeroes, Tls::Absent),
            _ => return Ok(Negotiated::Ended),
        },
    };
    let mut talk = Talk { channel, inbox, exports, tls, no_zeroes, replies: Replies::default(), chosen: None };
    for _ in 0..NBD_OPTIONS_MAX {
        if let Some(ended) = talk.option()? {
            return Ok(ended);
        }
    }
    Ok(Negotiated::Ended)
}

/// What a client says first.
struct ClientFlags {
    is_fixed: bool,
    no_zeroes: bool,
}

/// The first bytes of both sides; `None` when the client is gone.
fn greet(channel: &dyn Channel, inbox: &mut Inbox) -> io::Result<Option<ClientFlags>> {
    let mut hello = Vec::with_capacity(18);
    hello.extend(MAGIC_HELLO.to_be_bytes());
    hello.extend(MAGIC_OPTION.to_be_bytes());
    hello.extend((handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES).to_be_bytes());
    send_all(channel, &hello, &[])?;
    let Some(flags) = inbox.take::<4>(channel)? else { return Ok(None) };
    let flags = u32::from_be_bytes(flags);
    let said = |flag: u16| flags & u32::from(flag) != 0;
    if flags & !u32::from(handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES) != 0 {
        return Err(broken("unknown client flags"));
    }
    Ok(Some(ClientFlags { is_fixed: said(handshake::FIXED_NEWSTYLE), no_zeroes: said(handshake::NO_ZEROES) }))
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What was said so far.
struct Talk<'a> {
    channel: &'a dyn Channel,
    inbox: &'a mut Inbox,
    exports: &'a dyn Exports,
    tls: Tls,
    no_zeroes: bool,
    replies: Replies,
    chosen: Option<Chosen>,
}

/// Contexts, and the export that they were chosen for.
struct Chosen {
    export: String,
    contexts: Vec<Context>,
}

/// Fields of an option's data.
struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    fn u16(&mut self) -> Option<u16> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*taken))
    }

    fn u32(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*taken))
    }

    /// A text with its length before it.
    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length <= NBD_NAME_BYTES_MAX).then(|| str::from_utf8(taken).ok()).flatten()
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl Talk<'_> {
    /// Answers one option; how the handshake ended if it did.
    fn option(&mut self) -> io::Result<Option<Negotiated>> {
        let Some(header) = self.inbox.take::<OPTION_BYTES>(self.channel)? else { return Ok(Some(Negotiated::Ended)) };
        let mut fields = Data(&header[8..]);
        let (Some(option), Some(length)) = (fields.u32(), fields.u32()) else { return Ok(Some(Negotiated::Ended)) };
        if header[..8] != MAGIC_OPTION.to_be_bytes() {
            return Err(broken("an option without its magic"));
        }
        if length > NBD_OPTION_BYTES_MAX {
            if length > NBD_OPTION_SCRAP_BYTES_MAX || option == option::EXPORT_NAME {
                return Err(broken("an option is too long"));
            }
            self.inbox.skip(self.channel, u64::from(length))?;
            self.reply(option, reply::ERR_TOO_BIG, b"the option is too long")?;
            return Ok(None);
        }
        let mut data = vec![0; length as usize];
        self.inbox.fill(self.channel, &mut data)?;
        if self.tls == Tls::Required && !matches!(option, option::STARTTLS | option::ABORT) {
            if option == option::EXPORT_NAME {
                return Ok(Some(Negotiated::Ended)); // it has no way to be refused
            }
            self.reply(option, reply::ERR_TLS_REQD, b"TLS comes first")?;
            return Ok(None);
        }
        match option {
            option::EXPORT_NAME => self.export_name(&data).map(Some),
            option::ABORT => {
                // The client may be gone already.
                let _ = self.reply(option, reply::ACK, &[]);
                Ok(Some(Negotiated::Ended))
            }
            option::STARTTLS => self.start_tls(&data),
            option::LIST => self.list(&data).map(|()| None),
            option::INFO | option::GO => self.info(option, &data),
            option::STRUCTURED_REPLY | option::EXTENDED_HEADERS => self.replies(option, &data).map(|()| None),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(option, &data).map(|()| None),
            _ => self.reply(option, reply::ERR_UNSUP, b"the option is not known").map(|()| None),
        }
    }

    fn reply(&self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut head = Vec::with_capacity(20);
        head.extend(MAGIC_OPTION_REPLY.to_be_bytes());
        head.extend(option.to_be_bytes());
        head.extend(kind.to_be_bytes());
        head.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        send_all(self.channel, &head, data)
    }

    fn invalid(&self, option: u32) -> io::Result<()> {
        self.reply(option, reply::ERR_INVALID, b"the option's data is not what it should be")
    }

    fn start_tls(&mut self, data: &[u8]) -> io::Result<Option<Negotiated>> {
        let option = option::STARTTLS;
        if !data.is_empty() || matches!(self.tls, Tls::Active { .. }) {
            return self.invalid(option).map(|()| None);
        }
        if self.tls == Tls::Absent {
            return self.reply(option, reply::ERR_POLICY, b"TLS is not offered").map(|()| None);
        }
        // Bytes that came along in the clear would be read as if they had been encrypted (CVE-2021-3716).
        if self.inbox.waiting() > 0 {
            return Err(broken("bytes in the clear after STARTTLS"));
        }
        self.reply(option, reply::ACK, &[])?;
        Ok(Some(Negotiated::StartTls { no_zeroes: self.no_zeroes }))
    }

    fn replies(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        if !data.is_empty() {
            return self.invalid(option);
        }
        if option == option::STRUCTURED_REPLY && self.replies.is_extended {
            return self.reply(option, reply::ERR_EXT_HEADER_REQD, b"extended headers were chosen");
        }
        self.replies.is_structured = true;
        if option == option::EXTENDED_HEADERS {
            self.replies.is_extended = true;
        }
        self.reply(option, reply::ACK, &[])
    }

    fn list(&self, data: &[u8]) -> io::Result<()> {
        if !data.is_empty() {
            return self.invalid(option::LIST);
        }
        let Ok(listed) = self.exports.list() else {
            return self.reply(option::LIST, reply::ERR_SHUTDOWN, b"the exports cannot be listed now");
        };
        for each in listed {
            let mut answer = text(&each.name);
            answer.extend(each.description.as_bytes());
            self.reply(option::LIST, reply::SERVER, &answer)?;
        }
        self.reply(option::LIST, reply::ACK, &[])
    }

    fn export_name(&mut self, data: &[u8]) -> io::Result<Negotiated> {
        let name = str::from_utf8(data).ok().filter(|name| name.len() <= NBD_NAME_BYTES_MAX);
        let Some(Ok(Some(export))) = name.map(|name| self.exports.open(name)) else { return Ok(Negotiated::Ended) };
        let mut answer = Vec::with_capacity(10 + EXPORT_NAME_ZEROS);
        answer.extend(export.facts().size.to_be_bytes());
        answer.extend(self.abilities(export.as_ref()).to_be_bytes());
        if !self.no_zeroes {
            answer.extend([0; EXPORT_NAME_ZEROS]);
        }
        send_all(self.channel, &answer, &[])?;
        Ok(self.agree(export, name.unwrap_or_default()))
    }

    fn agree(&mut self, export: Arc<dyn Export>, name: &str) -> Negotiated {
        let chosen = self.chosen.take().filter(|chosen| chosen.export == name && self.replies.is_structured);
        let contexts = chosen.map_or_else(Vec::new, |chosen| chosen.contexts);
        let replies = Replies { has_contexts: !contexts.is_empty(), ..self.replies };
        Negotiated::Agreed(Terms { export, replies, contexts })
    }

    fn info(&mut self, option: u32, data: &[u8]) -> io::Result<Option<Negotiated>> {
        let Some((name, wanted)) = parse_info(data) else { return self.invalid(option).map(|()| None) };
        let export = match self.exports.open(name) {
            Ok(Some(export)) => export,
            Ok(None) => return self.reply(option, reply::ERR_UNKNOWN, b"no such export").map(|()| None),
            Err(error) => {
                return self.reply(option, reply::ERR_POLICY, error.code().name().as_bytes()).map(|()| None);
            }
        };
        let facts = export.facts();
        let mut answer = info::EXPORT.to_be_bytes().to_vec();
        answer.extend(facts.size.to_be_bytes());
        answer.extend(self.abilities(export.as_ref()).to_be_bytes());
        self.reply(option, reply::INFO, &answer)?;
        // Sent whether asked for or not: a client that does not know it skips it, and others then align what they send.
        let mut answer = info::BLOCK_SIZE.to_be_bytes().to_vec();
        for bytes in [1, NBD_PREFERRED_BYTES, u32::try_from(NBD_PAYLOAD_BYTES_MAX).unwrap_or(u32::MAX)] {
            answer.extend(bytes.to_be_bytes());
        }
        self.reply(option, reply::INFO, &answer)?;
        for (kind, said) in [(info::NAME, &facts.name), (info::DESCRIPTION, &facts.description)] {
            if wanted.contains(&kind) {
                let mut answer = kind.to_be_bytes().to_vec();
                answer.extend(said.as_bytes());
                self.reply(option, reply::INFO, &answer)?;
            }
        }
        self.reply(option, reply::ACK, &[])?;
        Ok((option == option::GO).then(|| self.agree(export, name)))
    }

    /// The transmission flags of an export, as far as this connection can use them.
    fn abilities(&self, export: &dyn Export) -> u16 {
        let mut flags = can::HAS_FLAGS | can::SEND_FLUSH | can::SEND_FUA | can::CAN_MULTI_CONN | can::SEND_CACHE;
        if export.facts().is_read_only {
            flags |= can::READ_ONLY;
        } else {
            flags |= can::SEND_TRIM | can::SEND_WRITE_ZEROES | can::SEND_FAST_ZERO;
        }
        if self.replies.is_structured {
            flags |= can::SEND_DF;
        }
        flags
    }

    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let sets = option == option::SET_META_CONTEXT;
        if sets {
            self.chosen = None; // whatever comes of this one, an earlier choice is void
        }
        if sets && !self.replies.is_structured {
            return self.invalid(option);
        }
        let Some((name, queries)) = parse_contexts(data) else { return self.invalid(option) };
        let export = match self.exports.open(name) {
            Ok(Some(export)) => export,
            Ok(None) => return self.reply(option, reply::ERR_UNKNOWN, b"no such export"),
            Err(error) => return self.reply(option, reply::ERR_POLICY, error.code().name().as_bytes()),
        };
        let names = if sets { chosen(export.as_ref(), &queries) } else { listed(export.as_ref(), &queries) };
        let contexts: Vec<Context> = (1..).zip(names).map(|(id, name)| Context { id, name }).collect();
        for context in &contexts {
            let mut answer = if sets { context.id } else { 0 }.to_be_bytes().to_vec();
            answer.extend(context.name.as_bytes());
            self.reply(option, reply::META_CONTEXT, &answer)?;
        }
        if sets {
            self.chosen = Some(Chosen { export: name.to_owned(), contexts });
        }
        self.reply(option, reply::ACK, &[])
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn parse_info(data: &[u8]) -> Option<(&str, Vec<u16>)> {
    let mut data = Data(data);
    let name = data.text()?;
    let count = data.u16()?;
    let wanted = (0..count).map(|_| data.u16()).collect::<Option<_>>()?;
    data.end()?;
    Some((name, wanted))
}

fn parse_contexts(data: &[u8]) -> Option<(&str, Vec<&str>)> {
    let mut data = Data(data);
    let name = data.text()?;
    let count = data.u32()?;
    let mut queries = Vec::new();
    for _ in 0..count {
        queries.push(data.text()?); // four bytes each at least, so the data's length bounds them
    }
    data.end()?;
    Some((name, queries))
}

/// Those of the queries that name a context, once each.
fn chosen(export: &dyn Export, queries: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for query in queries {
        if names.len() == NBD_CONTEXTS_MAX {
            break;
        }
        let is_new = !names.iter().any(|name| name == query);
        if is_new && export.has_context(query).unwrap_or(false) {
            names.push((*query).to_owned());
        }
    }
    names
}

/// All contexts without a query; with queries those that are named, and all of a namespace that is named with its colon.
fn listed(export: &dyn Export, queries: &[&str]) -> Vec<String> {
    let all = export.contexts();
    if queries.is_empty() {
        return all;
    }
    let mut names = chosen(export, queries);
    for name in all {
        let is_asked = queries.iter().any(|query| query.ends_with(':') && name.starts_with(query));
        if is_asked && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
