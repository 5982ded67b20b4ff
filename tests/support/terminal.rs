//! A pseudo-terminal with a run of the program.

use std::fs::File;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::run::{Captured, Job, Run};
use super::wait_until;

/// The default size of a terminal.
const ROWS: u16 = 40;
const COLUMNS: u16 = 120;

/// A pseudo-terminal, the program on it, and its screen.
#[derive(Debug)]
pub struct Terminal {
    pub job: Job,
    pub master: File,
    pub output: Captured,
    /// Its sizes, each with the number of bytes written before.
    sizes: Vec<(usize, u16, u16)>,
}

impl Terminal {
    /// Runs with its own controlling terminal, so that Ctrl-C works.
    pub fn start(run: &Run) -> Self {
        Self::sized(run, ROWS, COLUMNS)
    }

    pub fn sized(run: &Run, rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("it is ours");
        tcsetwinsize(&master, winsize(rows, columns)).expect("it has a size");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let open = || {
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::custom_flags(
                options.read(true).write(true),
                // It must not become the controlling terminal of this process.
                rustix::fs::OFlags::NOCTTY.bits().cast_signed(),
            );
            options
                .open(name.to_str().expect("a path"))
                .expect("it can be opened")
        };
        let mut command = run.command();
        // Defaults, which the run may override.
        let unset = |name: &str| command.get_envs().all(|(known, _)| known != name);
        let defaults = [
            ("TERM", "xterm-256color"),
            ("LC_ALL", "C.UTF-8"),
            ("NO_COLOR", ""),
        ];
        let defaults: Vec<_> = defaults
            .into_iter()
            .filter(|(name, _)| unset(name))
            .collect();
        command
            .envs(defaults)
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
            sizes: vec![(0, rows, columns)],
        }
    }

    /// Changes its size, as its window would.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.sizes.push((self.output.bytes().len(), rows, columns));
        tcsetwinsize(&self.master, winsize(rows, columns)).expect("it has a size");
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &[u8]) {
        std::io::Write::write_all(&mut self.master, keys).expect("it takes keys");
    }

    /// Returns the screen after all output so far.
    pub fn parser(&self) -> vt100::Parser {
        let bytes = self.output.bytes();
        let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
        let ends = self.sizes.iter().skip(1).map(|(from, ..)| *from);
        for ((from, rows, columns), to) in self.sizes.iter().zip(ends.chain([bytes.len()])) {
            parser.screen_mut().set_size(*rows, *columns);
            parser.process(&bytes[*from..to]);
        }
        parser
    }

    /// Returns whether the cursor is visible.
    pub fn shows_cursor(&self) -> bool {
        !self.parser().screen().hide_cursor()
    }

    /// Returns the text on the screen.
    pub fn screen(&self) -> String {
        self.parser().screen().contents()
    }

    /// Returns the lines on the screen that contain `part`.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let screen = self.screen();
        let lines = screen.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }

    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let seen = || format!("the screen:\n{}", self.screen());
        wait_until(what, || holds(self), seen);
    }

    pub fn wait_for(&self, part: &str) {
        wait_until(
            &format!("{part:?} on the screen"),
            || self.screen().contains(part),
            || format!("the screen:\n{}", self.screen()),
        );
    }
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
