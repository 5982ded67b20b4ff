//! The event engine: hyper drives the transfers, many on one thread.
//!
//! That thread also writes the files and does the work of `cpu_per_task`. To write a piece of a
//! body to the page cache takes some microseconds, less than passing it to another thread. The work
//! has to be on the event loop because that is what a comparison of engines measures. During
//! either, the other downloads wait.
//!
//! Must not decide what a response means: the transfer does.

mod alarm;
mod ask;
mod connections;
mod dial;
mod error;
mod http1;
mod http2;
mod pieces;
mod stream;
mod throttled;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Response;
use http::header::TRANSFER_ENCODING;
use hyper::body::{Body, Incoming};
use pool::session::EventEngine;
use protocol::{Assignment, Failure, Phase, SpanPhase, Stored};

use super::{DRAIN, answer, is_closing, timestamp};
use crate::activity::{Activity, Downloading as _};
use crate::decode::Body as Intake;
use crate::engine::NOTE_AFTER;
use crate::engine::split::Split;
use crate::fault::Fault;
use crate::job::Download;
use crate::spans::Recorder;
use crate::store::{Committed, Partial, Site};
use crate::throttle::Allowance;
use crate::transfer::{Head, Next, Transfer, TransportError};
use crate::work;
use alarm::{Alarm, Patience, after};
pub use connections::Connections;
use connections::Destination;
pub(super) use connections::authority;
use wire::Wire;

/// An engine for one download at a time on an event loop.
#[derive(Debug)]
pub struct AsyncEngine {
    connections: Arc<Connections>,
    alarm: Alarm,
    spans: Recorder,
    /// Its share of the rate, if there is a limit.
    allowance: Option<Allowance>,
}

impl AsyncEngine {
    /// Creates an engine that shares `connections` with the others of its event loop.
    #[must_use]
    pub fn new(connections: Arc<Connections>) -> Self {
        let spans = Recorder::new(connections.shared.spans);
        Self {
            allowance: connections.shared.throttle.clone().map(Allowance::new),
            connections,
            alarm: Alarm::default(),
            spans,
        }
    }
}

impl EventEngine<Download> for AsyncEngine {
    async fn run(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>> {
        let connections = Arc::clone(&self.connections);
        let now = Instant::now();
        let started = timestamp(SystemTime::now());
        let mut attempt = Attempt {
            connections: &connections,
            alarm: &mut self.alarm,
            spans: &self.spans,
            allowance: self.allowance.as_mut(),
            activity,
            transfer: Transfer::new(&assignment.url, &connections.shared.options, started, now)?
                .of(assignment)
                .with_logins(&connections.shared.logins),
        };
        let result = self.spans.polled(attempt.run(assignment)).await;
        let mut transfer = attempt.transfer;
        transfer.record(self.spans.take());
        answer(transfer, result)
    }
}

/// One attempt at one task.
struct Attempt<'a> {
    connections: &'a Connections,
    alarm: &'a mut Alarm,
    spans: &'a Recorder,
    allowance: Option<&'a mut Allowance>,
    activity: &'a Activity,
    transfer: Transfer<'a>,
}

/// A response whose body is still to come, and its connection.
struct Answer {
    destination: Destination,
    wire: Wire,
    response: Response<Incoming>,
}

