//! Runs a whole shootout, scenario after scenario, and collects notes for the reader.
//!
//! This module must not measure or check: `contest` does.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::approach::Approach;
use super::check::Expected;
use super::contest::{Case, Environment, Schedule, hold};
use super::entrant::{Entrant, Rules};
use super::interrupt::Interrupt;
use super::measure::{Conditions, ending, run};
use super::plan::{Plan, Scenario as ScenarioPlan};
use super::progress::Progress;
use super::result::{About, ScanPoint, Scenario, Shootout, Standing};
use super::tree::Counted;
use super::work::{self, Simulated, Work};
use super::{ShootoutError, ideal, machine};
use crate::cli::shootout::Preset;
use crate::format;
use crate::input::Target;

/// A folder in memory, where files cause no disk access.
const MEMORY: &str = "/dev/shm";

/// Share of a processor above which the origin may be the limit.
const ORIGIN_BUSY: f64 = 0.8;

/// Number of problems with the list that are listed individually.
const PROBLEMS: usize = 5;

/// A shootout that is ready to start.
#[derive(Debug)]
pub struct Harness<'a> {
    plan: &'a Plan,
    interrupt: &'a Interrupt,
    targets: Vec<Target>,
    folder: TempDir,
    cores: usize,
    about: About,
}

