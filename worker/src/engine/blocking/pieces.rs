//! A body over several connections in the blocking engine. The calling thread keeps the first
//! connection. Each other connection has its own thread and engine while it helps.
//!
//! Must not assign pieces to connections: the split does.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use protocol::{FailureKind, Phase, SpanPhase};
use ureq::Body;
use ureq::http::Response;

use super::stream::Line;
use super::{BlockingEngine, error, pay, stored};
use crate::activity::{Activity, Downloading as _};
use crate::decode::Body as Intake;
use crate::engine::NAP;
use crate::engine::split::Split;
use crate::fault::Fault;
use crate::transfer::{Claim, Head, Transfer};

/// Ends the helpers when the download that they help ends in any way.
struct Helpers {
    lines: Vec<Line>,
    stop: Arc<AtomicBool>,
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lines.iter().for_each(Line::cut);
    }
}

impl BlockingEngine {
    /// Receives the body into the file over several connections.
    pub(super) fn gather(
        &mut self,
        transfer: &mut Transfer<'_>,
        response: Response<Body>,
        (intake, split): (&mut Intake, &Split),
        storing: &mut Duration,
        activity: &Activity,
    ) -> Result<(), Fault> {
        let caller = thread::current();
        thread::scope(|scope| {
            let mut helpers = Helpers {
                lines: Vec::new(),
                stop: Arc::default(),
            };
            for _ in 0..split.most_helpers() {
                let line = Line::default();
                helpers.lines.push(line.clone());
                let mut part = transfer.of_pieces();
                let (shared, caller) = (Arc::clone(&self.shared), caller.clone());
                let activity = Activity::new(Arc::clone(&helpers.stop));
                let place = split.enlist();
                let helper = move || {
                    let mut engine = Self::on(shared, Some(&line));
                    let ended = engine.fetch(&mut part, split, &activity, &mut || Ok(()));
                    if let Err(fault) = ended {
                        let url = part.url();
                        tracing::debug!(%url, fault = fault.message, "a connection helps no more");
                    }
                    line.let_go();
                    drop(place);
                    caller.unpark();
                };
                let started = thread::Builder::new()
                    .name("piece".to_owned())
                    .spawn_scoped(scope, helper);
                if started.is_err() {
                    break;
                }
            }
            self.pour(
                transfer,
                response,
                (&mut *intake, Some(split)),
                storing,
                activity,
            )?;
            self.complete(transfer, (intake, split), storing, activity)
        })
    }

    /// Fetches the pieces that the first connection did not receive.
    fn complete(
        &mut self,
        transfer: &mut Transfer<'_>,
        (intake, split): (&mut Intake, &Split),
        storing: &mut Duration,
        activity: &Activity,
    ) -> Result<(), Fault> {
        let mut part = transfer.of_pieces();
        let mut failed = None;
        loop {
            let mut tend = || stored(storing, || split.tend(transfer, intake, activity));
            if failed.is_none() {
                let mut tend = || tend().map(drop);
                failed = self.fetch(&mut part, split, activity, &mut tend).err();
                activity.enter(Phase::Receiving);
            }
            // Read before `tend`: a helper that ends between the two has brought its bytes.
            let alone = !split.has_helpers();
            let is_hashed = tend()?;
            if split.is_whole() {
                break;
            }
            match failed.take() {
                Some(fault) if alone => return Err(transfer.without_piece(fault)),
                other => failed = other,
            }
            if activity.is_abandoned() {
                return Err(Fault::permanent(FailureKind::Internal, "given up"));
            }
            if is_hashed {
                thread::park_timeout(NAP);
            }
        }
        while !stored(storing, || split.tend(transfer, intake, activity))? {}
        transfer.on_end()
    }

    /// Fetches pieces until none is left or one fails.
    fn fetch(
        &mut self,
        part: &mut Transfer<'_>,
        split: &Split,
        activity: &Activity,
        tend: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some(claim) = split.claim() {
            self.fetch_piece(part, (split, &claim), activity, tend)?;
        }
        Ok(())
    }

    fn fetch_piece(
        &mut self,
        part: &mut Transfer<'_>,
        (split, claim): (&Split, &Claim),
        activity: &Activity,
        tend: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        part.ask_for(claim);
        let asked = self.request(part, activity).and_then(|response| {
            let head = Head {
                status: response.status(),
                version: response.version(),
                headers: response.headers(),
                length: response.body().content_length(),
            };
            part.on_head(head, SystemTime::now())?;
            Ok(response)
        });
        let mut response = asked.inspect_err(|_| split.release(claim))?;
        let Some(mut arrival) = split.hold(claim) else {
            return Ok(());
        };
        activity.enter(Phase::Receiving);
        let mut body = response.body_mut().as_reader();
        loop {
            self.spans.enter(SpanPhase::Body);
            let read = body
                .read(&mut self.buffer)
                .map_err(|error| part.on_error(error::of_request(error.into())))?;
            part.on_chunk(read as u64)?;
            if read == 0 {
                return part.on_end();
            }
            self.spans.enter(SpanPhase::Store);
            arrival.write(&self.buffer[..read])?;
            tend()?;
            pay(&mut self.allowance, read, part, activity)?;
        }
    }
}
