//! The coordinator's ear for one worker: a thread that accepts its connection, shakes hands, and
//! reads its frames until the channel closes.
//!
//! One thread per worker, because ipc-channel reads in blocking mode in more than one place
//! (`accept`, the first message, the later fragments of a large one), and panics on some malformed
//! input. Here all of that hits one worker's thread, and ends with that worker's death.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcOneShotServer};
use protocol::handshake::Connection;
use protocol::{FromWorker, codec};

use super::News;

/// What the threads say that listen to workers, in order.
#[derive(Debug)]
pub(super) enum Heard {
    /// The worker is connected, and speaks our protocol.
    Connected { to_worker: IpcBytesSender },
    /// The worker has news.
    News(News),
    /// The channel is closed: the worker is gone, or about to be. The last of the link thread.
    Closed,
    /// The worker wrote these lines to standard error; said by the thread that reads it.
    Wrote(Vec<String>),
    /// The worker is dead, and these were its last lines. The last of that thread.
    LastWords(Vec<String>),
}

/// Keeps panics of link threads off standard error: they are contained, and reported as the
/// worker's violation. All others are shown as before. To be called once, by the process.
pub fn contain_panics() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if thread
            .name()
            .is_some_and(|name| name.starts_with(THREAD_NAME))
        {
            tracing::debug!(%info, "the messages of a worker are malformed");
        } else {
            show(info);
        }
    }));
}

/// How the names of link threads begin.
pub(super) const THREAD_NAME: &str = "link to worker ";

/// Listens until the worker is gone. `setup` is the frame that answers its greeting.
pub(super) fn listen(
    server: IpcOneShotServer<Connection>,
    setup: &Arc<[u8]>,
    tell: impl Fn(Heard),
) {
    // Nothing is shared with the closure but `tell`, which only sends.
    let heard = catch_unwind(AssertUnwindSafe(|| converse(server, setup, &tell)));
    if heard.is_err() {
        let problem = "its messages are malformed".to_owned();
        tell(Heard::News(News::Violated { problem }));
    }
    tell(Heard::Closed);
}

/// Ends when the channel is closed, and then returns nothing; `Option` is for the question mark.
fn converse(
    server: IpcOneShotServer<Connection>,
    setup: &Arc<[u8]>,
    tell: &impl Fn(Heard),
) -> Option<()> {
    // The bootstrap socket lacks close-on-exec: it must not outlive this line.
    let Ok((_, connection)) = server.accept() else {
        return None;
    };
    let Connection {
        to_worker,
        from_worker,
    } = connection;
    let hello = match next_frame(&from_worker)? {
        Ok(FromWorker::Hello(hello)) => hello,
        Ok(FromWorker::Ready | FromWorker::Reports(_) | FromWorker::Heartbeat(_)) => {
            return drain(
                &from_worker,
                tell,
                "it did not begin with a greeting".to_owned(),
            );
        }
        Err(problem) => return drain(&from_worker, tell, problem),
    };
    if let Err(error) = hello.check() {
        return drain(&from_worker, tell, error.to_string());
    }
    if to_worker.send(setup).is_err() {
        return None;
    }
    tell(Heard::Connected { to_worker });
    loop {
        let news = match next_frame(&from_worker)? {
            Ok(FromWorker::Ready) => News::Ready,
            Ok(FromWorker::Reports(reports)) => News::Reports(reports),
            Ok(FromWorker::Heartbeat(running)) => News::Heartbeat(running),
            Ok(FromWorker::Hello(_)) => {
                return drain(&from_worker, tell, "it greeted twice".to_owned());
            }
            Err(problem) => return drain(&from_worker, tell, problem),
        };
        tell(Heard::News(news));
    }
}

/// The next message, or why what came is none; nothing when the channel is closed.
fn next_frame(from_worker: &IpcBytesReceiver) -> Option<Result<FromWorker, String>> {
    loop {
        match from_worker.recv() {
            Ok(frame) => return Some(codec::decode(&frame).map_err(|error| error.to_string())),
            Err(IpcError::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(IpcError::Disconnected | IpcError::Io(_) | IpcError::SerializationError(_)) => {
                return None;
            }
        }
    }
}

/// Reports the violation at once, so that the worker is ended, and reads on without listening:
/// the channel must not be closed before the worker is gone, or it would not be known when it is.
fn drain(from_worker: &IpcBytesReceiver, tell: &impl Fn(Heard), problem: String) -> Option<()> {
    tell(Heard::News(News::Violated { problem }));
    while next_frame(from_worker).is_some() {}
    None
}
