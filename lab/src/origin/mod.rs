//! The built-in origin: an HTTP and HTTPS server that simulates the network on loopback.
//!
//! It answers for every URL, whatever the host, in a separate process. The run starts it
//! ([`Origin::spawn`]), or a person does ([`serve`]). The answer depends only on a [`Spec`], the
//! URL and the number of the request. So a test can compute every body ([`body`]), and the same
//! requests in the same order meet the same faults.
//!
//! ```text
//! Origin::spawn ── stdin (held open) ──▶ serve ── accept ─▶ wire ─▶ (TLS) ─▶ hyper
//!      ▲                                   │                              │
//!      └────── Announcement (stdout) ──────┘        reply ◀── fault, body ┘
//! ```
//!
//! Must not know tasks, workers or runs. Never opens a connection itself.

mod authority;
pub mod body;
mod condition;
mod fault;
mod handle;
mod journal;
mod payload;
mod recent;
mod reply;
mod server;
mod spec;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

pub use authority::{Authority, AuthorityError, ServerCertificate};
pub use handle::{Launch, Origin, SpawnError};
pub use journal::Seen;
pub use server::{Announcement, Options, OriginError, Until, serve};
pub use spec::{ErrorAnswers, Range, Rate, SizeRange, Spec, SpecError, Validators};
