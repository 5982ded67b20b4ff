//! The configuration of a runner, passed as arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::runner::RunnerError;
use super::words::{Exec, Template};

/// The hidden command of this program that makes it a runner.
const RUNNER: &str = "runner";

/// The command, its files, its time limit and its nice value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nice value of runners and commands. `None` means that of the parent.
    pub(super) nice: Option<i32>,
    /// The output folder, absolute.
    pub(super) output: PathBuf,
    /// The command and its time limit.
    pub(super) exec: Exec,
}

impl Plan {
    /// Returns the command that starts this program as a runner with this plan.
    pub(super) fn command(&self) -> Command {
        let nice = self.nice.map_or_else(String::new, |nice| nice.to_string());
        // The running program, even if its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(RUNNER)
            .arg(nice)
            .arg(self.exec.timeout.as_millis().to_string())
            .arg(&self.output)
            .arg(&self.exec.program)
            .args(&self.exec.words);
        command
    }

    /// Parses the arguments of [`command`](Self::command), without the first one.
    pub(super) fn from_arguments(arguments: Vec<OsString>) -> Result<Self, RunnerError> {
        let wrong = |what: &str| RunnerError::Arguments(what.to_owned());
        let mut arguments = arguments.into_iter();
        let mut next = |what| arguments.next().ok_or_else(|| wrong(what));
        let number = |text: OsString, what| {
            let number = text.to_str().and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| wrong(what))
        };
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
            nice,
            output,
            exec: Exec {
                program,
                words,
                timeout: Duration::from_millis(timeout),
            },
        })
    }

    /// Returns the parsed command.
    pub(super) fn template(&self) -> Result<Template, RunnerError> {
        Template::parse(&self.exec.words).map_err(|error| RunnerError::Arguments(error.to_string()))
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
        for nice in [None, Some(-7)] {
            let plan = Plan {
                nice,
                output: "/out put".into(),
                exec: exec.clone(),
            };
            let said = plan.command();
            let said: Vec<_> = said.get_args().map(OsStr::to_owned).collect();
            assert_eq!(said[0], RUNNER);
            let heard = Plan::from_arguments(said[1..].to_vec()).expect("a plan");
            assert_eq!(heard, plan);
        }
    }

    #[test]
    fn whoever_starts_it_by_hand_is_told() {
        for said in [
            &[][..],
            &["x"],
            &["", "1"],
            &["x", "1", "/out", "/p"],
            &["", "1", "relative", "/p"],
        ] {
            let said = said.iter().map(OsString::from).collect();
            let error = Plan::from_arguments(said).expect_err("no plan").to_string();
            assert!(
                error.starts_with("only a coordinator starts this: "),
                "{error}"
            );
        }
    }
}
