//! The verdict, as a table for people or as JSON for programs.
//!
//! This module must not find anything out. It only reports.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Value, json};

use super::check::{Findings, Violation};
use super::plan::Plan;
use super::recovery::{Distribution, Recovery};
use super::supervise::Story;
use crate::verdict;

/// The whole report.
#[derive(Debug)]
pub struct Report<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What the checker found.
    pub findings: &'a Findings,
    /// The faults of the coordinator.
    pub story: &'a Story,
    /// How long redelivery took.
    pub recovery: &'a Recovery,
    /// The duration of everything together.
    pub elapsed: Duration,
    /// The folder with the evidence, if it is kept.
    pub kept: Option<&'a Path>,
}

impl Report<'_> {
    /// Prints the report on standard output.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn print(&self) -> io::Result<()> {
        let json = self.plan.json.then(|| self.json());
        verdict::print(json.as_ref(), |out| self.write(out))
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { plan, .. } = self;
        writeln!(
            out,
            "{} URLs, {} workers with {} in flight each, seed {}, {:.1} s",
            plan.tasks.len(),
            plan.workers,
            plan.concurrency,
            plan.seed,
            self.elapsed.as_secs_f64()
        )?;
        writeln!(out, "{}", self.table())?;
        for violation in Violation::ALL {
            if let Some(broken) = self.findings.violations.get(&violation) {
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
        let Self {
            findings, story, ..
        } = self;
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let poisons = format!("of {} poisons", findings.poisons);
        let requests = format!("{} requests", findings.requests);
        for (name, count, note) in [
            ("attempted", findings.attempted, requests),
            ("acknowledged", findings.acknowledged, String::new()),
            ("stored", findings.stored, String::new()),
            (
                "recovered",
                findings.recovered,
                "stored although a worker or a coordinator had died with it".to_owned(),
            ),
            (
                "resumed",
                findings.resumed,
                "stored from parts: what was cut off was gone on with".to_owned(),
            ),
            ("quarantined", findings.quarantined, poisons),
        ] {
            table.add_row([name.to_owned(), count.to_string(), note]);
        }
        for violation in Violation::ALL {
            let count = findings.count(violation);
            table.add_row([
                violation.name().to_owned(),
                count.to_string(),
                String::new(),
            ]);
        }
        table.add_row([
            "worker deaths".to_owned(),
            self.recovery.deaths().to_string(),
            listed(self.recovery.causes.iter()),
        ]);
        table.add_row([
            "coordinator deaths".to_owned(),
            story.killed_ns.len().to_string(),
            format!("{} starts; {}", story.starts, listed(story.ends.iter())),
        ]);
        let injections: u32 = story.injections.values().sum();
        table.add_row([
            "faults injected".to_owned(),
            format!("{injections}"),
            listed(story.injections.iter()),
        ]);
        if let Some(times) = &self.recovery.redelivery {
            table.add_row([
                "kill to redelivery".to_owned(),
                times.count.to_string(),
                spread(times),
            ]);
        }
        if let Some(times) = &self.recovery.over_restart {
            table.add_row([
                "over a restart".to_owned(),
                times.count.to_string(),
                spread(times),
            ]);
        }
        if let Some(times) = &self.recovery.restart {
            table.add_row([
                "restart to work".to_owned(),
                times.count.to_string(),
                spread(times),
            ]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Returns the verdict in one line.
    #[must_use]
    pub fn verdict(&self) -> String {
        let broken: Vec<String> = Violation::ALL
            .into_iter()
            .map(|violation| (self.findings.count(violation), violation.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        match (&self.story.unfinished, broken.is_empty()) {
            (Some(reason), _) => format!("not finished: {reason}"),
            (None, true) => {
                "clean: nothing lost, doubled, torn or wrong, nobody wronged, nothing left behind"
                    .to_owned()
            }
            (None, false) => format!("BROKEN: {}", broken.join(", ")),
        }
    }

    fn json(&self) -> Value {
        let Self {
            plan,
            findings,
            story,
            recovery,
            ..
        } = self;
        let counts = Violation::ALL.map(|violation| (key(violation), findings.count(violation)));
        json!({
            "verdict": match (&story.unfinished, findings.is_clean()) {
                (Some(_), _) => "unfinished",
                (None, true) => "clean",
                (None, false) => "broken",
            },
            "text": self.verdict(),
            "seed": plan.seed,
            "workers": plan.workers,
            "concurrency": plan.concurrency,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "plan": {
                "inject": plan.inject,
                "simulate": plan.spec.to_string(),
                "injections": plan.injections,
            },
            "found": findings,
            "broken": counts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "story": story,
            "worker_deaths": recovery.deaths(),
            "coordinator_deaths": story.killed_ns.len(),
            "causes": recovery.causes,
            "redelivery": recovery.redelivery,
            "redelivery_over_restart": recovery.over_restart,
            "restart": recovery.restart,
            "kept": self.kept,
        })
    }
}

/// Returns the name of a violation as a JSON key.
pub(super) fn key(violation: Violation) -> String {
    violation.name().replace(' ', "_")
}

pub(super) fn listed<'a, K: std::fmt::Display + 'a>(
    counts: impl Iterator<Item = (K, &'a u32)>,
) -> String {
    let parts: Vec<String> = counts
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    parts.join(", ")
}

/// Returns a distribution in one line.
#[must_use]
pub fn spread(times: &Distribution) -> String {
    format!(
        "median {:.2} ms, 90 % within {:.2} ms, 99 % within {:.2} ms, slowest {:.1} ms",
        times.median_ms, times.p90_ms, times.p99_ms, times.slowest_ms
    )
}
