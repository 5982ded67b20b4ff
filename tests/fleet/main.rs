//! A fleet with a real nats-server and real members. Every URL has one outcome, even if members are
//! killed.
//!
//! The tests need nats-server, in `PATH` or named by `NATS_SERVER`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod chaos;
mod docs;
mod queue;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;

use queue::Queue;
use serde_json::{Value, json};
use support::server::{Answer, Server};

#[test]
fn two_members_share_a_list_and_leave_when_it_is_done() {
    let queue = Queue::start();
    queue.feed(&queue.list(600, 60));
    let (a, b) = (queue.join("a"), queue.join("b"));
    a.finish();
    b.finish();
    queue.check(600, &["a", "b"]);
    let results = queue.results();
    assert_eq!(results["outcomes"]["stored"], 600, "{results}");
    assert_eq!(results["open"], 0, "{results}");
    let late = queue.join("late");
    late.finish();
}

#[test]
fn a_member_that_joins_late_gets_what_another_has_taken_on_and_not_started() {
    let queue = Queue::start();
    // A member's run can have all of them at once. Two downloads at a time take 50 s for them.
    queue.feed(&queue.list(1000, 1000));
    let slow = ["--simulate=size=1KiB,latency=100ms"];
    let a = queue.start_member("a", &slow);
    a.wait_for(1);
    let b = queue.start_member("b", &slow);
    b.wait_for(1);
    let done = a.recorded();
    assert!(done < 500, "{done}");
    a.finish();
    b.finish();
    queue.check(1000, &["a", "b"]);
}

#[test]
fn a_member_that_is_killed_leaves_its_share_to_the_others_and_nothing_is_counted_twice() {
    let queue = Queue::start();
    let (a, b) = queue.two_members();
    queue.feed(&queue.list(1000, 100));
    a.wait_for(100);
    b.wait_for(100);
    b.kill();
    // The member returns with its records, published or not.
    let b = queue.join("b");
    a.finish();
    b.finish();
    queue.check(1000, &["a", "b"]);
}

#[test]
fn hosts_of_a_member_that_is_killed_do_not_wait_until_others_are_done() {
    let queue = Queue::start();
    // By then, `a` has so many targets of its own hosts that two downloads at a time take 50 s.
    let (a, b) = queue.two_members_with(&["--simulate=size=1KiB,latency=100ms"]);
    queue.feed(&queue.list(6000, 2000));
    a.wait_for(20);
    b.wait_for(1);
    let before = a.recorded();
    let log = b.log();
    b.kill();
    let taken = queue::partitions(&log);
    let first = || {
        let recorded = queue::partitions(&a.log());
        recorded.iter().position(|number| taken.contains(number))
    };
    let first = support::wait("one of its hosts", first, || a.recorded().to_string());
    let others = first - before;
    assert!(others < 500, "{others} of its own hosts came before");
}

#[test]
fn a_member_that_stands_still_longer_than_its_lease_is_followed_and_disturbs_nobody() {
    let queue = Queue::start();
    queue.feed(&queue.list(1000, 100));
    let a = queue.join("a");
    a.wait_for(50);
    a.stop();
    let b = queue.join("b");
    // Only `b` can do the targets of `a`.
    let is_done = || queue.results()["open"] == 0;
    support::wait_until("all outcomes", is_done, || queue.results().to_string());
    a.go_on();
    a.finish();
    b.finish();
    queue.check(1000, &["a", "b"]);
}

#[test]
fn a_body_that_arrives_after_its_lease_was_lost_is_not_put_in_place() {
    let queue = Queue::start();
    // One host, so that all URLs are in one partition. The first request for `/late` waits for its
    // body.
    let server = Server::start().answer("/late", [Answer::HeldHalfway, Answer::Ok]);
    let list = queue.folder().join("list.txt");
    let lines = ["/late", "/1", "/2"].map(|path| server.url(path) + "\n");
    std::fs::write(&list, lines.concat()).unwrap();
    queue.feed(&list);
    let a = queue.start_told("a", &[]);
    server.wait_for("/late", 1);
    a.stop();
    let b = queue.join_for_real("b");
    let is_done = || queue.results()["open"] == 0;
    support::wait_until("all outcomes", is_done, || queue.results().to_string());
    let of_b = queue::records(&b.log());
    b.finish();
    // Only the coordinator is stopped: its worker receives the rest now.
    server.release("/late");
    a.go_on();
    let log = a.log();
    let said = a.finish();
    let late = server.url("/late");
    let told = format!("fenced: {late}");
    assert!(
        said.contains(&told) && said.contains("put in place"),
        "{said}"
    );
    let of_late = |records: Vec<Value>| -> Value {
        let mut records = records.into_iter().filter(|record| record["url"] == *late);
        let first = records.next().unwrap();
        assert_eq!(records.next(), None);
        first
    };
    let fenced = of_late(queue::records(&log));
    assert_eq!(
        (&fenced["outcome"], &fenced["path"]),
        (&json!("fenced"), &Value::Null)
    );
    let path = of_late(of_b)["path"].as_str().unwrap().to_owned();
    let files = ["a", "b"].map(|machine| queue.folder().join(machine).join(&path));
    assert_eq!(files.each_ref().map(|file| file.is_file()), [false, true]);
    queue.check(3, &["a", "b"]);
    // The member does not treat it as an outcome either: another run downloads the URL.
    let again = ["--run", "again"];
    let fed = queue.run("feed", &[&[list.to_str().unwrap()], &again[..]].concat());
    assert!(fed.status.success(), "{fed:?}");
    let member = ["--machine", "a", "--output", "a", "--quiet"];
    let joined = queue.run("join", &[&member, &again[..]].concat());
    assert!(joined.status.success(), "{joined:?}");
    assert!(files[0].is_file());
}

