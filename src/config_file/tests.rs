//! Tests of config files: keys, places, and the keys that each author may set.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::CommandFactory as _;

use super::*;

/// Reads a file. Returns its contents, or the message about its error.
fn read(text: &str, author: Author, mode: u32) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("c.toml");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode is set");
    let mut command = Cli::command();
    command.build();
    let place = folder.path().display().to_string() + "/";
    match file::read(&path, author, &command) {
        Ok(loaded) => Ok(loaded.expect("it is there")),
        Err(error) => Err(error.to_string().replace(&place, "")),
    }
}

fn named(text: &str) -> Result<Vec<String>, String> {
    let loaded = read(text, Author::Named, 0o600)?;
    let words = words(loaded.entries.iter());
    Ok(words
        .into_iter()
        .map(|word| word.into_string().expect("text"))
        .collect())
}

/// Returns a TOML value that an option accepts.
fn sample(arg: &Arg) -> &'static str {
    let name = arg.get_value_names().and_then(|names| names.first());
    match name.map_or("", |name| name.as_str()) {
        _ if keys::is_switch(arg) => "true",
        _ if arg.get_long() == Some("verbose") => "2",
        _ if arg.get_long() == Some("simulate") => "true",
        _ if arg.get_long() == Some("listen") => "\"127.0.0.1:0\"",
        "N" | "PORTS" => "1",
        "TIME" | "AGE" => "\"5m\"",
        "SIZE" | "SPEED" => "\"10M\"",
        "RATE" => "\"5/s\"",
        "N|P%" => "\"5%\"",
        "N/PERIOD" => "\"18/60s\"",
        "HEADER" => "[\"A: b\"]",
        "HOST:PORT:ADDR" => "[\"a.example:80:127.0.0.1\"]",
        "NAME:PASSWORD" => "\"a:b\"",
        "SPEC" => "\"kill=1/s\"",
        "FORMAT" | "HOW" | "WHEN" => "\"auto\"",
        _ => match arg.get_possible_values().first() {
            Some(value) if value.get_name() == "processes" => "\"threads\"",
            Some(value) if value.get_name() == "blocking" => "\"async\"",
            Some(value) if value.get_name() == "shared" => "\"chunked\"",
            Some(_) | None => "\"x\"",
        },
    }
}

#[test]
fn every_option_of_a_run_is_a_key_and_what_is_not_for_files_is_none() {
    let mut command = Cli::command();
    command.build();
    let mut count = 0;
    for arg in keys(&command) {
        let long = arg.get_long().expect("keys are long names");
        let text = match long {
            "sandbox" => "sandbox = \"off\"".to_owned(),
            long => format!("{long} = {}", sample(arg)),
        };
        let words = named(&text);
        let words = words.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(words[0].starts_with(&format!("--{long}")), "{words:?}");
        count += 1;
    }
    let all = command.get_arguments().filter_map(Arg::get_long).count();
    let not_in_files = ["config", "no-config", "help-all", "help", "version"];
    assert_eq!(count, all - not_in_files.len());
    for key in not_in_files {
        let error = named(&format!("{key} = true")).expect_err(key);
        assert!(error.contains("it is for the command line"), "{error}");
    }
}

