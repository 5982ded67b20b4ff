//! A session of downloads: starts a [session of the pool](pool::session) for them.

use std::sync::Arc;
use std::time::Duration;

use pool::link::{Inbox, Outbox};
use pool::page::Page;
use pool::session::{Options, Session};
use protocol::{Notice, Setup};

use crate::engine::{AsyncEngine, BlockingEngine, Connections, SetupError, Shared};
use crate::faults::Trap;
use crate::job::Download;
use crate::throttle::Throttle;
pub use pool::session::End;

/// Largest number of slots in one worker, whatever the setup asks for: a heartbeat with all of them
/// must fit into a frame. Further tasks wait in the queue.
pub const MAX_SLOTS: u16 = 2048;

/// Time beyond its own limits before a task counts as overdue: for a disk that is slow to write a
/// piece, or a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// Reason why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The setup is unusable.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The session itself failed.
    #[error(transparent)]
    Session(#[from] pool::session::SessionError),
}

/// Runs a session as `setup` says, until the coordinator dismisses the worker or closes the link.
/// `throttle` is the rate limit that `setup` names, shared by all workers under it.
///
/// For a session inside another process. It returns once all its threads have ended, so that
/// nothing uses its folder any more. Downloads that still run then are abandoned: by the event loop
/// at once, by a thread with its next piece of body or at one of its time limits. Call it from a
/// thread that may wait that long.
///
/// # Errors
///
/// Fails if the setup is unusable, or if the link fails in another way than by being closed.
pub fn serve<I: Inbox<Download>, O: Outbox<Download> + 'static>(
    mut inbox: I,
    outbox: Arc<O>,
    setup: &Setup,
    throttle: Option<Throttle>,
) -> Result<End, SessionError> {
    let session = start(outbox, setup, throttle, None)?;
    let end = session.read(&mut inbox);
    session.join();
    Ok(end?)
}

/// Returns how many tasks a worker with this setup runs at once.
#[must_use]
pub const fn slots(setup: &Setup) -> u16 {
    match setup.concurrency {
        0 => 1,
        few @ 1..=MAX_SLOTS => few,
        _ => MAX_SLOTS,
    }
}

/// Starts a session with the engine that `setup` names. `throttle` is as for [`serve`]. Running
/// tasks are noted in `page`, if there is one.
///
/// # Errors
///
/// Fails if the setup is unusable or the link is down.
pub fn start<O: Outbox<Download> + 'static>(
    outbox: Arc<O>,
    setup: &Setup,
    throttle: Option<Throttle>,
    page: Option<Page>,
) -> Result<Session<Download, O>, SessionError> {
    let shared = Arc::new(Shared::new(setup, throttle)?);
    let (logins, limit) = (Arc::clone(&shared.logins), shared.throttle.clone());
    let options = Options {
        learn: Box::new(move |notice| match notice {
            Notice::Logins(news) => logins.learn(news),
            Notice::LimitRate(rate) => {
                if let Some(limit) = &limit {
                    limit.set_rate(rate);
                }
            }
        }),
        ..options(setup, page)
    };
    let trap = setup
        .faults
        .as_ref()
        .map(|faults| Trap::new(faults, &outbox));
    let session = match setup.engine {
        protocol::Engine::Blocking => {
            let make = move || BlockingEngine::new(Arc::clone(&shared));
            match trap {
                None => Session::on_threads(outbox, options, make),
                Some(trap) => Session::on_threads(outbox, options, trap.around(make)),
            }
        }
        protocol::Engine::Async => {
            let connections = Arc::new(Connections::new(shared, slots(setup)));
            let make = move || AsyncEngine::new(Arc::clone(&connections));
            match trap {
                None => Session::on_event_loop(outbox, options, make),
                Some(trap) => Session::on_event_loop(outbox, options, trap.around(make)),
            }
        }
    };
    Ok(session?)
}

/// Returns the options of a session with this setup. It ignores news from the coordinator.
#[must_use]
pub fn options(setup: &Setup, page: Option<Page>) -> Options<Download> {
    let slots = slots(setup);
    // In an event loop, one task's processor work blocks all others.
    let sharing = match setup.engine {
        protocol::Engine::Blocking => 1,
        protocol::Engine::Async => slots.into(),
    };
    let http = &setup.http;
    let rest = http
        .connect_timeout
        .saturating_add(http.stall_timeout)
        .saturating_add(setup.cpu_per_task.saturating_mul(sharing))
        .saturating_add(SLACK);
    Options {
        slots,
        heartbeat: setup.heartbeat,
        rest,
        // A download has its own time limits.
        overrun: None,
        compute: !setup.cpu_per_task.is_zero(),
        page,
        learn: Box::new(drop),
    }
}
