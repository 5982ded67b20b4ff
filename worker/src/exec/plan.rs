//! What guard and runner are told when they are started, as arguments.
//!
//! It must not come from a worker that has heard of a URL.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use protocol::{Exec, Template};
use rustix::process::Pid;

use super::ExecError;

/// What to run, on which files, for how long, and in whose process group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The process group of runners and commands; that of the guard if there is none.
    pub(super) group: Option<Pid>,
    /// The output folder, absolute.
    pub(super) output: PathBuf,
    pub(super) exec: Exec,
}

impl Plan {
    pub(super) fn new(exec: &Exec, output: &OsStr, group: Option<Pid>) -> Self {
        Self {
            group,
            output: Path::new(output).to_owned(),
            exec: exec.clone(),
        }
    }

    /// This program again, with this plan, as `role`.
    pub(super) fn command(&self, role: &str) -> Command {
        let group = self.group.map_or(0, |pid| pid.as_raw_nonzero().get());
        // What runs now, even if the file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(role)
            .arg(group.to_string())
            .arg(self.exec.timeout.as_millis().to_string())
            .arg(&self.output)
            .arg(&self.exec.program)
            .args(&self.exec.words);
        command
    }

    /// The plan of [`command`](Self::command), without the role.
    pub(super) fn from_arguments(arguments: Vec<OsString>) -> Result<Self, ExecError> {
        let wrong = |what: &str| ExecError::Arguments(what.to_owned());
        let mut arguments = arguments.into_iter();
        let mut next = |what| arguments.next().ok_or_else(|| wrong(what));
        let number = |text: OsString, what| {
            let number = text.to_str().and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| wrong(what))
        };
        let group = number(next("no process group")?, "the process group is no number")?;
        let group = i32::try_from(group).map_err(|_| wrong("the process group is too large"))?;
        let timeout = number(next("no time limit")?, "the time limit is no number")?;
        let output = PathBuf::from(next("no output folder")?);
        if !output.is_absolute() {
            return Err(wrong("the output folder is not absolute"));
        }
        let program = next("no program")?;
        let words = arguments
            .map(|word| word.into_string().map_err(|_| wrong("a word is no text")))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            group: Pid::from_raw(group),
            output,
            exec: Exec {
                program,
                words,
                timeout: Duration::from_millis(timeout),
            },
        })
    }

    /// The command, taken apart.
    pub(super) fn template(&self) -> Result<Template, ExecError> {
        Template::parse(&self.exec.words).map_err(|error| ExecError::Arguments(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_plan_is_what_was_said() {
        let exec = Exec {
            program: OsString::from_vec(b"/bin/\xff".to_vec()),
            words: ["p", "-x", "", "--", "{path}\n"].map(str::to_owned).into(),
            timeout: Duration::from_millis(1500),
        };
        for group in [None, Pid::from_raw(4711)] {
            let plan = Plan::new(&exec, OsStr::new("/out put"), group);
            let said = plan.command("role");
            let said: Vec<_> = said.get_args().map(OsStr::to_owned).collect();
            assert_eq!(said[0], "role");
            let heard = Plan::from_arguments(said[1..].to_vec()).expect("a plan");
            assert_eq!(heard, plan);
        }
    }

    #[test]
    fn whoever_starts_it_by_hand_is_told() {
        for said in [&[][..], &["x"], &["0", "1"], &["0", "1", "relative", "/p"]] {
            let said = said.iter().map(OsString::from).collect();
            let error = Plan::from_arguments(said).expect_err("no plan").to_string();
            assert!(error.starts_with("only a worker starts this: "), "{error}");
        }
    }
}
