//! `coordinator fleet feed`: reads lists and puts their targets into the queue.
//!
//! The frames of each partition are appended by compare-and-swap. If a feeder is started again, it
//! reads the same list from the beginning and skips what each partition already holds. The keys in
//! the last frame show whether it is the same list.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::FleetError;
use super::frame::{FrameHead, Framer, partition_of, read};
use super::lease::{PARTITIONS, Partition};
use super::queue::{Appended, FedAll, Place, Queue};
use crate::disk_map::DiskMap;
use crate::input::{self, ListOptions, Source, Target};

/// Delay before a frame is sent again if it is unknown whether it arrived.
const AGAIN: Duration = Duration::from_secs(1);

/// Settings of a feeder.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The queue.
    pub place: Place,
    /// The lists.
    pub sources: Vec<Source>,
    /// How the lists are read.
    pub lists: Arc<ListOptions>,
    /// Folders with run logs. Targets that are done according to them are left out.
    pub reconcile: Vec<PathBuf>,
    /// Whether to send targets with headers, user names or passwords.
    pub send_secrets: bool,
}

/// Counts at the end of a feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedEnding {
    /// Targets in the queue.
    pub targets: u64,
    /// Targets that were in the queue before.
    pub earlier: u64,
    /// Lines with the same target as an earlier line.
    pub duplicates: u64,
    /// Lines that were left out because their targets are done according to a run log.
    pub done: u64,
    /// Lines without a target, or with one that must not be sent.
    pub unusable: u64,
}

/// The feeder's state of a partition.
#[derive(Debug, Default)]
struct Lane {
    framer: Framer,
    /// The last frame of an earlier feeder.
    earlier: Option<FrameHead>,
    /// Sequence number of the last frame.
    tail: u64,
    /// The frame in flight.
    sent: Option<JoinHandle<Result<u64, FleetError>>>,
}

/// Feeds the lists to their end.
///
/// # Errors
///
/// Fails if the queue cannot be used, if a list cannot be read, or if the list differs from the one
/// that was fed so far.
pub fn feed(feed: &Feed) -> Result<FeedEnding, FleetError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(FleetError::system("start a thread"))?;
    let queue = runtime.block_on(Queue::open(&feed.place))?;
    let mut lanes = runtime.block_on(lanes(&queue))?;
    let mut ending = FeedEnding {
        earlier: lanes
            .iter()
            .filter_map(|lane| Some(lane.earlier.as_ref()?.next()))
            .sum(),
        ..FeedEnding::default()
    };
    let mut seen = seen(feed)?;
    for source in &feed.sources {
        for line in input::read(source, &feed.lists)? {
            if let Some(problem) = line.problem() {
                ending.unusable += 1;
                tell(&problem);
            }
            let Ok(target) = &line.entry else { continue };
            if target.has_secrets() && !feed.send_secrets {
                ending.unusable += 1;
                tell(&format!(
                    "{}: headers, user names and passwords do not travel without --send-secrets",
                    input::position(&line.source, line.number)
                ));
                continue;
            }
            match seen.get(target.key.as_bytes())? {
                Some([DONE]) => ending.done += 1,
                Some(_) => ending.duplicates += 1,
                None => {
                    seen.insert(*target.key.as_bytes(), [SEEN])?;
                    add(&runtime, &queue, &mut lanes, target)?;
                }
            }
        }
    }
    let mut tasks = Vec::new();
    for (number, lane) in (0..).zip(&mut lanes) {
        let partition = Partition(number);
        if let Some(earlier) = lane
            .earlier
            .as_ref()
            .filter(|head| head.next() > lane.framer.framed())
        {
            return Err(other_list(&queue, partition, earlier.next()));
        }
        if let Some(frame) = lane.framer.take() {
            send(&runtime, &queue, partition, lane, frame)?;
        }
        tasks.push(lane.framer.framed());
    }
    for lane in &mut lanes {
        arrive(&runtime, lane)?;
    }
    ending.targets = tasks.iter().sum();
    runtime.block_on(queue.set_fed(&FedAll { tasks }))?;
    Ok(ending)
}

