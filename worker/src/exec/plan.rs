//! What guard and runner are told when they are started, as arguments.
//!
//! A worker that has heard of a URL must not write it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use protocol::{Exec, Template};
use rustix::process::Pid;

use super::ExecError;

/// What to run, on which files, for how long, how nicely, and in which process group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The process group of runners and commands; that of the guard if there is none.
    pub group: Option<Pid>,
    /// The nice value of runners and commands; that of the parent if there is none.
    pub nice: Option<i32>,
    /// The output folder, absolute.
    pub output: PathBuf,
    /// The command and its time limit.
    pub exec: Exec,
}

impl Plan {
    /// This program again, with this plan, as `role`.
    #[must_use]
    pub fn command(&self, role: &str) -> Command {
        let group = self.group.map_or(0, |pid| pid.as_raw_nonzero().get());
        let nice = self.nice.map_or_else(String::new, |nice| nice.to_string());
        // What runs now, even if the file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(role)
            .arg(group.to_string())
            .arg(nice)
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
        let nice = next("no nice value")?;
        let nice = match nice.to_str() {
            Some("") => None,
            text => Some(
                text.and_then(|text| text.parse().ok())
                    .ok_or_else(|| wrong("the nice value is no number"))?,
            ),
        };
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
            nice,
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
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_plan_is_what_was_said() {
        let exec = Exec {
            program: OsString::from_vec(b"/bin/\xff".to_vec()),
            words: ["p", "-x", "", "--", "{path}\n"].map(str::to_owned).into(),
            timeout: Duration::from_millis(1500),
        };
        for (group, nice) in [(None, None), (Pid::from_raw(4711), Some(-7))] {
            let plan = Plan {
                group,
                nice,
                output: "/out put".into(),
                exec: exec.clone(),
            };
            let said = plan.command("role");
            let said: Vec<_> = said.get_args().map(OsStr::to_owned).collect();
            assert_eq!(said[0], "role");
            let heard = Plan::from_arguments(said[1..].to_vec()).expect("a plan");
            assert_eq!(heard, plan);
        }
    }

    #[test]
    fn whoever_starts_it_by_hand_is_told() {
        for said in [
            &[][..],
            &["x"],
            &["0", "", "1"],
            &["0", "x", "1", "/out", "/p"],
            &["0", "", "1", "relative", "/p"],
        ] {
            let said = said.iter().map(OsString::from).collect();
            let error = Plan::from_arguments(said).expect_err("no plan").to_string();
            assert!(error.starts_with("only a worker starts this: "), "{error}");
        }
    }
}
