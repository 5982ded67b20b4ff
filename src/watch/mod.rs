//! Watching a run while it is in progress (`--listen`): a live page, `/status` as JSON, `/metrics`
//! for Prometheus, `/healthz`.
//!
//! ```text
//!   client --> server thread -- asks, at most every 250 ms --> the run's inbox
//!                    ^                                              |
//!                    +-- board <--------- a state ------------------+
//! ```
//!
//! It only reads, and cannot change anything. A run without viewers is never asked for its state.
//! This module must not know how a run works: it receives a [`State`].

mod address;
mod board;
mod memory;
mod metrics;
mod server;
mod share;
mod state;
mod token;
mod view;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;

pub use address::Address;
use address::Listener;
use board::Board;
use server::Site;
pub use share::{Fleet, Share};
pub use state::{
    BOUNDS, Counts, Download, History, OVER, Phase, Point, Progress, Queue, State, Worker,
};

/// Reason why a run cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The address is in use, or does not belong to this machine.
    #[error(
        "cannot listen on {address} (--listen): {error}; choose another one, or port 0 for any free port"
    )]
    Listen {
        address: Address,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The token cannot be read or created.
    #[error("cannot use the token in {path} (--listen-token): {error}")]
    Token {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The event loop or its thread cannot be started.
    #[error("cannot start the server for --listen: {0}")]
    Thread(#[source] io::Error),
}

/// A run that can be watched.
#[derive(Debug)]
pub struct Watch {
    board: Arc<Board>,
    server: JoinHandle<()>,
}

/// An address that is reserved and not served yet.
#[derive(Debug)]
pub struct Reserved {
    address: Address,
    listener: Listener,
    bound: Option<SocketAddr>,
    root: String,
}

impl Reserved {
    /// Reserves `address`. All paths begin with the token in the file `token`, which is created if
    /// it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be used, or if there is no token.
    pub fn new(address: &Address, token: Option<&Path>) -> Result<Self, WatchError> {
        let root = match token {
            None => "/".to_owned(),
            Some(path) => {
                let token = token::in_file(path).map_err(|error| WatchError::Token {
                    path: path.to_owned(),
                    error,
                })?;
                format!("/{token}/")
            }
        };
        let refused = |error| WatchError::Listen {
            address: address.clone(),
            error,
        };
        let listener = address.listen().map_err(refused)?;
        let bound = match &listener {
            Listener::Tcp(listener) => Some(listener.local_addr().map_err(refused)?),
            Listener::Unix(..) => None,
        };
        Ok(Self {
            address: address.clone(),
            listener,
            bound,
            root,
        })
    }

    /// Returns the location of the page, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match (&self.address, self.bound) {
            (Address::Tcp { host, .. }, Some(bound)) => {
                let address = Address::Tcp {
                    host: host.clone(),
                    port: bound.port(),
                };
                format!("http://{address}{}", self.root)
            }
            (address, _) => address.to_string(),
        }
    }

    /// Returns whether other machines can reach it without a token.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.address.is_local(self.bound.map(|bound| bound.ip())) && self.root == "/"
    }

    /// Starts to serve. `ask` makes the run post its state with [`Watch::post`]. It is called from
    /// another thread and must not block.
    ///
    /// # Errors
    ///
    /// Fails if the thread or the event loop cannot be started.
    pub fn start(self, ask: impl Fn() + Send + 'static) -> Result<Watch, WatchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(WatchError::Thread)?;
        let board = Arc::new(Board::new(ask));
        let site = Arc::new(Site {
            address: self.address,
            root: self.root,
            board: Arc::clone(&board),
            followers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let listener = self.listener;
        let server = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(server::serve(listener, site)) {
                    tracing::warn!(%error, "the run cannot be watched");
                }
            })
            .map_err(WatchError::Thread)?;
        Ok(Watch { board, server })
    }
}

impl Watch {
    /// Posts the current state of the run, which was asked for.
    pub fn post(&self, state: State) {
        self.board.post(state);
    }

    /// Posts the last state of a run (with [`OVER`] as its event). Waits, for a second at most,
    /// until it is sent to the clients that follow the run.
    pub fn finish(self, state: State) {
        self.board.post(state);
        // The thread does not panic, and a panic would not matter now.
        let _ = self.server.join();
    }
}
