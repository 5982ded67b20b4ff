//! The folder of a chaos run, and its origin.
//!
//! ```text
//!   SCENE/urls.txt       the list
//!   SCENE/downloads/     the output folder
//!   SCENE/tmp/           TMPDIR of every run
//!   SCENE/origin.json    the addresses of the origin
//!   SCENE/journal.jsonl  the requests that it received
//!   SCENE/said.txt       standard output and standard error of the runs
//! ```
//!
//! This module must not start a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::origin::{Launch, Origin};
use tempfile::TempDir;

use super::ChaosError;
use super::plan::{Plan, Task};
use crate::cli::mode::EngineName;
use crate::cli::mode::Mode;

/// The folder and its contents.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
    /// Removes the folder at the end, unless it is kept.
    temporary: Option<TempDir>,
    origin: Option<Origin>,
}

impl Scene {
    /// Creates the folder, writes the list, and starts the origin.
    ///
    /// # Errors
    ///
    /// Fails if the folder, the list or the origin cannot be set up.
    pub fn set(plan: &Plan) -> Result<Self, ChaosError> {
        let (folder, temporary) = folder(plan.keep.as_deref())?;
        let mut scene = Self {
            folder,
            temporary,
            origin: None,
        };
        let made =
            fs::create_dir(scene.tmp()).and_then(|()| write_list(&scene.list(), &plan.tasks));
        made.map_err(|source| scene.unwritable(source))?;
        let origin = Origin::launch(&Launch {
            program: &plan.program,
            spec: &plan.spec,
            journal: Some(&scene.journal()),
        })?;
        let announcement = serde_json::to_vec(&origin.announcement()).map_err(io::Error::from);
        announcement
            .and_then(|line| fs::write(scene.announcement(), line))
            .map_err(|source| scene.unwritable(source))?;
        scene.origin = Some(origin);
        Ok(scene)
    }

    fn unwritable(&self, source: io::Error) -> ChaosError {
        ChaosError::Folder {
            folder: self.folder.clone(),
            source,
        }
    }

    /// Returns the command that does the work, or the rest of it. Its output is not yet redirected.
    #[must_use]
    pub fn command(&self, plan: &Plan) -> Command {
        let mut command = Command::new(&plan.program);
        command
            // The user's own settings must not affect the test.
            .arg("--no-config")
            .arg("--simulate-via")
            .arg(self.announcement())
            .arg("--output")
            .arg(self.output())
            .args(["--workers", &plan.workers.to_string()])
            .args(["--concurrency", &plan.concurrency.to_string()])
            .args(["--engine", engine(plan.engine)])
            .args(["--mode", plan.mode.name()])
            .args(["--parallel-max-host", "0"])
            .args(SETTINGS.split_whitespace());
        if plan.mode == Mode::Processes {
            command.args(["--worker-memory", WORKER_MEMORY]);
        }
        if !plan.inject.is_empty() {
            command.args(["--inject", &plan.inject]);
        }
        command
            .arg(self.list())
            .env("TMPDIR", self.tmp())
            .stdin(Stdio::null());
        command
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn list(&self) -> PathBuf {
        self.folder.join("urls.txt")
    }

    fn announcement(&self) -> PathBuf {
        self.folder.join("origin.json")
    }

    /// Returns the output folder of the runs.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.folder.join("downloads")
    }

    /// Returns the folder of the runs for temporary files.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// Returns the origin's journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal.jsonl")
    }

    /// Returns the file with the output of the runs.
    #[must_use]
    pub fn said(&self) -> PathBuf {
        self.folder.join("said.txt")
    }

    /// Ends the origin, which completes its journal.
    pub fn close(&mut self) {
        self.origin = None;
    }

    /// Keeps the folder.
    pub fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // The path is already known.
            let _ = temporary.keep();
        }
    }

    /// Returns whether the folder is kept.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }
}

/// Memory limit of a worker process, so that the eat fault does not harm the machine.
pub(super) const WORKER_MEMORY: &str = "256MiB";

/// Options of every run: time limits that end a fault of the origin within a second or two, and
/// enough attempts for all of them.
pub(super) const SETTINGS: &str = "--retry 20 --retry-delay 20ms --connect-timeout 5s --speed-time \
    300ms --max-time 1s --lease-timeout 2s --start-timeout 2s --restart-intensity 1000/10s \
    --grace 1s";

pub(super) const fn engine(engine: EngineName) -> &'static str {
    match engine {
        EngineName::Blocking => "blocking",
        EngineName::Async => "async",
    }
}

pub(super) fn folder(keep: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), ChaosError> {
    if let Some(keep) = keep {
        let failed = |source| ChaosError::Folder {
            folder: keep.to_owned(),
            source,
        };
        fs::create_dir(keep).map_err(failed)?;
        return Ok((keep.canonicalize().map_err(failed)?, None));
    }
    let temporary = tempfile::Builder::new()
        .prefix("coordinator-chaos-")
        .tempdir()
        .map_err(|source| ChaosError::Folder {
            folder: std::env::temp_dir(),
            source,
        })?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

pub(super) fn write_list(path: &Path, tasks: &[Task]) -> io::Result<()> {
    let lines: String = tasks.iter().map(|task| task.url.clone() + "\n").collect();
    fs::write(path, lines)
}
