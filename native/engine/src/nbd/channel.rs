//! Bytes to and from one client, and what of them waits to be understood.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// A connected stream that several threads may use at once: one receives, one at a time sends.
pub trait Channel: Send + Sync {
    /// Waits for bytes; 0 when the client is gone.
    ///
    /// # Errors
    /// What the system gives.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether receiving would not wait; also where that is not known.
    fn is_readable(&self) -> bool {
        true
    }

    /// Sends some of the parts, in order; how many bytes were taken.
    ///
    /// # Errors
    /// What the system gives.
    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends both directions: whoever waits in the other two calls returns.
    fn close(&self);
}

macro_rules! channel_of_socket {
    ($socket:ty) => {
        impl Channel for $socket {
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let mut socket = self;
                retried(|| socket.read(buffer))
            }

            fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                let mut socket = self;
                retried(|| socket.write_vectored(parts))
            }

            fn close(&self) {
                let _ = self.shutdown(Shutdown::Both); // closed already by the other side
            }
        }
    };
}

channel_of_socket!(UnixStream);
channel_of_socket!(TcpStream);

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends all of two parts.
///
/// # Errors
/// What the system gives; `WriteZero` when the client takes no more.
pub fn send_all(channel: &dyn Channel, head: &[u8], body: &[u8]) -> io::Result<()> {
    let (mut head, mut body) = (head, body);
    while !head.is_empty() || !body.is_empty() {
        let sent = channel.send(&[IoSlice::new(head), IoSlice::new(body)])?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = sent.min(head.len());
        head = &head[of_head..];
        body = &body[sent - of_head..];
    }
    Ok(())
}

/// Received bytes that wait to be understood. Many small requests arrive with one call.
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An empty one with room for so many bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], start: 0, end: 0 }
    }

    /// Bytes that are here already.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.end - self.start
    }

    /// The next bytes, exactly; `None` when the client ended before the first of them.
    ///
    /// # Errors
    /// What receiving gives; `UnexpectedEof` when the client ended in the middle.
    pub fn take<const LENGTH: usize>(&mut self, channel: &dyn Channel) -> io::Result<Option<[u8; LENGTH]>> {
        assert!(LENGTH <= self.bytes.len());
        if self.start + LENGTH > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.waiting());
        }
        while self.waiting() < LENGTH {
            let received = channel.receive(&mut self.bytes[self.end..])?;
            if received == 0 {
                return if self.waiting() == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            self.end += received;
        }
        let mut taken = [0; LENGTH];
        taken.copy_from_slice(&self.bytes[self.start..self.start + LENGTH]);
        self.advance(LENGTH);
        Ok(Some(taken))
    }

    /// Fills a buffer. What is not here yet is received straight into it.
    ///
    /// # Errors
    /// What receiving gives; `UnexpectedEof` when the client ended.
    pub fn fill(&mut self, channel: &dyn Channel, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = self.waiting().min(buffer.len());
        buffer[..filled].copy_from_slice(&self.bytes[self.start..self.start + filled]);
        self.advance(filled);
        while filled < buffer.len() {
            let received = channel.receive(&mut buffer[filled..])?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += received;
        }
        Ok(())
    }

    /// Throws so many bytes away.
    ///
    /// # Errors
    /// As [`Inbox::fill`].
    pub fn skip(&mut self, channel: &dyn Channel, count: u64) -> io::Result<()> {
        let mut scrap = [0; 8192];
        let mut left = count;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(scrap.len());
            self.fill(channel, &mut scrap[..length])?;
            left -= length as u64;
        }
        Ok(())
    }

    const fn advance(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}
