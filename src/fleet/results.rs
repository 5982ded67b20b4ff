//! `coordinator fleet results`: the outcomes of the list, from the chains.
//!
//! The first line of each task counts. The chains are compare-and-swap, so there is no second line
//! unless the queue has lost a message that it acknowledged. Outcomes that a member recorded after
//! another took its partition are published beside the chains. They are redundant.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::FleetError;
use super::chain::{self, Line};
use super::lease::{PARTITIONS, Partition};
use super::queue::{FedAll, Place, Queue};

/// Settings of the report.
#[derive(Clone, Debug)]
pub struct Results {
    /// The queue.
    pub place: Place,
    /// Whether to print one JSON object.
    pub json: bool,
    /// File for every outcome that counts, one per line.
    pub export: Option<PathBuf>,
    /// A lost machine: the URLs of files that only it has are printed.
    pub missing: Option<String>,
}

/// The fields of a record that are used here.
#[derive(Debug, Deserialize)]
struct Noted {
    url: String,
    outcome: crate::run::log::Outcome,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    fleet: Option<Ticketed>,
}

#[derive(Debug, Deserialize)]
struct Ticketed {
    machine: String,
}

/// An outcome that counts, as it is exported.
#[derive(Serialize)]
struct Exported<'a> {
    partition: u16,
    task: u64,
    machine: &'a str,
    record: Option<&'a serde_json::value::RawValue>,
    problem: Option<&'a str>,
}

/// The counts of the whole list.
#[derive(Debug, Default, Serialize)]
struct Counts {
    /// Number of targets that were fed; `None` while the feed continues.
    fed: Option<u64>,
    outcomes: BTreeMap<String, u64>,
    bytes: u64,
    by_machine: BTreeMap<String, u64>,
    /// Number of targets without an outcome; `None` while the feed continues.
    open: Option<u64>,
    /// Number of outcomes that do not count because another's do, and the files that they left.
    redundant: u64,
    redundant_files: Vec<RedundantFile>,
}

#[derive(Debug, Serialize)]
struct RedundantFile {
    machine: String,
    path: String,
    url: String,
}

