//! The network, which a worker is allowed to use.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};

use super::leak;
use crate::isolation::attempt::Attempt;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "loopback",
        "reach a service on this machine (127.0.0.1), as it could a metadata service",
        |ground| {
            let mut stream = TcpStream::connect(("127.0.0.1", ground.bait.tcp))?;
            stream.write_all(b"x")?;
            leak(stream);
            Ok(())
        },
        |view| view.tcp_was_reached(),
    )
    .allowed(),
    Attempt::new(
        "loopback-datagram",
        "send a datagram to a service on this machine",
        |ground| {
            // Connects without binding, as glibc's resolver does. A worker must be allowed to do
            // the same.
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::DGRAM,
                None,
            )?;
            let socket = UdpSocket::from(socket);
            socket.connect(("127.0.0.1", ground.bait.udp))?;
            socket.send(b"x").map(drop)
        },
        |view| view.udp_datagram_came(),
    )
    .allowed(),
];
