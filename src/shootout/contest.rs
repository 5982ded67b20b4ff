//! The measuring loop: all entrants in turn, round after round.
//!
//! Rounds are interleaved and rotated (A B C, C A B, B C A, ...), so that drift of the machine, and
//! the effects of one run on the next, are spread over all entrants. This module must not print.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::check::Checked;
use super::entrant::{Entrant, Rules, shown};
use super::interrupt::Interrupt;
use super::measure::{Conditions, Ended, Measured, ending, run};
use super::result::{Figures, Run, Standing, State};
use super::timeline::Timeline;
use super::work::Work;

/// The files of one run, within the shootout's folder.
const OUT: &str = "out";
const SAID: &str = "said";
const TIMELINE: &str = "timeline.jsonl";

/// Characters that are quoted of the output of a failed command.
const QUOTED: usize = 300;

/// How often every entrant runs.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Rounds that do not count.
    pub warm_up: u32,
    /// Whether there is one more round that does not count and is observed for memory and
    /// timelines.
    pub observe: bool,
    /// Rounds that are timed.
    pub rounds: u32,
    /// Longest allowed time of one run.
    pub limit: Duration,
}

/// The environment of all runs.
#[derive(Debug)]
pub struct Environment<'a> {
    /// The same work for all entrants.
    pub work: &'a Work,
    /// The same conditions for all entrants.
    pub rules: Rules<'a>,
    /// Time from a request to its answer, if known.
    pub latency: Option<Duration>,
    /// Folder for the files of a run. They are removed after it.
    pub folder: &'a Path,
    /// Stops the contest after a signal.
    pub interrupt: &'a Interrupt,
}

/// One participant with a number of downloads in flight.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub entrant: &'a Entrant,
    /// Downloads in flight.
    pub in_flight: u16,
}

/// The kind of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Does not count.
    WarmUp,
    /// Does not count, and is observed.
    Observed,
    /// Counts; numbered from 1.
    Timed(u32),
}

/// The progress before a run.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The next case.
    pub case: Case<'a>,
    /// The round of this run.
    pub round: Round,
    /// Number of runs so far.
    pub done: usize,
    /// Number of all runs.
    pub total: usize,
}

