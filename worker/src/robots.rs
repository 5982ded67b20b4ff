//! The rules of robots.txt for the targets of redirects.
//!
//! The coordinator checks every URL of the list before it assigns it. Only the worker knows the
//! target of a redirect, so it looks up the rules of that origin, if they are known. It must not
//! fetch any: the coordinator promises one request for each robots.txt in a run.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::FailureKind;
use protocol::robots::{MAX_ROBOTS, ObeyRobots, RobotsRules, forbidden_by, robots_file, split_url};
use rustix::fs::OFlags;

use crate::fault::Fault;

/// Number of origins whose rules are kept in memory, and the largest size of each, in bytes. Most
/// redirects stay within one origin, and a worker may have little memory.
const KEPT: usize = 4;
const MOST_KEPT: usize = 128 << 10;

/// Rules of the origins whose robots.txt the coordinator has fetched.
#[derive(Debug)]
pub(crate) struct KnownRobots {
    folder: PathBuf,
    token: String,
    /// The rules used last, by origin, latest first.
    kept: Mutex<VecDeque<(String, Arc<RobotsRules>)>>,
}

impl KnownRobots {
    pub(crate) fn new(obey: &ObeyRobots) -> Self {
        Self {
            folder: PathBuf::from(&obey.folder),
            token: obey.token.clone(),
            kept: Mutex::default(),
        }
    }

    /// Fails if the rules forbid `url`, which must not contain credentials.
    pub(crate) fn check(&self, url: &str) -> Result<(), Fault> {
        let (origin, path) = split_url(url);
        let rules = self.rules(origin);
        match rules.as_ref().and_then(|rules| rules.forbids(path)) {
            None => Ok(()),
            Some(rule) => Err(Fault::permanent(
                FailureKind::Robots,
                format!("redirected to {url}: {}", forbidden_by(origin, rule)),
            )),
        }
    }

    /// Returns the rules of `origin`, if there are any and they are known.
    fn rules(&self, origin: &str) -> Option<Arc<RobotsRules>> {
        // Each entry is complete even after a panic.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| known == origin) {
            kept.swap(0, at);
            return kept.front().map(|(_, rules)| Arc::clone(rules));
        }
        // Rules that are missing now may appear later, so their absence is not cached.
        let rules = Arc::new(self.read(origin)?);
        if rules.weight() <= MOST_KEPT {
            kept.truncate(KEPT - 1);
            kept.push_front((origin.to_owned(), Arc::clone(&rules)));
        }
        Some(rules)
    }

    fn read(&self, origin: &str) -> Option<RobotsRules> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(self.folder.join(robots_file(origin)))
            .ok()?;
        let mut text = Vec::new();
        file.take(MAX_ROBOTS).read_to_end(&mut text).ok()?;
        Some(RobotsRules::parse(&text, &self.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_known_robots_txt_forbids_is_refused_and_it_may_come_later() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let robots = KnownRobots::new(&ObeyRobots {
            folder: dir.path().into(),
            token: "coordinator".to_owned(),
        });
        assert_eq!(robots.check("http://h/private"), Ok(()));
        let file = dir.path().join(robots_file("http://h"));
        std::fs::write(file, "User-agent: *\nDisallow: /private\n").expect("written");
        let fault = robots.check("http://h/private?a").expect_err("forbidden");
        assert_eq!(fault.kind, FailureKind::Robots);
        assert!(fault.message.contains("http://h/robots.txt"), "{fault:?}");
        assert_eq!(robots.check("http://h/public"), Ok(()));
        for other in ["https://h/private", "http://h:81/private"] {
            assert_eq!(robots.check(other), Ok(()));
        }
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let robots = KnownRobots::new(&ObeyRobots {
            folder: dir.path().into(),
            token: String::new(),
        });
        for round in 0..2 {
            for n in 0..2 * KEPT {
                let origin = format!("http://h{n}");
                let file = dir.path().join(robots_file(&origin));
                std::fs::write(file, format!("User-agent: *\nDisallow: /{n}$\n")).expect("written");
                assert!(robots.check(&format!("{origin}/{n}")).is_err(), "{round}");
                assert_eq!(robots.check(&format!("{origin}/x")), Ok(()));
            }
        }
        assert_eq!(robots.kept.lock().expect("whole").len(), KEPT);
        // Rules that are too large are read each time.
        let file = dir.path().join(robots_file("http://large"));
        let text = format!("User-agent: *\n{}", "Disallow: /x\n".repeat(20_000));
        std::fs::write(&file, text).expect("written");
        assert!(robots.check("http://large/x").is_err());
        let kept = robots.kept.lock().expect("whole");
        assert!(kept.iter().all(|(origin, _)| origin != "http://large"));
    }
}
