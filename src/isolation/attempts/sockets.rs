//! Sockets of other programs, and kinds of sockets that a worker does not need.

use std::fs;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket};

use super::leak;
use super::others::reach;
use crate::isolation::attempt::Attempt;
use crate::isolation::raw::{Arg, call};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "unix",
        "reach a socket of another program by its path",
        |ground| {
            let name = SocketAddrUnix::new(ground.outside("socket"))?;
            reach(&name, SocketType::STREAM)
        },
        |view| view.socket_was_reached(),
    ),
    Attempt::new(
        "unix-datagram",
        "send a datagram to a socket of another program",
        |ground| {
            let name = SocketAddrUnix::new(ground.outside("datagrams"))?;
            reach(&name, SocketType::DGRAM)
        },
        |view| view.datagram_came(),
    ),
    Attempt::new(
        "unix-abstract",
        "reach an abstract socket of another program",
        |ground| {
            let name = SocketAddrUnix::new_abstract_name(ground.bait.mark.as_bytes())?;
            reach(&name, SocketType::STREAM)
        },
        |view| view.abstract_socket_was_reached(),
    ),
    Attempt::new(
        "unix-listen",
        "offer a socket of its own by a path",
        |ground| UnixListener::bind(ground.own("offered")).map(leak),
        |view| {
            let made = fs::metadata(view.own("offered"));
            made.is_ok_and(|file| file.file_type().is_socket())
        },
    ),
    Attempt::new(
        "listen",
        "listen at a TCP port",
        |_| TcpListener::bind("127.0.0.1:0").map(leak),
        |view| view.listens(),
    ),
    Attempt::new(
        "listen-unbound",
        "listen at a TCP port that the kernel chooses",
        |_| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::net::listen(&socket, 1)?;
            leak(socket);
            Ok(())
        },
        |view| view.listens(),
    ),
    Attempt::new(
        "listen-mptcp",
        "listen at an MPTCP port",
        |_| {
            let words = [
                libc::AF_INET.into(),
                libc::SOCK_STREAM.into(),
                libc::IPPROTO_MPTCP.into(),
            ];
            let socket = call(libc::SYS_socket, &words)?;
            call(libc::SYS_listen, &[socket.into(), 1.into()]).map(drop)
        },
        |view| view.listens(),
    ),
    Attempt::new(
        "datagrams",
        "wait for UDP datagrams of anybody",
        |_| UdpSocket::bind("127.0.0.1:0").map(leak),
        |view| view.waits_for_datagrams(),
    ),
    Attempt::new(
        "netlink",
        "talk to the kernel over netlink",
        |_| {
            let words = [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0.into()];
            let socket = call(libc::SYS_socket, &words)?;
            // The kernel chooses the address.
            let family = u16::try_from(libc::AF_NETLINK).unwrap_or(0).to_ne_bytes();
            let address = [&family[..], &[0; 10]].concat();
            let words = [socket.into(), Arg::Bytes(&address), 12.into()];
            call(libc::SYS_bind, &words).map(drop)
        },
        |view| view.has_socket_in("netlink"),
    ),
    Attempt::new(
        "packets",
        "send and read raw packets",
        |_| {
            let words = [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0.into()];
            call(libc::SYS_socket, &words).map(drop)
        },
        |view| view.has_socket_in("packet"),
    ),
    Attempt::new(
        "unix-pair",
        "have sockets that count against no limit on memory",
        |_| {
            let mut room = [0_u8; 8];
            let cells = std::cell::Cell::from_mut(&mut room[..]).as_slice_of_cells();
            let words = [
                libc::AF_UNIX.into(),
                libc::SOCK_DGRAM.into(),
                0.into(),
                Arg::Room(cells),
            ];
            call(libc::SYS_socketpair, &words)?;
            let (first, _) = room.split_at(4);
            let first = i32::from_ne_bytes(first.try_into().map_err(io::Error::other)?);
            // The socket is filled, and never read.
            let filling = [0; 1024];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let words = [
                first.into(),
                Arg::Bytes(&filling),
                1024.into(),
                flags.into(),
                0.into(),
                0.into(),
            ];
            while call(libc::SYS_sendto, &words).is_ok() {}
            Ok(())
        },
        |view| view.has_unix_datagram_sockets(),
    ),
];
