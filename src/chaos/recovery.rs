//! Measures the time from a death until another worker started on the task.
//!
//! Both times are taken outside the workers: when the signal was sent, and when the origin received
//! the next request for a URL that had been running. This module must not judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use lab::origin::{Seen, body};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::check::Unreadable;
use super::supervise::Story;

/// A line of `deaths.jsonl`; only the fields that are needed.
#[derive(Debug, Deserialize)]
struct Death {
    time: String,
    worker: Worker,
    exit: Exit,
    running: Vec<Running>,
}

#[derive(Debug, Deserialize)]
struct Worker {
    pid: u32,
}

#[derive(Debug, Deserialize)]
struct Exit {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Running {
    url: String,
}

/// A line of `injected.jsonl`; only the fields that are needed.
#[derive(Debug, Deserialize)]
struct Injected {
    time_us: i64,
    monotonic_ns: u64,
    fault: String,
    pid: u32,
}

/// What is known about the deaths of workers.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// URLs that a worker was working on when it died.
    pub died_with: BTreeSet<String>,
    /// Causes of death, and how often each occurred.
    pub causes: BTreeMap<String, u32>,
    /// Times from SIGKILL until the same coordinator's next request for the URL that was running.
    pub redelivery: Option<Distribution>,
    /// The same, if that coordinator ended first, so that the next one had to start.
    pub over_restart: Option<Distribution>,
    /// Times from the death of a coordinator until the next request of any kind.
    pub restart: Option<Distribution>,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    pub count: usize,
    /// Half of the times are at most this long.
    pub median_ms: f64,
    /// Nine of ten are at most this long.
    pub p90_ms: f64,
    /// Ninety-nine of a hundred are at most this long.
    pub p99_ms: f64,
    /// The longest.
    pub slowest_ms: f64,
}

impl Recovery {
    /// Reads the deaths that the runs recorded in `output`, and the origin's journal.
    ///
    /// # Errors
    ///
    /// Fails if a file exists but cannot be read.
    pub fn read(output: &Path, journal: &Path, story: &Story) -> Result<Self, Unreadable> {
        let deaths: Vec<Death> = lines(&output.join(".coordinator/deaths.jsonl"))?;
        let injected: Vec<Injected> = lines(&output.join(".coordinator/injected.jsonl"))?;
        let seen: Vec<Seen> = lines(journal)?;
        let mut requests: HashMap<&str, Vec<u64>> = HashMap::new();
        let mut all = Vec::new();
        for seen in &seen {
            requests.entry(&seen.url).or_default().push(seen.begun_ns);
            all.push(seen.begun_ns);
        }
        for times in requests.values_mut() {
            times.sort_unstable();
        }
        all.sort_unstable();
        let mut recovery = Self::default();
        for death in &deaths {
            *recovery.causes.entry(death.exit.text.clone()).or_default() += 1;
            let urls = death.running.iter().map(|running| running.url.clone());
            recovery.died_with.extend(urls);
        }
        let (mut taken, mut over_restart) = (Vec::new(), Vec::new());
        for kill in injected.iter().filter(|injection| injection.is_deadly()) {
            let Some(death) = deaths.iter().find(|death| kill.is_cause_of(death)) else {
                continue;
            };
            for running in &death.running {
                let times = requests.get(identity(&running.url).as_str());
                let from = kill.monotonic_ns;
                let Some(wait) = times.and_then(|times| wait_from(from, times)) else {
                    continue;
                };
                let mut ended = story.ended_ns.iter();
                match ended.any(|at| (from..from + wait).contains(at)) {
                    true => over_restart.push(wait),
                    false => taken.push(wait),
                }
            }
        }
        recovery.redelivery = Distribution::of(taken);
        recovery.over_restart = Distribution::of(over_restart);
        let restarts = story
            .killed_ns
            .iter()
            .filter_map(|killed| wait_from(*killed, &all));
        recovery.restart = Distribution::of(restarts.collect());
        Ok(recovery)
    }

    /// Returns the number of workers that died.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.causes.values().sum()
    }
}

impl Injected {
    fn is_deadly(&self) -> bool {
        matches!(self.fault.as_str(), "kill" | "kill-all")
    }

    /// Process ids are reused, but not within this time.
    fn is_cause_of(&self, death: &Death) -> bool {
        let Ok(time) = death.time.parse::<jiff::Timestamp>() else {
            return false;
        };
        // The time of a death is truncated to milliseconds.
        let millis = time.as_millisecond() - self.time_us.div_euclid(1000);
        death.worker.pid == self.pid && (0..10_000).contains(&millis)
    }
}

