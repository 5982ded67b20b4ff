//! Causes of death of workers, from the log of deaths.

use std::collections::BTreeMap;
use std::fs::File;

use crate::run::log::LogReader;

/// Maximum number of causes that are counted separately. A cause is a signal, an exit code, or the
/// reason why a worker did not start.
const MOST: usize = 64;

/// Counts the workers that died of each cause. A missing log has none. A log ends where it cannot
/// be read.
#[must_use]
pub fn count(log: Option<File>) -> BTreeMap<String, u64> {
    let mut deaths = BTreeMap::new();
    let Some(log) = log else {
        return deaths;
    };
    let mut reader = LogReader::new(log);
    while let Some(death) = reader.next_death() {
        let Ok(death) = death else {
            continue;
        };
        let exit = match deaths.len() {
            ..MOST => death.exit(),
            _ if deaths.contains_key(death.exit()) => death.exit(),
            _ => "other causes",
        };
        *deaths.entry(exit.to_owned()).or_default() += 1;
    }
    deaths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(exit: &str) -> String {
        format!("{{\"v\":1,\"time\":\"\",\"exit\":{{\"signal\":null,\"text\":\"{exit}\"}}}}\n")
    }

    #[test]
    fn causes_are_counted_and_not_told_apart_for_ever() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deaths.jsonl");
        assert_eq!(count(None), BTreeMap::new());
        let mut log = line("exit code 0") + "nonsense\n" + &line("exit code 0");
        for n in 1..MOST + 10 {
            log.push_str(&line(&format!("not started: {n}")));
        }
        std::fs::write(&path, log + "{\"torn").expect("write");
        let deaths = count(File::open(path).ok());
        assert_eq!(deaths.len(), MOST + 1);
        assert_eq!(deaths["exit code 0"], 2);
        assert_eq!(deaths["other causes"], 10);
    }
}
