//! Which folders a run accepts: those of its kind, real or simulated, and of its naming.

use std::fs;

use crate::support::run::{exists, urls};
use crate::support::{Answer, Run, Server, server, sha256};

/// Options with which every kind of run must refuse the folder.
const WAYS: [&str; 3] = ["", "--dry-run", "--refresh"];

/// Returns the content of the output folder: the run log, and the files by name.
fn contents(run: &Run, folder: &str) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let log = crate::support::Log {
        output: run.path(folder),
    };
    let read = |name: String| (name.clone(), fs::read(log.output.join(&name)).unwrap());
    let files = log.files().into_iter().map(read).collect();
    (fs::read(log.path()).unwrap(), files)
}

fn with(run: Run, arguments: &str) -> Run {
    run.without_arguments().with(arguments)
}

#[test]
fn a_simulated_run_stores_in_a_folder_of_its_own_and_marks_its_records() {
    let server = Server::start();
    let list = urls(&server.url("/f"), 3);
    let run = Run::new().list(&list).with("--simulate=latency=1ms");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
    assert!(!exists(&run.path("downloads")));
    assert!(run.log().records().iter().all(|record| record.simulated));
    // Without `--simulate`, the same command downloads all real files.
    let run = with(run, "");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 3, "{}", ended.text());
    for (url, path) in list.iter().zip(["/f/0", "/f/1", "/f/2"]) {
        let record = run.log().one(url);
        assert!(!record.simulated);
        run.log().check(&record, &sha256(&server::body(path)));
    }
    // Each kind continues its own folder.
    for (arguments, folder) in [("", "downloads"), ("--simulate", "simulated")] {
        let run = Run::new().list(&list).with(arguments);
        run.finish().code(0);
        assert!(exists(&run.path(folder)));
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored earlier"), 3, "{}", ended.text());
    }
}

#[test]
fn a_simulated_run_leaves_a_real_folder_as_it_is() {
    let server = Server::start();
    let run = Run::new().list(urls(&server.url("/f"), 3));
    run.finish().code(0);
    let before = contents(&run, "downloads");
    // A log of the first edition does not say whether the run was simulated.
    let old = run.log().text().replace(",\"simulated\":false", "");
    assert!(!old.contains("simulated"), "{old}");
    let logs = [before.0.clone(), old.into_bytes(), Vec::new()];
    let path = run.log().path();
    let mut run = run;
    for log in logs {
        fs::write(&path, &log).unwrap();
        for way in WAYS {
            run = with(run, &format!("--simulate --output downloads {way}"));
            let ended = run.finish().code(3);
            ended.says(&["downloads come from a real run", "--output"]);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
            assert_eq!(contents(&run, "downloads"), (log.clone(), before.1.clone()));
        }
    }
    run = with(run, "");
    assert_eq!(run.finish().code(0).summary("stored"), 3, "an empty log");
}

#[test]
fn a_real_run_leaves_a_simulated_folder_as_it_is() {
    let server = Server::start();
    let run = Run::new().list(urls(&server.url("/f"), 3));
    let mut run = with(run, "--simulate=latency=1ms --output here");
    run.finish().code(0);
    let before = contents(&run, "here");
    for way in WAYS {
        run = with(run, &format!("--output here {way}"));
        let ended = run.finish().code(3);
        ended.says(&["here come from a simulated run", "--output"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
        assert_eq!(contents(&run, "here"), before);
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn a_run_that_was_killed_before_its_first_record_has_claimed_its_folder() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list([server.url("/held")]).with("--output real");
    let job = run.start();
    server.wait_for("/held", 1);
    job.kill();
    // Otherwise the test would take its worker for one of the next run.
    job.wait_until_alone();
    let run = with(run, "--simulate=latency=1h --output fake");
    let job = run.start();
    job.wait_until("a worker", || !job.workers().is_empty());
    job.kill();
    job.wait_until_alone();
    let run = with(run, "--output fake");
    run.finish().code(3).says(&["come from a simulated run"]);
    let run = with(run, "--simulate --output real");
    run.finish().code(3).says(&["come from a real run"]);
    server.release_all();
    let run = with(run, "--output real");
    run.finish().code(0);
}

#[test]
fn results_say_that_a_run_was_simulated_and_where_its_folder_is() {
    let run = Run::new().list(["http://a.example/1"]).with("--simulate");
    run.finish().code(0);
    let run = with(run, "results");
    let ended = run.finish().code(3);
    ended.says(&["there is no folder downloads", "results simulated"]);
    fs::create_dir(run.path("downloads")).unwrap();
    let ended = run.finish().code(3);
    ended.says(&["no run log in downloads", "results simulated"]);
    let run = with(run, "results simulated");
    let ended = run.finish().code(0);
    ended.says(&["the run was simulated"]);
    assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    let named = with(run, "results --output simulated");
    assert_eq!(named.finish().code(0).stdout, ended.stdout);
    let run = with(named, "results simulated --export-csv -");
    let table = run.finish().code(0).stdout;
    let mut lines = table.lines();
    let names = lines.next().unwrap().split(',');
    let last = names.rev().position(|name| name == "simulated").unwrap();
    // The columns after it hold fields of the list and the server, which are empty here.
    let end = format!(",true{}false", ",".repeat(last));
    assert!(lines.next().unwrap().ends_with(&end), "{table}");
}

#[test]
fn another_naming_downloads_nothing_again_unless_it_is_forced_to() {
    let server = Server::start();
    let list = urls(&server.url("/a/f"), 3);
    let run = Run::new().list(&list);
    run.finish().code(0);
    let before = contents(&run, "downloads");
    let mut run = run;
    for naming in ["tree", "hash", "{n}-{name}"] {
        for way in WAYS {
            run = with(run, &format!("--naming {naming} {way}"));
            let ended = run.finish().code(3);
            let line = ended.says(&["downloads have other names", "--naming", "--force"]);
            assert!(
                before.1.iter().any(|(name, _)| line.contains(name)),
                "{line}"
            );
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
            assert_eq!(contents(&run, "downloads"), before);
        }
    }
    assert_eq!(server.total(), 3);
    run = with(run, "--naming tree --force");
    assert_eq!(run.finish().code(0).summary("stored"), 3);
    for (name, bytes) in before.1 {
        assert_eq!(fs::read(run.path("downloads").join(name)).unwrap(), bytes);
    }
    // From now on the folder has this naming.
    run = with(run, "--naming tree");
    assert_eq!(run.finish().code(0).summary("stored earlier"), 3);
    run = with(run, "--naming flat");
    run.finish().code(3);
    assert_eq!(server.total(), 6);
}

#[test]
fn names_that_the_list_gives_and_numbers_in_names_are_no_other_naming() {
    let server = Server::start();
    let named =
        |name: &str, url: &str| format!(r#"{{"url":"{}","out":"{name}"}}"#, server.url(url));
    let run = Run::new().list([named("x", "/1"), named("y", "/2")]);
    run.finish().code(0);
    // All names come from the list, so the folder has no naming.
    let run = with(run, "--naming tree");
    assert_eq!(run.finish().code(0).summary("stored earlier"), 2);
    let list = [server.url("/a"), server.url("/b"), server.url("/c")];
    let run = Run::new().list(&list).with("--naming {n}-{name}");
    run.finish().code(0);
    // 3-c would now be 1-c, which is a name of the same naming.
    let run = run.list([&list[2]]);
    assert_eq!(run.finish().code(0).summary("stored"), 1);
}