/// Runs every entrant as often as scheduled, or until interrupted.
///
/// # Errors
///
/// Fails if the shootout's folder cannot be used. A failure of an entrant is not an error.
pub fn hold(
    environment: &Environment<'_>,
    cases: &[Case<'_>],
    schedule: Schedule,
    tell: &mut dyn FnMut(Step<'_>),
) -> io::Result<Vec<Standing>> {
    let mut standings: Vec<Standing> = cases
        .iter()
        .map(|case| environment.standing(*case))
        .collect();
    let rounds = rounds(schedule);
    let total = rounds.len() * cases.len();
    for (number, round) in rounds.into_iter().enumerate() {
        for (turn, index) in order(cases.len(), number).enumerate() {
            let (case, standing) = (cases[index], &mut standings[index]);
            if environment.interrupt.signal().is_some() || standing.state != State::Measured {
                continue;
            }
            let done = number * cases.len() + turn;
            tell(Step {
                case,
                round,
                done,
                total,
            });
            environment.play(case, round, schedule.limit, standing)?;
        }
    }
    for standing in &mut standings {
        conclude(standing);
    }
    Ok(standings)
}

fn rounds(schedule: Schedule) -> Vec<Round> {
    let warm_up = (0..schedule.warm_up).map(|_| Round::WarmUp);
    let observed = schedule.observe.then_some(Round::Observed);
    let timed = (1..=schedule.rounds).map(Round::Timed);
    warm_up.chain(observed).chain(timed).collect()
}

/// Returns the order of `count` cases in round `round`: rotated by one each time.
fn order(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (turn + count - round % count.max(1)) % count.max(1))
}

fn conclude(standing: &mut Standing) {
    if standing.state != State::Measured {
        return;
    }
    standing.figures = Figures::of(&standing.runs);
    if standing.figures.is_none() {
        let reason = "the shootout was ended before its first timed round".to_owned();
        standing.state = State::NotMeasured(reason);
    }
}

impl Environment<'_> {
    fn standing(&self, case: Case<'_>) -> Standing {
        let Case { entrant, in_flight } = case;
        let state = match (entrant, entrant.excuse(&self.rules)) {
            (Entrant::Nobody { reason, .. }, _) => State::Failed(reason.clone()),
            (Entrant::Own(_) | Entrant::Outside(_), Some(excuse)) => {
                State::NotMeasured(excuse.to_owned())
            }
            (Entrant::Own(_) | Entrant::Outside(_), None) => State::Measured,
        };
        let out = self.folder.join(OUT);
        let command = entrant.command(&self.rules, self.work, in_flight, &out, None);
        let mut paths = vec![
            (out.as_path(), "OUT"),
            (self.work.list.as_path(), "LIST"),
            (self.work.curl.as_path(), "LIST"),
            (self.work.python.as_path(), "PYTHON"),
        ];
        paths.extend(
            self.work
                .announcement
                .as_deref()
                .map(|path| (path, "ORIGIN")),
        );
        Standing {
            name: entrant.name().to_owned(),
            summary: entrant.summary().to_owned(),
            family: entrant.family(),
            command: command.map_or_else(String::new, |command| {
                shown(&command, Some(self.rules.program), &paths)
            }),
            state,
            ideal_s: self.latency.and_then(|latency| {
                entrant.ideal_s(&self.rules, in_flight, self.work.urls.len(), latency)
            }),
            runs: Vec::new(),
            figures: None,
            memory: None,
            timeline: None,
        }
    }

    /// Clears the folder, measures and checks one run, and clears the folder again.
    fn play(
        &self,
        case: Case<'_>,
        round: Round,
        limit: Duration,
        standing: &mut Standing,
    ) -> io::Result<()> {
        let (out, said) = (self.folder.join(OUT), self.folder.join(SAID));
        let timeline = self.folder.join(TIMELINE);
        sweep(&[&out, &said, &timeline])?;
        fs::create_dir(&out)?;
        let observe = round == Round::Observed;
        let own = matches!(case.entrant, Entrant::Own(_));
        let wanted = (observe && own).then_some(timeline.as_path());
        let Some(command) =
            (case.entrant).command(&self.rules, self.work, case.in_flight, &out, wanted)
        else {
            return Ok(());
        };
        let origin_before = self.work.origin_cpu_s();
        let begun_us = monotonic_us();
        let measured = run(
            command,
            &Conditions {
                interrupt: self.interrupt,
                limit,
                observe: !matches!(round, Round::Timed(_)),
                output: &said,
            },
        );
        let origin_after = self.work.origin_cpu_s();
        let verdict = measured
            .map_err(|error| Verdict::Failed(format!("it cannot be run: {error}")))
            .and_then(|measured| {
                let checked = self.judge(case, &measured, &out)?;
                Ok((measured, checked))
            });
        match verdict {
            Ok((measured, checked)) => {
                if let Round::Timed(round) = round {
                    let origin_cpu_s = origin_after.zip(origin_before).map(|(a, b)| a - b);
                    let timed = timed(round, &measured, checked, origin_cpu_s);
                    standing.runs.push(timed);
                }
                standing.memory = match (standing.memory, measured.memory) {
                    (Some(one), Some(other)) => Some(one.peak(other)),
                    (one, other) => one.or(other),
                };
                if wanted.is_some() {
                    let length_us = measured.wall.as_secs_f64() * 1e6;
                    match Timeline::read(&timeline, begun_us, length_us) {
                        Ok(read) => standing.timeline = Some(read),
                        Err(error) => tracing::warn!(
                            name = standing.name,
                            %error,
                            "no timeline: it cannot be read"
                        ),
                    }
                }
            }
            Err(Verdict::Interrupted) => {}
            Err(Verdict::Failed(reason)) => standing.state = State::Failed(reason),
        }
        sweep(&[&out, &said, &timeline])
    }

    fn judge(&self, case: Case<'_>, measured: &Measured, out: &Path) -> Result<Checked, Verdict> {
        match measured.ended {
            Some(Ended::Interrupted) => return Err(Verdict::Interrupted),
            Some(Ended::Limit) => {
                return Err(Verdict::Failed(
                    "it took longer than --time-limit".to_owned(),
                ));
            }
            None => {}
        }
        if !measured.status.success() {
            return Err(Verdict::Failed(with_last_words(
                &ending(measured.status),
                &measured.said,
            )));
        }
        let checked = match case.entrant {
            Entrant::Own(_) => self.work.expected.check_run(out),
            Entrant::Outside(_) | Entrant::Nobody { .. } => self.work.expected.check_files(out),
        };
        checked
            .map_err(|fault| Verdict::Failed(with_last_words(&fault.to_string(), &measured.said)))
    }
}

