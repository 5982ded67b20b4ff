//! The scene of an attempt: a folder, a run, and objects of other processes.
//!
//! ```text
//!   STAGE/origin.json         where the origin of all runs listens
//!   STAGE/N/downloads/        the output folder of a run; `kept` is a finished file
//!   STAGE/N/outside/          files outside the run: private, letter, other, folder/, sockets
//!   STAGE/N/tmp/              TMPDIR of the run
//!   STAGE/N/said.txt          standard output and standard error of the run
//! ```
//!
//! This module must not judge.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lab::origin::{Launch, Origin, SpawnError, Spec};
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::attempt::Attempt;
use super::column::Column;
use super::ground::Bait;
use super::keeper::{self, Objects, SECRET};
use super::{IsolationError, Plan};
use crate::cli::limits::SandboxName;

/// How the origin answers.
const BODIES: &str = "size=2KiB..16KiB,latency=2ms";

/// The environment variable that holds the secret of a run.
const SECRET_VARIABLE: &str = "ISOLATION_SECRET";

/// Options of every run, so that a compromised worker costs little time.
const SETTINGS: &str = "--parallel-max-host 0 --retry 20 --retry-delay 20ms --lease-timeout 3s --start-timeout \
    30s --restart-intensity 1000/10s --max-deliveries 20 --grace 2s -v -";

/// The place where all attempts are played, one after another.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    origin: Origin,
    /// The settings of the origin.
    pub spec: Spec,
    scenes: u32,
}

impl Stage {
    /// Creates the folder, and starts the origin.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be created, or the origin cannot be started.
    pub fn set() -> Result<Self, IsolationError> {
        let folder = tempfile::Builder::new()
            .prefix("coordinator-isolation-")
            .tempdir()
            .map_err(|source| IsolationError::Folder {
                folder: std::env::temp_dir(),
                source,
            })?;
        let spec: Spec = BODIES.parse().map_err(IsolationError::Spec)?;
        let origin = Origin::launch(&Launch {
            program: Path::new("/proc/self/exe"),
            spec: &spec,
            journal: None,
        })?;
        let stage = Self {
            folder,
            origin,
            spec,
            scenes: 0,
        };
        let line = serde_json::to_vec(&stage.origin.announcement()).map_err(io::Error::from);
        line.and_then(|line| fs::write(stage.announcement(), line))
            .map_err(|source| stage.unusable(source))?;
        Ok(stage)
    }

    fn announcement(&self) -> PathBuf {
        self.folder.path().join("origin.json")
    }

    fn unusable(&self, source: io::Error) -> IsolationError {
        IsolationError::Folder {
            folder: self.folder.path().to_owned(),
            source,
        }
    }

    /// Creates a new scene.
    ///
    /// # Errors
    ///
    /// Fails if a part of it cannot be created.
    pub fn scene(&mut self) -> Result<Scene, IsolationError> {
        self.scenes += 1;
        let folder = self.folder.path().join(self.scenes.to_string());
        Scene::set(folder, self.announcement()).map_err(|source| self.unusable(source))
    }
}

/// The scene of one attempt. Dropping it removes everything.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
    announcement: PathBuf,
    /// A secret that only the judge and the run know.
    pub secret: String,
    /// Makes names outside of folders unique.
    pub mark: String,
    /// A process that is not part of the run.
    bystander: Child,
    /// A file with the secret; the run inherits it.
    private: File,
    /// Kernel objects.
    pub objects: Objects,
    /// A program that listens at a path.
    pub socket: UnixListener,
    /// The same for datagrams.
    pub datagrams: UnixDatagram,
    /// A program that listens at an abstract name.
    pub abstract_socket: OwnedFd,
    /// A program that listens at a port.
    pub tcp: TcpListener,
    /// The same for datagrams.
    pub udp: UdpSocket,
}

