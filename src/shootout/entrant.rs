//! The entrants of a shootout.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::approach::{Approach, Job, Shape};
use super::ideal;
use super::outside::{Outside, Places};
use super::result::Family;
use super::work::Work;

/// One entrant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrant {
    /// This program, with one of its approaches.
    Own(Approach),
    /// Another program.
    Outside(Outside),
    /// An entrant that cannot run: its command is invalid, or its name is not unique.
    Nobody {
        /// The requested name.
        name: String,
        /// The reason why it cannot run.
        reason: String,
    },
}

/// The conditions that all entrants run under.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub program: &'a OsStr,
    /// Processors of this machine.
    pub cores: usize,
    /// CPU work on each body.
    pub cpu_per_task: Duration,
    /// Whether the list has https URLs.
    pub tls: bool,
}

impl Entrant {
    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Own(approach) => approach.name(),
            Self::Outside(outside) => &outside.name,
            Self::Nobody { name, .. } => name,
        }
    }

    /// Returns a description in one line.
    #[must_use]
    pub fn summary(&self) -> &str {
        match self {
            Self::Own(approach) => approach.summary(),
            Self::Outside(outside) => &outside.summary,
            Self::Nobody { .. } => "",
        }
    }

    /// Returns the family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Own(_) => Family::Ours,
            Self::Outside(outside) => outside.family,
            Self::Nobody { .. } => Family::Outside,
        }
    }

    /// Returns whether it can have more than one download in flight.
    #[must_use]
    pub fn scales(&self) -> bool {
        match self {
            Self::Own(approach) => approach.scales(),
            Self::Outside(outside) => outside.scales(),
            Self::Nobody { .. } => false,
        }
    }

    /// Returns the reason why it cannot take part in this work, if there is one.
    #[must_use]
    pub fn excuse(&self, rules: &Rules<'_>) -> Option<&'static str> {
        match self {
            Self::Outside(_) if !rules.cpu_per_task.is_zero() => {
                Some("it cannot be made to do the CPU work on each body")
            }
            Self::Outside(outside) if rules.tls && outside.is_limit() => {
                Some("it makes the system calls of plain http only")
            }
            Self::Own(_) | Self::Outside(_) | Self::Nobody { .. } => None,
        }
    }

    /// Returns the lower bound on its time, if its shape is known.
    #[must_use]
    pub fn ideal_s(
        &self,
        rules: &Rules<'_>,
        in_flight: u16,
        urls: usize,
        latency: Duration,
    ) -> Option<f64> {
        let shape = match self {
            Self::Own(approach) => approach.shape(in_flight, rules.cores),
            Self::Outside(outside) => Shape {
                workers: if outside.scales() { in_flight } else { 1 },
                concurrency: 1,
                processors: 1,
            },
            Self::Nobody { .. } => return None,
        };
        // It is unknown how many downloads another program has in flight.
        let known = match self {
            Self::Outside(outside) => outside.scales() || outside.name == "python-sequential",
            Self::Own(_) | Self::Nobody { .. } => true,
        };
        known.then(|| ideal::seconds(shape, urls, latency, rules.cpu_per_task))
    }

    /// Returns the command that does `work`, or `None` for [`Entrant::Nobody`].
    #[must_use]
    pub fn command(
        &self,
        rules: &Rules<'_>,
        work: &Work,
        in_flight: u16,
        out: &Path,
        timeline: Option<&Path>,
    ) -> Option<Command> {
        match self {
            Self::Own(approach) => Some(approach.command(
                rules.program,
                &Job {
                    list: &work.list,
                    out,
                    in_flight,
                    cores: rules.cores,
                    cpu_per_task: rules.cpu_per_task,
                    announcement: work.announcement.as_deref(),
                    timeline,
                },
            )),
            Self::Outside(outside) => {
                let mut command = outside.command(&Places {
                    urls: &work.list,
                    curl: &work.curl,
                    python: &work.python,
                    out,
                    origin: work.address,
                    ca: work.ca.as_deref(),
                    in_flight,
                });
                if let Some(ca) = &work.ca {
                    command.env("CURL_CA_BUNDLE", ca).env("SSL_CERT_FILE", ca);
                }
                if work.address.is_some() {
                    // The origin is on loopback. The time of a proxy would be measured as well.
                    for variable in [
                        "http_proxy",
                        "HTTP_PROXY",
                        "https_proxy",
                        "HTTPS_PROXY",
                        "all_proxy",
                        "ALL_PROXY",
                    ] {
                        command.env_remove(variable);
                    }
                }
                Some(command)
            }
            Self::Nobody { .. } => None,
        }
    }
}

/// Returns a command for people: quoted for a shell, with short names for the paths of this
/// shootout.
#[must_use]
pub fn shown(command: &Command, own: Option<&OsStr>, paths: &[(&Path, &str)]) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown: Vec<String> = words
        .enumerate()
        .map(|(place, word)| {
            if place == 0 && own == Some(word) {
                return "coordinator".to_owned();
            }
            let mut word = word.to_string_lossy().into_owned();
            for (path, name) in paths {
                word = word.replace(&*path.to_string_lossy(), name);
            }
            word
        })
        .collect();
    shlex::try_join(shown.iter().map(String::as_str)).unwrap_or_else(|_| shown.join(" "))
}