/// Starts a member whose lease ends while it downloads `/late`, because the queue stands still.
fn member_without_lease(queue: &Queue, server: &Server) -> queue::Member {
    let list = queue.folder().join("list.txt");
    std::fs::write(&list, server.url("/late") + "\n").unwrap();
    queue.feed(&list);
    let member = queue.start_member("a", &["--listen", "unix:socket"]);
    server.wait_for("/late", 1);
    queue.stop();
    let metrics = || queue.ask("/metrics");
    let is_over = || metrics().contains("\ncoordinator_fleet_in_touch 0\n");
    support::wait_until("the end of the lease", is_over, metrics);
    member
}

#[test]
fn a_target_that_was_refused_is_done_again_by_a_member_that_gets_the_partition_back() {
    let queue = Queue::start();
    let server = Server::start().answer("/late", [Answer::HeldHalfway, Answer::Ok]);
    let a = member_without_lease(&queue, &server);
    server.release("/late");
    a.wait_for(1);
    queue.go_on();
    let log = a.log();
    a.finish();
    let outcomes = queue::records(&log);
    let outcomes: Vec<_> = outcomes.iter().map(|record| &record["outcome"]).collect();
    assert_eq!(outcomes, ["fenced", "stored"]);
    assert_eq!(server.requests("/late"), 2);
    queue.check(1, &["a"]);
}

#[test]
fn a_body_that_is_under_way_while_the_queue_is_out_of_reach_counts_once_the_partition_is_back() {
    let queue = Queue::start();
    let server = Server::start().answer("/late", [Answer::HeldHalfway]);
    let a = member_without_lease(&queue, &server);
    let metrics = || queue.ask("/metrics");
    queue.go_on();
    // It owns the partition again, and knows that the target is not done yet.
    let is_back = || metrics().contains("\ncoordinator_fleet_taken_on_urls 1\n");
    support::wait_until("the target", is_back, metrics);
    server.release("/late");
    let log = a.log();
    a.finish();
    assert_eq!(queue::records(&log).len(), 1);
    assert_eq!(server.requests("/late"), 1);
    queue.check(1, &["a"]);
}

#[test]
fn two_members_together_keep_to_one_rate() {
    let queue = Queue::start();
    let slow = "--simulate=size=1KiB,latency=20ms";
    let (a, b) = queue.two_members_with(&[slow, "--rate", "20/s"]);
    queue.feed(&queue.list(100, 100));
    a.finish();
    b.finish();
    queue.check(100, &["a", "b"]);
    let took = queue.span_ms(&["a", "b"]);
    // If each member used the whole rate, this would take half as long.
    assert!(took > 4500, "{took} ms for 100 URLs");
}

#[test]
fn two_members_together_keep_to_one_limit_rate() {
    let queue = Queue::start();
    let limited = ["--simulate=size=16KiB", "--limit-rate", "400000"];
    let (a, b) = queue.two_members_with(&limited);
    queue.feed(&queue.list(128, 128));
    a.finish();
    b.finish();
    queue.check(128, &["a", "b"]);
    let took = queue.span_ms(&["a", "b"]);
    // 2 MiB take 5.2 s if the members share the rate, and 2.6 s if each uses the whole rate.
    assert!(took > 4200, "{took} ms for 2 MiB");
}

#[test]
fn a_server_that_is_killed_stops_nobody_for_good() {
    let mut queue = Queue::start();
    let (a, b) = queue.two_members();
    queue.feed(&queue.list(1000, 100));
    a.wait_for(100);
    queue.crash();
    a.finish();
    b.finish();
    queue.check(1000, &["a", "b"]);
}