/// The reason why a run does not count.
#[derive(Debug)]
enum Verdict {
    Interrupted,
    Failed(String),
}

fn with_last_words(what: &str, said: &str) -> String {
    // Some programs print the error first and then advice.
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let says_error = |line: &&str| line.to_ascii_lowercase().contains("error");
    let Some(line) = lines
        .clone()
        .rfind(says_error)
        .or_else(|| lines.next_back())
    else {
        return what.to_owned();
    };
    let line: String = line.chars().take(QUOTED).collect();
    format!("{what}; it said: {}", line.trim())
}

fn timed(round: u32, measured: &Measured, checked: Checked, origin_cpu_s: Option<f64>) -> Run {
    let usage = measured.usage;
    Run {
        round,
        wall_s: measured.wall.as_secs_f64(),
        user_s: usage.user.as_secs_f64(),
        system_s: usage.system.as_secs_f64(),
        voluntary: usage.voluntary,
        involuntary: usage.involuntary,
        files: checked.files,
        bytes: checked.bytes,
        origin_cpu_s,
    }
}

/// Returns the time of the clock that `--timeline` writes, in microseconds.
#[allow(clippy::cast_precision_loss, reason = "exact for 142 years of uptime")]
fn monotonic_us() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// Removes the paths that exist.
fn sweep(paths: &[&Path]) -> io::Result<()> {
    for path in paths {
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_rotated() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(3, round).collect()).collect();
        // A B C, C A B, B C A, and so on.
        assert_eq!(rounds, [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 1, 2]]);
        assert_eq!(order(0, 5).count(), 0);
    }

    #[test]
    fn everyone_is_in_every_place_equally_often() {
        for count in 1..8 {
            let mut places = vec![vec![0; count]; count];
            for round in 0..count {
                for (turn, case) in order(count, round).enumerate() {
                    places[case][turn] += 1;
                }
            }
            assert!(places.iter().flatten().all(|&times| times == 1), "{count}");
        }
    }

    #[test]
    fn rounds_that_do_not_count_come_first() {
        let schedule = Schedule {
            warm_up: 2,
            observe: true,
            rounds: 2,
            limit: Duration::MAX,
        };
        let expected = [
            Round::WarmUp,
            Round::WarmUp,
            Round::Observed,
            Round::Timed(1),
            Round::Timed(2),
        ];
        assert_eq!(rounds(schedule), expected);
    }

    #[test]
    fn last_words_are_the_last_error_or_line() {
        assert_eq!(with_last_words("exit code 1", ""), "exit code 1");
        assert_eq!(
            with_last_words("exit code 1", "one\ntwo\n \n"),
            "exit code 1; it said: two"
        );
        assert_eq!(
            with_last_words("exit code 2", "error: no such option\n\nTry --help\n"),
            "exit code 2; it said: error: no such option"
        );
    }
}
