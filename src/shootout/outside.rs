//! Outside contestants: any command, and the programs that most people use today.
//!
//! This module must not run the contest. It runs programs only to find out their versions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bare;
use super::result::Family;

/// A command that downloads a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Name.
    pub name: String,
    /// A description in one line.
    pub summary: String,
    /// Its family.
    pub family: Family,
    /// The words of the command. [`Places`] lists the placeholders.
    pub words: Vec<String>,
    /// The first line of the output of `--version`.
    pub version: Option<String>,
}

/// The values of the placeholders in a command's words.
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
    /// `{origin}`: host and port of the origin. Without an origin, words that contain it are left
    /// out.
    pub origin: Option<SocketAddr>,
    /// `{ca}`: the certificate to trust. Without one, words that contain it are left out.
    pub ca: Option<&'a Path>,
    /// `{workers}`: downloads in flight.
    pub in_flight: u16,
}

/// The reason why a text does not describe a contestant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContestantError {
    /// It has no name or no command.
    #[error("expected 'NAME=COMMAND', for example 'mine=./mine --list {{urls}} --to {{out}}'")]
    Shape,
    /// A quote is not closed.
    #[error("the command of '{0}' has a quote that is not closed")]
    Quotes(String),
    /// A required placeholder is missing.
    #[error("the command of '{name}' must contain {missing}")]
    Missing {
        name: String,
        /// The placeholder.
        missing: &'static str,
    },
}

impl Outside {
    /// Parses `NAME=COMMAND`. The command is split as a shell would split it, but runs without a
    /// shell.
    ///
    /// # Errors
    ///
    /// Fails if the text has another form, or lacks `{urls}` or `{out}`.
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

    /// Returns the contestant that makes only the system calls, in as many processes as there are
    /// workers.
    #[must_use]
    pub fn limit() -> Self {
        let words = ["/proc/self/exe", bare::COMMAND, "--processes", "{workers}"];
        let places = ["{urls}", "{out}"];
        Self {
            name: "limit".to_owned(),
            summary: "only the system calls that the downloads take".to_owned(),
            family: Family::Outside,
            words: [&words[..], &places]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            version: None,
        }
    }

    /// Returns whether it makes only the system calls.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.words.iter().any(|word| word == bare::COMMAND)
    }

    /// Returns whether its command can have more than one download in flight.
    #[must_use]
    pub fn scales(&self) -> bool {
        self.words.iter().any(|word| word.contains("{workers}"))
    }

    /// Returns the command with all placeholders replaced.
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
        let word = match self.ca {
            Some(ca) => word.replace("{ca}", &ca.to_string_lossy()),
            None if word.contains("{ca}") => return None,
            None => word,
        };
        // The shootout creates these folders. Their names are UTF-8, and have no characters that
        // are special to a shell inside a contestant's command.
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

/// The programs of the talk, for today's Python: name and source.
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

/// A program that most people use, and how it downloads a list. `{program}` stands for its path.
struct Peer {
    program: &'static str,
    name: &'static str,
    summary: &'static str,
    command: &'static str,
}

/// The peers, all with the same settings.
const PEERS: [Peer; 4] = [
    Peer {
        program: "curl",
        name: "curl",
        summary: "curl -Z: one thread, one event loop",
        command: "{program} --disable --silent --show-error --fail --location --parallel \
                  --parallel-immediate --parallel-max {workers} --output-dir {out} --config {curl}",
    },
    // wget2 1.99 leaves the port out of its Host header, and so requests another site.
    Peer {
        program: "wget2",
        name: "wget2",
        summary: "wget2: threads",
        command: "{program} --no-config --quiet --max-threads {workers} --directory-prefix {out} \
                  --header=Host:{origin} --ca-certificate={ca} --input-file {urls}",
    },
    Peer {
        program: "aria2c",
        name: "aria2c",
        summary: "aria2c: one thread, one event loop",
        command: "{program} --no-conf --quiet --max-concurrent-downloads {workers} --split 1 \
                  --max-connection-per-server 1 --file-allocation none --summary-interval 0 \
                  --ca-certificate={ca} --dir {out} --input-file {urls}",
    },
    Peer {
        program: "wget",
        name: "xargs+wget",
        summary: "xargs: a process of wget for each URL",
        command: "xargs --arg-file {urls} --max-procs {workers} --max-args 1 {program} --no-config \
                  --quiet --ca-certificate={ca} --force-directories --directory-prefix {out}",
    },
];

/// The reason why a named program cannot take part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The text has another form, or names another program.
    #[error("expected NAME=PATH with a NAME of curl, wget2, aria2c or wget, not '{0}' (--peer)")]
    Shape(String),
    /// The path has no file, or another program.
    #[error("{path} does not answer --version, and so is no {name} (--peer)")]
    Silent { name: &'static str, path: String },
}

