//! A shootout that a test holds, and its results.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_coordinator");

/// A folder with a list, for one shootout.
pub struct Set {
    pub folder: TempDir,
}

/// Output and results of a shootout.
pub struct Held {
    pub output: Output,
    pub results: Value,
}

impl Set {
    /// Creates a list with this number of URLs.
    pub fn with(urls: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let list: String = (0..urls)
            .map(|n| format!("https://host-{}.example/file-{n}?q=<b>&x='\"\n", n % 3))
            .collect();
        std::fs::write(folder.path().join("urls.txt"), list).expect("writable");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the command without the test's own arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("shootout")
            .arg(self.path("urls.txt"))
            .arg("--export-json")
            .arg(self.path("results.json"))
            .arg("--report")
            .arg(self.path("report.html"))
            .stdin(Stdio::null());
        command
    }

    pub fn hold(&self, arguments: &[&str]) -> Held {
        let output = self.command().args(arguments).output().expect("it runs");
        Held {
            results: self.results(&output),
            output,
        }
    }

    pub fn results(&self, output: &Output) -> Value {
        let text = std::fs::read_to_string(self.path("results.json")).unwrap_or_else(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("no results: {error}; {} {said}", output.status)
        });
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Held {
    pub fn standings(&self) -> &Vec<Value> {
        standings(&self.results)
    }

    pub fn standing(&self, name: &str) -> &Value {
        let mut all = self.standings().iter();
        let found = all.find(|standing| standing["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in the results"))
    }

    pub fn median(&self, name: &str) -> f64 {
        let median = &self.standing(name)["figures"]["wall"]["median"];
        median
            .as_f64()
            .unwrap_or_else(|| panic!("{name} has no time: {}", self.standing(name)))
    }

    /// Returns why it failed.
    pub fn failure(&self, name: &str) -> &str {
        let standing = self.standing(name);
        assert_eq!(standing["state"]["state"], "failed", "{name}: {standing}");
        assert!(standing["figures"].is_null(), "{name} must not have a time");
        standing["state"]["reason"].as_str().expect("a reason")
    }

    pub fn table(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }
}

pub fn standings(results: &Value) -> &Vec<Value> {
    results["scenarios"][0]["standings"]
        .as_array()
        .expect("an array")
}

/// Returns a contestant that does the work: this program with its usual command line.
pub fn honest() -> String {
    format!("{PROGRAM} --quiet --workers 3 --output {{out}} {{urls}}")
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}
