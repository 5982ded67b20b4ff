//! The checker must name the one fault in each folder, and nothing else.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use lab::origin::Seen;
use lab::origin::body::Content;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::chaos::faults::Fault;

/// The settings of the test's origin.
const SPEC: &str = "size=1000B,seed=5";

/// A finished run of six URLs without errors. One URL is poison.
struct Scene {
    folder: TempDir,
    spec: Spec,
    tasks: Vec<Task>,
    records: Vec<String>,
    journal: Vec<Seen>,
    killed_ns: Vec<u64>,
    processes: Vec<Process>,
}

fn url(number: usize) -> String {
    format!("http://h.example/{number}")
}

fn name(number: usize) -> String {
    format!("{number}.bin")
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for made in ["tmp", "downloads", "downloads/.coordinator"] {
            fs::create_dir(folder.path().join(made)).expect("writable");
        }
        fs::create_dir(folder.path().join("downloads/.coordinator/partial")).expect("writable");
        let mut scene = Self {
            folder,
            spec: SPEC.parse().expect("the test's spec is right"),
            tasks: Vec::new(),
            records: Vec::new(),
            journal: Vec::new(),
            killed_ns: Vec::new(),
            processes: Vec::new(),
        };
        for number in 0..5 {
            scene.tasks.push(Task {
                url: url(number),
                poison: None,
            });
            fs::write(scene.file(number), scene.body(number)).expect("writable");
            scene.records.push(scene.stored(number));
            scene.journal.push(Seen {
                begun_ns: 100,
                method: "GET".to_owned(),
                url: format!("h.example/{number}"),
                status: Some(200),
                bytes: 1000,
                complete: true,
                ..Seen::default()
            });
        }
        scene.tasks.push(Task {
            url: url(5),
            poison: Some(Fault::Segv),
        });
        scene.records.push(ended(5, "quarantined"));
        scene
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    fn file(&self, number: usize) -> PathBuf {
        self.output().join(name(number))
    }

    fn body(&self, number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        Content::new(&self.spec, &format!("h.example/{number}"))
            .read_to_end(&mut bytes)
            .expect("content never fails");
        bytes
    }

    fn stored(&self, number: usize) -> String {
        let hash = body::sha256(&self.spec, &format!("h.example/{number}"));
        json!({
            "v": 1, "url": url(number), "outcome": "stored", "path": name(number),
            "bytes": 1000, "sha256": HEXLOWER.encode(&hash), "error": null,
        })
        .to_string()
    }

    fn check(&self) -> Findings {
        let log: String = self
            .records
            .iter()
            .map(|line| line.clone() + "\n")
            .collect();
        self.check_log(&log)
    }

    fn check_log(&self, log: &str) -> Findings {
        let own = self.output().join(".coordinator");
        fs::write(own.join("results.jsonl"), log).expect("writable");
        fs::write(own.join("lock"), "").expect("writable");
        let journal = self.folder.path().join("journal.jsonl");
        let lines: String = self
            .journal
            .iter()
            .map(|seen| serde_json::to_string(seen).expect("it is JSON") + "\n")
            .collect();
        fs::write(&journal, lines).expect("writable");
        check(&Evidence {
            tasks: &self.tasks,
            spec: &self.spec,
            output: &self.output(),
            tmp: &self.folder.path().join("tmp"),
            journal: &journal,
            killed_ns: &self.killed_ns,
            died_with: &BTreeSet::new(),
            processes: &self.processes,
        })
        .expect("the evidence can be read")
    }
}

fn ended(number: usize, outcome: &str) -> String {
    json!({
        "v": 1, "url": url(number), "outcome": outcome, "path": null, "bytes": null,
        "sha256": null, "error": {"kind": "status", "message": "why"},
    })
    .to_string()
}

/// Checks that exactly this violation is found, once, and returns its description.
fn only(findings: &Findings, violation: Violation) -> String {
    let all: Vec<_> = findings.violations.keys().copied().collect();
    assert_eq!(all, [violation], "{findings:#?}");
    let broken = &findings.violations[&violation];
    assert_eq!(broken.count, 1, "{findings:#?}");
    broken.examples[0].clone()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let findings = Scene::new().check();
    assert!(findings.is_clean(), "{findings:#?}");
    let Findings {
        urls,
        attempted,
        acknowledged,
        stored,
        recovered,
        poisons,
        quarantined,
        requests,
        ..
    } = findings;
    assert_eq!((urls, attempted, acknowledged, stored), (6, 6, 5, 5));
    assert_eq!((recovered, poisons, quarantined, requests), (0, 1, 1, 5));
}

