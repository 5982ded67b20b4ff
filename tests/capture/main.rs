//! The picture of a run in README.md: a real run in a terminal, drawn as SVG.
//!
//! `cargo test --test capture -- --write` draws `docs/run.svg` again. The test draws and checks
//! such a run without a change of the file.
#![allow(clippy::unwrap_used, reason = "tests")]

mod picture;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};

use support::Run;
use support::terminal::Terminal;

/// The path of the file in the repository.
const FILE: &str = "docs/run.svg";

/// The size of the terminal.
const ROWS: u16 = 24;
const COLUMNS: u16 = 96;

/// The command above the picture.
const COMMAND: &str = "coordinator --workers 6 list.txt";

/// The name of the run's folder in the picture.
const HOME: &str = "~";

/// The description for readers who do not see the picture.
const TITLE: &str = "A run of coordinator in a terminal: a failure, the progress of the whole run, the \
                     downloads that are under way, and the summary at the end";

fn main() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::args().nth(1).as_deref() == Some("--write") {
        fs::write(&file, run().draw()).expect("the picture can be written");
        return;
    }
    let trials = vec![
        Trial::test("a_picture_shows_each_line_of_the_terminal", || {
            let capture = run();
            let shown = picture::text(&capture.draw());
            for line in capture.screens.iter().flat_map(picture::lines) {
                let line = line.replace(&capture.folder, HOME);
                assert!(
                    shown.contains(&line),
                    "{line:?} is not in:\n{}",
                    shown.join("\n")
                );
            }
            Ok(())
        }),
        Trial::test("readme_shows_the_picture_of_such_a_run", move || {
            let readme = fs::read_to_string(file.with_file_name("../README.md")).unwrap();
            assert!(readme.contains(&format!("]({FILE})")));
            let shown = picture::text(&fs::read_to_string(&file).unwrap()).join("\n");
            for part in [COMMAND, "failed: ", "ETA", "%", "stored", "run log: "] {
                assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
            }
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The screens of a run.
struct Capture {
    folder: String,
    screens: Vec<vt100::Screen>,
}

impl Capture {
    fn draw(&self) -> String {
        let called = |text: &str| text.replace(&self.folder, HOME);
        picture::draw(TITLE, COMMAND, &self.screens, called)
    }
}

/// Runs a list with one failure. Returns the screen with the failure and running downloads, and the
/// last screen.
fn run() -> Capture {
    let hosts = ["archive.example", "data.example", "mirror.example"];
    let list = (2016..2022).flat_map(|year| {
        let url = move |host| format!("https://{host}/{year}.csv");
        hosts.map(url)
    });
    let run = Run::new()
        .list(list)
        .with("--workers 6 --retry 0 --limit-rate 8M")
        .with("--simulate=size=4MiB,latency=50ms,jitter=100ms,errors=6%,seed=3")
        .with("--output downloads")
        .env("NO_COLOR", "")
        .through(["env", "--unset=NO_COLOR"]);
    let terminal = Terminal::sized(&run, ROWS, COLUMNS);
    terminal.wait_until("a failure, and downloads under way", |terminal| {
        let failed = terminal.lines_with("failed: ");
        let under_way = terminal.lines_with("% ");
        let under_way = under_way.iter().filter(|line| line.contains("B/s"));
        let known = terminal
            .lines_with("ETA")
            .iter()
            .any(|line| !line.contains("--"));
        !failed.is_empty() && under_way.count() > 3 && known
    });
    let midway = terminal.parser().screen().clone();
    terminal.wait_for("run log: ");
    terminal.wait_until("the cursor", Terminal::shows_cursor);
    Capture {
        folder: run.mark(),
        screens: vec![midway, terminal.parser().screen().clone()],
    }
}
