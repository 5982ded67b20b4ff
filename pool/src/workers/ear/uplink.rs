//! What one worker says: packets of its socket, read one at a time into one buffer, without waiting.
//!
//! ipc-channel's receiving code trusts its peer, so it is not used here: see [`protocol::packet`].

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use protocol::packet;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};

use crate::job::{FromWorker, Job};

/// Bytes of a worker's messages, decoded and not digested, above which no more of it is read.
const FULL: usize = 128 * 1024;

/// What a message takes beside its bytes.
const OVERHEAD: usize = 256;

/// How much of what a worker said waits to be digested. Shared by the thread that reads and the one
/// that digests, so that a flood fills the worker's own socket and not the coordinator's memory.
#[derive(Debug, Default)]
pub(in crate::workers) struct Backlog {
    bytes: AtomicUsize,
    /// The reader waits until there is less.
    paused: AtomicBool,
}

impl Backlog {
    /// A message of so many bytes is about to wait; whether the reader must pause.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let added = bytes + OVERHEAD;
        if self.bytes.fetch_add(added, Ordering::SeqCst) + added < FULL {
            return false;
        }
        self.paused.store(true, Ordering::SeqCst);
        // What was digested before the line above found nobody paused.
        !(self.is_low() && self.paused.swap(false, Ordering::SeqCst))
    }

    /// A message of so many bytes is digested; whether the reader, which paused, may go on.
    pub(in crate::workers) fn remove(&self, bytes: usize) -> bool {
        self.bytes.fetch_sub(bytes + OVERHEAD, Ordering::SeqCst);
        self.is_low() && self.paused.swap(false, Ordering::SeqCst)
    }

    fn is_low(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) < FULL / 2
    }
}

/// What came of one look into a socket.
#[derive(Debug)]
pub(super) enum Received<J: Job> {
    /// A message, and the length of its packet.
    Message(FromWorker<J>, usize),
    /// There is nothing now.
    Nothing,
    /// There will be nothing any more.
    Closed,
    /// Something that no worker says.
    Violation(String),
}

/// Takes one packet out of `socket`, if there is one.
pub(super) fn receive<J: Job>(socket: &OwnedFd, buffer: &mut [u8]) -> Received<J> {
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut buffer[..packet::MAX_PACKET])];
        // Without room for them, the kernel drops descriptors and says so.
        let mut no_room = RecvAncillaryBuffer::new(&mut []);
        match recvmsg(socket, &mut parts, &mut no_room, RecvFlags::DONTWAIT) {
            Ok(received) => break received,
            // A peer that is gone without having read all is told of once, before what it said.
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

    /// A worker's end and the coordinator's.
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

    /// Where a kernel does not refuse them at once.
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
        // Nobody has the other end any more.
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
        // The worker has not read this, which its end reports as a reset.
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
