//! `coordinator fleet status` shows the members and the progress of the list.
//! `coordinator fleet drain` makes members leave.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::FleetError;
use super::chain;
use super::lease::{PARTITIONS, Partition, Table};
use super::queue::{FedAll, Place, Queue};
use crate::format::bytes;

/// Settings of a drain.
#[derive(Clone, Debug)]
pub struct Drain {
    /// The queue.
    pub place: Place,
    /// Names of the members that must leave. If empty, all must leave.
    pub machines: Vec<String>,
    /// Whether to let drained members stay or join again instead.
    pub undo: bool,
}

fn runtime() -> Result<tokio::runtime::Runtime, FleetError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FleetError::system("start a thread"))
}

/// Interval between two lines of `--watch`.
const LOOK: Duration = Duration::from_secs(2);

/// The state of the fleet.
struct Status {
    table: Table,
    fed: Option<FedAll>,
    framed: u64,
    done: u64,
    dead: u64,
    tried: usize,
    sizes: [(u64, u64); 2],
}

/// Prints the members and the progress of the list. If `watch`, repeats this until the list is
/// done.
///
/// # Errors
///
/// Fails if the queue cannot be used or standard output cannot be written.
pub fn status(place: &Place, watch: bool) -> Result<(), FleetError> {
    let told = || FleetError::system("write to standard output");
    runtime()?.block_on(async {
        let queue = Queue::open(place).await?;
        let mut last = look(&queue).await?;
        last.tell().map_err(told())?;
        while watch && !last.is_done() {
            let begun = Instant::now();
            tokio::time::sleep(LOOK).await;
            let now = look(&queue).await?;
            let done = now.done.saturating_sub(last.done);
            let rate = done as f64 / begun.elapsed().as_secs_f64();
            now.tell_progress(rate).map_err(told())?;
            last = now;
        }
        Ok(())
    })
}

async fn look(queue: &Queue) -> Result<Status, FleetError> {
    let mut status = Status {
        table: queue.table().await?.1,
        fed: queue.fed().await?,
        framed: 0,
        done: 0,
        dead: 0,
        tried: 0,
        sizes: queue.sizes().await?,
    };
    for partition in (0..PARTITIONS).map(Partition) {
        if let Some(last) = queue.last_frame(partition).await? {
            status.framed += super::frame::read(&last.payload)?.0.next();
        }
        if let Some(end) = queue.chain_end(partition).await? {
            let head = chain::read(&end.payload)?.0;
            status.done += head.floor.tasks;
            status.dead += head.dead;
            status.tried += usize::from(head.trial.is_some());
        }
    }
    Ok(status)
}

impl Status {
    fn is_done(&self) -> bool {
        self.fed.is_some() && self.done == self.framed
    }

    fn free(&self) -> usize {
        let owners = self.table.owners();
        owners.filter(|(_, owner)| owner.is_none()).count()
    }

    fn tell(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let all = if self.fed.is_some() { "all" } else { "so far" };
        writeln!(
            out,
            "{} targets fed ({all}), {} done, in whole frames",
            self.framed, self.done
        )?;
        if self.dead > 0 || self.tried > 0 {
            writeln!(
                out,
                "{} targets given up, {} are tried alone: members ended while they had them",
                self.dead, self.tried
            )?;
        }
        for (name, (messages, size)) in ["frames", "messages of outcomes"].iter().zip(self.sizes) {
            writeln!(out, "{messages} {name}, {}", bytes(size as f64))?;
        }
        for (session, row) in &self.table.members {
            let owned = self.table.owned_by(*session).count();
            let leaving = if row.leaving { ", leaving" } else { "" };
            writeln!(out, "{}: {owned} partitions{leaving}", row.machine)?;
        }
        writeln!(out, "{} partitions have no owner", self.free())
    }

    fn tell_progress(&self, rate: f64) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{} of {} done, {rate:.0}/s, {} members, {} partitions without an owner, {} given up",
            self.done,
            self.framed,
            self.table.members.len(),
            self.free(),
            self.dead
        )?;
        out.flush()
    }
}

/// Makes members leave, or lets them join again.
///
/// # Errors
///
/// Fails if the queue cannot be used.
pub fn drain(drain: &Drain) -> Result<(), FleetError> {
    runtime()?.block_on(async {
        let queue = Queue::open(&drain.place).await?;
        let mut machines = match drain.undo {
            true => Vec::new(),
            false => queue.drained().await?,
        };
        if !drain.undo {
            let all = [String::from("*")];
            let named = if drain.machines.is_empty() {
                &all[..]
            } else {
                &drain.machines
            };
            machines.extend_from_slice(named);
            machines.sort();
            machines.dedup();
        }
        queue.set_drained(&machines).await
    })
}