impl<'a> Harness<'a> {
    /// Reads the lists, and creates a folder for the files of the runs.
    ///
    /// # Errors
    ///
    /// Fails if the lists are empty or unreadable, or the folder cannot be created.
    pub fn open(plan: &'a Plan, interrupt: &'a Interrupt) -> Result<Self, ShootoutError> {
        let (targets, problems) = match plan.sources.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => work::read(&plan.sources)?,
        };
        let (folder, place) = folder()?;
        let (load, cores) = (machine::load(), machine::cores());
        let mut facts = machine::facts();
        facts.push(("files stored on".to_owned(), place));
        facts.extend(versions(&plan.entrants));
        let mut caveats = caveats(plan);
        caveats.extend(problems.iter().take(PROBLEMS).map(|problem| {
            format!("One line of the list is left out for all entrants: {problem}.")
        }));
        if let Some(more) = problems
            .len()
            .checked_sub(PROBLEMS)
            .filter(|&more| more > 0)
        {
            caveats.push(format!(
                "Left out for all entrants as well: {}.",
                format::count(more, "other line")
            ));
        }
        Ok(Self {
            plan,
            interrupt,
            targets,
            folder,
            cores,
            about: About {
                begun: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                command: typed(),
                facts,
                rounds: plan.rounds,
                warm_up: plan.warm_up + 1,
                load,
                processors: cores,
                caveats,
            },
        })
    }

    /// Runs the shootout.
    ///
    /// # Errors
    ///
    /// Fails if the work of a scenario cannot be set up.
    pub fn hold(self) -> Result<Shootout, ShootoutError> {
        let progress = Progress::new(self.plan.quiet);
        let mut scenarios = Vec::new();
        for (number, scenario) in self.plan.scenarios.iter().enumerate() {
            if self.interrupt.signal().is_some() && number > 0 {
                break;
            }
            scenarios.push(self.scenario(number, scenario, &progress)?);
        }
        progress.clear();
        Ok(Shootout {
            about: self.about,
            scenarios,
            interrupted: self.interrupt.signal().is_some(),
        })
    }

    fn scenario(
        &self,
        number: usize,
        scenario: &ScenarioPlan,
        progress: &Progress,
    ) -> Result<Scenario, ShootoutError> {
        let folder = self.folder.path().join(number.to_string());
        std::fs::create_dir(&folder).map_err(ShootoutError::Prepare)?;
        let mut notes = Vec::new();
        let own = scenario.tls || scenario.preset.is_some() || self.plan.has_outsiders();
        let rewritten = scenario.simulate.is_some() && own;
        let work = match &scenario.simulate {
            Some(spec) => {
                let files = scenario.preset.map(work::targets_of);
                let simulated = Simulated {
                    program: &self.plan.program,
                    spec,
                    targets: files.as_deref().unwrap_or(&self.targets),
                    rewritten,
                    tls: scenario.tls,
                    nginx: scenario.preset.is_some_and(Preset::suits_nginx),
                };
                let work = Work::simulated(&simulated, &folder)?;
                if scenario.preset.is_some() {
                    notes.push(format!("The server is {}.", work.server_name()));
                }
                work
            }
            None => self.live(&folder, &mut notes)?,
        };
        let environment = Environment {
            work: &work,
            rules: self.rules(scenario.cpu_per_task, scenario.tls),
            latency: scenario.simulate.map(|spec| spec.latency),
            folder: &folder,
            interrupt: self.interrupt,
        };
        let mut cases: Vec<Case<'_>> = self.cases(self.plan.in_flight).collect();
        if let Some(preset) = scenario.preset {
            for case in &mut cases {
                case.in_flight = preset.in_flight(case.entrant, case.in_flight);
            }
        }
        let mut tell = |step: super::contest::Step<'_>| progress.step(scenario.name, step);
        let standings = hold(&environment, &cases, self.schedule(true), &mut tell)
            .map_err(ShootoutError::Prepare)?;
        // Only the first kind of work is scanned. Scanning all would multiply the time.
        let scan = match number {
            0 => self.scan(&environment, &mut tell)?,
            _ => Vec::new(),
        };
        notes.extend(busy_origin(&standings));
        notes.extend(resident(&standings));
        let mut scenario = Scenario {
            name: scenario.name.to_owned(),
            simulate: scenario.simulate.map(|spec| spec.to_string()),
            latency_s: scenario.simulate.map(|spec| spec.latency.as_secs_f64()),
            cpu_per_task_s: scenario.cpu_per_task.as_secs_f64(),
            in_flight: self.plan.in_flight,
            urls: work.urls.len(),
            rewritten,
            tls: scenario.tls,
            standings,
            scan,
            notes,
        };
        scenario.sort();
        Ok(scenario)
    }

    fn scan(
        &self,
        environment: &Environment<'_>,
        tell: &mut dyn FnMut(super::contest::Step<'_>),
    ) -> Result<Vec<ScanPoint>, ShootoutError> {
        let scales = |case: &Case<'_>| case.entrant.scales();
        // All points are in one contest, so that drift affects all of them alike.
        let cases: Vec<Case<'_>> = self
            .plan
            .scan
            .iter()
            .flat_map(|&in_flight| self.cases(in_flight).filter(scales))
            .collect();
        let standings = hold(environment, &cases, self.schedule(false), tell);
        let standings = standings.map_err(ShootoutError::Prepare)?;
        let mut standings = cases.iter().zip(standings).peekable();
        let mut points = Vec::new();
        while let Some((case, standing)) = standings.next() {
            let mut point = ScanPoint {
                in_flight: case.in_flight,
                standings: vec![standing],
            };
            while let Some((_, standing)) =
                standings.next_if(|(next, _)| next.in_flight == point.in_flight)
            {
                point.standings.push(standing);
            }
            points.push(point);
        }
        Ok(points)
    }

    fn cases(&self, in_flight: u16) -> impl Iterator<Item = Case<'_>> {
        let entrants = self.plan.entrants.iter();
        entrants.map(move |entrant| Case { entrant, in_flight })
    }

    fn schedule(&self, main: bool) -> Schedule {
        Schedule {
            warm_up: self.plan.warm_up,
            observe: main,
            rounds: self.plan.rounds,
            limit: self.plan.limit,
        }
    }

    fn rules(&self, cpu_per_task: Duration, tls: bool) -> Rules<'_> {
        Rules {
            program: self.plan.program.as_os_str(),
            cores: self.cores,
            cpu_per_task,
            tls,
        }
    }

    /// Sets up work on the real network. The bodies are unknown, so the first approach downloads
    /// them twice as a reference.
    fn live(&self, folder: &Path, notes: &mut Vec<String>) -> Result<Work, ShootoutError> {
        let mut work = Work::live(&self.targets, folder)?;
        let own = self
            .plan
            .entrants
            .iter()
            .find(|entrant| matches!(entrant, Entrant::Own(_)));
        let fallback = Entrant::Own(Approach::ProcessesShared);
        let entrant = own.unwrap_or(&fallback);
        let mut stored = Vec::new();
        for time in ["first", "second"] {
            let out = folder.join(time);
            self.refer(entrant, &work, &out)?;
            stored.push(out);
        }
        let expected = Expected::learned(&stored[0], &stored[1])
            .map_err(|fault| ShootoutError::Reference(fault.to_string()))?;
        for out in stored {
            std::fs::remove_dir_all(out).map_err(ShootoutError::Prepare)?;
        }
        let asked = work.urls.len();
        let unstable = expected.unstable();
        work.expect(expected)?;
        notes.push(format!(
            "Two runs of {} before the first round showed what each URL holds.",
            entrant.name()
        ));
        if work.urls.len() < asked {
            notes.push(format!(
                "{} of {asked} URLs could not be downloaded twice and are left out for all entrants.",
                asked - work.urls.len()
            ));
        }
        if unstable > 0 {
            notes.push(format!(
                "{} gave other bytes the second time. Any file counts for them.",
                format::count(unstable, "URL")
            ));
        }
        Ok(work)
    }

    fn refer(&self, entrant: &Entrant, work: &Work, out: &Path) -> Result<(), ShootoutError> {
        let rules = self.rules(Duration::ZERO, false);
        let Some(command) = entrant.command(&rules, work, self.plan.in_flight, out, None) else {
            return Ok(());
        };
        let said = out.with_extension("said");
        let measured = run(
            command,
            &Conditions {
                interrupt: self.interrupt,
                limit: self.plan.limit,
                observe: false,
                output: &said,
            },
        );
        let measured = measured.map_err(ShootoutError::Prepare)?;
        // Exit code 1: some URLs failed. They are left out.
        match measured.status.code() {
            Some(0 | 1) if measured.ended.is_none() => Ok(()),
            Some(_) | None => Err(ShootoutError::Reference(format!(
                "{} ended with {}: {}",
                entrant.name(),
                ending(measured.status),
                measured.said
            ))),
        }
    }
}

