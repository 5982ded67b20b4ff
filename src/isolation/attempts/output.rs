//! The output folder: finished files, the run log, and partial bodies of other workers.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::isolation::attempt::Attempt;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "output-new",
        "make a file in the output folder",
        |ground| fs::write(ground.output("new"), "x"),
        |view| view.output("new").exists(),
    ),
    Attempt::new(
        "output-change",
        "change a finished file",
        |ground| {
            let file = OpenOptions::new().append(true).open(ground.output("kept"));
            file?.write_all(b"x")
        },
        |view| fs::read(view.output("kept")).unwrap_or_default() != b"kept",
    ),
    Attempt::new(
        "output-remove",
        "remove a finished file",
        |ground| fs::remove_file(ground.output("kept")),
        |view| !view.output("kept").exists(),
    ),
    Attempt::new(
        "log-forge",
        "add a line to the run log",
        |ground| {
            let log = OpenOptions::new()
                .append(true)
                .open(ground.state("results.jsonl"));
            writeln!(log?, "{{\"forged\":true}}")
        },
        |view| view.state("results.jsonl", b"forged"),
    ),
    Attempt::new(
        "log-remove",
        "remove the run log",
        |ground| fs::remove_file(ground.state("results.jsonl")),
        |view| !view.has_state("results.jsonl"),
    ),
    Attempt::new(
        "deaths-forge",
        "add a line to the log of deaths",
        |ground| {
            let log = OpenOptions::new()
                .append(true)
                .create(true)
                .open(ground.state("deaths.jsonl"));
            writeln!(log?, "{{\"forged\":true}}")
        },
        |view| view.state("deaths.jsonl", b"forged"),
    ),
    Attempt::new(
        "lock-remove",
        "remove the lock of the run",
        |ground| fs::remove_file(ground.state("lock")),
        |view| !view.has_state("lock"),
    ),
    Attempt::new(
        "socket-remove",
        "remove the socket that workers connect to",
        |ground| fs::remove_file(ground.state("sockets/coordinator")),
        |view| !view.has_state("sockets/coordinator"),
    )
    .against_worker(),
    Attempt::new(
        "partial-folder",
        "make a folder among those of the workers",
        |ground| fs::create_dir(ground.state("partial/7-7")),
        |view| view.has_state("partial/7-7"),
    ),
    Attempt::new(
        "partial-write",
        "write to the folder of another worker",
        |ground| fs::write(ground.of_sibling("forged"), "x"),
        |view| view.has_state("partial/1-1/forged"),
    )
    .against_worker(),
    Attempt::new(
        "partial-remove",
        "remove what another worker has begun",
        |ground| fs::remove_file(ground.of_sibling("begun")),
        |view| !view.has_state("partial/1-1/begun"),
    )
    .against_worker(),
    Attempt::new(
        "partial-read",
        "read what another worker has begun",
        |ground| ground.keep(fs::read(ground.of_sibling("begun"))?),
        |view| view.has_secret(),
    )
    .against_worker(),
];
