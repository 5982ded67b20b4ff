//! Contestants from outside: any command, and the programs that most people use today.
//!
//! It must not run the contest; it only asks a program for its version.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::result::Family;

/// A command that downloads a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// What it is called.
    pub name: String,
    /// What it is, in a line.
    pub summary: String,
    /// Where it comes from.
    pub family: Family,
    /// Its words; see [`Places`] for what is replaced in them.
    pub words: Vec<String>,
    /// What the program says of its version.
    pub version: Option<String>,
}

/// What stands for the placeholders in a command's words.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// `{urls}`: the list, one URL a line.
    pub urls: &'a Path,
    /// `{curl}`: the list as a configuration file of curl.
    pub curl: &'a Path,
    /// `{python}`: the folder with the programs of the talk.
    pub python: &'a Path,
    /// `{out}`: the folder to store files in.
    pub out: &'a Path,
    /// `{origin}`: the origin's host and port. Words that hold it are left out without one.
    pub origin: Option<SocketAddr>,
    /// `{workers}`: downloads in flight.
    pub in_flight: u16,
}

/// Why a text is no contestant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContestantError {
    /// It has no name.
    #[error("expected 'NAME=COMMAND', for example 'mine=./mine --list {{urls}} --to {{out}}'")]
    Shape,
    /// A quote is open.
    #[error("the command of '{0}' has a quote that is not closed")]
    Quotes(String),
    /// It could not do the work.
    #[error("the command of '{name}' must contain {missing}")]
    Missing {
        name: String,
        /// Which placeholder.
        missing: &'static str,
    },
}

impl Outside {
    /// Reads `NAME=COMMAND`. The command is split as a shell would, and run without one.
    ///
    /// # Errors
    ///
    /// If it is something else, or lacks `{urls}` or `{out}`.
    pub fn parse(text: &str) -> Result<Self, ContestantError> {
        let (name, command) = text.split_once('=').ok_or(ContestantError::Shape)?;
        let (name, command) = (name.trim(), command.trim());
        if name.is_empty() || command.is_empty() {
            return Err(ContestantError::Shape);
        }
        let words = shlex::split(command)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| ContestantError::Quotes(name.to_owned()))?;
        for missing in ["{urls}", "{out}"] {
            if !command.contains(missing) {
                let name = name.to_owned();
                return Err(ContestantError::Missing { name, missing });
            }
        }
        Ok(Self {
            name: name.to_owned(),
            summary: "given with --contestant".to_owned(),
            family: Family::Outside,
            words,
            version: None,
        })
    }

    /// Whether it can have more than one download in flight, as far as its command tells.
    #[must_use]
    pub fn scales(&self) -> bool {
        self.words.iter().any(|word| word.contains("{workers}"))
    }

    /// Its command, ready to run.
    #[must_use]
    pub fn command(&self, places: &Places<'_>) -> Command {
        let mut words = self.words.iter().filter_map(|word| places.fill(word));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

impl Places<'_> {
    fn fill(&self, word: &str) -> Option<String> {
        let word = match self.origin {
            Some(origin) => word.replace("{origin}", &origin.to_string()),
            None if word.contains("{origin}") => return None,
            None => word.to_owned(),
        };
        // The folders are the shootout's own: their names are UTF-8, without anything that a shell
        // inside a contestant's command could take amiss.
        let paths = [
            ("{urls}", self.urls),
            ("{curl}", self.curl),
            ("{python}", self.python),
            ("{out}", self.out),
        ];
        let word = word.replace("{workers}", &self.in_flight.to_string());
        Some(paths.iter().fold(word, |word, (place, path)| {
            word.replace(place, &path.to_string_lossy())
        }))
    }
}

/// The programs of the talk, for today's Python: name, source.
pub const PYTHON: [(&str, &str); 6] = [
    ("common.py", include_str!("python/common.py")),
    ("sequential.py", include_str!("python/sequential.py")),
    ("threads.py", include_str!("python/threads.py")),
    (
        "processes_queue.py",
        include_str!("python/processes_queue.py"),
    ),
    (
        "processes_pool.py",
        include_str!("python/processes_pool.py"),
    ),
    ("event_loop.py", include_str!("python/event_loop.py")),
];