fn folder() -> Result<(TempDir, String), ShootoutError> {
    let in_memory = Path::new(MEMORY);
    if let Some(kind) = file_system(in_memory).filter(|kind| kind == "tmpfs")
        && let Ok(folder) = prefix().tempdir_in(in_memory)
    {
        return Ok((folder, format!("{kind}, in {MEMORY}")));
    }
    let elsewhere = std::env::temp_dir();
    let folder = prefix().tempdir_in(&elsewhere);
    let folder = folder.map_err(|source| ShootoutError::Folder {
        folder: elsewhere.display().to_string(),
        source,
    })?;
    let kind = file_system(&elsewhere).unwrap_or_else(|| "a file system of unknown kind".into());
    let place = elsewhere.display();
    Ok((
        folder,
        format!("{kind}, in {place}: the disk is part of every time"),
    ))
}

fn prefix() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("coordinator-shootout-");
    builder
}

/// Returns the kind of file system of a folder (statfs(2)).
fn file_system(folder: &Path) -> Option<String> {
    const TMPFS: u64 = 0x0102_1994;
    let kind = u64::try_from(rustix::fs::statfs(folder).ok()?.f_type).ok()?;
    Some(match kind {
        TMPFS => "tmpfs".to_owned(),
        other => format!("file system {other:#x}"),
    })
}

