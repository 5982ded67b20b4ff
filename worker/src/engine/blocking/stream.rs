//! TCP, TLS and TLS within TLS (a proxy reached over TLS), with time limits on every wait.
//!
//! Must not choose an address or know what is sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, socket_with};
use rustls::{ClientConnection, StreamOwned};

use crate::engine::NAP;
use crate::engine::connect::Limit;
use crate::engine::error::{carry, of_io};
use crate::engine::race::{Late, Race};
use crate::transfer::TransportError;

/// A socket whose reads and writes have time limits.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    /// Limit of the whole operation.
    limit: Option<Limit>,
    /// Limit of one wait.
    stall: Option<Duration>,
    /// Timeouts last set in the system, for reading and for writing.
    told: [Option<Duration>; 2],
}

/// Handle by which another thread can cut off a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    tcp: Option<TcpStream>,
    is_cut: bool,
}

impl Line {
    /// Ends every present and later wait on the connection.
    pub(super) fn cut(&self) {
        let mut held = self.lock();
        held.is_cut = true;
        if let Some(tcp) = held.tcp.take() {
            // Shutdown fails only if the connection is already closed.
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }

    /// Releases the connection.
    pub(super) fn let_go(&self) {
        self.lock().tcp = None;
    }

    fn check(&self) -> Result<(), TransportError> {
        match self.lock().is_cut {
            true => Err(TransportError::Disconnected("given up".to_owned())),
            false => Ok(()),
        }
    }

    fn hold(&self, tcp: &TcpStream) -> Result<(), TransportError> {
        let tcp = tcp.try_clone().map_err(|error| of_io(&error))?;
        self.lock().tcp = Some(tcp);
        self.check()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Stream>>),
}

#[derive(Clone, Copy)]
enum Direction {
    Read = 0,
    Write = 1,
}

impl Socket {
    /// Connects to the address of `addrs` that answers first.
    pub(super) fn connect(
        addrs: &[SocketAddr],
        limit: &Limit,
        late: &Late,
        line: Option<&Line>,
    ) -> Result<Self, TransportError> {
        let mut race = Race::new(late, addrs, Instant::now());
        let mut running: Vec<(SocketAddr, OwnedFd)> = Vec::new();
        loop {
            let now = Instant::now();
            while let Some(addr) = race.begin(now) {
                match begin(&addr) {
                    Ok(socket) => running.push((addr, socket)),
                    Err(error) => race.lost(addr, &error, now)?,
                }
            }
            if running.is_empty() {
                return Err(TransportError::Connect("no address".to_owned()));
            }
            let until = race.until(limit.at).saturating_duration_since(now);
            let until = match line {
                Some(line) => {
                    line.check()?;
                    until.min(NAP)
                }
                None => until,
            };
            let ready = wait(&running, until);
            let ready = ready.map_err(|error| TransportError::Connect(error.to_string()))?;
            let now = Instant::now();
            // Backwards, because removing an element moves those after it.
            for number in ready.into_iter().rev() {
                let (addr, socket) = running.remove(number);
                match finish(socket) {
                    Ok(tcp) => {
                        race.won(addr, now);
                        line.map_or(Ok(()), |line| line.hold(&tcp))?;
                        return Ok(Self {
                            tcp,
                            limit: Some(limit.clone()),
                            stall: None,
                            told: [None; 2],
                        });
                    }
                    Err(error) => race.lost(addr, &error, now)?,
                }
            }
            limit.left(now).inspect_err(|_| race.timed_out(now))?;
        }
    }

    /// Runs `operation` as soon as it is possible, or fails when a limit expires.
    fn wait<T>(
        &mut self,
        direction: Direction,
        mut operation: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let left = match &self.limit {
                Some(limit) => Some(limit.left(Instant::now()).map_err(carry)?),
                None => None,
            };
            let patience = match (left, self.stall) {
                (Some(left), Some(stall)) => Some(left.min(stall)),
                (left, stall) => left.or(stall),
            };
            let told = &mut self.told[direction as usize];
            if *told != patience {
                match direction {
                    Direction::Read => self.tcp.set_read_timeout(patience)?,
                    Direction::Write => self.tcp.set_write_timeout(patience)?,
                }
                *told = patience;
            }
            match operation(&self.tcp) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if let Some(limit) = &self.limit {
                        limit.left(Instant::now()).map_err(carry)?;
                    }
                    return Err(io::ErrorKind::TimedOut.into());
                }
                result => return result,
            }
        }
    }
}

/// Creates a socket and starts to connect to `addr`.
fn begin(addr: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, addr) {
        // An interrupted connect continues (connect(2)).
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Returns which of `sockets` have connected or failed: none only if `patience` has expired.
fn wait(sockets: &[(SocketAddr, OwnedFd)], patience: Duration) -> io::Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|(_, socket)| PollFd::new(socket, PollFlags::OUT))
        .collect();
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&patience)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = polled.iter().enumerate();
    let ready = ready.filter(|(_, polled)| !polled.revents().is_empty());
    Ok(ready.map(|(number, _)| number).collect())
}

/// Returns the connection of `socket`, ready for use.
fn finish(socket: OwnedFd) -> io::Result<TcpStream> {
    socket_error(&socket)??;
    ioctl_fionbio(&socket, false)?;
    let tcp = TcpStream::from(socket);
    // Requests are written as a whole, so delaying a packet gains nothing.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

impl Stream {
    /// Adds TLS with a handshake.
    pub(super) fn with_tls(self, connection: ClientConnection) -> Result<Self, TransportError> {
        let mut stream = StreamOwned::new(connection, self);
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(|error| of_io(&error))?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Sets the limits for the following operations.
    pub(super) fn limit(&mut self, limit: Option<Limit>, stall: Option<Duration>) {
        let socket = self.socket();
        socket.limit = limit;
        socket.stall = stall;
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns whether the server is connected and has sent nothing, as it should between requests.
    pub(super) fn is_silent(&mut self) -> bool {
        let tcp = &self.socket().tcp;
        let peeked = recv(tcp, &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(Errno::AGAIN))
    }

    fn socket(&mut self) -> &mut Socket {
        let mut stream = self;
        loop {
            match stream {
                Self::Plain(socket) => return socket,
                Self::Tls(inner) => stream = &mut inner.sock,
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.wait(Direction::Read, |mut tcp| tcp.read(&mut *buffer)),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.wait(Direction::Write, |mut tcp| tcp.write(data)),
            Self::Tls(stream) => stream.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
