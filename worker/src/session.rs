//! A session of downloads: how a [session of the pool](pool::session) is started for them.

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

/// Most slots of one worker, whatever the setup asks for: a heartbeat with all of them must fit a
/// frame. Tasks beyond wait in the queue.
pub const MAX_SLOTS: u16 = 2048;

/// What a task is allowed beyond its own limits before it counts as overdue: a disk that is slow
/// to take a chunk, a machine that is busy.
const SLACK: Duration = Duration::from_secs(5);

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The setup cannot be worked with.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It is the session's own failure.
    #[error(transparent)]
    Session(#[from] pool::session::SessionError),
}

/// Works as `setup` says until the coordinator dismisses the worker or closes the link. `throttle`
/// is for the limit on the rate that `setup` names, and shared with all who have that limit together.
///
/// For a session inside another process. It returns once all its threads have ended, so that
/// nothing of it touches its folder any more. Downloads that still run at that moment are
/// given up: at once by the event loop, by threads with their next piece of body, or when one of
/// their own time limits ends; call it from a thread that may wait that long.
///
/// # Errors
///
/// If the setup is of no use, or the link fails otherwise than by being closed.
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

/// How many tasks a worker with this setup runs at once.
#[must_use]
pub const fn slots(setup: &Setup) -> u16 {
    match setup.concurrency {
        0 => 1,
        few @ 1..=MAX_SLOTS => few,
        _ => MAX_SLOTS,
    }
}

/// Starts a session with the engine that `setup` asks for. `throttle` as for [`serve`]; what runs is
/// told in `page`, if there is one.
///
/// # Errors
///
/// If the setup is of no use, or the link is down.
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

/// How a session with this setup works. It learns nothing.
#[must_use]
pub fn options(setup: &Setup, page: Option<Page>) -> Options<Download> {
    let slots = slots(setup);
    // In an event loop the others cannot move while one works.
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
        // A download has limits of its own.
        overrun: None,
        compute: !setup.cpu_per_task.is_zero(),
        page,
        learn: Box::new(drop),
    }
}