/// Returns the command line, quoted for a shell.
fn typed() -> String {
    let words: Vec<String> = std::env::args_os()
        .enumerate()
        .map(|(place, word)| match place {
            0 => "coordinator".to_owned(),
            _ => word.to_string_lossy().into_owned(),
        })
        .collect();
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

fn versions(entrants: &[Entrant]) -> Vec<(String, String)> {
    let mut versions: Vec<(String, String)> = Vec::new();
    for entrant in entrants {
        if let Entrant::Outside(outside) = entrant
            && let Some(version) = &outside.version
            && !versions.iter().any(|(_, known)| known == version)
        {
            versions.push((outside.name.clone(), version.clone()));
        }
    }
    versions
}

fn caveats(plan: &Plan) -> Vec<String> {
    let before = match plan.warm_up + 1 {
        1 => "One round before the timed ones does".to_owned(),
        many => format!("{many} rounds before the timed ones do"),
    };
    let simulated = plan
        .scenarios
        .iter()
        .any(|scenario| scenario.simulate.is_some());
    let mut caveats = vec![
        format!(
            "Every entrant runs once in each round, and the order changes from round to round. So \
             whatever changes on the machine affects all of them alike. {before} not count."
        ),
        "Time runs from the start of the process to its end and includes start-up. CPU time and \
         context switches are what the kernel counts for the process and for all descendants that \
         it waited for."
            .to_owned(),
        "Memory is the peak of the proportional set size (PSS), summed over all processes of an \
         entrant: a page that several processes share counts once. It is sampled every 20 ms in \
         the rounds that do not count, so a short peak can be missed."
            .to_owned(),
        "CPU time below 50 ms is not split into user mode and kernel: many kernels count in clock \
         ticks, which are too coarse for that."
            .to_owned(),
        "The timelines show a round that does not count. The CPU time of each phase is measured; \
         when in the phase it was spent is not known, so it is drawn at the phase's end. Other \
         programs report no phases."
            .to_owned(),
        "After each run, every file was read back and its SHA-256 compared. A run with a missing \
         or wrong file has no time. Outliers are marked and count in every figure."
            .to_owned(),
    ];
    if simulated {
        caveats.push(format!("The ideal is a lower bound: {}.", ideal::FORMULA));
        caveats.push(
            "The server is a process on the same machine: the built-in origin, or nginx where a note says \
             so. Its CPU time is not counted, but it shares the processors with the entrants. It \
             simulates latency, not bandwidth."
                .to_owned(),
        );
    } else {
        caveats.push(
            "The files came from the real network. Caches, routes and servers change between \
             runs, and no ideal is known."
                .to_owned(),
        );
    }
    let plain = plan.scenarios.iter().all(|scenario| !scenario.tls);
    if simulated && plain && plan.has_outsiders() {
        caveats.push(
            "Because other programs take part, all entrants download the same list over plain \
             http on loopback: no TLS, no name resolution, one host."
                .to_owned(),
        );
    }
    if cfg!(debug_assertions) {
        caveats.push(
            "This coordinator is a debug build: it is slower than a release build.".to_owned(),
        );
    }
    caveats
}

/// Names the entrants whose memory is not the PSS.
fn resident(standings: &[Standing]) -> Option<String> {
    let resident = |standing: &&Standing| {
        let counted = standing.memory.map(|memory| memory.counted);
        counted == Some(Counted::Resident)
    };
    let names: Vec<_> = standings
        .iter()
        .filter(resident)
        .map(|standing| &*standing.name)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "The kernel did not report the PSS of {}. Their memory is the resident set size (RSS), \
             which counts a shared page once in each process.",
            names.join(", ")
        )
    })
}

fn busy_origin(standings: &[Standing]) -> Option<String> {
    let busy = |standing: &&Standing| {
        let load = standing.measured().and_then(|figures| figures.origin_load);
        load.is_some_and(|load| load > ORIGIN_BUSY)
    };
    let names: Vec<_> = standings
        .iter()
        .filter(busy)
        .map(|standing| standing.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "The origin used more than 80 % of a processor during the runs of {}, so it may have been \
             the limit.",
            names.join(", ")
        )
    })
}
