//! Completions and manual pages, checked with the programs that read them.

use std::fs;
use std::process::{Command, Stdio};

fn coordinator(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn told(arguments: &[&str]) -> String {
    let output = coordinator(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what bash offers for the last of these words.
fn offered(script: &str, words: &[&str]) -> Vec<String> {
    let program = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                   _coordinator coordinator \"${COMP_WORDS[COMP_CWORD]}\" \
                   \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["--norc", "-c", program, script])
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_options_values_and_commands_but_nothing_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("coordinator.bash");
    fs::write(&script, told(&["completions", "bash"])).unwrap();
    let offered = |words: &[&str]| offered(script.to_str().unwrap(), words);
    assert_eq!(offered(&["coordinator", "--mo"]), ["--mode"]);
    assert_eq!(offered(&["coordinator", "--mode", "th"]), ["threads"]);
    assert_eq!(offered(&["coordinator", "resu"]), ["results"]);
    assert_eq!(offered(&["coordinator", "work"]), [""]);
    assert_eq!(
        offered(&["coordinator", "results", "--kind", "tim"]),
        ["timeout"]
    );
    assert_eq!(offered(&["coordinator", "results", "--fa"]), ["--failed"]);
    assert_eq!(offered(&["coordinator", "completions", "ba"]), ["bash"]);
}

#[test]
fn every_shell_has_completions_without_anything_hidden() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = told(&["completions", shell]);
        for part in ["retry-quarantined", "export-csv", "shootout"] {
            assert!(script.contains(part), "{shell}: {part}");
        }
        for part in ["epoch", "Be a worker"] {
            assert!(!script.contains(part), "{shell}: {part}");
        }
    }
    let output = coordinator(&["completions", "csh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Returns the page as a terminal shows it, if groff is installed.
fn set(page: &str) -> Option<String> {
    let mut groff = Command::new("groff")
        .args([
            "-man",
            "-Tascii",
            "-P-c",
            "-P-b",
            "-P-u",
            "-ww",
            "-rLL=100n",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = groff.stdin.take().unwrap();
    let page = page.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, page.as_bytes()));
    let output = groff.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "no warning");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Checks that mandoc(1), if installed, has no warnings.
fn lint(page: &std::path::Path) {
    let mut mandoc = Command::new("mandoc");
    if let Ok(output) = mandoc
        .args(["-T", "lint", "-W", "warning"])
        .arg(page)
        .output()
    {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn the_manual_page_has_options_exit_codes_and_signals_and_nothing_hidden() {
    let page = told(&["man"]);
    for part in [
        ".TH COORDINATOR 1 ",
        ".SH NAME\n",
        ".SH SYNOPSIS\n",
        ".SH OPTIONS\n",
        ".SH EXAMPLES\n",
        ".SH FILES\n",
        ".SH ENVIRONMENT\n",
        ".SH \"EXIT STATUS\"\n",
        ".SH SIGNALS\n",
        "\\-\\-retry\\-quarantined",
        "coordinator\\-results(1)",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("coordinator\\-worker"), "{page}");
    let Some(text) = set(&page) else {
        return;
    };
    let entries = ["SIGTSTP", "SIGTTIN, SIGTTOU", "130"];
    for entry in entries {
        let begins = |line: &str| line.trim_start().starts_with(entry);
        assert!(text.lines().any(begins), "{entry}: {text}");
    }
}

#[test]
fn the_help_has_its_groups_and_loses_no_word() {
    let help = told(&["--help-all"]);
    let heading = |line: &&str| line.ends_with(':') && !line.starts_with(' ');
    let headings: Vec<&str> = help.lines().filter(heading).collect();
    assert_eq!(
        headings,
        [
            "Commands:",
            "Arguments:",
            "Options:",
            "Lists:",
            "Each file:",
            "HTTP:",
            "Logging in:",
            "Retries:",
            "Workers:",
            "Crashes:",
            "Watching:",
            "Comparison:",
            "Values:",
            "Examples:",
            "Files:",
            "Environment:",
            "Exit status:",
            "Signals:"
        ]
    );
    let (_, options) = help.split_once("\nOptions:\n").unwrap();
    let (options, groups) = options.split_once("\nLists:\n").unwrap();
    for option in ["--workers", "--simulate", "--dry-run", "--quiet", "--fsync"] {
        assert!(options.contains(option), "{option}: {options}");
    }
    assert!(groups.contains("--mode"));
    // A literal `{n}` would end the line, and hide the words around it.
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains("name, hash and n (the number of the URL) in braces")
    );
}

#[test]
fn the_short_help_is_one_screen_of_options_that_there_are() {
    let whole = told(&["--help-all"]);
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let help = told(arguments);
        assert!(help.lines().count() <= 40, "{help}");
        for line in help.lines() {
            assert!(line.len() <= 80, "{line}");
        }
        for word in help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let option = word.trim_end_matches(',').split(['[', '=']).next().unwrap();
            assert!(whole.contains(option), "{option}");
        }
    }
}

#[test]
fn help_on_a_topic_is_that_of_the_whole_and_an_unknown_one_is_named_with_all_others() {
    let whole = told(&["help", "all"]);
    assert_eq!(whole, told(&["--help-all"]));
    for topic in [
        "lists",
        "exec",
        "http",
        "retries",
        "workers",
        "crashes",
        "comparison",
        "values",
        "examples",
        "files",
        "environment",
        "exit-status",
        "signals",
    ] {
        let help = told(&["help", topic]);
        assert!(help.lines().count() > 2, "{topic}: {help}");
        for line in help.lines() {
            assert!(whole.contains(line), "{topic}: {line}");
        }
    }
    assert!(told(&["help", "chaos"]).contains("--compare-modes"));
    let output = coordinator(&["help", "choas"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("did you mean chaos") && said.contains("exit-status"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn every_command_has_a_page_of_its_own_in_a_folder_that_is_made_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    assert_eq!(told(&["man", "--dir", pages.to_str().unwrap()]), "");
    let mut names: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let commands = [
        "chaos",
        "completions",
        #[cfg(feature = "fleet")]
        "fleet",
        "help",
        "isolation",
        "man",
        "origin",
        "results",
        "shootout",
    ];
    let mut expected = vec!["coordinator.1".to_owned()];
    expected.extend(commands.map(|name| format!("coordinator-{name}.1")));
    expected.sort();
    assert_eq!(names, expected);
    for name in names {
        let page = fs::read_to_string(pages.join(&name)).unwrap();
        assert!(page.contains(".SH SYNOPSIS\n"), "{name}");
        set(&page);
        lint(&pages.join(&name));
    }
    let file = pages.join("coordinator.1");
    let output = coordinator(&["man", "--dir", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("coordinator.1") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn who_reads_them_may_leave() {
    for arguments in [&["completions", "zsh"][..], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = coordinator(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stderr, b"");
    }
}
