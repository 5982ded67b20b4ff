//! Messages of a worker: packets read from its socket one at a time, without blocking.
//!
//! ipc-channel's receiving code trusts its peer, so it is not used here: see [`protocol::packet`].

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use protocol::packet;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};

use crate::job::{FromWorker, Job};

/// Size of a worker's undigested messages, in bytes, at which it is no longer read.
const FULL: usize = 128 * 1024;

/// Memory that a message takes in addition to its bytes.
const OVERHEAD: usize = 256;

/// Size of the undigested messages of a worker. The threads that read and digest share it, so that
/// a flood fills the worker's socket and not the coordinator's memory.
#[derive(Debug, Default)]
pub(in crate::workers) struct Backlog {
    bytes: AtomicUsize,
    /// Whether the reader waits for the size to fall.
    paused: AtomicBool,
}

impl Backlog {
    /// Adds a message of `bytes` bytes. Returns whether the reader must pause.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let added = bytes + OVERHEAD;
        if self.bytes.fetch_add(added, Ordering::SeqCst) + added < FULL {
            return false;
        }
        self.paused.store(true, Ordering::SeqCst);
        // A digest before the line above did not see the pause.
        !(self.is_low() && self.paused.swap(false, Ordering::SeqCst))
    }

    /// Removes a digested message. Returns whether the reader was paused and may continue.
    pub(in crate::workers) fn remove(&self, bytes: usize) -> bool {
        self.bytes.fetch_sub(bytes + OVERHEAD, Ordering::SeqCst);
        self.is_low() && self.paused.swap(false, Ordering::SeqCst)
    }

    fn is_low(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) < FULL / 2
    }
}

/// Result of reading a socket once.
#[derive(Debug)]
pub(super) enum Received<J: Job> {
    /// A message, and the length of its packet.
    Message(FromWorker<J>, usize),
    /// There is no message now.
    Nothing,
    /// There will be no more messages.
    Closed,
    /// No worker that follows the protocol sends this.
    Violation(String),
}

/// Reads one packet from `socket`, if there is one.
pub(super) fn receive<J: Job>(socket: &OwnedFd, buffer: &mut [u8]) -> Received<J> {
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut buffer[..packet::MAX_PACKET])];
        // Without room for descriptors, the kernel drops them and sets a flag.
        let mut no_room = RecvAncillaryBuffer::new(&mut []);
        match recvmsg(socket, &mut parts, &mut no_room, RecvFlags::DONTWAIT) {
            Ok(received) => break received,
            // If the peer closed without reading all, this error precedes its messages once.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Received::Nothing,
            Err(error) => {
                tracing::debug!(%error, "a worker's socket failed");
                return Received::Closed;
            }
        }
    };
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Received::Violation("packet with descriptors".to_owned());
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        let limit = packet::MAX_PACKET;
        return Received::Violation(format!("packet exceeds the limit of {limit} bytes"));
    }
    let length = received.bytes;
    if length == 0 {
        return Received::Closed;
    }
    match packet::message(&buffer[..length]) {
        Err(error) => Received::Violation(error.to_string()),
        Ok(frame) => match FromWorker::<J>::heard_with(frame, J::check) {
            Err(error) => Received::Violation(error.to_string()),
            Ok(message) => Received::Message(message, length),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::File;
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    use protocol::codec;
    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, sendmsg, socketpair,
    };

    use super::*;
    use crate::job::tests::Square;

    /// Returns a worker's end and the coordinator's.
    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    fn say(socket: &OwnedFd, descriptors: &[&File]) {
        let frame = codec::encode(&FromWorker::<Square>::Ready).unwrap();
        let header = packet::header(frame.len());
        let parts = [IoSlice::new(&header), IoSlice::new(&frame)];
        let descriptors: Vec<_> = descriptors.iter().map(|file| file.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(9))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        sendmsg(socket, &parts, &mut ancillary, SendFlags::empty()).unwrap();
    }

    /// For kernels that do not refuse them on sending.
    #[test]
    fn descriptors_are_dropped_by_the_kernel_and_told() {
        let (worker, coordinator) = pair();
        let mut buffer = vec![0; packet::MAX_PACKET];
        let (reader, writer) = std::io::pipe().unwrap();
        let reader = File::from(OwnedFd::from(reader));
        say(&worker, &[]);
        say(&worker, &[&reader]);
        drop(reader);
        let heard = receive::<Square>(&coordinator, &mut buffer);
        assert!(
            matches!(heard, Received::Message(FromWorker::<Square>::Ready, _)),
            "{heard:?}"
        );
        let heard = receive::<Square>(&coordinator, &mut buffer);
        assert!(matches!(heard, Received::Violation(_)), "{heard:?}");
        // The other end is closed everywhere.
        let written = std::io::Write::write(&mut &writer, b"x");
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_flood_pauses_the_reader_until_half_of_it_is_digested() {
        let backlog = Backlog::default();
        let mut waiting = 0;
        while !backlog.add(1000) {
            waiting += 1;
        }
        waiting += 1;
        assert!(waiting * (1000 + OVERHEAD) >= FULL && (waiting - 1) * (1000 + OVERHEAD) < FULL);
        let mut resumed = 0;
        for _ in 0..waiting {
            resumed += usize::from(backlog.remove(1000));
        }
        assert_eq!(resumed, 1, "once");
        assert!(!backlog.add(1000), "and goes on");
    }

    #[test]
    fn what_was_said_is_heard_after_the_other_end_is_closed() {
        let (worker, coordinator) = pair();
        let mut buffer = vec![0; packet::MAX_PACKET];
        assert!(matches!(
            receive::<Square>(&coordinator, &mut buffer),
            Received::Nothing
        ));
        // The worker has not read this, so its socket reports a reset.
        say(&coordinator, &[]);
        say(&worker, &[]);
        drop(worker);
        let heard = receive::<Square>(&coordinator, &mut buffer);
        assert!(
            matches!(heard, Received::Message(FromWorker::<Square>::Ready, _)),
            "{heard:?}"
        );
        assert!(matches!(
            receive::<Square>(&coordinator, &mut buffer),
            Received::Closed
        ));
    }
}
