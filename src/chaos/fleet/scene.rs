//! The folder of a chaos run in a fleet, its origins, and its queue.
//!
//! ```text
//!   SCENE/urls.txt               the list
//!   SCENE/store/, nats.txt       the data and the output of the queue
//!   SCENE/feeder.txt             the output of the feeder
//!   SCENE/m0/downloads/          the output folder of the first member
//!   SCENE/m0/tmp/, said.txt      its TMPDIR, and its output
//!   SCENE/m0/origin.json         the address of its origin
//!   SCENE/m0/journal.jsonl       the journal of its origin
//! ```
//!
//! Each member has its own origin, so that each request can be attributed to a member.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;

use lab::origin::{Launch, Origin};
use tempfile::TempDir;

use super::link::{Link, Port};
use super::plan::{FleetPlan, LEASE, OF_A_HOST};
use crate::chaos::ChaosError;
use crate::chaos::scene::{SETTINGS, WORKER_MEMORY, engine, folder, write_list};

/// The scene of a chaos run in a fleet.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
    /// Removes the folder at the end, unless it is kept.
    temporary: Option<TempDir>,
    /// The origins, one for each member.
    origins: Vec<Origin>,
    links: Vec<Link>,
    /// The link for all processes except members.
    link: Link,
    port: Port,
}

/// The process of the queue. Dropping it kills the process.
#[derive(Debug)]
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    /// Creates the folder, writes the list, and starts the origins.
    ///
    /// # Errors
    ///
    /// Fails if the folder or the list cannot be written, or if an origin cannot be started.
    pub fn set(plan: &FleetPlan) -> Result<Self, ChaosError> {
        let (folder, temporary) = folder(plan.common.keep.as_deref())?;
        let port = Port::default();
        let links: io::Result<Vec<_>> = (0..plan.members).map(|_| Link::open(&port)).collect();
        let mut scene = Self {
            folder,
            temporary,
            origins: Vec::new(),
            links: links.map_err(ChaosError::Supervise)?,
            link: Link::open(&port).map_err(ChaosError::Supervise)?,
            port,
        };
        let unwritable = |folder: &Path| {
            let folder = folder.to_owned();
            move |source| ChaosError::Folder { folder, source }
        };
        write_list(&scene.list(), &plan.common.tasks).map_err(unwritable(&scene.folder))?;
        for member in 0..usize::from(plan.members) {
            fs::create_dir_all(scene.tmp(member)).map_err(unwritable(&scene.folder))?;
            let origin = Origin::launch(&Launch {
                program: &plan.common.program,
                spec: &plan.common.spec,
                journal: Some(&scene.journal(member)),
            })?;
            let announcement = serde_json::to_vec(&origin.announcement()).map_err(io::Error::from);
            announcement
                .and_then(|line| fs::write(scene.of(member).join("origin.json"), line))
                .map_err(unwritable(&scene.folder))?;
            scene.origins.push(origin);
        }
        Ok(scene)
    }

    /// Starts the queue with its data on disk, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Fails if the queue does not become ready.
    pub fn serve(&self, plan: &FleetPlan) -> io::Result<Server> {
        let config = self.folder.join("nats.conf");
        let store = self.folder.join("store");
        let text = format!(
            "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            store.display().to_string()
        );
        fs::write(&config, text)?;
        let child = Command::new(&plan.server)
            .arg("--config")
            .arg(config)
            .env("TMPDIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut server = Server(child);
        let said = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.folder.join("nats.txt"))?;
        let stderr = server.0.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(stderr).lines();
        let mut port = None;
        while let Some(line) = lines.next().transpose()? {
            writeln!(&said, "{line}")?;
            if let Some((_, address)) = line.split_once("client connections on ") {
                port = address
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.parse().ok());
            }
            if let Some(port) = port
                && line.contains("Server is ready")
            {
                self.port.store(port, Ordering::Relaxed);
                thread::Builder::new()
                    .name("nats".to_owned())
                    .spawn(move || drain(lines, &said))?;
                return Ok(server);
            }
        }
        Err(io::Error::other("it did not say that it is ready"))
    }

    /// Returns the command of a member.
    pub fn join(&self, plan: &FleetPlan, member: usize) -> Command {
        let common = &plan.common;
        let mut command = self.fleet(plan, "join", &self.links[member]);
        command
            // The user's own settings must not affect this run.
            .arg("--no-config")
            .args(["--machine", &name(member)])
            .args(["--lease", &format!("{}ms", LEASE.as_millis())])
            .arg("--simulate-via")
            .arg(self.of(member).join("origin.json"))
            .arg("--output")
            .arg(self.output(member))
            .args(["--workers", &common.workers.to_string()])
            .args(["--concurrency", &common.concurrency.to_string()])
            .args(["--engine", engine(common.engine)])
            .args(["--worker-memory", WORKER_MEMORY])
            .args(["--parallel-max-host", &OF_A_HOST.to_string()])
            .args(SETTINGS.split_whitespace())
            .env("TMPDIR", self.tmp(member));
        if !common.inject.is_empty() {
            command.args(["--inject", &common.inject]);
        }
        command
    }

    /// Returns the command of the feeder, which reads the list from its standard input.
    pub fn feed(&self, plan: &FleetPlan) -> Command {
        let mut command = self.fleet(plan, "feed", &self.link);
        command.arg("-").env("TMPDIR", &self.folder);
        command.stdin(Stdio::piped());
        command
    }

    /// Returns the command that reports the outcomes of the list.
    pub fn results(&self, plan: &FleetPlan) -> Command {
        let mut command = self.fleet(plan, "results", &self.link);
        command.arg("--json").env("TMPDIR", &self.folder);
        command
    }

    fn fleet(&self, plan: &FleetPlan, what: &str, link: &Link) -> Command {
        let mut command = Command::new(&plan.common.program);
        command
            .args(["fleet", what, "--queue", &link.url()])
            .stdin(Stdio::null());
        command
    }

    /// Returns the folder of the scene.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns an address of the queue that is never cut.
    pub fn queue(&self) -> String {
        self.link.url()
    }

    /// Returns the link from a member to the queue.
    pub fn link(&self, member: usize) -> &Link {
        &self.links[member]
    }

    pub fn list(&self) -> PathBuf {
        self.folder.join("urls.txt")
    }

    /// Returns the folder of a member.
    pub fn of(&self, member: usize) -> PathBuf {
        self.folder.join(name(member))
    }

    /// Returns the output folder of a member.
    pub fn output(&self, member: usize) -> PathBuf {
        self.of(member).join("downloads")
    }

    /// Returns a member's folder for temporary files.
    pub fn tmp(&self, member: usize) -> PathBuf {
        self.of(member).join("tmp")
    }

    /// Returns the journal of a member's origin.
    pub fn journal(&self, member: usize) -> PathBuf {
        self.of(member).join("journal.jsonl")
    }

    /// Stops the origins, which completes their journals.
    pub fn close(&mut self) {
        self.origins.clear();
    }

    /// Keeps all files.
    pub fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // The path is already known.
            let _ = temporary.keep();
        }
    }

    /// Returns whether the files are kept.
    pub const fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }
}

/// Returns the name of a member.
pub fn name(member: usize) -> String {
    format!("m{member}")
}

fn drain(lines: impl Iterator<Item = io::Result<String>>, mut said: &File) {
    for line in lines.map_while(Result::ok) {
        // A line that cannot be stored is dropped.
        let _ = writeln!(said, "{line}");
    }
}
