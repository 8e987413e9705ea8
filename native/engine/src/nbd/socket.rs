//! A client's socket, of this machine or of the network, with limits of time.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size, set_socket_timeout, socket_domain};
use rustix::net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::channel::Channel;
use crate::limits::NBD_SEND_BYTES;

/// A connected socket.
pub(super) struct Socket {
    socket: OwnedFd,
    send_timeout: Duration,
}

impl Socket {
    /// Takes a connected socket. Sending fails once the client has taken nothing for `send_timeout`.
    ///
    /// # Errors
    /// What the system gives.
    pub(super) fn new(socket: OwnedFd, send_timeout: Duration) -> io::Result<Self> {
        set_socket_timeout(&socket, Timeout::Send, Some(send_timeout))?;
        if socket_domain(&socket)? == AddressFamily::UNIX {
            set_socket_send_buffer_size(&socket, NBD_SEND_BYTES)?;
        }
        Ok(Self { socket, send_timeout })
    }

    /// How long a call waits for bytes; without a limit for as long as it takes.
    ///
    /// # Errors
    /// What the system gives.
    pub(super) fn limit_receiving(&self, limit: Option<Duration>) -> io::Result<()> {
        Ok(set_socket_timeout(&self.socket, Timeout::Recv, limit)?)
    }

    /// Another descriptor of it. What is set with either holds for both.
    ///
    /// # Errors
    /// What the system gives.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Says that nothing more will be sent; what the other side sends is still received.
    pub(super) fn end_sending(&self) {
        let _ = shutdown(&self.socket, Shutdown::Write); // closed already by the other side
    }

    /// Sends what there is room for, and waits for none.
    ///
    /// # Errors
    /// What the system gives; `WouldBlock` when there is no room.
    pub(super) fn send_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_with(parts, SendFlags::DONTWAIT)
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// What the system gives; `TimedOut` when the client has taken nothing for too long.
    pub(super) fn wait_for_room(&self) -> io::Result<()> {
        let limit = Timespec::try_from(self.send_timeout).map_err(|_| Errno::INVAL)?;
        let mut waiting = [PollFd::new(&self.socket, PollFlags::OUT)];
        match retry_on_intr(|| poll(&mut waiting, Some(&limit)))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    fn send_with(&self, parts: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        // A client that is gone is an error here and no signal to the process.
        let flags = flags | SendFlags::NOSIGNAL;
        let sent = retry_on_intr(|| sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), flags));
        Ok(sent?)
    }
}

impl Channel for Socket {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (received, _) = retry_on_intr(|| recv(&self.socket, &mut *buffer, RecvFlags::empty()))?;
        Ok(received)
    }

    fn is_readable(&self) -> bool {
        let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut waiting, Some(&Timespec::default())) != Ok(0)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_with(parts, SendFlags::empty())
    }

    fn close(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both); // closed already by the other side
    }
}

/// A socket whose client has so much time for all that comes: a byte now and then gains it nothing.
pub(super) struct Hurried<'a> {
    socket: &'a Socket,
    timer: OwnedFd,
}

impl<'a> Hurried<'a> {
    /// The time begins.
    ///
    /// # Errors
    /// What the system gives.
    pub(super) fn new(socket: &'a Socket, time: Duration) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let end = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).map_err(|_| Errno::INVAL)?,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &end)?;
        Ok(Self { socket, timer })
    }

    /// Goes on with another socket, in what is left of the time.
    pub(super) fn turn_to(self, socket: &Socket) -> Hurried<'_> {
        Hurried { socket, timer: self.timer }
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        let mut waiting = [PollFd::new(&self.socket.socket, what), PollFd::new(&self.timer, PollFlags::IN)];
        retry_on_intr(|| poll(&mut waiting, None))?;
        if waiting[1].revents().is_empty() { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl Channel for Hurried<'_> {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN)?;
        self.socket.receive(buffer)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::OUT)?;
            match self.socket.send_now(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    fn close(&self) {
        self.socket.close();
    }
}