impl Attempt<'_> {
    async fn run(&mut self, assignment: &Assignment) -> Result<Committed, Fault> {
        let site = self.connections.shared.store.site(assignment)?;
        if let Some((note, have)) = site.left() {
            self.transfer.offer(note, have);
        }
        if assignment.mirror
            && let Err(fault) = self.connections.shared.check_robots(&self.transfer)
        {
            site.abandon(&fault);
            return Err(fault);
        }
        match self.reach().await {
            Ok((answer, Next::Keep { bytes, sha256 })) => {
                self.drain(answer).await;
                site.discard();
                Ok(Committed::kept(bytes, sha256))
            }
            Ok((answer, next)) => {
                self.activity.enter(Phase::Receiving);
                self.receive(answer, site, next).await
            }
            Err(fault) => {
                site.abandon(&fault);
                Err(fault)
            }
        }
    }

    /// Follows redirects until a response has a body to receive, or needs none.
    async fn reach(&mut self) -> Result<(Answer, Next), Fault> {
        loop {
            self.activity.enter(Phase::Requesting);
            let answer = match self.request().await {
                Ok(answer) => answer,
                Err(fault) if self.transfer.asks_again(&fault) => continue,
                Err(fault) => return Err(fault),
            };
            let head = Head {
                status: answer.response.status(),
                version: answer.response.version(),
                headers: answer.response.headers(),
                length: answer.response.body().size_hint().exact(),
            };
            match self.transfer.on_head(head, SystemTime::now()) {
                Ok(next @ (Next::Receive | Next::Resume { .. } | Next::Keep { .. })) => {
                    return Ok((answer, next));
                }
                Ok(Next::Follow) => {
                    self.drain(answer).await;
                    self.connections.shared.check_robots(&self.transfer)?;
                }
                Err(fault) => {
                    self.drain(answer).await;
                    return Err(fault);
                }
            }
        }
    }

    /// Receives the body into the file.
    async fn receive(
        &mut self,
        answer: Answer,
        site: Site,
        next: Next,
    ) -> Result<Committed, Fault> {
        let started = Instant::now();
        let mut storing = Duration::ZERO;
        let received = self.copy(answer, site, next, &mut storing).await;
        let passed = started.elapsed().saturating_sub(storing);
        self.transfer.timing().body += passed;
        let result = received.and_then(|partial| {
            self.activity.enter(Phase::Storing);
            let work = self.connections.shared.cpu_per_task;
            if !work.is_zero() {
                self.spans.enter(SpanPhase::Cpu);
                work::spend(work);
            }
            self.stored(&mut storing, || {
                let transfer = &self.transfer;
                let check = |file: &Committed| transfer.check_file(file);
                partial.commit(check)
            })
        });
        self.transfer.timing().store += storing;
        result
    }

    async fn copy(
        &mut self,
        answer: Answer,
        site: Site,
        next: Next,
        storing: &mut Duration,
    ) -> Result<Partial, Fault> {
        let mut intake = self.open(site, next, storing).await?;
        let split = Split::begin(&self.transfer, &mut intake);
        let poured = match &split {
            None => self.pour(answer, (&mut intake, None), storing).await,
            Some(split) => self.gather(answer, (&mut intake, split), storing).await,
        };
        match poured {
            Ok(()) => self.stored(storing, || intake.finish()),
            Err(fault) if self.transfer.is_enough(&fault) => intake.into_cut(),
            Err(fault) => {
                intake.abandon(&fault, self.transfer.note());
                Err(fault)
            }
        }
    }

    /// Opens the file and hashes the bytes that are kept. Other tasks run between the pieces.
    async fn open(
        &mut self,
        site: Site,
        next: Next,
        storing: &mut Duration,
    ) -> Result<Intake, Fault> {
        let mut partial = self.stored(storing, || match next {
            Next::Resume { from } => site.resume(from),
            Next::Receive | Next::Follow | Next::Keep { .. } => site.begin(),
        })?;
        while !self.stored(storing, || partial.rehash())? {
            self.activity.enter(Phase::Receiving);
            tokio::task::yield_now().await;
        }
        let room = self.transfer.room();
        Ok(Intake::new(partial, self.transfer.codings(), room))
    }

    async fn pour(
        &mut self,
        answer: Answer,
        (intake, split): (&mut Intake, Option<&Split>),
        storing: &mut Duration,
    ) -> Result<(), Fault> {
        let Answer {
            destination,
            mut wire,
            response,
        } = answer;
        // Drops the headers: while they exist, hyper needs a new buffer for the body.
        let mut body = response.into_body();
        let begun = Instant::now();
        let mut lead = split.map(|split| split.lead(self.transfer.received()));
        loop {
            self.spans.enter(SpanPhase::Body);
            let mut patience = self.patience()?;
            let frame = wire
                .frame(&mut body, |context, moved| patience.tick(context, moved))
                .await
                .map_err(|error| self.transfer.on_error(error))?;
            let Some(frame) = frame else {
                break;
            };
            // Any other frame is a trailer, which is ignored.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let mut rest = &data[..];
            loop {
                let most = lead
                    .as_ref()
                    .map_or(rest.len(), |lead| lead.most(rest.len()));
                let (taken, more) = rest.split_at(most);
                rest = more;
                self.transfer.on_chunk(taken.len() as u64)?;
                let note = self.transfer.note();
                self.stored(storing, || {
                    NOTE_AFTER.note(intake, note, begun);
                    intake.write(taken)
                })?;
                if !lead.as_mut().is_none_or(|lead| lead.took(taken.len())) {
                    return Ok(());
                }
                if rest.is_empty() {
                    break;
                }
            }
            if let Some(split) = split {
                self.transfer.has(split.received())?;
            }
            self.transfer.keeps_pace(Instant::now())?;
            self.activity
                .received(self.transfer.received(), self.transfer.expected());
            self.pay(data.len() as u64).await?;
        }
        self.transfer.on_end()?;
        self.keep(destination, wire).await;
        Ok(())
    }

    /// Reads the body of a response that is not stored, if it is small and its length is known, so
    /// that its connection can be reused. Errors show up on reuse.
    async fn drain(&mut self, answer: Answer) {
        let Answer {
            destination,
            mut wire,
            response,
        } = answer;
        if let Wire::Two(_) = wire {
            // The stream is cancelled, so that other downloads do not wait for unread data.
            return;
        }
        let length = response.body().size_hint().exact();
        if is_closing(response.headers())
            || !match length {
                Some(length) => length <= DRAIN,
                None => response.headers().contains_key(TRANSFER_ENCODING),
            }
        {
            return;
        }
        self.spans.enter(SpanPhase::Body);
        let mut body = response.into_body();
        let mut left = DRAIN;
        loop {
            let Ok(mut patience) = self.patience() else {
                return;
            };
            let frame = wire
                .frame(&mut body, |context, moved| patience.tick(context, moved))
                .await;
            let size = match frame {
                Ok(Some(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
                Ok(None) => break,
                Err(_) => return,
            };
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
            if self.pay(size).await.is_err() {
                return;
            }
        }
        self.keep(destination, wire).await;
    }

    /// Keeps `wire` for the next request, if it is usable.
    async fn keep(&self, destination: Destination, wire: Wire) {
        if let Wire::One(mut wire) = wire
            && wire.is_usable().await
        {
            self.connections.keep(destination, wire);
        }
    }

    /// Runs `operation`, and adds the time it takes to `storing`.
    fn stored<T>(&self, storing: &mut Duration, operation: impl FnOnce() -> T) -> T {
        self.spans.enter(SpanPhase::Store);
        let started = Instant::now();
        let result = operation();
        *storing += started.elapsed();
        result
    }

    /// Returns the limits of a wait that begins now.
    fn patience(&mut self) -> Result<Patience<'_>, Fault> {
        let max = self.end()?;
        Ok(Patience {
            alarm: self.alarm,
            moved: Instant::now(),
            stall: self.connections.shared.options.stall_timeout,
            max,
        })
    }

    /// Returns the time limit of the whole attempt, if there is one.
    fn end(&self) -> Result<Option<Instant>, Fault> {
        let now = Instant::now();
        let left = self.transfer.remaining(now)?;
        Ok(left.map(|left| after(now, left)))
    }

    fn internal(&self, cause: String) -> Fault {
        self.transfer.on_error(TransportError::Internal(cause))
    }
}
