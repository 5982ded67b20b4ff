//! How the event engine waits for `--limit-rate`: for its turn, while others have theirs.
//!
//! It must not know when that is: the [`Allowance`](crate::throttle::Allowance) does.

use std::time::Instant;

use super::Attempt;
use crate::engine::{monotonic, nap};
use crate::fault::Fault;

impl Attempt<'_> {
    /// Pays for `bytes` that were read of a body, and waits until more may be read.
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
