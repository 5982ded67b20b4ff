//! The origin as its parent process sees it.
//!
//! Starts the child, waits for its announcement and ends it. It must not serve anything itself.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::server::Announcement;
use super::spec::Spec;

/// How long the child may take to announce itself: 5 ms are usual.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long the child may take to exit before it is killed.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Longest announcement that is read, in bytes. A real one has about 1 KiB.
const LONGEST_LINE: u64 = 64 << 10;

/// Length of the quotation of an announcement in an error, in characters.
const QUOTED: usize = 320;

/// An origin to start.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The program: this one, as `/proc/self/exe` or a path.
    pub program: &'a Path,
    /// What it simulates.
    pub spec: &'a Spec,
    /// Where it records every request (`--journal`).
    pub journal: Option<&'a Path>,
}

/// A running origin. Dropping it ends it.
#[derive(Debug)]
pub struct Origin {
    /// Address for http.
    pub http: SocketAddr,
    /// Address for https.
    pub https: SocketAddr,
    /// The CA to trust for https, as PEM text.
    pub ca_pem: String,
    process: Process,
}

/// Reason why an origin did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The process cannot be started.
    #[error("cannot start {program} as the origin", program = program.display())]
    Start {
        program: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It exited without an announcement, and reported the reason on standard error.
    #[error("the origin left before it was ready: {status}")]
    Left {
        /// Its exit status.
        status: ExitStatus,
    },
    /// It wrote something other than an announcement.
    #[error("cannot understand the origin: it announced itself as `{line}`")]
    Announcement {
        /// The beginning of its output.
        line: String,
        /// The error in it.
        source: serde_json::Error,
    },
    /// Its announcement contains no https address.
    #[error("the origin does not serve https")]
    NoHttps,
    /// It wrote nothing.
    #[error(
        "the origin was not ready within {READY_WITHIN:?}: the machine may be overloaded, try again"
    )]
    Silent,
    /// Its output cannot be read, or its end cannot be waited for.
    #[error("cannot hear the origin")]
    Hear(#[source] io::Error),
}

impl Origin {
    /// Starts `program` as an origin on free ports of the loopback interface, and waits until it
    /// is ready.
    ///
    /// The program is this one, as `/proc/self/exe` or a path. It is called with `origin --simulate
    /// SPEC --until-stdin-closes --http ADDR --https ADDR`, in a separate process group, out of
    /// reach of Ctrl-C. It shares standard error with the caller, and exits when the caller does.
    ///
    /// # Errors
    ///
    /// Fails if the program cannot be started, or does not announce itself. It is not running then.
    pub fn spawn(program: &Path, spec: &Spec) -> Result<Self, SpawnError> {
        Self::launch(&Launch {
            program,
            spec,
            journal: None,
        })
    }

    /// Starts an origin as [`spawn`](Self::spawn) does, with all options.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn).
    pub fn launch(launch: &Launch<'_>) -> Result<Self, SpawnError> {
        let program = launch.program;
        let mut command = Command::new(program);
        command
            .args(["origin", "--simulate", &launch.spec.to_string()])
            .args(["--until-stdin-closes"])
            .args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
        if let Some(journal) = launch.journal {
            command.arg("--journal").arg(journal);
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| SpawnError::Start {
                program: program.to_owned(),
                source,
            })?;
        let mut process = Process(child);
        let announcement = process.announcement()?;
        let (Some(https), Some(ca_pem)) = (announcement.https, announcement.ca_pem) else {
            return Err(SpawnError::NoHttps);
        };
        Ok(Self {
            http: announcement.http,
            https,
            ca_pem,
            process,
        })
    }

    /// Returns its exit status if it has ended, which it should not before it is dropped.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().ok().flatten()
    }

    /// Returns its announcement, for the `--simulate-via` of a run.
    #[must_use]
    pub fn announcement(&self) -> Announcement {
        Announcement {
            http: self.http,
            https: Some(self.https),
            ca_pem: Some(self.ca_pem.clone()),
        }
    }

    /// Returns the process id of the origin.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// A child that does not outlive its owner.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn announcement(&mut self) -> Result<Announcement, SpawnError> {
        let stdout = self.0.stdout.take();
        let stdout = stdout.ok_or_else(|| SpawnError::Hear(io::ErrorKind::NotConnected.into()))?;
        let (heard, hear) = mpsc::channel();
        // A pipe has no timeout. If the child stays silent, this thread ends when it is killed.
        thread::Builder::new()
            .name("origin-ready".into())
            .spawn(move || heard.send(first_line(stdout)))
            .map_err(SpawnError::Hear)?;
        let line = match hear.recv_timeout(READY_WITHIN) {
            Ok(line) => line.map_err(SpawnError::Hear)?,
            Err(_) => return Err(SpawnError::Silent),
        };
        if line.is_empty() {
            let status = self.end().map_err(SpawnError::Hear)?;
            return Err(SpawnError::Left { status });
        }
        serde_json::from_slice(&line).map_err(|source| {
            let line = String::from_utf8_lossy(&line);
            SpawnError::Announcement {
                line: line.trim_end().chars().take(QUOTED).collect(),
                source,
            }
        })
    }

    /// Asks the child to exit, waits, and kills it if it does not.
    fn end(&mut self) -> io::Result<ExitStatus> {
        drop(self.0.stdin.take());
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        if !self.leaves_within(LEAVE_WITHIN)? {
            self.0.kill()?;
        }
        self.0.wait()
    }

    /// Waits until the child, which is not reaped, has exited. Returns whether it has.
    fn leaves_within(&self, limit: Duration) -> io::Result<bool> {
        let child = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            // A pidfd is readable once its process has ended (pidfd_open(2)).
            match poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, pid = self.0.id(), "cannot end the origin");
        }
    }
}

