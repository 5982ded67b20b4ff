//! `coordinator fleet status`, who is there and how far the list is; `coordinator fleet drain`, which
//! has members leave.

use std::io::{self, Write};

use super::FleetError;
use super::chain;
use super::lease::{PARTITIONS, Partition};
use super::queue::{Place, Queue};
use crate::format::bytes;

/// Who is to leave.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Of which fleet.
    pub place: Place,
    /// Their names; none means all.
    pub machines: Vec<String>,
    /// Whoever was to leave may stay, and join.
    pub undo: bool,
}

fn runtime() -> Result<tokio::runtime::Runtime, FleetError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FleetError::system("start a thread"))
}

/// Prints who is there, and how far the list is.
///
/// # Errors
///
/// The queue cannot be used.
pub fn status(place: &Place) -> Result<(), FleetError> {
    runtime()?.block_on(async {
        let queue = Queue::open(place).await?;
        let (_, table) = queue.table().await?;
        let fed = queue.fed().await?;
        let (mut framed, mut done, mut dead, mut tried) = (0, 0, 0, 0);
        for partition in (0..PARTITIONS).map(Partition) {
            if let Some(last) = queue.last_frame(partition).await? {
                framed += super::frame::read(&last.payload)?.0.next();
            }
            if let Some(end) = queue.chain_end(partition).await? {
                let head = chain::read(&end.payload)?.0;
                done += head.floor.tasks;
                dead += head.dead;
                tried += usize::from(head.trial.is_some());
            }
        }
        let [tasks, results] = queue.sizes().await?;
        let told = || -> io::Result<()> {
            let mut out = io::stdout().lock();
            let all = if fed.is_some() { "all" } else { "so far" };
            writeln!(
                out,
                "{framed} targets fed ({all}), {done} done, in whole frames"
            )?;
            if dead > 0 || tried > 0 {
                writeln!(
                    out,
                    "{dead} targets given up, {tried} are tried alone: members ended while they had them"
                )?;
            }
            for (name, (messages, size)) in [("frames", tasks), ("messages of outcomes", results)] {
                writeln!(out, "{messages} {name}, {}", bytes(size as f64))?;
            }
            for (session, row) in &table.members {
                let owned = table.owned_by(*session).count();
                let leaving = if row.leaving { ", leaving" } else { "" };
                writeln!(out, "{}: {owned} partitions{leaving}", row.machine)?;
            }
            let free = table.owners().filter(|(_, owner)| owner.is_none()).count();
            writeln!(out, "{free} partitions have no owner")
        };
        told().map_err(FleetError::system("write to standard output"))
    })
}

/// Has members leave, or lets them join again.
///
/// # Errors
///
/// The queue cannot be used.
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
