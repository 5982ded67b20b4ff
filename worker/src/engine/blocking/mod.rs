//! The blocking engine: ureq drives the transfer on the calling thread.
//!
//! No thread is started per request. Must not decide what a response means: the transfer does.

mod connector;
mod error;
mod pieces;
mod stream;

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pool::session::Engine;
use protocol::{Assignment, Failure, FailureKind, Phase, SpanPhase, Stored};
use ureq::http::header::TRANSFER_ENCODING;
use ureq::http::{Request, Response, StatusCode};
use ureq::{Agent, Body};

use super::split::Split;
use super::{DRAIN, NOTE_AFTER, Shared, answer, is_closing, monotonic, nap, timestamp};
use crate::activity::{Activity, Downloading as _};
use crate::decode::Body as Intake;
use crate::engine::tls::Audience;
use crate::fault::Fault;
use crate::job::Download;
use crate::spans::Recorder;
use crate::store::{Committed, Partial, Site};
use crate::throttle::Allowance;
use crate::transfer::{Head, Next, Transfer, TransportError};
use crate::work;
use connector::{Deferred, Dial, Observer};
use stream::Line;

/// Bytes of body passed to the store at once.
const CHUNK: usize = 64 * 1024;

/// Longest time for which a piece of body is held in memory to grow.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// Larger than any head that ureq sees, because it takes a full buffer for a disconnect.
const INPUT_BUFFER: usize = 64 * 1024;

/// Largest line of a request head, in bytes; the first one contains the URL.
const OUTPUT_BUFFER: usize = 32 * 1024;

/// Longest time limit passed to ureq, which would panic if the limit overflowed the clock. In
/// practice no limit.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// An engine with its own connection pool.
#[derive(Debug)]
pub struct BlockingEngine {
    shared: Arc<Shared>,
    agent: Agent,
    /// Agent for the hosts that the user's certificate is for, if there is one. Connections on
    /// which it may have been presented are not used for other hosts.
    identified: Option<Agent>,
    observer: Observer,
    spans: Recorder,
    buffer: Box<[u8]>,
    /// Its share of the rate, if there is a limit.
    allowance: Option<Allowance>,
}

