//! The state of the run, for `--listen`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use public_suffix::{DEFAULT_PROVIDER, EffectiveTLDProvider as _};
use url::Url;

use super::Shell;
use crate::run::report::{RunningLine, WorkerLine};
use crate::run::watching::top;
use crate::watch::{Counts, Download, Queue, Share, State, Worker};

/// Maximum number of workers, domains, hosts and downloads that are listed.
const MOST_WORKERS: usize = 64;
const MOST_DOMAINS: usize = 20;
const MOST_HOSTS: usize = 10;
const MOST_DOWNLOADS: usize = 12;

/// Maximum length of a path, in characters.
const LONGEST_PATH: usize = 200;

impl Shell {
    /// Answers a request for the state of the run.
    pub(super) fn show(&mut self) {
        let now = Instant::now();
        let state = self.state(now);
        if let Some(watching) = &self.parts.watching {
            watching.watch.post(state);
        }
    }

    /// Adds to the history if a sample is due.
    pub(super) fn keep_history(&mut self, now: Instant) {
        let Some(mut watching) = self.parts.watching.take() else {
            return;
        };
        if watching.due() <= now {
            self.parts.console.keep_pace(now, &self.parts.stats);
            let shell = &*self;
            let slots = shell.parts.core.slots();
            let running = slots.flat_map(|slot| {
                let worker = slot.worker;
                slot.running.into_iter().map(move |view| {
                    let phase = shell.heard_of(view.task, worker).map(|heard| heard.phase);
                    (
                        worker.slot,
                        now.saturating_duration_since(view.since),
                        phase,
                    )
                })
            });
            watching.look(now, &self.parts.stats, running);
        }
        self.parts.watching = Some(watching);
    }

    pub(super) fn state(&mut self, now: Instant) -> State {
        let workers = self.worker_lines(now);
        let running: Vec<RunningLine> = workers
            .iter()
            .flat_map(|worker| worker.running.iter().cloned())
            .collect();
        let stats = &self.parts.stats;
        let (progress, files) = self.parts.console.figures(now, stats, &running);
        let mut state = State {
            progress,
            files,
            received_bytes: stats.received,
            failed_by_kind: stats
                .failed
                .iter()
                .map(|(kind, count)| (kind.name(), *count))
                .collect(),
            counts: self.counts(),
            queue: Queue {
                unfinished: self.unfinished(),
                held_ahead: workers.iter().map(|worker| worker.queued as u64).sum(),
                delayed: self.parts.core.delayed() as u64,
                placing: self.parts.core.placing() as u64,
                waiting_for_robots: self.waiting_for_robots(),
            },
            running_by_domain: by_domain(&running),
            workers_total: workers.len() as u64,
            oldest: oldest(running.iter(), MOST_DOWNLOADS),
            pids: workers.iter().filter_map(|worker| worker.pid).collect(),
            fleet: self.parts.share.as_ref().map(Share::get),
            ..State::default()
        };
        if let Some(watching) = &self.parts.watching {
            (state.failed_by_host, state.failed_elsewhere) = watching.failed_by_host(MOST_HOSTS);
            state.phases = watching.phases();
            state.history = watching.history();
            let shown = workers.iter().take(MOST_WORKERS);
            let lane = |line: &WorkerLine| worker(line, watching.cells(line.worker.slot));
            state.workers = shown.map(lane).collect();
        }
        state
    }

    fn counts(&self) -> Counts {
        let counts = self.parts.core.counts();
        Counts {
            retries: counts.retries,
            redeliveries: counts.redeliveries,
            workers_started: counts.spawned,
            workers_recycled: counts.recycled,
            worker_deaths: counts.deaths,
        }
    }
}

fn worker(line: &WorkerLine, lane: Vec<(u8, u8)>) -> Worker {
    Worker {
        slot: line.worker.slot.0,
        epoch: line.worker.epoch.0,
        state: line.state,
        queued: line.queued,
        running: line.running.len(),
        oldest: oldest(line.running.iter(), 1).pop(),
        lane,
    }
}

/// Returns the downloads that have run longest, the longest first.
fn oldest<'a>(running: impl Iterator<Item = &'a RunningLine>, most: usize) -> Vec<Download> {
    let mut running: Vec<_> = running.collect();
    running.sort_by_key(|line| std::cmp::Reverse(line.elapsed));
    running.into_iter().take(most).map(download).collect()
}

fn download(line: &RunningLine) -> Download {
    let (host, path) = without_secrets(&line.url);
    let heard = line.heard;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a speed, rounded"
    )]
    let speed = |speed: f64| speed.round() as u64;
    Download {
        host,
        path,
        elapsed_ms: millis(line.elapsed),
        phase: heard.map(|heard| heard.phase.name()),
        bytes: heard.map_or(0, |heard| heard.bytes),
        expected: heard.and_then(|heard| heard.expected),
        bytes_per_s: heard.and_then(|heard| heard.speed).map(speed),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the number of running downloads by registrable domain.
fn by_domain(running: &[RunningLine]) -> Vec<(String, u64)> {
    let mut domains: HashMap<String, u64> = HashMap::new();
    for line in running {
        let host = Url::parse(&line.url);
        let host = host
            .as_ref()
            .ok()
            .and_then(Url::host_str)
            .unwrap_or_default();
        *domains.entry(domain_of(host)).or_default() += 1;
    }
    top(domains.iter(), MOST_DOMAINS).0
}

/// Returns the registrable domain of a host. An address is returned as it is.
fn domain_of(host: &str) -> String {
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return host.to_owned();
    }
    let domain = DEFAULT_PROVIDER.effective_tld_plus_one(host);
    domain.unwrap_or(host).to_owned()
}

/// Returns the host and path of a URL, without passwords, and without secrets of the query.
fn without_secrets(url: &str) -> (String, String) {
    let Ok(url) = Url::parse(url) else {
        return (String::new(), String::new());
    };
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    (host, url.path().chars().take(LONGEST_PATH).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_password_nor_query_nor_fragment_is_shown() {
        assert_eq!(
            without_secrets("https://user:secret@h.example:8443/a/b?token=secret#secret"),
            ("h.example:8443".to_owned(), "/a/b".to_owned())
        );
    }

    #[test]
    fn hosts_of_one_owner_count_together() {
        assert_eq!(domain_of("a.b.example.co.uk"), "example.co.uk");
        assert_eq!(domain_of("10.0.0.1"), "10.0.0.1");
        assert_eq!(domain_of("[::1]"), "[::1]");
        assert_eq!(domain_of("localhost"), "localhost");
    }
}
