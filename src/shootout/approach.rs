//! The approaches that this program offers, and the command line of each.
//!
//! Each approach is this program with other options: one core, one run log, one set of rules. This
//! module must not run anything.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// One way of downloading a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// One download after another.
    Sequential,
    /// Threads that share a queue.
    Threads,
    /// Worker processes that share a queue.
    ProcessesShared,
    /// Worker processes that each get a part of the list in advance.
    ProcessesChunked,
    /// One thread, one event loop.
    Async,
    /// Worker processes, each with an event loop.
    Hybrid,
}

/// The number of downloads that an approach has in flight, and of processors that it can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of threads or processes.
    pub workers: u16,
    /// Downloads in flight in each worker.
    pub concurrency: u16,
    /// Processors of this machine that it can use at once.
    pub processors: usize,
}

impl Shape {
    /// Returns the number of downloads in flight, over all workers.
    #[must_use]
    pub fn in_flight(self) -> usize {
        usize::from(self.workers) * usize::from(self.concurrency)
    }
}

/// The parameters of one run of an approach.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub list: &'a Path,
    /// The output folder.
    pub out: &'a Path,
    /// Downloads in flight.
    pub in_flight: u16,
    /// Processors of this machine.
    pub cores: usize,
    /// CPU work on each body.
    pub cpu_per_task: Duration,
    /// The file with the origin's address. Without it, the real network is used.
    pub announcement: Option<&'a Path>,
    /// The file to write the phases of each task to.
    pub timeline: Option<&'a Path>,
}

impl Approach {
    /// All approaches, in the order of the talk.
    pub const ALL: [Self; 6] = [
        Self::Sequential,
        Self::Threads,
        Self::ProcessesShared,
        Self::ProcessesChunked,
        Self::Async,
        Self::Hybrid,
    ];

    /// Returns the name in results and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Threads => "threads",
            Self::ProcessesShared => "processes-shared",
            Self::ProcessesChunked => "processes-chunked",
            Self::Async => "async",
            Self::Hybrid => "hybrid",
        }
    }

    /// Returns the approach with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|approach| approach.name() == name)
    }

    /// Returns a description in one line.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Sequential => "one download after another",
            Self::Threads => "threads that share a queue",
            Self::ProcessesShared => "worker processes that share a queue",
            Self::ProcessesChunked => "worker processes, the list split among them ahead",
            Self::Async => "one thread, one event loop",
            Self::Hybrid => "worker processes, each with an event loop",
        }
    }

    /// Returns whether it can have more than one download in flight.
    #[must_use]
    pub const fn scales(self) -> bool {
        !matches!(self, Self::Sequential)
    }

    /// Returns the shape with `in_flight` downloads in flight on a machine with `cores` processors.
    ///
    /// All approaches but the sequential one have the same number in flight, so that they are
    /// comparable. The hybrid splits it evenly over as many processes as possible, but no more than
    /// there are processors.
    #[must_use]
    pub fn shape(self, in_flight: u16, cores: usize) -> Shape {
        let in_flight = in_flight.max(1);
        let (workers, concurrency) = match self {
            Self::Sequential => (1, 1),
            Self::Threads | Self::ProcessesShared | Self::ProcessesChunked => (in_flight, 1),
            Self::Async => (1, in_flight),
            Self::Hybrid => {
                let divides = |n: &u16| in_flight.is_multiple_of(*n) && usize::from(*n) <= cores;
                let processes = (1..=in_flight).rev().find(divides).unwrap_or(1);
                (processes, in_flight / processes)
            }
        };
        Shape {
            workers,
            concurrency,
            processors: usize::from(workers).min(cores).max(1),
        }
    }

    /// Returns the command that runs `job` with `program` in this way.
    #[must_use]
    pub fn command(self, program: &OsStr, job: &Job<'_>) -> Command {
        let shape = self.shape(job.in_flight, job.cores);
        let mut command = Command::new(program);
        command.args(match self {
            Self::Sequential => ["--mode", "sequential"].as_slice(),
            Self::Threads => &["--mode", "threads"],
            Self::ProcessesShared => &[
                "--mode",
                "processes",
                "--engine",
                "blocking",
                "--dispatch",
                "shared",
            ],
            Self::ProcessesChunked => &[
                "--mode",
                "processes",
                "--engine",
                "blocking",
                "--dispatch",
                "chunked",
            ],
            Self::Async => &["--mode", "async"],
            Self::Hybrid => &["--mode", "processes", "--engine", "async"],
        });
        command.args(["--workers", &shape.workers.to_string()]);
        command.args(["--concurrency", &shape.concurrency.to_string()]);
        if !job.cpu_per_task.is_zero() {
            let time = humantime::format_duration(job.cpu_per_task).to_string();
            command.args(["--cpu-per-task", &time.replace(' ', "")]);
        }
        if let Some(path) = job.timeline {
            command.arg("--timeline").arg(path);
        }
        if let Some(path) = job.announcement {
            command.arg("--simulate-via").arg(path);
        }
        // The user's settings are meant for other runs.
        command.args(["--no-config", "--quiet"]);
        command.args(["--parallel-max-host", "0", "--output"]);
        command.arg(job.out).arg(job.list);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for approach in Approach::ALL {
            assert_eq!(Approach::from_name(approach.name()), Some(approach));
        }
        assert_eq!(Approach::from_name("fibers"), None);
    }

    #[test]
    fn all_but_one_have_the_same_number_in_flight() {
        for in_flight in [1, 2, 5, 6, 7, 16, 100] {
            for cores in [1, 2, 3, 8] {
                for approach in Approach::ALL {
                    let shape = approach.shape(in_flight, cores);
                    let expected = if approach.scales() { in_flight } else { 1 };
                    assert_eq!(shape.in_flight(), usize::from(expected), "{approach:?}");
                    assert!((1..=cores).contains(&shape.processors));
                }
            }
        }
        let hybrid = Approach::Hybrid.shape(6, 2);
        assert_eq!((hybrid.workers, hybrid.concurrency), (2, 3));
    }

    #[test]
    fn an_event_loop_uses_one_processor() {
        assert_eq!(Approach::Async.shape(32, 8).processors, 1);
        assert_eq!(Approach::Threads.shape(32, 8).processors, 8);
    }
}