#[test]
fn a_missing_file_is_lost() {
    let scene = Scene::new();
    fs::remove_file(scene.file(2)).expect("it is there");
    let told = only(&scene.check(), Violation::Lost);
    assert!(
        told.starts_with("2.bin of http://h.example/2: No such file"),
        "{told}"
    );
}

#[test]
fn a_url_without_a_record_is_lost() {
    let mut scene = Scene::new();
    scene.records.remove(2);
    fs::remove_file(scene.file(2)).expect("it is there");
    let told = only(&scene.check(), Violation::Lost);
    assert_eq!(told, "http://h.example/2 has no record");
}

#[test]
fn a_second_file_of_a_url_is_a_duplicate() {
    let scene = Scene::new();
    fs::write(scene.output().join("other.bin"), scene.body(2)).expect("writable");
    let told = only(&scene.check(), Violation::Duplicated);
    assert_eq!(told, "other.bin is another file of http://h.example/2");
}

#[test]
fn a_second_record_of_a_url_is_a_duplicate() {
    let mut scene = Scene::new();
    scene.records.push(scene.stored(2));
    let told = only(&scene.check(), Violation::Duplicated);
    assert_eq!(told, "http://h.example/2 has 2 final records");
}

#[test]
fn a_failure_that_was_mended_by_a_later_run_is_no_duplicate() {
    let mut scene = Scene::new();
    scene.records.insert(0, ended(2, "failed"));
    assert!(scene.check().is_clean());
}

#[test]
fn a_file_that_ends_too_early_is_torn() {
    let scene = Scene::new();
    fs::write(scene.file(2), &scene.body(2)[..999]).expect("writable");
    let told = only(&scene.check(), Violation::Torn);
    assert_eq!(told, "2.bin of http://h.example/2 ends after 999 of 1000");
    fs::write(scene.file(2), "").expect("writable");
    only(&scene.check(), Violation::Torn);
}

#[test]
fn a_file_that_goes_on_too_long_is_torn() {
    let scene = Scene::new();
    let mut longer = scene.body(2);
    longer.push(0);
    fs::write(scene.file(2), longer).expect("writable");
    let told = only(&scene.check(), Violation::Torn);
    assert_eq!(told, "2.bin of http://h.example/2 has 1001 bytes, not 1000");
}

#[test]
fn one_wrong_byte_is_wrong() {
    let scene = Scene::new();
    let mut wrong = scene.body(2);
    wrong[500] ^= 1;
    fs::write(scene.file(2), wrong).expect("writable");
    only(&scene.check(), Violation::WrongBytes);
    // The bytes of another URL are wrong too.
    fs::write(scene.file(2), scene.body(3)).expect("writable");
    only(&scene.check(), Violation::WrongBytes);
}

#[test]
fn a_record_that_lies_about_a_right_file_is_wrong() {
    let mut scene = Scene::new();
    scene.records[2] = scene.stored(2).replace("1000", "1001");
    let told = only(&scene.check(), Violation::WrongBytes);
    assert!(told.ends_with("is right, but its record is not"), "{told}");
}

#[test]
fn a_file_of_nobody_is_a_leftover() {
    let scene = Scene::new();
    fs::create_dir(scene.output().join("sub")).expect("writable");
    fs::write(scene.output().join("sub/x"), "who?").expect("writable");
    let told = only(&scene.check(), Violation::Leftover);
    assert_eq!(told, "sub/x belongs to no record");
}

#[test]
fn what_a_run_leaves_in_its_own_folders_is_a_leftover() {
    for place in [
        "downloads/.coordinator/partial/a.part",
        "downloads/.coordinator/new.tmp",
        "tmp/.tmpAbCdEf",
        "downloads/.coordinator-probe-1",
    ] {
        let scene = Scene::new();
        fs::write(scene.folder.path().join(place), "x").expect("writable");
        only(&scene.check(), Violation::Leftover);
    }
}

#[test]
fn an_innocent_in_quarantine_is_named_with_the_reason() {
    let mut scene = Scene::new();
    scene.records[2] = ended(2, "quarantined");
    fs::remove_file(scene.file(2)).expect("it is there");
    let told = only(&scene.check(), Violation::InnocentQuarantined);
    assert_eq!(told, "http://h.example/2: status: why");
}

