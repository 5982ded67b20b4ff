//! What a command does to its file, and what the next run makes of that.

use std::fs;

use super::{KINDS, lines, with_script};
use crate::support::{Server, nicer, server};

#[test]
fn a_file_that_its_command_took_away_is_stored_for_good() {
    for mode in KINDS {
        let server = Server::start();
        let url = server.url("/f");
        let run = with_script("mv \"$1\" elsewhere", mode).list([&url]);
        run.finish().code(0);
        let record = run.log().one(&url);
        assert_eq!(record.outcome, "stored");
        assert_eq!(record.bytes, Some(server::body("/f").len() as u64));
        assert_eq!(record.exec.as_ref().unwrap().left, None, "{mode}");
        assert_eq!(fs::read(run.path("elsewhere")).unwrap(), server::body("/f"));
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored earlier"), 1, "{}", ended.text());
        assert_eq!(server.requests("/f"), 1);
    }
}

#[test]
fn a_file_that_its_command_changed_is_stored_as_long_as_it_is_like_that() {
    let server = Server::start();
    let url = server.url("/f");
    let run = with_script("echo short > \"$1\"", "--workers 1").list([&url]);
    run.finish().code(0);
    let record = run.log().one(&url);
    assert_eq!(record.bytes, Some(server::body("/f").len() as u64));
    assert_eq!(record.exec.as_ref().unwrap().left, Some(6));
    assert_eq!(run.finish().code(0).summary("stored earlier"), 1);
    assert_eq!(server.requests("/f"), 1);
    fs::remove_file(run.path("downloads").join(record.path.unwrap())).unwrap();
    assert_eq!(run.finish().code(0).summary("stored"), 1);
    assert_eq!(server.requests("/f"), 2);
}

#[test]
fn a_file_that_is_current_is_left_alone_by_its_command() {
    for mode in ["--workers 1", "--mode async"] {
        let server = Server::start();
        let run = with_script("echo >> ran", mode).list([server.url("/f")]);
        let run = run.with("--refresh");
        run.finish().code(0);
        // If it ran, it would fail and the file would be removed.
        let run = run.script("script", "echo >> ran; exit 1");
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("unchanged"), 1, "{}", ended.text());
        assert_eq!(lines(&run, "ran").len(), 1, "{mode}");
        assert_eq!(run.log().files().len(), 1);
        let server = server.answer("/f", [crate::support::Answer::Body(b"new".into())]);
        run.finish().code(1);
        assert_eq!(lines(&run, "ran").len(), 2, "{mode}");
        assert_eq!(run.log().files(), [""; 0]);
        drop(server);
    }
}

#[test]
fn a_file_that_was_taken_away_is_asked_for_again_when_it_is_old_enough() {
    let server = Server::start();
    let run = with_script("rm \"$1\"; echo >> ran", "--workers 1").list([server.url("/f")]);
    run.finish().code(0);
    let run = run.with("--refresh=1h");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 1, "{}", ended.text());
    let run = run.without_arguments().with("--exec ./script --refresh");
    run.finish().code(0);
    assert_eq!((server.requests("/f"), lines(&run, "ran").len()), (2, 2));
}

#[test]
fn what_a_failed_command_made_of_its_file_is_harmless() {
    for text in [
        "rm \"$1\"; exit 1",
        "mv \"$1\" moved; exit 1",
        "rm \"$1\"; mkdir \"$1\"; exit 1",
        "rm \"$1\"; ln -s ../kept \"$1\"; exit 1",
        "rm -r \"$(dirname \"$1\")\"; exit 1",
        "d=$(dirname \"$1\"); mv \"$d\" gone; ln -s \"$PWD/kept-folder\" \"$d\"; exit 1",
    ] {
        let server = Server::start();
        let line = format!(r#"{{"url":"{}","out":"a/f"}}"#, server.url("/f"));
        let run = with_script(text, "--workers 1").list([line]);
        fs::write(run.path("kept"), "kept").unwrap();
        fs::create_dir(run.path("kept-folder")).unwrap();
        fs::write(run.path("kept-folder/f"), "kept").unwrap();
        run.finish().code(1);
        assert_eq!(run.log().one(&server.url("/f")).kind(), "exec", "{text}");
        assert_eq!(fs::read_to_string(run.path("kept")).unwrap(), "kept");
        let kept = fs::read_to_string(run.path("kept-folder/f")).unwrap();
        assert_eq!(kept, "kept", "{text}");
        if !run.path("downloads/a").is_symlink() {
            let file = run.path("downloads/a/f");
            assert!(!file.is_file() && !file.is_symlink(), "{text}");
        }
    }
}

#[test]
fn a_program_that_is_gone_gives_the_run_up_and_loses_nothing() {
    let server = Server::start();
    let list = [server.url("/f"), server.url("/g"), server.url("/h")];
    let run = with_script("rm script", "--workers 1 -c 1").list(&list);
    let ended = run.finish().code(4);
    ended.says(&["cannot start ./script: No such file", "run again"]);
    assert_eq!(run.log().count("stored"), 1);
    assert_eq!(run.log().records().len(), 1);
    assert_eq!(run.log().files().len(), 1);
    let run = run.script("script", "exit 0");
    assert_eq!(run.finish().code(0).summary("stored"), 2);
}

#[test]
fn workers_limits_hold_for_commands_as_documented() {
    let server = Server::start();
    let text = "{ nice; ulimit -d; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; } > limits";
    let nice = nicer();
    let options = format!("--workers 1 --worker-nice {nice} --worker-memory 100MB");
    let run = with_script(text, &options);
    let run = run.list([server.url("/f")]);
    run.finish().code(0);
    let limits = lines(&run, "limits");
    let words: Vec<_> = limits.iter().map(|line| line.replace('\t', " ")).collect();
    let nice = nice.to_string();
    assert_eq!(words, [&*nice, "unlimited", "NoNewPrivs: 0", "Seccomp: 0"]);
}