impl BlockingEngine {
    /// Creates an engine with the state that all engines of its worker share.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self::on(shared, None)
    }

    /// Creates an engine whose connections can be cut off by `line`.
    fn on(shared: Arc<Shared>, line: Option<&Line>) -> Self {
        let options = &shared.options;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The connector handles proxies.
            .proxy(None)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .timeout_connect(Some(options.connect_timeout.min(LONGEST)))
            .timeout_per_read(Some(options.stall_timeout.min(LONGEST)))
            .timeout_per_write(Some(options.stall_timeout.min(LONGEST)))
            .max_response_header_size(INPUT_BUFFER)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .build();
        let observer = Observer::default();
        let spans = Recorder::new(shared.spans);
        let agent = |audience| {
            let dial = Dial {
                shared: Arc::clone(&shared),
                observer: observer.clone(),
                spans: spans.clone(),
                audience,
                line: line.cloned(),
            };
            Agent::with_parts(config.clone(), dial, Deferred)
        };
        let has_identity = options.login.identity.is_some();
        Self {
            identified: has_identity.then(|| agent(Audience::Meant)),
            agent: agent(Audience::Others),
            allowance: shared.throttle.clone().map(Allowance::new),
            shared,
            observer,
            spans,
            buffer: vec![0; CHUNK].into_boxed_slice(),
        }
    }

    fn attempt(
        &mut self,
        transfer: &mut Transfer<'_>,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Committed, Fault> {
        let site = self.shared.store.site(assignment)?;
        if let Some((note, have)) = site.left() {
            transfer.offer(note, have);
        }
        if assignment.mirror
            && let Err(fault) = self.shared.check_robots(transfer)
        {
            site.abandon(&fault);
            return Err(fault);
        }
        match self.reach(transfer, activity) {
            Ok((mut response, Next::Keep { bytes, sha256 })) => {
                self.drain(transfer, &mut response, activity);
                site.discard();
                Ok(Committed::kept(bytes, sha256))
            }
            Ok((response, next)) => {
                activity.enter(Phase::Receiving);
                self.receive(transfer, response, (site, next), activity)
            }
            Err(fault) => {
                site.abandon(&fault);
                Err(fault)
            }
        }
    }

    /// Follows redirects until a response has a body to receive, or needs none.
    fn reach(
        &mut self,
        transfer: &mut Transfer<'_>,
        activity: &Activity,
    ) -> Result<(Response<Body>, Next), Fault> {
        loop {
            activity.enter(Phase::Requesting);
            let mut response = match self.request(transfer, activity) {
                Ok(response) => response,
                Err(fault) if transfer.asks_again(&fault) => continue,
                Err(fault) => return Err(fault),
            };
            let head = Head {
                status: response.status(),
                version: response.version(),
                headers: response.headers(),
                length: response.body().content_length(),
            };
            match transfer.on_head(head, SystemTime::now()) {
                Ok(next @ (Next::Receive | Next::Resume { .. } | Next::Keep { .. })) => {
                    return Ok((response, next));
                }
                Ok(Next::Follow) => {
                    self.drain(transfer, &mut response, activity);
                    self.shared.check_robots(transfer)?;
                }
                Err(fault) => {
                    self.drain(transfer, &mut response, activity);
                    return Err(fault);
                }
            }
        }
    }

    /// Sends one request and waits for the head of its response.
    ///
    /// A server may close a pooled connection at any time, also at the moment of its reuse. If a
    /// request meets a closed connection and receives nothing of a response, or a 408, it is sent
    /// once more (RFC 9112 section 9.3.1, RFC 9110 section 15.5.9); the pool has no second
    /// connection to the same host.
    fn request(
        &self,
        transfer: &mut Transfer<'_>,
        activity: &Activity,
    ) -> Result<Response<Body>, Fault> {
        let sent = self.send(transfer)?;
        let was_closed = match &sent.result {
            Err(TransportError::Disconnected(_)) => sent.reused && !sent.answered,
            Err(_) => false,
            Ok(response) => sent.reused && response.status() == StatusCode::REQUEST_TIMEOUT,
        };
        let result = if was_closed {
            tracing::debug!(url = %transfer.url(), "pooled connection was closed");
            activity.enter(Phase::Requesting);
            drop(sent);
            self.send(transfer)?.result
        } else {
            sent.result
        };
        result.map_err(|error| transfer.on_error(error))
    }

    fn send(&self, transfer: &mut Transfer<'_>) -> Result<Sent, Fault> {
        self.spans.enter(SpanPhase::FirstByte);
        // Observations of an earlier body do not concern this request.
        self.observer.take();
        let started = Instant::now();
        let limit = transfer.remaining(started)?;
        let mut request = Request::get(transfer.url().as_str())
            .body(())
            .map_err(|error| transfer.on_error(TransportError::Internal(error.to_string())))?;
        *request.headers_mut() = transfer.request()?;
        let identified = self.identified.as_ref();
        let identified = identified.filter(|_| transfer.shows_identity());
        let agent = identified.unwrap_or(&self.agent);
        let result = match limit {
            None => agent.run(request),
            Some(_) => {
                let request = agent
                    .configure_request(request)
                    .timeout_global(limit)
                    .build();
                agent.run(request)
            }
        };
        let observed = self.observer.take();
        let timing = transfer.timing();
        timing.resolve += observed.resolve;
        timing.connect += observed.connect;
        timing.tls += observed.tls;
        timing.first_byte += started.elapsed().saturating_sub(observed.connecting());
        Ok(Sent {
            result: result.map_err(error::of_request),
            reused: !observed.connected,
            answered: observed.answered,
        })
    }

    /// Receives the body into the file.
    fn receive(
        &mut self,
        transfer: &mut Transfer<'_>,
        response: Response<Body>,
        place: (Site, Next),
        activity: &Activity,
    ) -> Result<Committed, Fault> {
        self.spans.enter(SpanPhase::Store);
        let started = Instant::now();
        let mut storing = Duration::ZERO;
        let received = self.copy(transfer, response, place, &mut storing, activity);
        transfer.timing().body += started.elapsed().saturating_sub(storing);
        let result = received.and_then(|partial| {
            activity.enter(Phase::Storing);
            if !self.shared.cpu_per_task.is_zero() {
                self.spans.enter(SpanPhase::Cpu);
                work::spend(self.shared.cpu_per_task);
            }
            self.spans.enter(SpanPhase::Store);
            stored(&mut storing, || {
                let check = |file: &Committed| transfer.check_file(file);
                partial.commit(check)
            })
        });
        transfer.timing().store += storing;
        result
    }

    fn copy(
        &mut self,
        transfer: &mut Transfer<'_>,
        response: Response<Body>,
        (site, next): (Site, Next),
        storing: &mut Duration,
        activity: &Activity,
    ) -> Result<Partial, Fault> {
        let partial = stored(storing, || {
            let mut partial = match next {
                Next::Resume { from } => site.resume(from),
                Next::Receive | Next::Follow | Next::Keep { .. } => site.begin(),
            }?;
            while !partial.rehash()? {
                activity.enter(Phase::Receiving);
            }
            Ok(partial)
        })?;
        let mut intake = Intake::new(partial, transfer.codings(), transfer.room());
        let split = Split::begin(transfer, &mut intake);
        let poured = match &split {
            None => self.pour(transfer, response, (&mut intake, None), storing, activity),
            Some(split) => self.gather(transfer, response, (&mut intake, split), storing, activity),
        };
        match poured {
            Ok(()) => stored(storing, || intake.finish()),
            Err(fault) if transfer.is_enough(&fault) => intake.into_cut(),
            Err(fault) => {
                intake.abandon(&fault, transfer.note());
                Err(fault)
            }
        }
    }

    /// Fills the buffer before each write: ureq returns the bytes of one read of the socket, over
    /// TLS at most 16 KiB. Data that arrives slowly is written anyway.
    fn pour(
        &mut self,
        transfer: &mut Transfer<'_>,
        mut response: Response<Body>,
        (intake, split): (&mut Intake, Option<&Split>),
        storing: &mut Duration,
        activity: &Activity,
    ) -> Result<(), Fault> {
        let mut body = response.body_mut().as_reader();
        let begun = Instant::now();
        let mut written = begun;
        let (mut filled, mut read) = (0, 0);
        let mut lead = split.map(|split| split.lead(transfer.received()));
        loop {
            let most = lead.as_ref().map_or(CHUNK, |lead| lead.most(CHUNK));
            self.spans.enter(SpanPhase::Body);
            let received = pay(&mut self.allowance, read, transfer, activity).and_then(|()| {
                let read = body
                    .read(&mut self.buffer[filled..most])
                    .map_err(|error| transfer.on_error(error::of_request(error.into())))?;
                transfer.on_chunk(read as u64)?;
                transfer.keeps_pace(Instant::now())?;
                Ok(read)
            });
            read = *received.as_ref().unwrap_or(&0);
            filled += read;
            if filled == most || (read == 0 && filled > 0) || written.elapsed() >= WRITE_WITHIN {
                self.spans.enter(SpanPhase::Store);
                stored(storing, || {
                    NOTE_AFTER.note(intake, transfer.note(), begun);
                    intake.write(&self.buffer[..filled])
                })?;
                let goes_on = lead.as_mut().is_none_or(|lead| lead.took(filled));
                filled = 0;
                written = Instant::now();
                if !goes_on {
                    return Ok(());
                }
            }
            received?;
            if let Some(split) = split {
                transfer.has(split.received())?;
            }
            if read == 0 {
                return transfer.on_end();
            }
            activity.received(transfer.received(), transfer.expected());
        }
    }

    /// Reads the body of a response that is not stored, if it is small and its length is known, so
    /// that its connection can be reused. Errors show up on reuse.
    fn drain(
        &mut self,
        transfer: &mut Transfer<'_>,
        response: &mut Response<Body>,
        activity: &Activity,
    ) {
        let headers = response.headers();
        if is_closing(headers) {
            return;
        }
        let bounded = match response.body().content_length() {
            Some(length) => length <= DRAIN,
            None => headers.contains_key(TRANSFER_ENCODING),
        };
        if !bounded {
            return;
        }
        self.spans.enter(SpanPhase::Body);
        let mut body = response.body_mut().as_reader().take(DRAIN);
        while let Ok(read @ 1..) = body.read(&mut self.buffer) {
            if pay(&mut self.allowance, read, transfer, activity).is_err() {
                return;
            }
        }
    }
}