#[test]
fn a_poison_that_is_not_quarantined_is_named() {
    let mut scene = Scene::new();
    scene.records[5] = ended(5, "failed");
    only(&scene.check(), Violation::PoisonSpared);
    scene.records.pop();
    only(&scene.check(), Violation::PoisonSpared);
}

#[test]
fn a_url_that_failed_for_good_is_named() {
    let mut scene = Scene::new();
    scene.records[2] = ended(2, "failed");
    fs::remove_file(scene.file(2)).expect("it is there");
    only(&scene.check(), Violation::Failed);
}

#[test]
fn a_file_that_the_origin_never_served_whole_is_named() {
    for spoil in [
        |seen: &mut Seen| seen.complete = false,
        |seen: &mut Seen| seen.status = Some(503),
        |seen: &mut Seen| seen.method = "HEAD".to_owned(),
        |seen: &mut Seen| (seen.status, seen.from, seen.bytes) = (Some(206), 1, 999),
        |seen: &mut Seen| seen.bytes = 999,
        |seen: &mut Seen| seen.url = "h.example/other".to_owned(),
    ] {
        let mut scene = Scene::new();
        spoil(&mut scene.journal[2]);
        only(&scene.check(), Violation::NeverServed);
    }
}

#[test]
fn a_body_that_came_in_two_parts_was_served_and_is_counted() {
    let mut scene = Scene::new();
    let rest = Seen {
        status: Some(206),
        from: 400,
        bytes: 600,
        ..scene.journal[2].clone()
    };
    scene.journal[2].bytes = 500;
    scene.journal[2].complete = false;
    scene.journal.push(rest);
    let findings = scene.check();
    assert!(findings.is_clean(), "{findings:#?}");
    assert_eq!((findings.resumed, findings.stored), (1, 5));
    // There is a gap between the parts.
    scene.journal[2].bytes = 399;
    only(&scene.check(), Violation::NeverServed);
}

#[test]
fn lines_that_are_no_records_of_the_list_are_named() {
    let mut scene = Scene::new();
    scene.records.insert(3, "{\"v\":1,\"url\":".to_owned());
    let told = only(&scene.check(), Violation::BadRecord);
    assert!(told.starts_with("line 4 of the run log: "), "{told}");
    scene.records[3] = ended(77, "failed");
    let told = only(&scene.check(), Violation::BadRecord);
    assert_eq!(told, "http://h.example/77 is not in the list");
    scene.records.remove(3);
    let log: String = scene.records.join("\n");
    let told = Scene::check_log(&scene, &log);
    let torn = &told.violations[&Violation::BadRecord].examples;
    assert_eq!(torn[..], ["line 6 of the run log is torn"]);
}

#[test]
fn a_process_that_is_left_is_an_orphan() {
    let mut scene = Scene::new();
    scene.processes.push(Process {
        pid: 4711,
        arguments: "coordinator worker".to_owned(),
    });
    let told = only(&scene.check(), Violation::Orphan);
    assert_eq!(told, "process 4711: coordinator worker");
}

#[test]
fn a_url_that_was_asked_for_before_and_after_a_death_is_recovered() {
    let mut scene = Scene::new();
    let again = Seen {
        begun_ns: 300,
        ..scene.journal[2].clone()
    };
    scene.journal.push(again);
    scene.killed_ns = vec![200];
    let findings = scene.check();
    assert!(findings.is_clean(), "{findings:#?}");
    assert_eq!(findings.recovered, 1);
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let mut scene = Scene::new();
    fs::remove_file(scene.file(0)).expect("it is there");
    fs::write(scene.file(1), &scene.body(1)[..10]).expect("writable");
    let mut wrong = scene.body(2);
    wrong[0] ^= 1;
    fs::write(scene.file(2), wrong).expect("writable");
    fs::write(scene.output().join("twice.bin"), scene.body(3)).expect("writable");
    scene.records.push(scene.stored(3));
    fs::write(scene.output().join("stranger.txt"), "?").expect("writable");
    scene.records[4] = ended(4, "quarantined");
    fs::remove_file(scene.file(4)).expect("it is there");
    let findings = scene.check();
    let counts: Vec<_> = findings
        .violations
        .iter()
        .map(|(violation, broken)| (violation.name(), broken.count))
        .collect();
    assert_eq!(
        counts,
        [
            ("lost", 1),
            ("duplicated", 2),
            ("torn", 1),
            ("wrong bytes", 1),
            ("innocents quarantined", 1),
            ("leftovers", 1),
        ]
    );
}
