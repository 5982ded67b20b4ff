//! Runs the commands of docs/fleet.md as they are written, except for addresses and folders, with
//! the built-in origin.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::queue::{PROGRAM, Queue};

const PAGE: &str = include_str!("../../docs/fleet.md");

/// Returns the text of the page from `begin` to the end of its block.
fn block(begin: &str) -> &'static str {
    let at = PAGE.find(begin).unwrap();
    let rest = &PAGE[at..];
    &rest[..rest.find("```").unwrap()]
}

/// Returns the text between `begin` and `end`.
fn between(text: &'static str, begin: &str, end: &str) -> &'static str {
    let (_, rest) = text.split_once(begin).unwrap();
    rest.split_once(end).unwrap().0
}

struct Shell<'a> {
    queue: &'a Queue,
    address: String,
}

impl Shell<'_> {
    /// Runs a script of the page and returns its output.
    fn run(&self, script: &str) -> String {
        let script = script
            .replace("nats://fleet:…@queue", &self.address)
            .replace("nats://queue", &self.address)
            .replace("fleet join", "fleet join --simulate")
            .replace("/data/", "data/")
            .replace("/scratch/", "scratch/");
        let folder = self.queue.folder();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .args(["-eu", "-c", &format!("srun() {{ \"$@\"; }}\n{script}")])
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .env("JOB_COMPLETION_INDEX", "0")
            .env("SLURM_PROCID", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}\n{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.queue.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Returns the queue's settings on the page, with a folder and a password of the test.
fn config(store: &Path) -> String {
    block("port: 4222")
        .replace("/var/lib/nats", store.to_str().unwrap())
        .replace('…', "s@cret")
}

#[test]
fn the_commands_of_the_page_run() {
    let queue = Queue::start_as(config);
    let address = queue.url().replace("nats://", "nats://fleet:s%40cret@");
    let shell = Shell {
        queue: &queue,
        address,
    };
    shell.write("bin/nothing", "");
    std::os::unix::fs::symlink(PROGRAM, queue.folder().join("bin/coordinator")).unwrap();
    // The message of a refused connection must not contain the password.
    let wrong = queue.url().replace("nats://", "nats://fleet:hush@");
    let status = format!("coordinator fleet status --queue {wrong}");
    shell.run(&format!(
        "! {status} 2>said.txt && grep violation said.txt && ! grep hush said.txt"
    ));
    let list: String = (0..20).map(|n| format!("http://h{n}.test/a\n")).collect();
    shell.write("list.txt", &list);
    shell.run("gzip list.txt && mkdir -p data scratch/books");
    // These run in the order of the page: feed, join, status, results.
    let prompts = ["queue$ coordinator", "m1$ coordinator"];
    let mut printed = Vec::new();
    for line in PAGE.lines() {
        if prompts.iter().any(|prompt| line.starts_with(prompt)) {
            let (_, command) = line.split_once("$ ").unwrap();
            printed.push(shell.run(command));
        }
    }
    assert_eq!(printed.len(), 4, "{printed:?}");
    assert!(
        printed[2].starts_with("20 targets fed (all)"),
        "{printed:?}"
    );
    assert!(printed[3].contains("stored  20"), "{printed:?}");
    // A late member finds no work and exits with success.
    shell.run(between(block("[Service]"), "ExecStart=", "\n"));
    let pod = between(block("apiVersion"), "[sh, -c, \"", "\"]");
    shell.run(pod);
    shell.run(block("#SBATCH"));
    for folder in ["data/m0", "scratch/books/m0"] {
        assert!(queue.folder().join(folder).is_dir(), "{folder}");
    }
}