#[test]
fn the_manual_names_what_a_file_beside_a_list_may_say() {
    let manual = include_str!("../../docs/config.md");
    let command = Cli::command();
    for key in FROM_ANYBODY {
        assert!(keys::option(&command, key).is_some(), "{key} is an option");
        assert!(manual.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn a_file_that_was_found_beside_a_list_starts_no_program_and_names_no_file_or_server() {
    let mut command = Cli::command();
    command.build();
    for arg in keys(&command) {
        let long = arg.get_long().expect("keys are long names");
        let loaded = read(&format!("{long} = {}", sample(arg)), Author::Anybody, 0o600);
        match loaded {
            Ok(_) => assert!(FROM_ANYBODY.contains(&long), "{long}"),
            Err(error) if FROM_ANYBODY.contains(&long) => panic!("{long}: {error}"),
            Err(error) => assert!(error.contains("--config"), "{long}: {error}"),
        }
    }
    let host = "[host.\"a.example\"]\ncert = \"a.pem\"\n";
    assert!(read(host, Author::Anybody, 0o600).is_err());
    assert!(read(host, Author::User, 0o600).is_ok());
    for dangerous in [
        "exec",
        "output",
        "output-file",
        "force",
        "no-lock",
        "proxy",
        "noproxy",
        "resolve",
        "cacert",
        "insecure",
        "user",
        "oauth2-bearer",
        "netrc-file",
        "cookie",
        "cookie-jar",
        "cert",
        "key",
        "header",
        "sandbox",
        "mode",
        "inject",
        "listen",
        "timeline",
        "simulate-via",
        "block-private",
    ] {
        assert!(!FROM_ANYBODY.contains(&dangerous), "{dangerous}");
    }
}

#[test]
fn what_is_wrong_is_one_line_with_its_place_and_a_way_out() {
    for (text, expected) in [
        (
            "\nwrkers = 3",
            "c.toml:2:1: there is no option wrkers; did you mean workers?",
        ),
        (
            "max_time = 3",
            "c.toml:1:1: there is no option max_time; did you mean max-time?",
        ),
        ("w = 3", "c.toml:1:1: there is no option w; write workers"),
        (
            "output-dir = 'x'",
            "c.toml:1:1: there is no option output-dir; write output",
        ),
        (
            "no-robots = true",
            "c.toml:1:1: there is no option no-robots; write robots = false",
        ),
        (
            "workers = true",
            "c.toml:1:11: workers takes one value: a text in quotes, or a number",
        ),
        (
            "workers = 0",
            "c.toml:1:1: workers: expected a number from 1 to 65535",
        ),
        (
            "robots = \"yes\"",
            "c.toml:1:10: robots takes true or false, without quotes",
        ),
        (
            "header = [\"A: b\", 1979-05-27]",
            "c.toml:1:19: header takes texts in quotes, or numbers",
        ),
        (
            "mode = \"magic\"",
            "c.toml:1:1: mode: expected one of processes, threads, async, sequential",
        ),
        (
            "cacert = \"a\"\ninsecure = true",
            "c.toml:2:1: insecure cannot be combined with cacert (line 1)",
        ),
        (
            "[hosts.\"a.example\"]",
            "c.toml:1:2: there is no option hosts; did you mean host?",
        ),
        (
            "[host.\"a.example\"]\ncrt = 'x'",
            "c.toml:2:1: a host takes cert and key, and not crt; did you mean cert?",
        ),
        (
            "[host.\"a.example\"]\nkey = 'x'",
            "c.toml:1:7: the table of a.example has no cert",
        ),
    ] {
        let told = match read(text, Author::Named, 0o600) {
            Err(told) => told,
            Ok(loaded) => together(loaded).expect_err(text),
        };
        assert_eq!(told, expected, "{text}");
    }
    for text in ["workers = [", "workers = 3\nworkers = 4", "= 3", "a b c"] {
        let told = named(text).expect_err(text);
        assert!(
            told.starts_with("c.toml:") && !told.contains('\n'),
            "{told}"
        );
    }
}

/// Returns the words from a single file, or the error without the name of its folder.
fn together(loaded: Loaded) -> Result<Vec<OsString>, String> {
    let folder = loaded.path.parent().map(Path::to_owned).unwrap_or_default();
    let place = folder.display().to_string() + "/";
    let chosen = choose(&["coordinator"], vec![loaded]);
    chosen
        .map(|chosen| chosen.words)
        .map_err(|error| error.replace(&place, ""))
}

fn choose(typed: &[&str], loaded: Vec<Loaded>) -> Result<Choice, String> {
    let given: Vec<OsString> = typed.iter().map(OsString::from).collect();
    let mut command = Cli::command();
    let (arguments, off) = without_opposites(&command, &given);
    let matches = command
        .clone()
        .mut_args(|arg| arg.requires(Resettable::<Id>::Reset))
        .try_get_matches_from(&arguments)
        .map_err(|error| error.to_string())?;
    command.build();
    let files = &mut FileArgs::default();
    Choice::of(&command, &matches, &off, loaded, &arguments, files)
        .map_err(|error| error.to_string())
}

fn chosen(typed: &[&str], texts: &[&str]) -> Vec<String> {
    let loaded = texts
        .iter()
        .map(|text| read(text, Author::Named, 0o600).expect("a good file"));
    let chosen = choose(typed, loaded.collect()).expect("they go together");
    let words = chosen.words.into_iter();
    words
        .map(|word| word.into_string().expect("text"))
        .collect()
}

#[test]
fn what_is_typed_wins_and_so_does_the_file_that_comes_first() {
    let typed = |words: &str| -> Vec<String> {
        let words: Vec<&str> = std::iter::once("coordinator")
            .chain(words.split_whitespace())
            .collect();
        chosen(
            &words,
            &[
                "workers = 3\nretry = 1\nrobots = true",
                "retry = 2\nrate = 5",
            ],
        )
    };
    assert_eq!(
        typed(""),
        ["--workers=3", "--retry=1", "--robots", "--rate=5"]
    );
    assert_eq!(typed("-w 2 --rate 1"), ["--retry=1", "--robots"]);
    assert_eq!(typed("--no-robots --retry=0"), ["--workers=3", "--rate=5"]);
    let off = chosen(&["coordinator"], &["robots = false", "robots = true"]);
    assert!(off.is_empty(), "{off:?}");
    let insecure = chosen(&["coordinator", "--cacert", "x"], &["insecure = true"]);
    assert!(insecure.is_empty(), "{insecure:?}");
    let lists = chosen(&["coordinator", "-H", "A: b"], &["header = [\"C: d\"]"]);
    assert!(lists.is_empty(), "{lists:?}");
}

#[test]
fn what_has_a_meaning_only_beside_another_option_waits_for_it() {
    let text = "exec-timeout = \"1m\"\nlisten-token = \"t\"\nlisten = \"127.0.0.1:0\"";
    let with = ["--listen-token=t", "--listen=127.0.0.1:0"];
    assert_eq!(chosen(&["coordinator"], &[text]), with);
    let exec = chosen(&["coordinator", "--exec", "true"], &[text]);
    assert_eq!(exec.len(), 3, "{exec:?}");
    let pair = "cert = \"a\"\nkey = \"b\"";
    assert_eq!(chosen(&["coordinator"], &[pair]), ["--cert=a", "--key=b"]);
    let other = chosen(&["coordinator", "--cert", "c"], &[pair]);
    assert!(
        other.is_empty(),
        "a key is not for another certificate: {other:?}"
    );
}

#[test]
fn secrets_are_taken_only_from_a_file_that_others_cannot_read_and_are_not_shown() {
    for text in [
        "user = \"a:s3cret\"",
        "oauth2-bearer = \"s3cret\"",
        "proxy = \"http://u:s3cret@p.example\"",
        "header = \"Cookie: s3cret\"",
    ] {
        let told = read(text, Author::Named, 0o644).expect_err(text);
        assert!(told.contains("chmod 600"), "{told}");
        let loaded = read(text, Author::Named, 0o600).expect("a good file");
        let shown = &loaded.entries[0].shown;
        assert!(
            shown.contains("(hidden)") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
    for text in [
        "oauth2-bearer = \"@token\"",
        "proxy = \"p.example\"",
        "header = \"A: b\"",
    ] {
        read(text, Author::Named, 0o644).expect(text);
    }
}

#[test]
fn the_own_file_is_of_the_user_alone() {
    let told = read("workers = 3", Author::User, 0o622).expect_err("others may write to it");
    assert!(told.contains("others may write to it"), "{told}");
    read("workers = 3", Author::User, 0o644).expect("others may read it");
}

#[test]
fn the_own_file_is_in_the_folder_that_xdg_names() {
    let place = |pairs: &[(&str, &str)]| {
        own(|name| {
            let mut pairs = pairs.iter();
            let found = pairs.find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    };
    let path = |text: &str| Some(PathBuf::from(text));
    let home = ("HOME", "/home/u");
    assert_eq!(
        place(&[home]),
        path("/home/u/.config/coordinator/config.toml")
    );
    let xdg = ("XDG_CONFIG_HOME", "/x");
    assert_eq!(place(&[home, xdg]), path("/x/coordinator/config.toml"));
    let relative = ("XDG_CONFIG_HOME", "x");
    assert_eq!(
        place(&[home, relative]),
        path("/home/u/.config/coordinator/config.toml")
    );
    assert_eq!(place(&[]), None);
}

#[cfg(feature = "fleet")]
#[test]
fn a_member_of_a_fleet_reads_config_files_as_a_run_does() {
    use crate::cli::fleet::FleetCommand;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("c.toml");
    fs::write(&path, "simulate = true\nworkers = 3\nrobots = true\n").expect("written");
    let join = |typed: &[&str]| {
        let join = ["coordinator", "fleet", "join", "--queue", "q", "--config"];
        let words = join.into_iter().map(OsString::from);
        let words = words.chain([path.clone().into()]);
        let cli = parse(words.chain(typed.iter().map(OsString::from))).expect("it parses");
        let Some(crate::cli::Command::Fleet(fleet)) = cli.command else {
            panic!("it is a command of a fleet");
        };
        let FleetCommand::Join(args) = fleet.command else {
            panic!("it is a member");
        };
        args.own
    };
    let own = join(&[]);
    assert!(own.simulate.is_some());
    assert_eq!(own.file.files, [path.display().to_string()]);
    let from_file = |own: &crate::cli::run::RunArgs| {
        let origins = own.file.origins.iter();
        origins
            .filter(|[_, _, from]| from != "command line")
            .count()
    };
    assert_eq!(from_file(&own), 3, "{:?}", own.file.origins);
    // The command line overrides the file.
    let own = join(&["--workers", "5", "--no-robots"]);
    assert_eq!(from_file(&own), 1, "{:?}", own.file.origins);
    fs::write(&path, "lease = \"5s\"\n").expect("written");
    let words = ["coordinator", "fleet", "join", "--queue", "q", "--config"];
    let words = words.into_iter().map(OsString::from);
    let error = parse(words.chain([path.into()])).expect_err("no key of a run");
    assert!(error.to_string().contains("lease"), "{error}");
}
