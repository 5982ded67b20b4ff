//! A run that can be watched while it goes on (`--listen`): a live page, `/status` as JSON, `/metrics`
//! for Prometheus, `/healthz`.
//!
//! ```text
//!   client --> server thread -- asks, at most every 250 ms --> the run's inbox
//!                    ^                                              |
//!                    +-- board <--------- a state ------------------+
//! ```
//!
//! It reads, and cannot change anything. A run that nobody watches is not asked for anything. This
//! module must not know how a run works: it is told a [`State`].

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

/// Why a run cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The address is taken, or not of this machine.
    #[error(
        "cannot listen on {address} (--listen): {error}; choose another one, or port 0 for any free port"
    )]
    Listen {
        address: Address,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// There is no token to be had.
    #[error("cannot use the token in {path} (--listen-token): {error}")]
    Token {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The event loop or its thread cannot be set up.
    #[error("cannot start the server for --listen: {0}")]
    Thread(#[source] io::Error),
}

/// A run that can be watched. See the module.
#[derive(Debug)]
pub struct Watch {
    board: Arc<Board>,
    server: JoinHandle<()>,
}

/// An address that is taken, at which nobody is answered yet.
#[derive(Debug)]
pub struct Reserved {
    address: Address,
    listener: Listener,
    bound: Option<SocketAddr>,
    root: String,
}

impl Reserved {
    /// Takes `address`; all paths begin with the token in the file `token`, which is made if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// If the address cannot be had, or the token.
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

    /// Where the page is, for people.
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

    /// Whether other machines can reach it, without a token.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.address.is_local(self.bound.map(|bound| bound.ip())) && self.root == "/"
    }

    /// Begins to answer. `ask` has the run put up its state with [`Watch::post`]; it is called from
    /// another thread and must not wait.
    ///
    /// # Errors
    ///
    /// If there is no thread or event loop to be had.
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
    /// Puts up how the run is now, because somebody has asked.
    pub fn post(&self, state: State) {
        self.board.post(state);
    }

    /// Puts up the state of a run that is over (with [`OVER`] as its event), and waits, for a second at
    /// most, until it is told to those who follow the run.
    pub fn finish(self, state: State) {
        self.board.post(state);
        // It does not panic; and if it did, the run is over all the same.
        let _ = self.server.join();
    }
}