impl Distribution {
    /// Returns the distribution of times in nanoseconds, or `None` if there are none.
    #[must_use]
    pub fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let slowest = *times.last()?;
        let within = |percent: usize| {
            // The nearest rank: the smallest value that `percent` of the times do not exceed.
            let rank = (times.len() * percent).div_ceil(100).max(1);
            millis(times.get(rank - 1).copied().unwrap_or(slowest))
        };
        Some(Self {
            count: times.len(),
            median_ms: within(50),
            p90_ms: within(90),
            p99_ms: within(99),
            slowest_ms: millis(slowest),
        })
    }
}

fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Returns the time from `start` to the first later one of `times`, which are sorted.
fn wait_from(start: u64, times: &[u64]) -> Option<u64> {
    let at = times.partition_point(|time| *time <= start);
    times.get(at).map(|time| time - start)
}

fn identity(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| body::identity(&url))
}

/// Returns the lines of a file, or none if it does not exist. A line that does not parse was torn
/// by the death of its writer, and is skipped.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Unreadable> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            let path = path.display().to_string();
            return Err(Unreadable { path, source });
        }
    };
    let lines = text.split(|&byte| byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_made_of_nearest_ranks() {
        let times = (1..=200).rev().map(|ms| ms * 1_000_000).collect();
        let spread = Distribution::of(times).expect("there are times");
        let expected = Distribution {
            count: 200,
            median_ms: 100.0,
            p90_ms: 180.0,
            p99_ms: 198.0,
            slowest_ms: 200.0,
        };
        assert_eq!(spread, expected);
        assert_eq!(Distribution::of(Vec::new()), None);
    }

    #[test]
    fn a_redelivery_is_from_the_signal_to_the_next_request_and_counts_apart_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join(".coordinator");
        fs::create_dir(&own).expect("a folder");
        let deaths = concat!(
            r#"{"v":1,"time":"2026-01-31T12:00:00.123Z","worker":{"slot":2,"pid":4711,"epoch":5},"#,
            r#""exit":{"signal":9,"code":null,"name":"SIGKILL","text":"signal 9 (SIGKILL)"},"#,
            r#""running":[{"task":17,"url":"http://h/a"}]}"#,
            "\n",
            r#"{"v":1,"time":"2026-01-31T12:00:00.124Z","worker":{"slot":1,"pid":4712,"epoch":1},"#,
            r#""exit":{"signal":9,"code":null,"name":"SIGKILL","text":"signal 9 (SIGKILL)"},"#,
            r#""running":[{"task":18,"url":"http://h/c"}]}"#,
            "\n{\"v\":1,\"ti"
        );
        let injected = concat!(
            r#"{"time_us":1769860800123999,"monotonic_ns":5000000,"fault":"kill","#,
            r#""worker":{"slot":2,"epoch":5},"pid":4711}"#,
            "\n",
            r#"{"time_us":1769860800123999,"monotonic_ns":6000000,"fault":"kill","#,
            r#""worker":{"slot":1,"epoch":1},"pid":4712}"#,
            "\n",
            r#"{"time_us":1769860800123999,"monotonic_ns":1,"fault":"stop","#,
            r#""worker":{"slot":2,"epoch":5},"pid":4711}"#,
        );
        let seen = [
            ("h/a", 4_000_000),
            ("h/b", 6_000_000),
            ("h/a", 7_500_000),
            ("h/c", 9_000_000),
        ];
        // The second coordinator requests what the first did not get to.
        let journal: String = seen
            .map(|(url, begun_ns)| {
                let seen = Seen {
                    url: url.to_owned(),
                    begun_ns,
                    ..Seen::default()
                };
                serde_json::to_string(&seen).expect("it is JSON") + "\n"
            })
            .concat();
        fs::write(own.join("deaths.jsonl"), deaths).expect("writable");
        fs::write(own.join("injected.jsonl"), injected).expect("writable");
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, journal).expect("writable");
        let story = Story {
            killed_ns: vec![8_000_000],
            ended_ns: vec![8_000_000, 20_000_000],
            ..Story::default()
        };
        let recovery = Recovery::read(folder.path(), &path, &story).expect("readable");
        assert_eq!(recovery.deaths(), 2);
        assert!(recovery.died_with.contains("http://h/a"));
        let times = recovery.redelivery.expect("one redelivery");
        assert_eq!((times.count, times.slowest_ms), (1, 2.5));
        let times = recovery.over_restart.expect("one over a restart");
        assert_eq!((times.count, times.slowest_ms), (1, 3.0));
        let restart = recovery.restart.expect("one restart");
        assert_eq!((restart.count, restart.slowest_ms), (1, 1.0));
    }
}
