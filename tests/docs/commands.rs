//! Runs the commands of the manual, README.md and `--help` as they are written.
//!
//! Each block `sh` is passed to bash, in order, in a folder with the files that the commands name.
//! A config file makes every run a simulated one, so nothing leaves the machine. A block
//! `sh,ignore` is not run: it needs another machine, root or an hour.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use coordinator::cli::Cli;
use tempfile::TempDir;

use super::pages::{self, Page};

const PROGRAM: &str = env!("CARGO_BIN_EXE_coordinator");

/// A folder in which the commands of a page run.
pub struct Shell {
    folder: TempDir,
}

impl Shell {
    /// Creates a folder for simulated runs, with the files that the manual's examples name.
    pub fn simulated() -> Self {
        let shell = Self::new();
        let urls =
            ["a.example/x", "a.example/y", "b.example/z"].map(|url| format!("https://{url}.pdf"));
        shell.write("list.txt", &urls.join("\n"));
        shell.write("urls.txt", &urls.join("\n"));
        shell.write(
            "list.csv",
            &format!("n,link\n1,{}\n2,{}\n", urls[0], urls[1]),
        );
        shell.write(
            "list.jsonl",
            "{\"url\": \"https://a.example/b\", \"out\": \"a/b.pdf\"}\n",
        );
        shell.run("gzip -k list.jsonl");
        shell.program("produce-urls", "cat list.txt");
        // Replaces a program that reduces images: convert FILE -resize SIZE NEW.
        shell.program("convert", "cp \"$1\" \"$4\"");
        shell.write(
            "config/coordinator/config.toml",
            "simulate = true\noutput = \"downloads\"\n",
        );
        // A failure for `coordinator results --failed`.
        let slow = "coordinator https://h.example/1 https://h.example/2 --retry 0 --inject segv@/2";
        shell.run(&format!("! {slow} --simulate=latency=1m --max-time 0.1"));
        shell
    }

    /// Creates an empty folder with the program.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("coordinator-docs-")
            .tempdir()
            .unwrap();
        let shell = Self { folder };
        fs::create_dir(shell.path("bin")).unwrap();
        std::os::unix::fs::symlink(PROGRAM, shell.path("bin/coordinator")).unwrap();
        shell
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and its folders. Only the owner can read it, because it may hold a secret.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Creates a script that commands can name.
    pub fn program(&self, name: &str, script: &str) {
        let name = format!("bin/{name}");
        self.write(&name, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(&name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script. Returns its standard output.
    ///
    /// # Panics
    ///
    /// Panics if a command fails.
    pub fn run(&self, script: &str) -> String {
        let path = std::env::var("PATH").unwrap();
        let mut bash = Command::new("bash")
            .args(["-eu", "-o", "pipefail"])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("HOME", self.folder.path())
            .env("no_proxy", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // With one line at a time, a command could read the next lines as its standard input.
        let script = format!("main() {{\n{script}\n}}\nmain </dev/null\n");
        bash.stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = bash.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}\n{script}\n{printed}\n{said}",
            output.status
        );
        printed
    }
}

/// Programs in the manual's commands that a machine may lack.
const MAYBE_MISSING: &[&str] = &["jq"];

/// Returns whether the programs in `script` are installed. Prints a message if not.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn can_run(script: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let is_there =
        |program: &&&str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let names = |program: &&&str| script.split_whitespace().any(|word| word == **program);
    let missing = MAYBE_MISSING
        .iter()
        .filter(names)
        .find(|program| !is_there(program));
    if let Some(program) = missing {
        eprintln!("skipped: there is no {program} for a command of the manual");
    }
    missing.is_none()
}

/// Returns the commands on a page that can run on any machine.
pub fn commands(page: &Page) -> Vec<String> {
    let blocks = page.blocks().into_iter();
    blocks
        .filter(|block| block.info == "sh")
        .map(|block| block.text)
        .collect()
}

/// Pages whose commands need servers of their own.
const TRADES: &[&str] = &[
    "docs/earth-data.md",
    "docs/image-sets.md",
    "docs/sequence-archives.md",
    "docs/web-archives.md",
];

/// Returns whether the page describes the present program. Decisions and the changelog do not.
fn is_current(page: &Page) -> bool {
    !page.path.starts_with("docs/decisions") && !page.path.ends_with("CHANGELOG.md")
}

#[test]
fn the_commands_of_every_page_run() {
    let is_simulated = |page: &&Page| !TRADES.iter().any(|path| page.path.ends_with(path));
    let pages = pages::all();
    for page in pages
        .iter()
        .filter(|page| is_current(page))
        .filter(is_simulated)
    {
        let commands = commands(page);
        if commands.is_empty() {
            continue;
        }
        let shell = Shell::simulated();
        for command in commands.iter().filter(|command| can_run(command)) {
            // Ports in examples may be in use.
            shell.run(&command.replace("--listen 9000", "--listen 0"));
        }
    }
}

/// In the recipes, `coordinator ...` is a command, and `--option` is an option of a run. Some
/// options have no meaning in a simulated run, so that run is a dry run.
#[test]
fn the_commands_in_the_tables_of_recipes_run() {
    let pages = pages::all();
    let recipes = pages
        .iter()
        .find(|page| page.path.ends_with("docs/recipes.md"))
        .unwrap();
    let shell = Shell::simulated();
    let mut count = 0;
    for code in recipes.code() {
        let code = code.replace("FILE", "/dev/null").replace("PORT", "0");
        let command = match code.split(' ').next().unwrap() {
            "coordinator" | "produce-urls" => code,
            option if option.starts_with('-') => {
                format!("coordinator list.txt --no-config --dry-run --output real {code}")
            }
            _ => continue,
        };
        count += 1;
        shell.run(&command);
    }
    assert!(count > 30, "{count}");
}

#[test]
fn the_examples_of_the_help_run() {
    let help = coordinator::manual::whole_help();
    let (_, examples) = help.split_once("\nExamples:\n").unwrap();
    let (examples, _) = examples.split_once("\n\n").unwrap();
    let shell = Shell::simulated();
    let commands = examples.lines().filter(|line| !line.starts_with("      "));
    let mut count = 0;
    for command in commands {
        shell.run(command);
        count += 1;
    }
    assert!(count > 5, "{examples}");
}

/// Returns the options of all commands of this program.
fn options() -> Vec<String> {
    let mut cli = Cli::command();
    cli.build();
    let mut commands = vec![&cli];
    let mut options = vec!["help".to_owned(), "version".to_owned()];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for argument in command.get_arguments() {
            let aliases = argument.get_all_aliases().unwrap_or_default();
            let names = argument.get_long().into_iter().chain(aliases);
            options.extend(names.map(str::to_owned));
        }
    }
    options
}