impl Scene {
    fn set(folder: PathBuf, announcement: PathBuf) -> io::Result<Self> {
        let secret = random(SECRET);
        let mark = format!("coordinator-isolation-{}", random(SECRET));
        for part in [
            "downloads",
            "outside",
            "outside/folder",
            "outside/empty",
            "tmp",
        ] {
            fs::create_dir_all(folder.join(part))?;
        }
        let outside = folder.join("outside");
        // With random padding, the size can only be found by looking at the file.
        let padding = fastrand::usize(1..1000);
        let text = format!("{secret}\n{}", "-".repeat(padding));
        for (name, text) in [
            ("outside/private", text.as_str()),
            // One byte long, like the body that an attacker reports.
            ("outside/letter", "L"),
            ("outside/other", "other\n"),
            ("downloads/kept", "kept"),
        ] {
            fs::write(folder.join(name), text)?;
        }
        fs::set_permissions(outside.join("private"), Permissions::from_mode(0o600))?;
        for place in ["outside/folder", "downloads"] {
            fs::write(folder.join(place).join(format!("name-{secret}")), "")?;
        }
        // Without close-on-exec, because the caller of a program may have left something open.
        let private = File::open(outside.join("private"))?;
        rustix::io::fcntl_setfd(&private, FdFlags::empty())?;
        let nonblocking = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
        let abstract_socket = socket_with(unix, stream, nonblocking, None)?;
        let name = SocketAddrUnix::new_abstract_name(mark.as_bytes())?;
        bind(&abstract_socket, &name)?;
        listen(&abstract_socket, 8)?;
        let scene = Self {
            socket: UnixListener::bind(outside.join("socket"))?,
            datagrams: UnixDatagram::bind(outside.join("datagrams"))?,
            abstract_socket,
            tcp: TcpListener::bind("127.0.0.1:0")?,
            udp: UdpSocket::bind("127.0.0.1:0")?,
            objects: Objects::new(&mark),
            private,
            // It ends when this process does.
            bystander: Command::new("cat")
                .args(["-", &secret])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
            folder,
            announcement,
            secret,
            mark,
        };
        scene.socket.set_nonblocking(true)?;
        scene.datagrams.set_nonblocking(true)?;
        scene.tcp.set_nonblocking(true)?;
        scene.udp.set_nonblocking(true)?;
        keeper::arm(&scene.secret);
        Ok(scene)
    }

    /// Returns the folder of the scene.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the output folder of the run.
    pub fn output(&self) -> PathBuf {
        self.folder.join("downloads")
    }

    /// Returns the file with the output of the run.
    pub fn said(&self) -> PathBuf {
        self.folder.join("said.txt")
    }

    /// Returns the process id of the bystander.
    pub fn bystander(&self) -> u32 {
        self.bystander.id()
    }

    /// Returns whether the bystander has ended, and reaps it if so.
    pub fn bystander_is_dead(&mut self) -> bool {
        self.bystander.try_wait().is_ok_and(|ended| ended.is_some())
    }

    /// Returns the `n`-th URL of the list. It contains the secret, so the run log does too.
    pub fn url(&self, n: usize) -> String {
        format!("http://isolation.example/{}/{n}", self.secret)
    }

    /// Returns the command of the run in which `attempt` is played. It reads its list from stdin.
    pub fn command(&self, attempt: &Attempt, column: Column, plan: &Plan) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["attacked", "--attempt", attempt.id, "--simulate-via"])
            .arg(&self.announcement)
            .arg("--output")
            .arg(self.output())
            .args(["--workers", "2", "--mode", column.mode().name()])
            .args(attempt.options_for(column))
            .args(SETTINGS.split_whitespace());
        let sandbox = match column {
            Column::Processes => plan.sandbox,
            Column::Unconfined | Column::Threads | Column::Async => SandboxName::Off,
        };
        command
            .args(["--sandbox", sandbox_name(sandbox)])
            .env("TMPDIR", self.folder.join("tmp"))
            .env(SECRET_VARIABLE, &self.secret)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped());
        command
    }

    /// Writes the bait for the attacker, which works in `own`.
    ///
    /// # Errors
    ///
    /// Fails if the bait cannot be written.
    pub fn lay_bait(&self, own: &Path, sibling: Option<u32>) -> io::Result<()> {
        let number = |pid: u32| i32::try_from(pid).map_err(io::Error::other);
        let bait = Bait {
            bystander: number(self.bystander())?,
            sibling: sibling.map_or(Ok(0), number)?,
            judge: number(std::process::id())?,
            secret_at: keeper::secret_at(),
            number_at: keeper::number_at(),
            descriptor: self.private.as_raw_fd(),
            shared_memory: self.objects.shared_memory,
            queue: self.objects.queue,
            tcp: self.tcp.local_addr()?.port(),
            udp: self.udp.local_addr()?.port(),
            mark: self.mark.clone(),
        };
        if sibling.is_some() {
            let begun = self.output().join(".coordinator/partial/1-1/begun");
            fs::write(begun, &self.secret)?;
        }
        // Renamed, so that the attacker never reads a part of it.
        let new = self.folder.join("bait");
        fs::write(&new, serde_json::to_vec(&bait)?)?;
        fs::rename(new, own.join(super::ground::BAIT))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !self.bystander_is_dead() {
            let _ = kill_process(Pid::from_child(&self.bystander), Signal::KILL);
            let _ = self.bystander.wait();
        }
        // What remains is removed with the stage.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns random letters.
fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::lowercase)
        .take(length)
        .collect()
}

const fn sandbox_name(sandbox: SandboxName) -> &'static str {
    match sandbox {
        SandboxName::On => "on",
        SandboxName::Off => "off",
        SandboxName::BestEffort => "best-effort",
    }
}

impl From<SpawnError> for IsolationError {
    fn from(error: SpawnError) -> Self {
        Self::Origin(error)
    }
}
