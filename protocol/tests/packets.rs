//! Packets are those of the ipc-channel that workers use, and nothing else is accepted as one.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::os::fd::OwnedFd;

use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};
use protocol::codec::MAX_FRAME;
use protocol::packet::{self, HEADER, MAX_PACKET, PacketError};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    connect, listen, recv, send, socket_with,
};

fn seqpacket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

#[test]
fn what_ipc_channel_sends_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = seqpacket();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    let sender = IpcSender::<Vec<u8>>::connect(path.to_str().unwrap().to_owned()).unwrap();
    let socket = accept(&listener).unwrap();
    let mut buffer = vec![0; MAX_PACKET + 1];
    let mut received = || {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
        packet::message(&buffer[..length]).map(<[u8]>::to_vec)
    };
    // The type that workers use, created as they create it: by sending the end through a channel.
    let (pass, passed) = ipc_channel::ipc::channel().unwrap();
    pass.send(sender.to_opaque()).unwrap();
    let sender: IpcBytesSender = passed.to_opaque().to().recv().unwrap();
    for length in [0, 1, 7, 4096, MAX_FRAME] {
        let message: Vec<u8> = (0..length).map(|n| n as u8).collect();
        sender.send(&message).unwrap();
        assert_eq!(received(), Ok(message));
    }
    sender.send(&vec![0; MAX_FRAME + 1]).unwrap();
    assert!(received().is_err());
}

#[test]
fn what_is_written_ipc_channel_receives() {
    let (server, name) = IpcOneShotServer::<[u8; 16]>::new().unwrap();
    let socket = seqpacket();
    connect(&socket, &SocketAddrUnix::new(name).unwrap()).unwrap();
    let say = |message: &[u8]| -> io::Result<()> {
        let bytes = [&packet::header(message.len())[..], message].concat();
        assert_eq!(send(&socket, &bytes, SendFlags::NOSIGNAL)?, bytes.len());
        Ok(())
    };
    say(b"sixteen bytes ..").unwrap();
    let (receiver, secret) = server.accept().unwrap();
    assert_eq!(&secret, b"sixteen bytes ..");
    let (pass, passed) = ipc_channel::ipc::channel().unwrap();
    pass.send(receiver.to_opaque()).unwrap();
    let receiver: IpcBytesReceiver = passed.to_opaque().to().recv().unwrap();
    for length in [0, 1, 4096, MAX_FRAME] {
        let message: Vec<u8> = (0..length).map(|n| n as u8).collect();
        say(&message).unwrap();
        assert_eq!(receiver.recv().unwrap(), message);
    }
}

/// Returns a packet with these two lengths in its header and a message of `message` bytes.
fn packet(announced: usize, whole: usize, message: usize) -> Vec<u8> {
    let mut packet = announced.to_ne_bytes().to_vec();
    packet.extend_from_slice(&whole.to_ne_bytes());
    packet.resize(HEADER + message, 7);
    packet
}

#[test]
fn a_packet_that_is_not_one_whole_message_is_none() {
    assert_eq!(packet::message(&packet(19, 3, 3)), Ok(&[7; 3][..]));
    for (bytes, error) in [
        (vec![], PacketError::Short(0)),
        (vec![0; HEADER - 1], PacketError::Short(HEADER - 1)),
        (packet(19, 1 << 46, 3), PacketError::TooLarge(1 << 46)),
        (packet(19, usize::MAX, 3), PacketError::TooLarge(usize::MAX)),
        (
            packet(20, 3, 3),
            PacketError::Length {
                came: 19,
                announced: 20,
            },
        ),
        (
            packet(19, 4, 3),
            PacketError::Fragment { here: 3, whole: 4 },
        ),
        (
            packet(19, 2, 3),
            PacketError::Fragment { here: 3, whole: 2 },
        ),
    ] {
        assert_eq!(packet::message(&bytes), Err(error));
    }
}