/// The values of the map: a target was in the list, or was done by a run.
const SEEN: u8 = 0;
const DONE: u8 = 1;

/// Returns the targets that must not be fed.
fn seen(feed: &Feed) -> Result<DiskMap<1>, FleetError> {
    let mut seen = DiskMap::new(std::env::temp_dir());
    for folder in &feed.reconcile {
        super::member::each_done(folder, |key| Ok(seen.insert(*key.as_bytes(), [DONE])?))?;
    }
    Ok(seen)
}

async fn lanes(queue: &Queue) -> Result<Vec<Lane>, FleetError> {
    let mut asked: VecDeque<_> = (0..PARTITIONS)
        .map(|number| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.last_frame(Partition(number)).await })
        })
        .collect();
    let mut lanes = Vec::new();
    while let Some(asked) = asked.pop_front() {
        let last = asked.await.map_err(io::Error::from);
        let last = last.map_err(FleetError::system("ask for the last frames"))??;
        let mut lane = Lane::default();
        if let Some(message) = last {
            lane.tail = message.sequence;
            lane.earlier = Some(read(&message.payload)?.0);
        }
        lanes.push(lane);
    }
    Ok(lanes)
}

fn add(
    runtime: &Runtime,
    queue: &Queue,
    lanes: &mut [Lane],
    target: &Target,
) -> Result<(), FleetError> {
    let partition = partition_of(&target.host);
    let lane = &mut lanes[usize::from(partition.0)];
    if let Some(earlier) = &lane.earlier {
        let fed = earlier.next();
        if lane.framer.framed() < fed {
            lane.framer.skip(&target.key);
            if lane.framer.framed() == fed && lane.framer.keys() != earlier.keys {
                return Err(other_list(queue, partition, fed));
            }
            return Ok(());
        }
    }
    match lane.framer.add(&target.key, &target.to_line()) {
        Some(frame) => send(runtime, queue, partition, lane, frame),
        None => Ok(()),
    }
}

fn other_list(queue: &Queue, partition: Partition, fed: u64) -> FleetError {
    FleetError::OtherList {
        run: queue.run().to_owned(),
        partition: partition.0,
        fed,
    }
}

/// Sends a frame after the one before it has arrived.
fn send(
    runtime: &Runtime,
    queue: &Queue,
    partition: Partition,
    lane: &mut Lane,
    frame: Vec<u8>,
) -> Result<(), FleetError> {
    arrive(runtime, lane)?;
    let (queue, over) = (queue.clone(), lane.tail);
    let frame = Bytes::from(frame);
    lane.sent = Some(runtime.spawn(async move { append(&queue, partition, over, frame).await }));
    Ok(())
}

fn arrive(runtime: &Runtime, lane: &mut Lane) -> Result<(), FleetError> {
    if let Some(sent) = lane.sent.take() {
        let arrived = runtime.block_on(sent).map_err(io::Error::from);
        lane.tail = arrived.map_err(FleetError::system("wait for the queue"))??;
    }
    Ok(())
}

/// Appends a frame. Repeats this for as long as the queue cannot be reached.
async fn append(
    queue: &Queue,
    partition: Partition,
    over: u64,
    frame: Bytes,
) -> Result<u64, FleetError> {
    loop {
        let problem = match queue.append_frame(partition, over, frame.clone()).await {
            Ok(Appended::At(sequence)) => return Ok(sequence),
            // Appended by an earlier attempt whose answer was lost, or by another feeder.
            Ok(Appended::Moved) => match queue.last_frame(partition).await {
                Ok(Some(last)) if last.payload == frame => return Ok(last.sequence),
                Ok(_) => {
                    let run = queue.run().to_owned();
                    return Err(FleetError::TwoFeeders { run });
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!("{problem}; this is tried again");
        tokio::time::sleep(AGAIN).await;
    }
}

fn tell(problem: &str) {
    // A failure of standard error cannot be reported.
    let _ = writeln!(io::stderr(), "{problem}");
}
