//! Checks over HTTP whether the queue's server syncs what it acknowledges.
//!
//! A client of the queue cannot ask for this; only the server's monitoring port reports it.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// Timeout of the request.
const ANSWER: Duration = Duration::from_secs(5);

/// Largest number of bytes of an answer that are read.
const LONGEST: u64 = 1024 * 1024;

/// The fields of `/varz` that are used here.
#[derive(Deserialize)]
struct Varz {
    server_id: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
struct JetStream {
    #[serde(default)]
    config: Config,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
}

/// Warns if the server with this id does not sync every write, or if this is unknown.
pub(super) async fn check(address: &Url, server_id: &str) {
    let asked = timeout(ANSWER, ask(address)).await;
    let told = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match told {
        Ok(told) if told.server_id != server_id => tracing::warn!(
            "{address} tells of another server than the queue's (--queue-monitor): whether that one syncs \
             every write is not known"
        ),
        Ok(told) if !told.jetstream.config.sync_always => tracing::warn!(
            "the queue does not sync every write, and can lose what it has acknowledged: set \
             sync_interval: always in the jetstream block of its nats.conf"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(
            "whether the queue syncs every write is not known: {address} (--queue-monitor): {error}"
        ),
    }
}

async fn ask(address: &Url) -> io::Result<Varz> {
    let host = address.host_str().ok_or(io::ErrorKind::InvalidInput)?;
    let port = address.port_or_known_default().unwrap_or(8222);
    let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let request = format!("GET /varz HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(serde_json::from_slice(&answer[end + 4..])?)
}
