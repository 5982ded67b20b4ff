//! The line to the coordinator: messages in, messages out.
//!
//! Two halves, because they are used differently: the [`Inbox`] belongs to the one thread that
//! reads (the receiver of ipc-channel is not `Sync`, and need not be), the [`Outbox`] is shared by
//! every thread that reports. Over ipc-channel messages travel as frames; inside one process as
//! values.
//!
//! It must not look into the messages.

use std::io;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvError, SendError, Sender, channel};

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender};
use protocol::codec;

use crate::job::{FromWorker, Job, ToWorker};

/// Why nothing can be said or heard any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The coordinator is gone.
    #[error("the coordinator closed the channel")]
    Closed,
    /// The channel failed.
    #[error("the channel to the coordinator failed: {0}")]
    Broken(#[from] io::Error),
    /// What came is not a message.
    #[error("the coordinator sent something else than a message: {0}")]
    Decode(#[from] codec::DecodeError),
    /// What should go out does not fit a frame.
    #[error("a message to the coordinator cannot be sent: {0}")]
    Encode(#[from] codec::EncodeError),
}

/// Where the coordinator's messages come in.
pub trait Inbox<J: Job> {
    /// Waits for the next message.
    ///
    /// # Errors
    ///
    /// If there will be none; [`LinkError::Closed`] if the coordinator hung up or died.
    fn recv(&mut self) -> Result<ToWorker<J>, LinkError>;
}

/// Where messages to the coordinator go out.
pub trait Outbox<J: Job>: Send + Sync {
    /// Says `message`. Messages of one thread arrive in their order.
    ///
    /// # Errors
    ///
    /// If it cannot be said; [`LinkError::Closed`] if the coordinator hung up or died.
    fn send(&self, message: FromWorker<J>) -> Result<(), LinkError>;

    /// Sends `bytes` as if they were a message, whatever they are: to see what becomes of a worker
    /// that breaks the protocol. A link that passes values has no bytes, and sends nothing.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
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

/// [`Outbox`] over ipc-channel. Blocks while the coordinator does not read and the socket's buffer
/// is full.
#[derive(Debug)]
pub struct IpcOutbox<J> {
    sender: IpcBytesSender,
    job: PhantomData<fn(J)>,
}

impl<J> IpcInbox<J> {
    /// Of this end of a channel.
    #[must_use]
    pub const fn new(receiver: IpcBytesReceiver) -> Self {
        Self {
            receiver,
            job: PhantomData,
        }
    }
}

impl<J> IpcOutbox<J> {
    /// Of this end of a channel.
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

/// A signal is no reason to stop; a peer that is gone is a closed channel, however it shows.
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
    /// To the worker.
    pub to_worker: Sender<T>,
    /// From the worker.
    pub from_worker: Receiver<F>,
}

/// [`Inbox`] of a session in the coordinator's own process.
#[derive(Debug)]
pub struct LocalInbox<T>(pub Receiver<T>);

/// [`Outbox`] of a session in the coordinator's own process.
#[derive(Debug)]
pub struct LocalOutbox<F>(pub Sender<F>);

/// A link within one process: messages pass as values. A coordinator that would rather hear all
/// its workers on one channel of its own can implement [`Outbox`] itself.
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
