//! The wait for `--limit-rate` in the event engine, during which other tasks run.
//!
//! Must not know when a turn begins: the [`Allowance`](crate::throttle::Allowance) does.

use std::time::Instant;

use super::Attempt;
use crate::engine::{monotonic, nap};
use crate::fault::Fault;

impl Attempt<'_> {
    /// Pays for `bytes` of a body that were read, and waits until more may be read.
    pub(super) async fn pay(&mut self, bytes: u64) -> Result<(), Fault> {
        let Some(allowance) = &mut self.allowance else {
            return Ok(());
        };
        if allowance.pay(bytes) {
            return Ok(());
        }
        let begun = Instant::now();
        while let Some(wait) = allowance.wait(monotonic()) {
            let left = self.transfer.remaining(Instant::now())?;
            self.activity.touch();
            tokio::time::sleep(nap(wait, left)).await;
        }
        self.transfer.paused(begun.elapsed());
        Ok(())
    }
}
