//! The worker's end of the link: receives and sends messages.
//!
//! The link has two halves, because they are used differently. The [`Inbox`] belongs to the one
//! thread that reads (the receiver of ipc-channel is not `Sync`, and does not have to be). The
//! [`Outbox`] is shared by every thread that reports. Messages are sent as frames over ipc-channel,
//! and as values inside one process.
//!
//! Must not look into the messages.

use std::io;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvError, SendError, Sender, channel};

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender};
use protocol::codec;

use crate::job::{FromWorker, Job, ToWorker};

/// Reasons why messages can no longer be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The coordinator closed the link or died.
    #[error("the coordinator closed the channel")]
    Closed,
    /// The channel failed.
    #[error("the channel to the coordinator failed: {0}")]
    Broken(#[from] io::Error),
    /// The received bytes are not a message.
    #[error("the coordinator sent something else than a message: {0}")]
    Decode(#[from] codec::DecodeError),
    /// The message does not fit a frame.
    #[error("a message to the coordinator cannot be sent: {0}")]
    Encode(#[from] codec::EncodeError),
}

/// Receives the coordinator's messages.
pub trait Inbox<J: Job> {
    /// Waits for the next message.
    ///
    /// # Errors
    ///
    /// Fails if the link fails: with [`LinkError::Closed`] if the coordinator closed it or died.
    fn recv(&mut self) -> Result<ToWorker<J>, LinkError>;
}

/// Sends messages to the coordinator.
pub trait Outbox<J: Job>: Send + Sync {
    /// Sends `message`. The messages of a thread arrive in order.
    ///
    /// # Errors
    ///
    /// Returns [`LinkError::Closed`] if the coordinator closed the link or died, and another error
    /// if the message cannot be sent.
    fn send(&self, message: FromWorker<J>) -> Result<(), LinkError>;

    /// Sends `bytes` in place of a message, whatever they are, to test what happens to a worker
    /// that breaks the protocol. A link that passes values has no bytes, and sends nothing.
    ///
    /// # Errors
    ///
    /// Fails as [`send`](Self::send) does.
    fn send_raw(&self, _bytes: &[u8]) -> Result<(), LinkError> {
        Ok(())
    }
}

/// [`Inbox`] over ipc-channel.
#[derive(Debug)]
pub struct IpcInbox<J> {
    receiver: IpcBytesReceiver,
    job: PhantomData<fn(J)>,
}

/// [`Outbox`] over ipc-channel. Blocks while the coordinator does not read and the buffer is full.
#[derive(Debug)]
pub struct IpcOutbox<J> {
    sender: IpcBytesSender,
    job: PhantomData<fn(J)>,
}

impl<J> IpcInbox<J> {
    /// Creates the inbox for an end of a channel.
    #[must_use]
    pub const fn new(receiver: IpcBytesReceiver) -> Self {
        Self {
            receiver,
            job: PhantomData,
        }
    }
}

impl<J> IpcOutbox<J> {
    /// Creates the outbox for an end of a channel.
    #[must_use]
    pub const fn new(sender: IpcBytesSender) -> Self {
        Self {
            sender,
            job: PhantomData,
        }
    }
}

impl<J: Job> Inbox<J> for IpcInbox<J> {
    fn recv(&mut self) -> Result<ToWorker<J>, LinkError> {
        loop {
            match self.receiver.recv() {
                Ok(frame) => return Ok(codec::decode(&frame)?),
                Err(IpcError::Disconnected) => return Err(LinkError::Closed),
                Err(IpcError::Io(error)) => retry_or_fail(error)?,
                Err(IpcError::SerializationError(error)) => {
                    return Err(LinkError::Broken(io::Error::other(error)));
                }
            }
        }
    }
}

impl<J: Job> Outbox<J> for IpcOutbox<J> {
    fn send(&self, message: FromWorker<J>) -> Result<(), LinkError> {
        self.send_raw(&codec::encode(&message)?)
    }

    fn send_raw(&self, bytes: &[u8]) -> Result<(), LinkError> {
        loop {
            match self.sender.send(bytes) {
                Ok(()) => return Ok(()),
                Err(error) => retry_or_fail(error)?,
            }
        }
    }
}

/// Ignores signals, and returns `Closed` for each error that means that the peer is gone.
fn retry_or_fail(error: io::Error) -> Result<(), LinkError> {
    let kind = error.kind();
    if kind == io::ErrorKind::Interrupted {
        return Ok(());
    }
    let gone = [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::NotConnected,
    ];
    if gone.contains(&kind) {
        return Err(LinkError::Closed);
    }
    Err(LinkError::Broken(error))
}

/// The coordinator's end of a [`local_link`]. Dropping it closes the link.
#[derive(Debug)]
pub struct CoordinatorEnd<T, F> {
    /// Sends to the worker.
    pub to_worker: Sender<T>,
    /// Receives from the worker.
    pub from_worker: Receiver<F>,
}

/// [`Inbox`] of a session in the coordinator's own process.
#[derive(Debug)]
pub struct LocalInbox<T>(pub Receiver<T>);

/// [`Outbox`] of a session in the coordinator's own process.
#[derive(Debug)]
pub struct LocalOutbox<F>(pub Sender<F>);

/// Creates a link within one process, which passes messages as values. A coordinator that receives
/// from all its workers on one channel can implement [`Outbox`] itself.
#[must_use]
pub fn local_link<T, F>() -> (CoordinatorEnd<T, F>, LocalInbox<T>, LocalOutbox<F>) {
    let (to_worker, inbox) = channel();
    let (outbox, from_worker) = channel();
    (
        CoordinatorEnd {
            to_worker,
            from_worker,
        },
        LocalInbox(inbox),
        LocalOutbox(outbox),
    )
}

impl<J: Job> Inbox<J> for LocalInbox<ToWorker<J>> {
    fn recv(&mut self) -> Result<ToWorker<J>, LinkError> {
        self.0.recv().map_err(|RecvError| LinkError::Closed)
    }
}

impl<J: Job> Outbox<J> for LocalOutbox<FromWorker<J>> {
    fn send(&self, message: FromWorker<J>) -> Result<(), LinkError> {
        self.0
            .send(message)
            .map_err(|SendError(_)| LinkError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use ipc_channel::ipc::bytes_channel;

    use super::*;
    use crate::job::tests::Square;

    #[test]
    fn frames_cross_in_both_directions() {
        let (to_worker, receiver) = bytes_channel().expect("a channel");
        let (sender, from_worker) = bytes_channel().expect("a channel");
        let frame = codec::encode(&ToWorker::<Square>::Dismiss).expect("small");
        to_worker.send(&frame).expect("sent");
        let message: ToWorker<Square> = IpcInbox::<Square>::new(receiver).recv().expect("received");
        assert!(matches!(message, ToWorker::<Square>::Dismiss));
        IpcOutbox::<Square>::new(sender)
            .send(FromWorker::<Square>::Ready)
            .expect("sent");
        let frame = from_worker.recv().expect("received");
        let message: FromWorker<Square> = codec::decode(&frame).expect("a message");
        assert!(matches!(message, FromWorker::<Square>::Ready));
    }

    #[test]
    fn a_coordinator_that_is_gone_closes_both_halves() {
        let (to_worker, receiver) = bytes_channel().expect("a channel");
        let (sender, from_worker) = bytes_channel().expect("a channel");
        drop((to_worker, from_worker));
        let heard: Result<ToWorker<Square>, _> = IpcInbox::<Square>::new(receiver).recv();
        assert!(matches!(heard, Err(LinkError::Closed)), "{heard:?}");
        let said = IpcOutbox::<Square>::new(sender).send(FromWorker::<Square>::Ready);
        assert!(matches!(said, Err(LinkError::Closed)), "{said:?}");
    }

    #[test]
    fn garbage_is_told_from_a_message() {
        let (to_worker, receiver) = bytes_channel().expect("a channel");
        to_worker.send(&[0xff; 40]).expect("sent");
        let heard: Result<ToWorker<Square>, _> = IpcInbox::<Square>::new(receiver).recv();
        assert!(matches!(heard, Err(LinkError::Decode(_))), "{heard:?}");
    }
}