impl Peer {
    fn at(&self, path: &str, version: String) -> Outside {
        let words = self.command.split_whitespace();
        Outside {
            name: self.name.to_owned(),
            summary: self.summary.to_owned(),
            family: Family::Outside,
            words: words.map(|word| word.replace("{program}", path)).collect(),
            version: Some(version),
        }
    }
}

/// Returns the programs in `told`, given as NAME=PATH. With `all`, also returns the newest
/// installed version of each other program, and Python.
///
/// # Errors
///
/// Fails if an element of `told` is not one of these programs.
pub fn peers(told: &[String], all: bool) -> Result<Vec<Outside>, PeerError> {
    let mut paths = HashMap::new();
    for text in told {
        let shape = || PeerError::Shape(text.clone());
        let (name, path) = text.split_once('=').ok_or_else(shape)?;
        let peer = PEERS.iter().find(|peer| peer.program == name.trim());
        paths.insert(peer.ok_or_else(shape)?.program, path.trim());
    }
    let mut found = Vec::new();
    for peer in &PEERS {
        let there = match paths.get(peer.program) {
            Some(path) => {
                let (name, path) = (peer.program, (*path).to_owned());
                let version = version(&path, "--version");
                let version = version.ok_or_else(|| PeerError::Silent {
                    name,
                    path: path.clone(),
                })?;
                Some((path, version))
            }
            None if all => newest(peer.program),
            None => None,
        };
        let needs_xargs = peer.command.starts_with("xargs");
        if let Some((path, version)) = there
            && (!needs_xargs || self::version("xargs", "--version").is_some())
        {
            found.push(peer.at(&path, version));
        }
    }
    if all {
        found.extend(python());
    }
    Ok(found)
}

/// Returns the newest program of this name on the `PATH`, and its version. Of several with the same
/// version, returns the first.
fn newest(program: &str) -> Option<(String, String)> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).map(|folder| folder.join(program));
    let files = folders.filter(|file| file.is_file());
    let mut newest: Option<(String, String)> = None;
    for path in files.filter_map(|file| file.into_os_string().into_string().ok()) {
        if let Some(version) = version(&path, "--version")
            && newest
                .as_ref()
                .is_none_or(|(_, known)| numbers(known) < numbers(&version))
        {
            newest = Some((path, version));
        }
    }
    newest
}

/// Returns the numbers of the first version in a line: 8, 21, 0 of `curl 8.21.0-DEV (x86_64)`.
fn numbers(version: &str) -> Vec<u64> {
    let mut words = version.split_whitespace();
    let word = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let parts = word.unwrap_or_default().split('.');
    parts
        .map_while(|part| {
            let digits = part.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        })
        .collect()
}

fn python() -> Vec<Outside> {
    // Uses the interpreter itself. `python3` on the `PATH` may be a script that searches for it on
    // each start.
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
                // The sequential program gets the number too, and ignores it.
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

/// Returns the first line of a program's output, or `None` if it does not exist or fails.
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
/// Fails if a file cannot be written.
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
    use std::os::unix::fs::PermissionsExt as _;

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
            ca: None,
            in_flight: 6,
        });
        assert_eq!(command.get_program(), "sh");
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words, ["-c", "get /u -P 6", "x/o"]);
    }

    fn program(folder: &Path, name: &str, says: &str) -> String {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).expect("writable");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("its own");
        path.to_str().expect("text").to_owned()
    }

    #[test]
    fn a_peer_that_is_told_takes_part_from_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let curl = program(folder.path(), "my curl", "curl 8.21.0-DEV (x86_64)");
        let found = peers(&[format!("curl={curl}")], false).expect("it answers");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), &found[0].words[0]),
            ("curl", &curl)
        );
        assert_eq!(
            found[0].version.as_deref(),
            Some("curl 8.21.0-DEV (x86_64)")
        );

        for (told, part) in [
            ("curl", "NAME=PATH"),
            ("lynx=/bin/true", "NAME=PATH"),
            ("curl=/nonexistent", "/nonexistent does not answer"),
        ] {
            let error = peers(&[told.to_owned()], false).expect_err(told);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let [old, new] = ["curl 7.88.1 (x86_64)", "curl 8.21.0-DEV (x86_64)"].map(numbers);
        assert_eq!(
            (old.as_slice(), new.as_slice()),
            (&[7, 88, 1][..], &[8, 21, 0][..])
        );
        assert!(numbers("aria2 version 1.36.0") < numbers("aria2 version 1.100"));
        assert_eq!(numbers("GNU Wget2 1.99.1 - multithreaded"), [1, 99, 1]);
        assert_eq!(numbers("none"), [0; 0]);
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