/// The programs that are on this machine, with equal settings.
#[must_use]
pub fn peers() -> Vec<Outside> {
    let mut found = Vec::new();
    let mut enter = |program: &str, name: &str, summary: &str, command: &str| {
        if let Some(version) = version(program, "--version") {
            found.push(Outside {
                name: name.to_owned(),
                summary: summary.to_owned(),
                family: Family::Outside,
                words: command.split_whitespace().map(str::to_owned).collect(),
                version: Some(version),
            });
        }
    };
    enter(
        "curl",
        "curl",
        "curl -Z: one thread, one event loop",
        "curl --disable --silent --show-error --fail --location --parallel --parallel-immediate \
         --parallel-max {workers} --output-dir {out} --config {curl}",
    );
    // wget2 1.99 leaves the port out of its Host field, and so asks for another site.
    enter(
        "wget2",
        "wget2",
        "wget2: threads",
        "wget2 --no-config --quiet --max-threads {workers} --directory-prefix {out} \
         --header=Host:{origin} --input-file {urls}",
    );
    enter(
        "aria2c",
        "aria2c",
        "aria2c: one thread, one event loop",
        "aria2c --no-conf --quiet --max-concurrent-downloads {workers} --split 1 \
         --max-connection-per-server 1 --file-allocation none --summary-interval 0 --dir {out} \
         --input-file {urls}",
    );
    if version("xargs", "--version").is_some() {
        enter(
            "wget",
            "xargs+wget",
            "xargs: a process of wget for each URL",
            "xargs --arg-file {urls} --max-procs {workers} --max-args 1 wget --no-config --quiet \
             --force-directories --directory-prefix {out}",
        );
    }
    found.extend(python());
    found
}

fn python() -> Vec<Outside> {
    // The interpreter itself: what is on the path may be a script that looks for it each time.
    let Some(interpreter) = ask("python3", &["-c", "import sys; print(sys.executable)"]) else {
        return Vec::new();
    };
    let version = version(&interpreter, "--version");
    let aiohttp = ask(
        &interpreter,
        &["-c", "import aiohttp; print(aiohttp.__version__)"],
    );
    let event_loop = match &aiohttp {
        Some(version) => format!("Python: asyncio with aiohttp {version}"),
        None => "Python: asyncio's own streams, for want of aiohttp".to_owned(),
    };
    let programs = [
        (
            "sequential",
            "Python: one download after another".to_owned(),
        ),
        ("threads", "Python: threading, with a Queue".to_owned()),
        (
            "processes_queue",
            "Python: multiprocessing, with a JoinableQueue".to_owned(),
        ),
        (
            "processes_pool",
            "Python: multiprocessing, with Pool.map".to_owned(),
        ),
        ("event_loop", event_loop),
    ];
    programs
        .into_iter()
        .map(|(program, summary)| Outside {
            name: format!("python-{}", program.replace('_', "-")),
            summary,
            family: Family::Python,
            words: vec![
                interpreter.clone(),
                format!("{{python}}/{program}.py"),
                // A sequential program is told as well, and takes no notice.
                if program == "sequential" {
                    "1"
                } else {
                    "{workers}"
                }
                .to_owned(),
                "{urls}".to_owned(),
                "{out}".to_owned(),
            ],
            version: version.clone(),
        })
        .collect()
}

fn version(program: &str, option: &str) -> Option<String> {
    ask(program, &[option])
}

/// The first line that a program answers with; `None` if it is not there or fails.
fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let answer = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|answer| answer.status.success())?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Writes the programs of the talk into `folder`.
///
/// # Errors
///
/// If they cannot be written.
pub fn write_python(folder: &Path) -> std::io::Result<PathBuf> {
    let python = folder.join("python");
    std::fs::create_dir(&python)?;
    for (name, source) in PYTHON {
        std::fs::write(python.join(name), source)?;
    }
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would_and_filled() {
        let outside =
            Outside::parse("mine = sh -c 'get {urls} -P {workers}' H:{origin} x{out}").expect("ok");
        assert_eq!(outside.name, "mine");
        assert!(outside.scales());
        let command = outside.command(&Places {
            urls: "/u".as_ref(),
            curl: "/c".as_ref(),
            python: "/p".as_ref(),
            out: "/o".as_ref(),
            origin: None,
            in_flight: 6,
        });
        assert_eq!(command.get_program(), "sh");
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words, ["-c", "get /u -P 6", "x/o"]);
    }

    #[test]
    fn what_cannot_do_the_work_is_refused() {
        assert_eq!(Outside::parse("curl"), Err(ContestantError::Shape));
        assert_eq!(Outside::parse("=curl"), Err(ContestantError::Shape));
        assert_eq!(
            Outside::parse("a=curl '{urls} {out}"),
            Err(ContestantError::Quotes("a".to_owned()))
        );
        let missing = Outside::parse("a=curl {urls}").expect_err("no {out}");
        assert!(missing.to_string().contains("{out}"), "{missing}");
    }
}