/// Commands with these words are not checked for options.
const OTHERS: &[&str] = &["cargo ", "journalctl ", "podman ", "sha256sum "];

/// Options of other commands that exist only with the feature `fleet`.
const OF_FLEETS: [&str; 2] = ["--fleet", "--nats-server"];

/// Options of other programs in the manual.
const FOREIGN: &[&str] = &[
    "--arg",
    "--cap-drop",
    "--check",
    "--files-from",
    "--init",
    "--mirror",
    "--no-NAME",
    "--read-only",
    "--security-opt",
    "--test",
    "--time",
    "--unix-socket",
    "--warc-file",
    "--workspace",
];

/// An unknown option in the manual is a mistake, or an option that was renamed.
#[test]
fn every_option_that_the_manual_names_is_there() {
    let options = options();
    // The options of a fleet exist only with its feature.
    let is_known = |page: &Page| cfg!(feature = "fleet") || !page.path.ends_with("fleet.md");
    let pages = pages::all();
    let pages = pages
        .iter()
        .filter(|page| is_current(page) && is_known(page));
    let mut missing = Vec::new();
    for page in pages {
        let mut code = page.code();
        code.extend(page.blocks().into_iter().map(|block| block.text));
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let lines = code.iter().flat_map(|text| text.lines());
        let lines = lines.filter(|line| !OTHERS.iter().any(|program| line.contains(program)));
        let words = lines.flat_map(|line| line.split(|c| !is_part(c)));
        for word in words {
            let Some(name) = word
                .strip_prefix("--")
                .filter(|name| !name.starts_with('-'))
            else {
                continue;
            };
            // `no-` before its name turns off a switch of a config file.
            let switch = name.strip_prefix("no-").unwrap_or(name);
            let is_ours = options.iter().any(|known| known == name || known == switch)
                || (!cfg!(feature = "fleet") && OF_FLEETS.contains(&word));
            if !is_ours && !name.is_empty() && !FOREIGN.contains(&word) {
                missing.push(format!("{}: {word}", page.path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
