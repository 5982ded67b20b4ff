//! The program to run on each file: split into words, found, and checked before the run starts.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::cli::exec::ExecArgs;
use crate::exec::{CommandError, Exec, Template};

/// Longest time limit. A longer one would have no effect in practice.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The folders with programs, if PATH is not set (execvp(3)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why a command cannot be run on files.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It cannot be split into words.
    #[error("cannot split the command '{}' (--exec) into words: a quote is not closed", .0.escape_debug())]
    Quote(String),
    /// Its words are not a valid command.
    #[error("cannot run '{}' (--exec): {problem}", .command.escape_debug())]
    Command {
        /// What was typed.
        command: String,
        /// What is wrong with it.
        problem: CommandError,
    },
    /// The program does not exist.
    #[error("cannot run {program} (--exec): there is no such program in PATH")]
    NotInPath {
        /// Its name.
        program: String,
    },
    /// The program exists but cannot be run.
    #[error("cannot run {program} (--exec): {error}")]
    Unusable {
        /// Its path.
        program: String,
        error: io::Error,
    },
}

/// Validates the options.
pub(super) fn exec(args: &ExecArgs, path: Option<OsString>) -> Result<Option<Exec>, ExecError> {
    let Some(command) = &args.exec else {
        return Ok(None);
    };
    let words = shlex::split(command).ok_or_else(|| ExecError::Quote(command.clone()))?;
    let template = Template::parse(&words).map_err(|problem| ExecError::Command {
        command: command.clone(),
        problem,
    })?;
    let program = find(&template.name, &path.unwrap_or_else(|| DEFAULT_PATH.into()))?;
    Ok(Some(Exec {
        program: program.into_os_string(),
        words,
        timeout: args.exec_timeout.min(LONGEST),
    }))
}

/// Finds the program as a shell would. The path is absolute, so it is valid in every folder.
fn find(name: &str, path: &OsString) -> Result<PathBuf, ExecError> {
    let unusable = |error| ExecError::Unusable {
        program: name.to_owned(),
        error,
    };
    if name.contains('/') {
        let program = std::path::absolute(name).map_err(unusable)?;
        check(&program).map_err(unusable)?;
        return Ok(program);
    }
    let mut first_problem = None;
    for folder in std::env::split_paths(path) {
        let program = std::path::absolute(folder.join(name)).map_err(unusable)?;
        match check(&program) {
            Ok(()) => return Ok(program),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                first_problem.get_or_insert(error);
            }
        }
    }
    match first_problem {
        Some(error) => Err(unusable(error)),
        None => Err(ExecError::NotInPath {
            program: name.to_owned(),
        }),
    }
}

/// Fails unless `program` is a file that may be executed.
fn check(program: &Path) -> io::Result<()> {
    if std::fs::metadata(program)?.is_file() {
        Ok(access(program, Access::EXEC_OK)?)
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn parse(command: &str, path: &str) -> Result<Option<Exec>, String> {
        let args = ExecArgs {
            exec: Some(command.to_owned()),
            exec_timeout: Duration::MAX,
        };
        exec(&args, Some(path.into())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_split_as_a_shell_does_and_its_program_looked_up() {
        let exec = parse("sh -c 'exit  1' \"a b\"", "/nowhere:/bin").expect("it is there");
        let exec = exec.expect("there is one");
        assert_eq!(exec.words, ["sh", "-c", "exit  1", "a b"]);
        assert_eq!(exec.program, "/bin/sh");
        assert_eq!(exec.timeout, LONGEST);
    }

    #[test]
    fn what_cannot_be_run_is_one_clear_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_str().expect("text");
        fs::write(folder.path().join("plain"), "").expect("a file");
        fs::set_permissions(folder.path().join("plain"), Permissions::from_mode(0o644))
            .expect("a mode");
        fs::create_dir(folder.path().join("folder")).expect("a folder");
        let missing = format!("{path}/missing");
        for (command, expected) in [
            ("", "cannot run '' (--exec): it is empty"),
            ("''", "cannot run '\\'\\'' (--exec): it is empty"),
            (
                "a 'b",
                "cannot split the command 'a \\'b' (--exec) into words: a quote",
            ),
            (
                "sh {pth}",
                "cannot run 'sh {pth}' (--exec): there is no {pth}; a command has {path}",
            ),
            (
                "missing",
                "cannot run missing (--exec): there is no such program in PATH",
            ),
            ("plain", "cannot run plain (--exec): Permission denied"),
            ("folder", "cannot run folder (--exec): it is not a file"),
            (
                &missing,
                &format!("cannot run {missing} (--exec): No such file"),
            ),
        ] {
            let error = parse(command, path).expect_err("it cannot be run");
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'));
        }
    }
}
