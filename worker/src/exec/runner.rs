//! The runner: a process that runs the command on one file at a time, for a worker that may have
//! been taken over by what it downloaded.
//!
//! The command is not the worker's to choose, and neither are files outside of the output folder:
//! the path of an order is followed from an open folder, part by part, and no symbolic link. A
//! worker in its sandbox can make none, so what was looked at is what the command will find.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use protocol::{CommandAnswer, CommandOrder, Executed, Template, codec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::setpriority_process;

use super::command::{self, Outcome, Owners};
use super::plan::Plan;
use super::{ExecError, begin, fill, system};

/// The run's own folder in the output folder: nothing in there is a file of the run's.
const OWN_FOLDER: &str = ".coordinator";

/// Runs this process as a runner: orders come on standard output, a socket, which takes the
/// answers; standard input is a pipe from the guard. Returns when either is closed, or its command
/// was ended because of that.
///
/// To be called as the first thing `main` does, as
/// [`process::run`](crate::process::run) is.
///
/// # Errors
///
/// If it cannot begin, or the worker says what it must not.
pub fn run(arguments: Vec<OsString>) -> Result<(), ExecError> {
    let plan = begin(arguments)?;
    if let Some(nice) = plan.nice {
        setpriority_process(None, nice).map_err(|errno| {
            system("give commands the nice value of --worker-nice")(errno.into())
        })?;
    }
    let runner = Runner::new(plan)?;
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let owners = Owners {
        lifeline: stdin.as_fd(),
        asker: stdout.as_fd(),
    };
    let mut buffer = vec![0; codec::MAX_FRAME];
    while wait_for_order(owners) {
        let (_, size) = recv(owners.asker, &mut buffer[..], RecvFlags::empty())
            .map_err(|errno| system("hear the worker")(errno.into()))?;
        if size == 0 {
            break;
        }
        let order = codec::decode(&buffer[..size])
            .map_err(|error| ExecError::Arguments(error.to_string()))?;
        let Some(answer) = runner.answer(&order, owners) else {
            break;
        };
        let frame =
            codec::encode(&answer).map_err(|error| ExecError::Arguments(error.to_string()))?;
        if send(owners.asker, &frame, SendFlags::NOSIGNAL).is_err() {
            break;
        }
    }
    Ok(())
}

/// Waits for something to be there of the worker; whether the guard still is.
fn wait_for_order(owners: Owners<'_>) -> bool {
    loop {
        let mut polled = [
            PollFd::from_borrowed_fd(owners.lifeline, PollFlags::empty()),
            PollFd::from_borrowed_fd(owners.asker, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) => return polled[0].revents().is_empty(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

struct Runner {
    plan: Plan,
    template: Template,
    output: OwnedFd,
}

impl Runner {
    fn new(plan: Plan) -> Result<Self, ExecError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let output = openat(CWD, &plan.output, flags, Mode::empty())
            .map_err(|errno| system("open the output folder")(errno.into()))?;
        Ok(Self {
            template: plan.template()?,
            plan,
            output,
        })
    }

    /// Carries `order` out; nothing comes back if nobody waits for it any more.
    fn answer(&self, order: &CommandOrder, owners: Owners<'_>) -> Option<CommandAnswer> {
        let place = fill::check(order).and_then(|()| Place::find(&self.output, &order.path));
        let place = match place {
            Ok(place) => place,
            Err(why) => return Some(CommandAnswer::Refused { why }),
        };
        let Plan { exec, output, .. } = &self.plan;
        let mut command = Command::new(&exec.program);
        command
            .arg0(&self.template.name)
            .args(fill::arguments(&self.template, output, order))
            .envs(fill::environment(output, order));
        Some(match command::run(&mut command, exec.timeout, owners) {
            Outcome::Succeeded => CommandAnswer::Succeeded(Executed { left: place.size() }),
            Outcome::Failed(end, last_line) => CommandAnswer::Failed { end, last_line },
            Outcome::NotStarted(errno) => CommandAnswer::NotStarted {
                errno: errno.raw_os_error(),
            },
            Outcome::Abandoned => return None,
        })
    }
}

/// A file in the output folder.
#[derive(Debug)]
struct Place<'p> {
    folder: OwnedFd,
    name: &'p str,
}

impl<'p> Place<'p> {
    /// The plain file at `path`, or why there is none that may be touched.
    fn find(output: &OwnedFd, path: &'p str) -> Result<Self, String> {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if !path.split('/').all(is_plain) || path.contains('\0') {
            return Err("its path is not a plain path below the output folder".to_owned());
        }
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        if path.split('/').next() == Some(OWN_FOLDER) {
            return Err("its path is in the run's own folder".to_owned());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |folder: &OwnedFd, part: &str| {
            openat(folder, part, flags, Mode::empty())
                .map_err(|errno| format!("its folder cannot be opened: {}", io::Error::from(errno)))
        };
        let mut folder = open(output, ".")?;
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            folder = open(&folder, part)?;
        }
        let place = Self { folder, name };
        match place.size() {
            Some(_) => Ok(place),
            None => Err("there is no such file".to_owned()),
        }
    }

    /// The size of the file, if there is a plain one.
    fn size(&self) -> Option<u64> {
        let stat = statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        u64::try_from(stat.st_size).ok().filter(|_| is_file)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_below_the_output_folder_are_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        fs::create_dir_all(path.join("out/a/b")).expect("folders");
        fs::create_dir(path.join("out/.coordinator")).expect("a folder");
        for file in [
            "secret",
            "out/f",
            "out/a/b/-f",
            "out/.coordinator/results.jsonl",
        ] {
            fs::write(path.join(file), "1234567").expect("a file");
        }
        symlink("../secret", path.join("out/link")).expect("a link");
        symlink("..", path.join("out/up")).expect("a link");
        symlink("a", path.join("out/folder")).expect("a link");
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let output = openat(CWD, path.join("out"), flags, Mode::empty()).expect("it is there");
        for good in ["f", "a/b/-f"] {
            let place = Place::find(&output, good).expect("it is there");
            assert_eq!(place.size(), Some(7));
        }
        let secret = path.join("secret");
        for bad in [
            "",
            ".",
            "..",
            "/",
            "../secret",
            "a/../../secret",
            "up/secret",
            "link",
            "folder/b/-f",
            "a/b",
            "a//b/-f",
            "a/./b/-f",
            "f/",
            "f\0",
            "missing",
            ".coordinator/results.jsonl",
            secret.to_str().expect("text"),
        ] {
            assert!(Place::find(&output, bad).is_err(), "{bad:?}");
        }
    }
}
