//! A pseudo-terminal with a run of the program on it.

use std::fs::File;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::run::{Captured, Job, Run};
use super::wait_until;

pub const ROWS: u16 = 40;
pub const COLUMNS: u16 = 100;

/// A pseudo-terminal with a program on it, and its screen.
#[derive(Debug)]
pub struct Terminal {
    pub job: Job,
    pub master: File,
    pub output: Captured,
}

impl Terminal {
    /// Runs on a terminal of its own, as its controlling one, so that Ctrl-C works.
    pub fn start(run: &Run) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("it is ours");
        let size = Winsize {
            ws_row: ROWS,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("it has a size");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let open = || {
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::custom_flags(
                options.read(true).write(true),
                // Not this process's terminal.
                rustix::fs::OFlags::NOCTTY.bits().cast_signed(),
            );
            options
                .open(name.to_str().expect("a path"))
                .expect("it can be opened")
        };
        let mut command = run.command();
        command
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()));
        let job = Job::start(command, run.mark(), run.log());
        let master = File::from(master);
        let (output, _) = Captured::from(master.try_clone().expect("a descriptor"));
        Self {
            job,
            master,
            output,
        }
    }

    /// What the screen shows now.
    pub fn screen(&self) -> String {
        let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
        parser.process(&self.output.bytes());
        parser.screen().contents()
    }

    pub fn wait_for(&self, part: &str) {
        wait_until(
            &format!("{part:?} on the screen"),
            || self.screen().contains(part),
            || format!("the screen:\n{}", self.screen()),
        );
    }
}
