//! URLs that kill their workers.

use libtest_mimic::Trial;

use crate::misbehave;
use crate::support::run::urls;
use crate::support::{Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_url_that_kills_its_workers_is_quarantined_and_the_others_are_stored,
        how_often_a_url_may_kill_can_be_chosen,
        a_url_that_ends_its_workers_as_others_might_is_quarantined_too_but_later,
        the_neighbours_of_a_killer_are_never_quarantined,
        two_killers_among_many_are_both_found_and_nobody_else,
        a_url_that_hangs_its_worker_is_quarantined,
        a_killer_that_changes_its_mind_is_stored,
        killers_alone_do_not_count_against_the_restart_intensity,
    ]
}

fn a_url_that_kills_its_workers_is_quarantined_and_the_others_are_stored() {
    let server = Server::start();
    let mut list = urls(&server.url(""), 10);
    let killer = server.url("/killer");
    list.insert(4, killer.clone());
    let run = run("*.*=on:/killer:SEGV")
        .list(&list)
        .with("--workers 2 --max-deliveries 3");
    let ended = run.finish().code(1);
    ended.says(&["quarantined", &killer, "signal 11 (SIGSEGV)"]);
    assert_eq!(ended.summary("quarantined"), 1, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 10, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 3, "{}", ended.text());
    let deaths = ended
        .stderr
        .lines()
        .filter(|line| line.contains(" died with "));
    for line in deaths.filter(|line| line.starts_with("worker ")) {
        assert!(line.contains(&killer), "the URL is named: {line}");
    }
    let log = run.log();
    let record = log.one(&killer);
    assert_eq!(
        (record.outcome.as_str(), record.kind()),
        ("quarantined", "worker_died")
    );
    assert!(record.message().contains("SIGSEGV"), "{record:?}");
    assert_eq!((record.deliveries, record.attempts), (3, 0));
    assert_eq!(record.path, None);
    assert_eq!(log.partials(), [""; 0]);

    // By default, a later run does not try it again.
    let again = run.finish().code(1);
    assert_eq!(again.summary("quarantined earlier"), 1, "{}", again.text());
    assert_eq!(again.summary("stored earlier"), 10, "{}", again.text());
    assert_eq!(again.summary("worker deaths"), 0, "{}", again.text());
    assert_eq!(log.records().len(), 11);

    // With `--retry-quarantined` it does, and healthy workers finish it.
    misbehave::plan(&run, "");
    let run = run.with("--retry-quarantined");
    run.finish().code(0);
    let record = log.of(&killer).pop().unwrap();
    log.check(&record, &sha256(&server::body("/killer")));
    let run = run.without_arguments();
    assert_eq!(run.finish().code(0).summary("stored earlier"), 11);
}

fn how_often_a_url_may_kill_can_be_chosen() {
    for most in [1, 5] {
        let server = Server::start();
        let killer = server.url("/killer");
        let run = run("*.*=on:/killer:ABRT")
            .list([&killer, &server.url("/a")])
            .with(&format!("--workers 2 --max-deliveries {most}"));
        let ended = run.finish().code(1);
        assert_eq!(ended.summary("worker deaths"), most, "{}", ended.text());
        let record = run.log().one(&killer);
        assert_eq!(u64::from(record.deliveries), most);
        assert!(record.message().contains("SIGABRT"), "{record:?}");
    }
}

fn a_url_that_ends_its_workers_as_others_might_is_quarantined_too_but_later() {
    let server = Server::start();
    let killer = server.url("/killer");
    let run = run("*.*=on:/killer:KILL")
        .list([&killer, &server.url("/a")])
        .with("--workers 2 --max-deliveries 2");
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("worker deaths"), 10, "{}", ended.text());
    let record = run.log().one(&killer);
    assert_eq!(record.deliveries, 10);
    assert!(record.message().contains("SIGKILL"), "{record:?}");
}

fn the_neighbours_of_a_killer_are_never_quarantined() {
    // With a limit of 1, one death is enough; a death shared with other tasks does not count.
    for most in [1, 2] {
        let server = Server::start();
        let mut list = urls(&server.url(""), 24);
        let killer = server.url("/killer");
        list.insert(10, killer.clone());
        let run = run("*.*=on:/killer:ABRT").list(&list).with(&format!(
            "--workers 2 --concurrency 4 --max-deliveries {most} --parallel-max-host 0"
        ));
        let ended = run.finish().code(1);
        assert_eq!(ended.summary("stored"), 24, "{}", ended.text());
        assert_eq!(ended.summary("quarantined"), 1, "{}", ended.text());
        assert_eq!(run.log().one(&killer).outcome, "quarantined");
        for url in list.iter().filter(|url| **url != killer) {
            let record = run.log().one(url);
            assert_eq!((record.outcome.as_str(), record.attempts), ("stored", 1));
        }
    }
}

fn two_killers_among_many_are_both_found_and_nobody_else() {
    let server = Server::start();
    let mut list = urls(&server.url(""), 20);
    list.insert(3, server.url("/killer/1"));
    list.insert(4, server.url("/killer/2"));
    let run = run("*.*=on:/killer:SEGV")
        .list(&list)
        .with("--workers 3 --concurrency 4 --max-deliveries 2 --parallel-max-host 0");
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("stored"), 20, "{}", ended.text());
    assert_eq!(ended.summary("quarantined"), 2, "{}", ended.text());
    for record in run.log().records() {
        let expected = match record.url.contains("/killer/") {
            true => "quarantined",
            false => "stored",
        };
        assert_eq!(record.outcome, expected, "{record:#?}");
    }
}

fn a_url_that_hangs_its_worker_is_quarantined() {
    // Each worker that gets this URL freezes.
    let server = Server::start();
    let hanging = server.url("/hanging");
    let run = run("*.*=on:/hanging:STOP")
        .list([&hanging, &server.url("/a"), &server.url("/b")])
        .with("--workers 2 --max-deliveries 1 --lease-timeout 400ms");
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    let record = run.log().one(&hanging);
    // A user who stops workers has the same effect, so one frozen worker is not enough.
    assert_eq!(
        (record.outcome.as_str(), record.deliveries),
        ("quarantined", 5)
    );
}

fn a_killer_that_changes_its_mind_is_stored() {
    let server = Server::start();
    let url = server.url("/twice");
    let run = run("0.1=on:/twice:SEGV;0.2=on:/twice:KILL")
        .list([&url])
        .with("--workers 1 --max-deliveries 3");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("redeliveries"), 2, "{}", ended.text());
    let record = run.log().one(&url);
    run.log().check(&record, &sha256(&server::body("/twice")));
    assert_eq!((record.deliveries, record.attempts), (3, 1));
}

fn killers_alone_do_not_count_against_the_restart_intensity() {
    let server = Server::start();
    let mut list = urls(&server.url("/killer"), 8);
    list.extend(urls(&server.url("/fine"), 8));
    let run = run("*.*=on:/killer:SEGV")
        .list(&list)
        .with("--workers 2 --max-deliveries 2 --restart-intensity 1/60s");
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("quarantined"), 8, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 8, "{}", ended.text());
}