#[test]
fn two_members_do_not_work_in_one_folder() {
    let queue = Queue::start();
    let a = queue.start_member("a", &["--simulate", "--listen", "unix:socket"]);
    let metrics = || queue.ask("/metrics");
    let works = || metrics().contains("\ncoordinator_fleet_partitions 256\n");
    support::wait_until("a member at work", works, metrics);
    let (joined, said) = queue.start_in("a", "b", &["--simulate"]).end();
    assert_eq!(joined.code(), Some(3), "{said}");
    assert!(said.contains("uses this output folder"), "{said}");
    queue.feed(&queue.list(100, 10));
    a.finish();
    queue.check(100, &["a"]);
}

#[test]
fn a_feeder_that_is_killed_goes_on_from_what_the_queue_holds() {
    let queue = Queue::start();
    let list = queue.list(20_000, 50);
    let text = std::fs::read(&list).unwrap();
    let mut feeder = queue.feeder();
    let half = text[..text.len() / 2]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    feeder
        .stdin
        .as_mut()
        .unwrap()
        .write_all(&text[..half])
        .unwrap();
    let frames = || {
        let told = queue.run("status", &[]);
        String::from_utf8(told.stdout).unwrap()
    };
    support::wait_until("frames", || !frames().starts_with("0 "), frames);
    feeder.kill().unwrap();
    feeder.wait().unwrap();
    queue.feed(&list);
    let told = frames();
    assert!(told.starts_with("20000 targets fed (all)"), "{told}");
}

