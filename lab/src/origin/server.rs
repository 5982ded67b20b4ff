//! The origin as a process: it listens, announces itself, and serves until it has to exit.
//!
//! It has one thread, so that it never takes more than one processor from the program that is
//! measured against it. This module must not decide what is answered: the reply does.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, AuthorityError};
use super::journal::Journal;
use super::reply::Site;
use super::spec::Spec;
use super::wire::{Fuse, Wire};

/// Pause after a failed accept: descriptors do not become free at once.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Largest number of bytes that hyper holds for a connection in each direction. Two pieces of a
/// body, so that one is ready when the socket has accepted the other.
const BUFFER: usize = 128 << 10;

/// Options of the origin.
#[derive(Debug)]
pub struct Options {
    /// Address to listen on for http; port 0 means a free one.
    pub http: SocketAddr,
    /// Address to listen on for https, if at all; port 0 means a free one.
    pub https: Option<SocketAddr>,
    /// What to simulate.
    pub spec: Spec,
    /// Where to write the certificate of the CA, as PEM.
    pub ca_out: Option<PathBuf>,
    /// Where to append every request, a [`Seen`](super::Seen) as a line of JSON.
    pub journal: Option<PathBuf>,
    /// When to exit.
    pub until: Until,
}

/// When to exit.
pub enum Until {
    /// On SIGTERM or SIGINT.
    Signal,
    /// When this input ends or fails; its content is ignored. It is standard input, held open by
    /// the process that started the origin, so that the origin exits when that process dies in any
    /// way.
    Closed(Box<dyn Read + Send>),
}

/// Addresses of an origin: the line of JSON on its standard output, once it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Address for http.
    pub http: SocketAddr,
    /// Address for https.
    pub https: Option<SocketAddr>,
    /// The CA to trust for https, as PEM text; present if `https` is.
    pub ca_pem: Option<String>,
}

/// Reason why the origin does not serve.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The origin cannot listen on an address.
    #[error("cannot listen on {addr}: choose another address, or port 0 for any free port")]
    Listen {
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// There is no CA.
    #[error("cannot serve https")]
    Authority(#[from] AuthorityError),
    /// The certificate of the CA cannot be written.
    #[error("cannot write the certificate of the simulated network to {path}", path = path.display())]
    CaOut {
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The journal cannot be opened.
    #[error("cannot open the journal {path}", path = path.display())]
    Journal {
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The announcement cannot be written.
    #[error("cannot announce where the origin listens")]
    Announce(#[source] io::Error),
    /// The event loop or the signals cannot be set up.
    #[error("cannot set up the origin's event loop")]
    Runtime(#[source] io::Error),
}

impl std::fmt::Debug for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Signal => "Signal",
            Self::Closed(_) => "Closed",
        })
    }
}

/// Serves until the options say to exit, which breaks all connections.
///
/// Once it listens, it writes an [`Announcement`] and a line feed to `announce`.
///
/// # Errors
///
/// Fails if it cannot listen or announce itself. Errors of clients are not errors of the origin.
pub fn serve(options: Options, mut announce: impl Write) -> Result<(), OriginError> {
    let http = listen(options.http)?;
    let https = options.https.map(listen).transpose()?;
    let authority = options.https.map(authority).transpose()?;
    if let (Some(path), Some(authority)) = (options.ca_out, &authority) {
        std::fs::write(&path, authority.pem())
            .map_err(|source| OriginError::CaOut { path, source })?;
    }
    let journal = match options.journal {
        Some(path) => {
            Some(Journal::open(&path).map_err(|source| OriginError::Journal { path, source })?)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OriginError::Runtime)?;
    let site = Arc::new(Site::new(options.spec, journal));
    let announcement = Announcement {
        http: http.1,
        https: https.as_ref().map(|(_, addr)| *addr),
        ca_pem: authority
            .as_ref()
            .map(|authority| authority.pem().to_owned()),
    };
    runtime.block_on(async {
        let leave = leave(options.until).map_err(OriginError::Runtime)?;
        start(http.0, None, &site)?;
        if let (Some((listener, _)), Some(authority)) = (https, authority) {
            start(
                listener,
                Some(TlsAcceptor::from(authority.server_config())),
                &site,
            )?;
        }
        say(&announcement, &mut announce).map_err(OriginError::Announce)?;
        drop(announce);
        leave.await;
        Ok::<(), OriginError>(())
    })?;
    site.report();
    Ok(())
}

fn authority(https: SocketAddr) -> Result<Authority, AuthorityError> {
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if !https.ip().is_loopback() && !https.ip().is_unspecified() {
        addresses.push(https.ip());
    }
    Authority::new(&addresses)
}

/// Binds without a runtime, through the standard library, whose backlog is the system's maximum.
fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), OriginError> {
    let listen = || {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|source| OriginError::Listen { addr, source })
}

fn say(announcement: &Announcement, announce: &mut impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(announcement)?;
    line.push(b'\n');
    announce.write_all(&line)?;
    announce.flush()
}

/// Sets up the exit condition. The returned future waits for it.
fn leave(until: Until) -> io::Result<impl Future<Output = ()>> {
    let (told, leave) = oneshot::channel::<()>();
    let mut signalled = None;
    match until {
        Until::Signal => {
            // A signal writes to a socket that the event loop reads, so no thread waits for it.
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(SIGINT, theirs.try_clone()?)?;
            signal_hook::low_level::pipe::register(SIGTERM, theirs)?;
            signalled = Some((tokio::net::UnixStream::from_std(ours)?, told));
        }
        Until::Closed(mut input) => {
            // Standard input may be a file or a terminal, for which an event loop cannot wait.
            std::thread::Builder::new()
                .name("origin-stdin".into())
                .spawn(move || {
                    let _ = io::copy(&mut input, &mut io::sink());
                    drop(told);
                })?;
        }
    }
    Ok(async move {
        match signalled {
            Some((mut socket, _told)) => {
                let _ = socket.read_u8().await;
            }
            // An error means that the sender was dropped, which is the exit condition.
            None => {
                let _ = leave.await;
            }
        }
    })
}

fn start(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: &Arc<Site>,
) -> Result<(), OriginError> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(OriginError::Runtime)?;
    tokio::spawn(accept(listener, tls, Arc::clone(site)));
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, tls: Option<TlsAcceptor>, site: Arc<Site>) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                failing = false;
                // Fails only on a dead socket, which hyper detects.
                let _ = socket.set_nodelay(true);
                tokio::spawn(connection(socket, tls.clone(), Arc::clone(&site)));
            }
            Err(error) if of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                // No descriptors or memory left: connections stay in the backlog until there are.
                if !failing {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                failing = true;
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Returns whether `accept` failed only for this connection (accept(2), "error handling").
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn connection(socket: tokio::net::TcpStream, tls: Option<TlsAcceptor>, site: Arc<Site>) {
    let fuse = Fuse::default();
    let wire = Wire::new(socket, fuse.clone());
    let ended = match tls {
        None => converse(wire, fuse, site).await,
        Some(tls) => match tls.accept(wire).await {
            Ok(stream) => converse(stream, fuse, site).await,
            Err(error) => {
                tracing::debug!(%error, "no TLS with a client");
                return;
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}

async fn converse<S>(stream: S, fuse: Fuse, site: Arc<Site>) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| Arc::clone(&site).answer(fuse.clone(), request));
    http1::Builder::new()
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
