//! Workers that report something other than a body, or a body that they can still change.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;

use libtest_mimic::Trial;

use crate::support::{Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_body_that_its_worker_can_still_change_is_not_stored,
        a_link_in_place_of_a_body_is_not_stored,
    ]
}

/// Runs in the worker: puts one byte, or a link, under `name`.
pub fn prepare(how: &str, name: &str) -> Option<File> {
    if how == "lies-link" {
        symlink("../../../../private", name).expect("it may link");
        return None;
    }
    let mut file = File::create(name).expect("it may write there");
    file.write_all(b"x").expect("it may write there");
    Some(file)
}

/// A run whose first worker lies about its task. Another worker then finishes it.
fn lied(how: &str, found: &str) {
    let server = Server::start();
    let url = server.url("/f");
    let run = run(&format!("0.1=after-ready:{how}"))
        .list([&url])
        .with("--workers 1 --retry-delay 0");
    std::fs::write(run.path("private"), "s").unwrap();
    let ended = run.finish().code(0);
    ended.says(&["worker 0.1 broke the protocol", found]);
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    let record = run.log().one(&url);
    run.log().check(&record, &sha256(&server::body("/f")));
    assert_eq!((record.attempts, record.worker.unwrap().epoch), (2, 2));
    assert_eq!(std::fs::read(run.path("private")).unwrap(), b"s");
    assert_eq!(run.log().partials(), [""; 0]);
}

fn a_body_that_its_worker_can_still_change_is_not_stored() {
    lied("lies-open", "open for writing");
}

fn a_link_in_place_of_a_body_is_not_stored() {
    lied("lies-link", "cannot be opened");
}