/// Reads up to and including the first line feed; nothing at the end of the stream.
fn first_line(stdout: ChildStdout) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stdout.take(LONGEST_LINE)).read_until(b'\n', &mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = r#"{"http":"127.0.0.1:1","https":"127.0.0.1:2","ca_pem":"PEM"}"#;

    /// Starts a shell script instead of the program.
    fn spawn(script: &str) -> Result<Origin, SpawnError> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let program = folder.path().join("origin.sh");
        fs::write(&program, script).expect("the script can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700))
            .expect("the script can be made executable");
        loop {
            let spawned = Origin::spawn(&program, &Spec::default());
            // The script is busy while the child of another test, forked when the script was open
            // for writing, has not called exec yet.
            if let Err(SpawnError::Start { source, .. }) = &spawned
                && source.kind() == io::ErrorKind::ExecutableFileBusy
            {
                thread::yield_now();
                continue;
            }
            return spawned;
        }
    }

    #[test]
    fn an_announced_origin_is_ready() {
        let script = format!("#!/bin/sh\necho '{GOOD}'\nexec cat");
        let origin = spawn(&script).expect("the origin announces itself");
        assert_eq!(origin.http.port(), 1);
        assert_eq!(origin.https.port(), 2);
        assert_eq!(origin.ca_pem, "PEM");
    }

    #[test]
    fn the_program_is_called_with_the_spec() {
        let script = "#!/bin/sh\necho \"$@\"";
        let error = spawn(script).expect_err("arguments are no announcement");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot understand the origin: it announced itself as `origin --simulate {} \
                 --until-stdin-closes --http 127.0.0.1:0 --https 127.0.0.1:0`",
                Spec::default()
            )
        );
    }

    #[test]
    fn a_dropped_origin_is_gone_and_reaped() {
        let script = format!("#!/bin/sh\necho '{GOOD}'\nexec cat");
        let origin = spawn(&script).expect("the origin announces itself");
        let process = format!("/proc/{}", origin.pid());
        assert!(Path::new(&process).exists());
        drop(origin);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn an_origin_that_does_not_leave_is_killed() {
        // Waits for a pipe that is never written to, and ignores standard input.
        let script = format!(
            "#!/bin/sh\nmkfifo \"$0.fifo\"\nexec 3<>\"$0.fifo\"\necho '{GOOD}'\nread -r line <&3"
        );
        let origin = spawn(&script).expect("the origin announces itself");
        let process = format!("/proc/{}", origin.pid());
        drop(origin);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn an_origin_that_dies_first_is_an_error_with_its_status() {
        let error = spawn("#!/bin/sh\nexit 7").expect_err("it left");
        assert_eq!(
            error.to_string(),
            "the origin left before it was ready: exit status: 7"
        );
        let error = spawn("#!/bin/sh\nkill -9 $$").expect_err("it was killed");
        assert!(matches!(error, SpawnError::Left { .. }), "{error}");
    }

    #[test]
    fn garbage_is_an_error_that_quotes_it() {
        let error = spawn("#!/bin/sh\necho hello\nexec cat").expect_err("that is no JSON");
        assert_eq!(
            error.to_string(),
            "cannot understand the origin: it announced itself as `hello`"
        );
    }

    #[test]
    fn endless_garbage_is_an_error() {
        let error = spawn("#!/bin/sh\nexec cat /dev/zero").expect_err("that is no line");
        assert!(matches!(error, SpawnError::Announcement { .. }), "{error}");
    }

    #[test]
    fn an_origin_without_https_is_an_error() {
        let line = r#"{"http":"127.0.0.1:1","https":null,"ca_pem":null}"#;
        let error =
            spawn(&format!("#!/bin/sh\necho '{line}'\nexec cat")).expect_err("https is needed");
        assert!(matches!(error, SpawnError::NoHttps), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_it() {
        let error = Origin::spawn(Path::new("/nonexistent/program"), &Spec::default())
            .expect_err("there is no such program");
        assert_eq!(
            error.to_string(),
            "cannot start /nonexistent/program as the origin"
        );
    }
}
