//! The verdict: the state of each cell, as a table for people or as JSON for programs.
//!
//! This module must not find anything out. It only reports.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use serde_json::{Value, json};

use super::Plan;
use super::attempt::{Attempt, HeldBy};
use super::column::Column;
use super::judge::{InForce, Seen};
use crate::verdict;

/// The state of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It had no effect, but had one where nothing holds it.
    Held,
    /// It had no effect, with or without a sandbox: the coordinator holds it.
    HeldByCoordinator,
    /// It had an effect.
    Open,
    /// It had an effect, which is allowed.
    Allowed,
    /// It had no effect in any column, so this machine does not show that it could have one.
    Unproven,
    /// It had no effect where nothing holds it.
    NoEffect,
    /// It was not played.
    NotPlayed,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::HeldByCoordinator => "HELD (link)",
            Self::Open => "OPEN",
            Self::Allowed => "open by design",
            Self::Unproven => "unproven",
            Self::NoEffect => "no effect",
            Self::NotPlayed => "not played",
        }
    }
}

/// A row.
#[derive(Debug)]
pub struct Played<'a> {
    /// The family of the attempt.
    pub family: &'static str,
    /// The attempt.
    pub attempt: &'a Attempt,
    /// The observed effect, by column.
    pub seen: BTreeMap<Column, Seen>,
}

impl Played<'_> {
    fn state(&self, column: Column) -> Option<State> {
        let seen = self.seen.get(&column)?;
        let has_effect = |seen: &Seen| matches!(seen, Seen::Effect(_));
        Some(match (seen, self.attempt.held_by) {
            (Seen::Unplayed(_), _) => State::NotPlayed,
            (Seen::Effect(_), HeldBy::Nothing) => State::Allowed,
            (Seen::Effect(_), _) => State::Open,
            (Seen::Unknown, _) => State::Unproven,
            (Seen::Nothing, HeldBy::Coordinator) => State::HeldByCoordinator,
            (Seen::Nothing, HeldBy::Worker) if column == Column::Processes => {
                // It counts as held only if it has an effect in another column.
                match self.seen.values().any(has_effect) {
                    true => State::Held,
                    false => State::Unproven,
                }
            }
            (Seen::Nothing, _) => State::NoEffect,
        })
    }

    fn note(&self, column: Column) -> Option<&str> {
        match self.seen.get(&column)? {
            Seen::Effect(how) if how != "seen" => Some(how),
            Seen::Unplayed(why) => Some(why),
            Seen::Unknown => {
                Some("nobody knows: it was not played to its end, or cannot be looked at")
            }
            Seen::Effect(_) | Seen::Nothing => None,
        }
    }
}

/// The whole report.
#[derive(Debug)]
pub struct Report<'a> {
    /// The attempts and options.
    pub plan: &'a Plan,
    /// The kernel.
    pub kernel: String,
    /// The runs' messages about their sandbox.
    pub in_force: InForce,
    /// The results.
    pub rows: Vec<Played<'a>>,
}

impl Report<'_> {
    fn columns(&self) -> Vec<Column> {
        self.plan.columns()
    }

    fn count(&self, state: State) -> usize {
        let states = self
            .rows
            .iter()
            .filter_map(|row| row.state(Column::Processes));
        states.filter(|found| *found == state).count()
    }

    /// Returns whether no attempt had an effect that must be held.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.count(State::Open) == 0
    }

    /// Returns the verdict in one line.
    #[must_use]
    pub fn verdict(&self) -> String {
        let counts = [
            (State::Open, "open"),
            (State::Held, "held"),
            (State::HeldByCoordinator, "held by the coordinator"),
            (State::Unproven, "unproven"),
            (State::Allowed, "open by design"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .map(|(state, word)| (self.count(*state), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let word = match self.is_clean() {
            true => "isolated",
            false => "NOT ISOLATED",
        };
        format!("{word}: {}", parts.join(", "))
    }

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
        let sandbox = self.in_force.sandbox.as_deref().unwrap_or("unknown");
        let user = rustix::process::geteuid().as_raw();
        writeln!(
            out,
            "Linux {}, user {user}; sandbox: {sandbox}",
            self.kernel
        )?;
        if let Some(lacks) = &self.in_force.lacks {
            writeln!(out, "missing: {lacks}")?;
        }
        writeln!(out, "{}", self.table())?;
        for row in &self.rows {
            if row.state(Column::Processes) == Some(State::Open) {
                let note = row.note(Column::Processes).unwrap_or("its effect was seen");
                writeln!(
                    out,
                    "OPEN: {}: {}: {note}",
                    row.attempt.id, row.attempt.does
                )?;
            }
        }
        writeln!(out, "verdict: {}", self.verdict())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let columns = self.columns();
        let mut header = vec![String::new(), String::new()];
        header.extend(columns.iter().map(|column| column.title().to_owned()));
        table.set_header(header);
        let mut family = "";
        for row in &self.rows {
            if row.family != family {
                family = row.family;
                table.add_row([family]);
            }
            let mut cells = vec![format!("  {}", row.attempt.id), row.attempt.does.to_owned()];
            cells.extend(columns.iter().map(|column| {
                row.state(*column)
                    .map_or_else(String::new, |state| state.word().to_owned())
            }));
            table.add_row(cells);
        }
        table
    }

    fn json(&self) -> Value {
        let row = |row: &Played<'_>| {
            let cells: BTreeMap<Column, Value> = self
                .columns()
                .into_iter()
                .map(|column| {
                    let cell = json!({"state": row.state(column), "note": row.note(column)});
                    (column, cell)
                })
                .collect();
            json!({
                "id": row.attempt.id,
                "family": row.family,
                "does": row.attempt.does,
                "held_by": row.attempt.held_by,
                "cells": cells,
            })
        };
        json!({
            "verdict": match self.is_clean() {
                true => "isolated",
                false => "not_isolated",
            },
            "text": self.verdict(),
            "kernel": self.kernel,
            "user": rustix::process::geteuid().as_raw(),
            "landlock_abi": self.in_force.landlock_abi(),
            "sandbox": self.in_force.sandbox,
            "missing": self.in_force.lacks,
            "held": self.count(State::Held),
            "held_by_coordinator": self.count(State::HeldByCoordinator),
            "open": self.count(State::Open),
            "unproven": self.count(State::Unproven),
            "allowed": self.count(State::Allowed),
            "attempts": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}