/// One bit per task of a partition: whether it has an outcome.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit. Returns whether it was clear.
    fn set(&mut self, at: u64) -> bool {
        let (word, bit) = ((at / 64) as usize, 1 << (at % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

/// Prints the outcomes of the list. Returns whether everything is done and stored.
///
/// # Errors
///
/// Fails if the queue cannot be used or a result cannot be written.
pub fn results(results: &Results) -> Result<bool, FleetError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FleetError::system("start a thread"))?;
    runtime.block_on(fold(results))
}

async fn fold(results: &Results) -> Result<bool, FleetError> {
    let queue = Queue::open(&results.place).await?;
    let fed = queue.fed().await?;
    let unwritten = || FleetError::system("write the results");
    let mut export: Option<Box<dyn Write>> = match &results.export {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(Box::new(io::stdout().lock())),
        Some(path) => Some(Box::new(BufWriter::new(
            std::fs::File::create(path).map_err(unwritten())?,
        ))),
    };
    let mut missing = results.missing.as_ref().map(|_| io::stdout().lock());
    let mut counts = Counts::default();
    for partition in (0..PARTITIONS).map(Partition) {
        let beside = beside(&queue, partition).await?;
        let mut counted = HashMap::new();
        let mut seen = Bits::default();
        let mut from = 1;
        while let Some(message) = queue.chain(partition, from).await? {
            from = message.sequence + 1;
            let (_, text) = chain::read(&message.payload)?;
            for line in chain::lines(text) {
                let line = line?;
                let noted = noted(&line)?;
                let machine = machine_of(noted.as_ref());
                if !seen.set(line.task) {
                    counts.redundant += 1;
                    counts.redundant_files.extend(redundant_file(noted));
                    continue;
                }
                if !beside.is_empty() {
                    counted.insert(line.task, machine.clone());
                }
                if let Some(export) = &mut export {
                    let exported = Exported {
                        partition: partition.0,
                        task: line.task,
                        machine: &machine,
                        record: line.record,
                        problem: line.problem.as_deref(),
                    };
                    serde_json::to_writer(&mut *export, &exported)?;
                    export.write_all(b"\n").map_err(unwritten())?;
                }
                if let (Some(out), Some(lost), Some(noted)) =
                    (&mut missing, &results.missing, &noted)
                    && machine == *lost
                    && noted.outcome.has_file()
                {
                    writeln!(out, "{}", noted.url).map_err(unwritten())?;
                }
                count(&mut counts, noted.as_ref(), line.dead, machine);
            }
        }
        for ((task, machine), noted) in beside {
            // A member that owns the partition again may have published the same outcome twice.
            if counted
                .get(&task)
                .is_some_and(|counted| *counted != machine)
            {
                counts.redundant += 1;
                counts.redundant_files.extend(redundant_file(noted));
            }
        }
    }
    if let Some(mut export) = export {
        export.flush().map_err(unwritten())?;
    }
    let total = counts.outcomes.values().sum::<u64>();
    counts.fed = fed.map(|FedAll { tasks }| tasks.iter().sum());
    counts.open = counts.fed.map(|fed| fed.saturating_sub(total));
    if results.missing.is_none()
        && results
            .export
            .as_ref()
            .is_none_or(|path| path.as_os_str() != "-")
    {
        tell(&counts, results.json).map_err(unwritten())?;
    }
    let stored = ["stored", "unchanged"]
        .iter()
        .filter_map(|name| counts.outcomes.get(*name));
    Ok(counts.open == Some(0) && stored.sum::<u64>() == total)
}

/// Returns the outcomes that were published beside the chain, by task and machine.
async fn beside(
    queue: &Queue,
    partition: Partition,
) -> Result<BTreeMap<(u64, String), Option<Noted>>, FleetError> {
    let mut beside = BTreeMap::new();
    let mut from = 1;
    while let Some(message) = queue.redundant(partition, from).await? {
        from = message.sequence + 1;
        for line in chain::lines(&message.payload) {
            let line = line?;
            let noted = noted(&line)?;
            beside.insert((line.task, machine_of(noted.as_ref())), noted);
        }
    }
    Ok(beside)
}

fn noted(line: &Line<'_>) -> Result<Option<Noted>, FleetError> {
    let record = line.record.map(|record| serde_json::from_str(record.get()));
    Ok(record.transpose()?)
}

fn machine_of(noted: Option<&Noted>) -> String {
    let ticket = noted.and_then(|noted| noted.fleet.as_ref());
    // A record of an earlier run in the member's folder has no ticket.
    ticket.map_or_else(|| "?".to_owned(), |ticket| ticket.machine.clone())
}

fn redundant_file(noted: Option<Noted>) -> Option<RedundantFile> {
    let noted = noted?;
    Some(RedundantFile {
        machine: machine_of(Some(&noted)),
        path: noted.path.clone().filter(|_| noted.outcome.has_file())?,
        url: noted.url,
    })
}

fn count(counts: &mut Counts, noted: Option<&Noted>, is_dead: bool, machine: String) {
    let outcome = match noted {
        Some(noted) => {
            counts.bytes += noted.bytes.unwrap_or_default();
            // The outcomes are a fixed set of names, so this cannot fail.
            let name = serde_json::to_value(noted.outcome).unwrap_or_default();
            name.as_str().unwrap_or_default().to_owned()
        }
        None if is_dead => "dead".to_owned(),
        None => "unreadable".to_owned(),
    };
    *counts.outcomes.entry(outcome).or_default() += 1;
    *counts.by_machine.entry(machine).or_default() += 1;
}

fn tell(counts: &Counts, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, counts)?;
        return writeln!(out);
    }
    for (outcome, count) in &counts.outcomes {
        writeln!(out, "{outcome:>11}  {count}")?;
    }
    match counts.open {
        Some(open) => writeln!(out, "       open  {open}")?,
        None => writeln!(out, "the list is still being fed")?,
    }
    for (machine, count) in &counts.by_machine {
        writeln!(out, "of {machine}: {count}")?;
    }
    if counts.redundant > 0 {
        writeln!(
            out,
            "{} outcomes are redundant: another member's count",
            counts.redundant
        )?;
        for file in &counts.redundant_files {
            writeln!(
                out,
                "redundant file: {}: {} ({})",
                file.machine, file.path, file.url
            )?;
        }
    }
    Ok(())
}