#[test]
fn another_list_is_not_fed_into_a_run_that_was_begun() {
    let queue = Queue::start();
    queue.feed(&queue.list(100, 10));
    let other = queue.list(90, 9);
    let fed = queue.run("feed", &[other.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&fed.stderr);
    assert_eq!(fed.status.code(), Some(3), "{said}");
    assert!(
        said.contains("the list is not the one that the run default was fed with"),
        "{said}"
    );
}

#[test]
fn feeding_reads_the_options_for_lists_from_config_files_and_no_others() {
    let queue = Queue::start();
    std::fs::write(
        queue.folder().join("table.csv"),
        "id,link\n1,http://h.test/a\n",
    )
    .unwrap();
    let config = "url-column = \"link\"\nworkers = 3\n";
    std::fs::write(queue.folder().join("coordinator.toml"), config).unwrap();
    let feed = |arguments: &[&str]| {
        let fed = queue.run("feed", &[&["table.csv"], arguments].concat());
        (fed.status.code(), String::from_utf8(fed.stderr).unwrap())
    };
    let (code, said) = feed(&["--no-config", "--run", "without"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = feed(&["--naming", "tree"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--naming"), "{said}");
    let (code, said) = feed(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("settings are read from") && said.contains("fed 1 URLs"),
        "{said}"
    );
    let named = queue.folder().join("other.toml");
    std::fs::write(&named, "unknown = 1\n").unwrap();
    let (code, said) = feed(&["--config", "other.toml"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("unknown"), "{said}");
}

#[test]
fn passwords_and_headers_of_lists_travel_only_if_they_may() {
    let queue = Queue::start();
    let list = queue.folder().join("secrets.jsonl");
    let lines = r#"{"url":"http://u:hush@h.test/a"}
{"url":"http://h.test/b","headers":{"X":"hush"}}
{"url":"http://h.test/c"}
"#;
    std::fs::write(&list, lines).unwrap();
    let list = list.to_str().unwrap();
    let fed = queue.run("feed", &[list]);
    let said = String::from_utf8_lossy(&fed.stderr);
    assert_eq!(fed.status.code(), Some(1), "{said}");
    assert!(
        said.contains("fed 1 URLs") && said.contains("2 unusable"),
        "{said}"
    );
    assert!(!said.contains("hush"), "{said}");
    let fed = queue.run("feed", &[list, "--run", "open", "--send-secrets"]);
    assert!(fed.status.success(), "{fed:?}");
}

#[test]
fn a_member_that_is_drained_leaves_and_another_finishes() {
    let queue = Queue::start();
    queue.feed(&queue.list(1200, 1));
    let a = queue.join("a");
    a.wait_for(50);
    a.stop();
    let drained = queue.run("drain", &["a"]);
    a.go_on();
    assert!(drained.status.success(), "{drained:?}");
    a.finish();
    let results = queue.results();
    assert_ne!(results["open"], 0, "{results}");
    queue.join("b").finish();
    queue.check(1200, &["a", "b"]);
}

#[test]
fn a_program_of_another_version_does_not_join() {
    let queue = Queue::start();
    queue.feed(&queue.list(10, 1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(queue.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let state = context.get_key_value("co-default").await.unwrap();
        let table = r#"{"v":2,"something":"else"}"#;
        state.put("table", table.into()).await.unwrap();
    });
    let joined = queue.run("join", &["--output", "a", "--simulate"]);
    let said = String::from_utf8_lossy(&joined.stderr);
    assert_eq!(joined.status.code(), Some(3), "{said}");
    assert!(
        said.contains("speaks version 2, and this program version 1"),
        "{said}"
    );
    assert!(!queue.folder().join("a").exists());
}

#[test]
fn what_a_folder_has_stored_is_not_fed_again() {
    let queue = Queue::start();
    let list = queue.list(100, 10);
    queue.feed(&list);
    queue.join("a").finish();
    let more = queue.list(120, 10);
    let more = more.to_str().unwrap();
    let fed = queue.run("feed", &[more, "--run", "again", "--reconcile", "a"]);
    let said = String::from_utf8_lossy(&fed.stderr);
    assert!(
        said.contains("fed 20 URLs") && said.contains("100 done already"),
        "{said}"
    );
}

#[test]
fn a_target_that_ends_member_after_member_is_given_up_and_told_of() {
    let queue = Queue::start();
    // One host, so that all URLs are in one partition.
    let server = Server::start().answer("/3", [Answer::Silent]);
    let list = queue.folder().join("list.txt");
    let lines: String = (0..6)
        .map(|n| server.url(&format!("/{n}")) + "\n")
        .collect();
    std::fs::write(&list, lines).unwrap();
    queue.feed(&list);
    // Each member that requests `/3` is killed. Ten of them must end in a row, not counting those
    // that publish other outcomes.
    let mut ended = 0;
    loop {
        let mut member = queue.join_for_real("a");
        if !member.runs_until(|| server.requests("/3") > ended) {
            member.finish();
            break;
        }
        member.kill();
        ended += 1;
        assert!(ended < 16, "it goes round for ever");
    }
    assert!(ended >= 10, "{ended}");
    let results = queue.results();
    assert_eq!(results["outcomes"]["stored"], 5, "{results}");
    assert_eq!(results["outcomes"]["dead"], 1, "{results}");
    let status = String::from_utf8(queue.run("status", &[]).stdout).unwrap();
    assert!(
        status.contains("1 targets given up, 0 are tried alone"),
        "{status}"
    );
}

#[test]
fn a_server_that_does_not_sync_every_write_is_warned_of() {
    let queue = Queue::start();
    let monitor = queue.monitor();
    let said = |arguments: &[&str]| {
        let told = queue.run("status", arguments);
        assert!(told.status.success(), "{told:?}");
        String::from_utf8(told.stderr).unwrap()
    };
    let warned = said(&["--queue-monitor", &monitor]);
    assert!(
        warned.contains("the queue does not sync every write"),
        "{warned}"
    );
    assert!(warned.contains("sync_interval: always"), "{warned}");
    assert_eq!(warned.lines().count(), 1, "{warned}");
    assert_eq!(said(&[]), "");
    // No server listens there.
    let unknown = said(&["--queue-monitor", "http://127.0.0.1:1"]);
    assert!(
        unknown.contains("is not known: http://127.0.0.1:1/"),
        "{unknown}"
    );
    let safe = Queue::start_safe();
    let told = safe.run("status", &["--queue-monitor", &safe.monitor()]);
    assert_eq!(String::from_utf8(told.stderr).unwrap(), "");
    // The monitoring port of another server does not report on this one.
    let told = safe.run("status", &["--queue-monitor", &monitor]);
    let other = String::from_utf8(told.stderr).unwrap();
    assert!(other.contains("tells of another server"), "{other}");
}

#[test]
fn who_watches_is_told_until_all_is_done() {
    let queue = Queue::start();
    queue.feed(&queue.list(300, 30));
    let watching = queue.watch();
    queue.join("a").finish();
    let watched = watching.wait_with_output().unwrap();
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.status.success(), "{text}");
    assert!(text.starts_with("300 targets fed (all), 0 done"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("300 of 300 done, "), "{text}");
}

#[test]
fn who_watches_a_member_sees_its_share_of_the_fleet() {
    let queue = Queue::start();
    let list = queue.list(300, 30);
    // Nothing is fed yet, so the member waits.
    let member = queue.start_member("a", &["--simulate", "--listen", "unix:socket"]);
    let metrics = || queue.ask("/metrics");
    for line in [
        "\ncoordinator_fleet_partitions 256\n",
        "\ncoordinator_fleet_in_touch 1\n",
        "\ncoordinator_fleet_members 1\n",
        "\ncoordinator_fleet_taken_on_urls 0\n",
    ] {
        support::wait_until(line, || metrics().contains(line), metrics);
    }
    let page = || queue.ask("/");
    let facts = "256 of 256 partitions, 1 members";
    support::wait_until(facts, || page().contains(facts), page);
    queue.feed(&list);
    member.finish();
    queue.check(300, &["a"]);
}
