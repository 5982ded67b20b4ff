//! The connection from a member to the queue, which can be cut.
//!
//! ```text
//!   member --> listener, one for each member --> the current port of the queue
//! ```
//!
//! While the link is cut, it holds back bytes and the ends of connections. They arrive late, after
//! the link is restored. Neither side is notified, as if packets were lost. Unlike a firewall, this
//! needs no privileges.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// The port of the queue. It changes with each start.
pub type Port = Arc<AtomicU16>;

/// A link to the queue.
#[derive(Clone, Debug)]
pub struct Link {
    port: u16,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.changed.notify_all();
    }

    /// Waits until the gate is open.
    fn pass(&self) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.changed.wait_while(closed, |closed| *closed);
        drop(open.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Link {
    /// Opens a link to the queue at `to`. Its threads end with the process.
    ///
    /// # Errors
    ///
    /// Fails if it cannot listen.
    pub fn open(to: &Port) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let gate = Arc::new(Gate::default());
        let (to, watched) = (Arc::clone(to), Arc::clone(&gate));
        thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    watched.pass();
                    // If the queue does not listen, the client's connection is closed.
                    let _ = join(client, to.load(Ordering::Relaxed), &watched);
                }
            })?;
        Ok(Self { port, gate })
    }

    /// Returns its address in the form that `--queue` accepts.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Holds back all data from now on.
    pub fn cut(&self) {
        self.gate.set(true);
    }

    /// Restores the link. The data that was held back passes first.
    pub fn heal(&self) {
        self.gate.set(false);
    }
}

fn join(client: TcpStream, port: u16, gate: &Arc<Gate>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let ways = [(client.try_clone()?, server.try_clone()?), (server, client)];
    for (from, to) in ways {
        let gate = Arc::clone(gate);
        thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || carry(from, to, &gate))?;
    }
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut piece).unwrap_or_default();
        gate.pass();
        if length == 0 || to.write_all(&piece[..length]).is_err() {
            // Both directions, so that the other thread ends too.
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_while_it_is_cut_arrives_when_it_is_whole_again() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = server.local_addr().expect("it has one").port();
        let link = Link::open(&Arc::new(AtomicU16::new(port))).expect("a port");
        let address = link.url().replace("nats://", "");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut accepted, _) = server.accept().expect("it is joined");
        client.write_all(b"a").expect("writable");
        let mut byte = [0];
        accepted.read_exact(&mut byte).expect("it passes");
        link.cut();
        client.write_all(b"b").expect("writable");
        accepted.set_nonblocking(true).expect("a socket");
        let held = accepted.read(&mut byte).expect_err("it is cut");
        assert_eq!(held.kind(), io::ErrorKind::WouldBlock);
        link.heal();
        accepted.set_nonblocking(false).expect("a socket");
        accepted.read_exact(&mut byte).expect("it passes");
        assert_eq!(&byte, b"b");
    }
}
