//! Prints the SHA-256 hash of every file in a folder, with a progress bar: `hashes FOLDER`.
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use pool::{Context, Failed, Outcome, Pool, Work};
use sha2::{Digest, Sha256};

struct Hashes;

impl Work for Hashes {
    type Setup = ();
    type Job = PathBuf;
    type Output = String;

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, path: PathBuf, _: &Context) -> Result<String, Failed> {
        let mut hash = Sha256::new();
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                length => hash.update(&buffer[..length]),
            }
        }
        let hash = hash.finalize();
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pool::init::<Hashes>();
    let folder = std::env::args().nth(1).ok_or("usage: hashes FOLDER")?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}")?;
    let progress = ProgressBar::new(files.len() as u64).with_style(style);
    let pool = Pool::<Hashes>::builder(()).start()?;
    let outcomes = pool.run_ordered(files.iter().cloned());
    for (file, outcome) in files.iter().zip(outcomes) {
        let text = match outcome {
            Outcome::Done(hash) => hash,
            Outcome::Failed(failed) => failed.to_string(),
            other => format!("{other:?}"),
        };
        progress.suspend(|| println!("{text}  {}", file.display()));
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}
