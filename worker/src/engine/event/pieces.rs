//! A body over several connections in the event engine. Helpers are polled together with the
//! download that they help, and end with it.
//!
//! Must not assign pieces to connections: the split does.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Body;
use protocol::{Phase, SpanPhase};

use super::alarm::Alarm;
use super::{Answer, Attempt, Intake};
use crate::activity::{Activity, Downloading as _};
use crate::engine::split::Split;
use crate::fault::Fault;
use crate::spans::Recorder;
use crate::throttle::Allowance;
use crate::transfer::{Claim, Head};

/// The work of one helping connection.
type Helper<'h> = Pin<Box<dyn Future<Output = ()> + Send + 'h>>;

impl Attempt<'_> {
    /// Receives the body into the file over several connections.
    pub(super) async fn gather(
        &mut self,
        answer: Answer,
        (intake, split): (&mut Intake, &Split),
        storing: &mut Duration,
    ) -> Result<(), Fault> {
        let connections = self.connections;
        let help = |_| {
            let transfer = self.transfer.of_pieces();
            let destination = split.enlist();
            let helper: Helper<'_> = Box::pin(async move {
                let mut allowance = connections.shared.throttle.clone().map(Allowance::new);
                let mut attempt = Attempt {
                    connections,
                    alarm: &mut Alarm::default(),
                    spans: &Recorder::default(),
                    allowance: allowance.as_mut(),
                    activity: &Activity::default(),
                    transfer,
                };
                if let Err(fault) = attempt.fetch(split, &mut |_| Ok(())).await {
                    let url = attempt.transfer.url();
                    tracing::debug!(%url, fault = fault.message, "a connection helps no more");
                }
                drop(destination);
            });
            helper
        };
        let mut helpers: Vec<Helper<'_>> = (0..split.most_helpers()).map(help).collect();
        let mut first = pin!(async {
            self.pour(answer, (&mut *intake, Some(split)), storing)
                .await?;
            self.complete((intake, split), storing).await
        });
        poll_fn(|context| {
            helpers.retain_mut(|helper| helper.as_mut().poll(context).is_pending());
            first.as_mut().poll(context)
        })
        .await
    }

    /// Fetches the pieces that the first connection did not receive.
    async fn complete(
        &mut self,
        (intake, split): (&mut Intake, &Split),
        storing: &mut Duration,
    ) -> Result<(), Fault> {
        let mut alarm = Alarm::default();
        let mut failed = None;
        loop {
            if failed.is_none() {
                let mut part = Attempt {
                    connections: self.connections,
                    alarm: &mut alarm,
                    spans: self.spans,
                    allowance: self.allowance.as_deref_mut(),
                    activity: self.activity,
                    transfer: self.transfer.of_pieces(),
                };
                let transfer = &mut self.transfer;
                let mut tend = |part: &Attempt<'_>| {
                    let tend = || split.tend(transfer, intake, part.activity);
                    part.stored(storing, tend).map(drop)
                };
                failed = part.fetch(split, &mut tend).await.err();
                self.activity.enter(Phase::Receiving);
            }
            // Read before `tend`: a helper that ends between the two has brought its bytes.
            let alone = !split.has_helpers();
            let is_hashed = self.tend((intake, split), storing)?;
            if split.is_whole() {
                break;
            }
            match failed.take() {
                Some(fault) if alone => return Err(self.transfer.without_piece(fault)),
                other => failed = other,
            }
            match is_hashed {
                true => turn().await,
                false => tokio::task::yield_now().await,
            }
        }
        while !self.tend((intake, split), storing)? {
            tokio::task::yield_now().await;
        }
        self.transfer.on_end()
    }

    fn tend(
        &mut self,
        (intake, split): (&mut Intake, &Split),
        storing: &mut Duration,
    ) -> Result<bool, Fault> {
        self.spans.enter(SpanPhase::Store);
        let started = Instant::now();
        let result = split.tend(&mut self.transfer, intake, self.activity);
        *storing += started.elapsed();
        result
    }

    /// Fetches pieces until none is left or one fails.
    async fn fetch(
        &mut self,
        split: &Split,
        tend: &mut (dyn FnMut(&Self) -> Result<(), Fault> + Send),
    ) -> Result<(), Fault> {
        while let Some(claim) = split.claim() {
            self.fetch_piece((split, &claim), tend).await?;
        }
        Ok(())
    }

    async fn fetch_piece(
        &mut self,
        (split, claim): (&Split, &Claim),
        tend: &mut (dyn FnMut(&Self) -> Result<(), Fault> + Send),
    ) -> Result<(), Fault> {
        self.transfer.ask_for(claim);
        let asked = self.request().await.and_then(|answer| {
            let response = &answer.response;
            let head = Head {
                status: response.status(),
                version: response.version(),
                headers: response.headers(),
                length: response.body().size_hint().exact(),
            };
            self.transfer.on_head(head, SystemTime::now())?;
            Ok(answer)
        });
        let Answer {
            destination,
            mut wire,
            response,
        } = asked.inspect_err(|_| split.release(claim))?;
        let Some(mut arrival) = split.hold(claim) else {
            return Ok(());
        };
        self.activity.enter(Phase::Receiving);
        let mut body = response.into_body();
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
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.transfer.on_chunk(data.len() as u64)?;
            arrival.write(&data)?;
            tend(self)?;
            self.pay(data.len() as u64).await?;
        }
        self.transfer.on_end()?;
        self.keep(destination, wire).await;
        Ok(())
    }
}

/// Waits until the download or one of its helpers can continue.
async fn turn() {
    let mut had = false;
    poll_fn(|_| match std::mem::replace(&mut had, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