/// Pays for `bytes` of a body that were read, and waits until more may be read.
fn pay(
    allowance: &mut Option<Allowance>,
    bytes: usize,
    transfer: &mut Transfer<'_>,
    activity: &Activity,
) -> Result<(), Fault> {
    let given_up = || Fault::permanent(FailureKind::Internal, "given up");
    if let Some(allowance) = allowance
        && !allowance.pay(bytes as u64)
    {
        let begun = Instant::now();
        while let Some(wait) = allowance.wait(monotonic()) {
            if activity.is_abandoned() {
                return Err(given_up());
            }
            let left = transfer.remaining(Instant::now())?;
            activity.touch();
            std::thread::sleep(nap(wait, left));
        }
        transfer.paused(begun.elapsed());
    }
    if activity.is_abandoned() {
        return Err(given_up());
    }
    Ok(())
}

/// A request that was sent.
struct Sent {
    result: Result<Response<Body>, TransportError>,
    /// Whether it used a pooled connection.
    reused: bool,
    /// Whether any bytes of a response came.
    answered: bool,
}

impl Engine<Download> for BlockingEngine {
    fn run(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        let shared = Arc::clone(&self.shared);
        let started = timestamp(SystemTime::now());
        let mut transfer =
            Transfer::new(&assignment.url, &shared.options, started, Instant::now())?
                .of(assignment)
                .with_logins(&shared.logins);
        self.spans.resume();
        let result = self.attempt(&mut transfer, assignment, activity);
        self.spans.pause();
        transfer.record(self.spans.take());
        answer(transfer, result)
    }
}

/// Runs `operation` and adds the time it takes to `storing`.
fn stored<T>(storing: &mut Duration, operation: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = operation();
    *storing += started.elapsed();
    result
}
