//! Prints the verdict on a fleet, as a table or as JSON.
//!
//! Must not check anything itself.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Value, json};

use super::plan::{FleetPlan, OF_A_HOST};
use super::supervise::Fate;
use crate::chaos::check::Violation;
use crate::chaos::check::fleet::FleetFindings;
use crate::chaos::report::{key, listed};
use crate::verdict;

/// The data of the report.
#[derive(Debug)]
pub struct Report<'a> {
    /// The plan.
    pub plan: &'a FleetPlan,
    /// The findings of the checker.
    pub findings: &'a FleetFindings,
    /// The faults, and how processes ended.
    pub fate: &'a Fate,
    /// Number of workers that died.
    pub worker_deaths: u32,
    /// Duration of the whole run.
    pub elapsed: Duration,
    /// The folder with the files, if it is kept.
    pub kept: Option<&'a Path>,
}

fn violations() -> impl Iterator<Item = Violation> {
    Violation::ALL.into_iter().chain(Violation::OF_FLEET)
}

impl Report<'_> {
    /// Prints the report on standard output.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn print(&self) -> io::Result<()> {
        let json = self.plan.common.json.then(|| self.json());
        verdict::print(json.as_ref(), |out| self.write(out))
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let common = &self.plan.common;
        writeln!(
            out,
            "{} URLs, {} members with {} workers with {} in flight each, seed {}, {:.1} s",
            common.tasks.len(),
            self.plan.members,
            common.workers,
            common.concurrency,
            common.seed,
            self.elapsed.as_secs_f64()
        )?;
        writeln!(out, "{}", self.table())?;
        for violation in violations() {
            if let Some(broken) = self.findings.common.violations.get(&violation) {
                for example in &broken.examples {
                    writeln!(out, "{}: {example}", violation.name())?;
                }
            }
        }
        if let Some(kept) = self.kept {
            writeln!(out, "everything is kept in {}", kept.display())?;
        }
        writeln!(out, "verdict: {}", self.verdict())
    }

    fn table(&self) -> Table {
        let findings = self.findings;
        let common = &findings.common;
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let mut row = |name: &str, count: usize, note: String| {
            table.add_row([name.to_owned(), count.to_string(), note]);
        };
        row(
            "attempted",
            common.attempted,
            format!("{} requests", common.requests),
        );
        row("acknowledged", common.acknowledged, String::new());
        let of: Vec<_> = findings
            .of
            .iter()
            .map(|(member, count)| format!("{member}: {count}"))
            .collect();
        row("stored", common.stored, of.join(", "));
        row(
            "quarantined",
            common.quarantined,
            format!("of {} poisons", common.poisons),
        );
        for violation in violations() {
            row(violation.name(), common.count(violation), String::new());
        }
        row(
            "done twice",
            findings.copies,
            "files beside the one that counts, all told of".to_owned(),
        );
        row(
            "fenced",
            findings.fenced,
            "bodies that were not put in place, since the partition was lost".to_owned(),
        );
        row(
            "not recorded",
            findings.unrecorded,
            "files of members that were killed before they could record them, done by others"
                .to_owned(),
        );
        row(
            "over a limit",
            findings.excess,
            format!("requests beyond {OF_A_HOST} of a host at once while its owner changed"),
        );
        row("owners that began", findings.begun, String::new());
        row("worker deaths", self.worker_deaths as usize, String::new());
        let (starts, ends) = self.members();
        row(
            "starts of members",
            starts as usize,
            listed(ends.iter().map(|(end, count)| (*end, count))),
        );
        let injections = self.injections();
        row(
            "faults injected into the fleet",
            injections.values().sum::<u32>() as usize,
            listed(
                injections
                    .iter()
                    .map(|(injection, count)| (*injection, count)),
            ),
        );
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Returns how often members were started, and how often they ended in each way.
    fn members(&self) -> (u32, BTreeMap<&str, u32>) {
        let mut all: BTreeMap<&str, u32> = BTreeMap::new();
        let stories = &self.fate.members;
        for (end, count) in stories.iter().flat_map(|story| &story.ends) {
            *all.entry(end).or_default() += count;
        }
        (stories.iter().map(|story| story.starts).sum(), all)
    }

    fn injections(&self) -> BTreeMap<&'static str, u32> {
        let mut all: BTreeMap<&str, u32> = BTreeMap::new();
        let stories = self.fate.members.iter().chain([&self.fate.feeder]);
        for (injection, count) in stories.flat_map(|story| &story.injections) {
            *all.entry(injection).or_default() += count;
        }
        all
    }

    /// Returns the verdict as one line.
    fn verdict(&self) -> String {
        let broken: Vec<String> = violations()
            .map(|violation| (self.findings.common.count(violation), violation.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        match (&self.fate.unfinished, broken.is_empty()) {
            (Some(reason), _) => format!("not finished: {reason}"),
            (None, true) => {
                "clean: every URL has one outcome that counts and the right bytes, limits \
                             held, nothing left behind"
                    .to_owned()
            }
            (None, false) => format!("BROKEN: {}", broken.join(", ")),
        }
    }

    fn json(&self) -> Value {
        let Self { plan, fate, .. } = self;
        let common = &self.findings.common;
        let counts = violations().map(|violation| (key(violation), common.count(violation)));
        let (starts, ends) = self.members();
        json!({
            "verdict": match (&fate.unfinished, common.is_clean()) {
                (Some(_), _) => "unfinished",
                (None, true) => "clean",
                (None, false) => "broken",
            },
            "text": self.verdict(),
            "seed": plan.common.seed,
            "members": plan.members,
            "workers": plan.common.workers,
            "concurrency": plan.common.concurrency,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "plan": {
                "inject": plan.common.inject,
                "simulate": plan.common.spec.to_string(),
                "injections": plan.injections,
                "feeder": plan.feeder,
            },
            "found": self.findings,
            "broken": counts.collect::<BTreeMap<_, _>>(),
            "injections": self.injections(),
            "member_starts": starts,
            "member_ends": ends,
            "feeder_starts": fate.feeder.starts,
            "server_starts": fate.servers,
            "worker_deaths": self.worker_deaths,
            "kept": self.kept,
        })
    }
}
