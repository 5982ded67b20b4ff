//! The work of one scenario: the list, its server, and the expected result.
//!
//! This module must not run an entrant.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lab::origin::{Announcement, Origin, SpawnError, Spec};
use url::Url;

use super::check::Expected;
use super::nginx::Nginx;
use super::outside::write_python;
use crate::cli::shootout::Preset;
use crate::input::{self, InputError, Lines, Source, Target};

/// The work of all entrants.
#[derive(Debug)]
pub struct Work {
    /// Different URLs.
    pub urls: Vec<String>,
    /// The expected body of each URL.
    pub expected: Expected,
    /// The list, one URL a line.
    pub list: PathBuf,
    /// The list as a configuration file of curl.
    pub curl: PathBuf,
    /// The programs of the talk.
    pub python: PathBuf,
    /// The file with the server's address, for this program's own runs.
    pub announcement: Option<PathBuf>,
    /// The server's address in the list, or `None` for the real network.
    pub address: Option<SocketAddr>,
    /// The certificate that other programs must trust, if the list has https URLs.
    pub ca: Option<PathBuf>,
    server: Option<Server>,
}

/// The server of simulated work.
#[derive(Debug)]
enum Server {
    BuiltIn(Origin),
    Nginx(Nginx),
}

/// Simulated work before its setup.
#[derive(Debug)]
pub struct Simulated<'a> {
    /// This program.
    pub program: &'a Path,
    /// The behaviour of the server.
    pub spec: &'a Spec,
    /// The files.
    pub targets: &'a [Target],
    /// Whether the list contains the server's own address, so that any program can download it.
    pub rewritten: bool,
    /// Whether this list has https URLs.
    pub tls: bool,
    /// Whether nginx is the server, if it is installed.
    pub nginx: bool,
}

/// The reason why there is no work.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A list cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The lists have no URL that can be downloaded.
    #[error("the list holds no URL that could be downloaded; put one URL on a line")]
    Empty,
    /// The origin does not start.
    #[error("cannot start the built-in origin")]
    Origin(#[from] SpawnError),
    /// nginx does not start, or its files cannot be written.
    #[error("cannot use nginx as the server: {0}")]
    Nginx(#[source] io::Error),
    /// A file of the shootout cannot be written.
    #[error("cannot write {}: {source}; is there room for temporary files?", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Reads lists. Returns the different targets, and a line for each problem.
///
/// # Errors
///
/// Fails if a list cannot be opened, or the lists have no target.
pub fn read(sources: &[Source]) -> Result<(Vec<Target>, Vec<String>), WorkError> {
    let (mut targets, mut problems) = (Vec::new(), Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    let options = std::sync::Arc::default();
    for source in sources {
        for line in input::read(source, &options)? {
            if let Some(problem) = line.problem() {
                problems.push(problem);
            } else if let Ok(target) = line.entry
                && seen.insert(target.key)
            {
                targets.push(target);
            }
        }
    }
    if targets.is_empty() {
        return Err(WorkError::Empty);
    }
    Ok((targets, problems))
}

/// Returns the files of a preset.
#[must_use]
pub fn targets_of(preset: Preset) -> Vec<Target> {
    let list = Box::new(io::Cursor::new(preset.list().into_bytes()));
    let lines = Lines::new("preset", list, std::sync::Arc::default());
    lines.filter_map(|line| line.entry.ok()).collect()
}

impl Work {
    /// Starts the server of simulated work, and writes its list.
    ///
    /// # Errors
    ///
    /// Fails if the server does not start, or a file cannot be written into `folder`, which is
    /// empty.
    pub fn simulated(simulated: &Simulated<'_>, folder: &Path) -> Result<Self, WorkError> {
        let spec = simulated.spec;
        let nginx = match simulated.nginx {
            true => Nginx::start(folder).map_err(WorkError::Nginx)?,
            false => None,
        };
        let server = match nginx {
            Some(nginx) => Server::Nginx(nginx),
            None => Server::BuiltIn(Origin::spawn(simulated.program, spec)?),
        };
        let (http, https, ca_pem) = match &server {
            Server::BuiltIn(origin) => (origin.http, origin.https, &origin.ca_pem),
            Server::Nginx(nginx) => (nginx.http, nginx.https, &nginx.ca_pem),
        };
        let (scheme, address) = match simulated.tls {
            true => ("https", https),
            false => ("http", http),
        };
        let targets = simulated.targets.iter();
        let urls: Vec<String> = targets
            .map(|target| match simulated.rewritten {
                true => rewrite(target, scheme, address),
                false => target.url.clone(),
            })
            .collect();
        let announcement = Announcement {
            http,
            https: Some(https),
            ca_pem: Some(ca_pem.clone()),
        };
        let announcement = serde_json::to_string(&announcement).map_err(io::Error::from);
        let path = folder.join("announcement.json");
        let written = announcement.and_then(|text| fs::write(&path, text + "\n"));
        written.map_err(|source| write_error(&path, source))?;
        let ca = folder.join("ca.pem");
        fs::write(&ca, ca_pem).map_err(|source| write_error(&ca, source))?;
        if let Server::Nginx(nginx) = &server {
            nginx.fill(spec, &urls).map_err(WorkError::Nginx)?;
        }
        let mut work = Self::new(urls, folder)?;
        work.expected = Expected::simulated(spec, &work.urls);
        work.announcement = Some(path);
        work.address = Some(address);
        work.ca = simulated.tls.then_some(ca);
        work.server = Some(server);
        Ok(work)
    }

    /// Prepares work on the real network. It expects nothing until [`Work::expect`] is called.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written into `folder`, which is empty.
    pub fn live(targets: &[Target], folder: &Path) -> Result<Self, WorkError> {
        Self::new(
            targets.iter().map(|target| target.url.clone()).collect(),
            folder,
        )
    }

    fn new(urls: Vec<String>, folder: &Path) -> Result<Self, WorkError> {
        let python = write_python(folder).map_err(|source| WorkError::Write {
            path: folder.join("python"),
            source,
        })?;
        let work = Self {
            urls,
            expected: Expected::default(),
            list: folder.join("urls.txt"),
            curl: folder.join("curl.conf"),
            python,
            announcement: None,
            address: None,
            ca: None,
            server: None,
        };
        work.write_lists()?;
        Ok(work)
    }

    /// Limits the work to the URLs in `expected`.
    ///
    /// # Errors
    ///
    /// Fails if no URL is left, or the lists cannot be written again.
    pub fn expect(&mut self, expected: Expected) -> Result<(), WorkError> {
        self.urls.retain(|url| expected.has(url));
        self.expected = expected;
        if self.urls.is_empty() {
            return Err(WorkError::Empty);
        }
        self.write_lists()
    }

    fn write_lists(&self) -> Result<(), WorkError> {
        let (mut plain, mut curl) = (String::new(), String::new());
        for (number, url) in self.urls.iter().enumerate() {
            let quoted = url.replace('\\', "\\\\").replace('"', "\\\"");
            // Writing to a string never fails.
            let _ = writeln!(plain, "{url}");
            let _ = writeln!(curl, "url = \"{quoted}\"\noutput = \"{number:06}\"");
        }
        for (path, text) in [(&self.list, plain), (&self.curl, curl)] {
            fs::write(path, text).map_err(|source| write_error(path, source))?;
        }
        Ok(())
    }

    /// Returns the name of the server.
    #[must_use]
    pub fn server_name(&self) -> &'static str {
        match self.server {
            Some(Server::BuiltIn(_)) => "the built-in origin",
            Some(Server::Nginx(_)) => "nginx",
            None => "the real network",
        }
    }

    /// Returns the CPU time that the origin has used so far, in seconds. The origin has one thread.
    #[must_use]
    pub fn origin_cpu_s(&self) -> Option<f64> {
        let pid = match self.server.as_ref()? {
            Server::BuiltIn(origin) => origin.pid(),
            Server::Nginx(nginx) => nginx.pid(),
        };
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
        Some(nanoseconds / 1e9)
    }
}

fn write_error(path: &Path, source: io::Error) -> WorkError {
    let path = path.to_owned();
    WorkError::Write { path, source }
}

/// Returns a URL on the origin itself that no other target shares. Its last segment is a unique
/// file name, because many programs name files after it.
fn rewrite(target: &Target, scheme: &str, address: SocketAddr) -> String {
    let base = format!("{scheme}://{address}/");
    match Url::parse(&base) {
        Ok(mut url) => {
            url.set_path(&target.path);
            url.into()
        }
        // An address always makes a URL.
        Err(_) => base + &target.path,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sources(text: &str) -> (tempfile::NamedTempFile, Vec<Source>) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writable");
        let source = Source::File(file.path().to_owned());
        (file, vec![source])
    }

    #[test]
    fn every_url_counts_once_and_every_problem_is_told() {
        let (_file, sources) = sources("http://h/a\nhttp://h/a#x\n# c\nnonsense\nhttp://h/b\n");
        let (targets, problems) = read(&sources).expect("two URLs");
        let urls: Vec<_> = targets.iter().map(|target| &target.url).collect();
        assert_eq!(urls, ["http://h/a", "http://h/b"]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains(":4: "), "{problems:?}");
    }

    #[test]
    fn an_empty_list_is_an_error() {
        let (_file, sources) = sources("# nothing\n");
        assert!(matches!(read(&sources), Err(WorkError::Empty)));
    }

    #[test]
    fn rewritten_urls_differ_and_are_urls() {
        let (_file, sources) = sources("http://a/\nhttps://a/\nhttp://b/x?y=%20z\nhttp://c/ü %\n");
        let (targets, _) = read(&sources).expect("four URLs");
        let origin = SocketAddr::from(([127, 0, 0, 1], 8080));
        let urls: std::collections::BTreeSet<_> = targets
            .iter()
            .map(|target| rewrite(target, "http", origin))
            .collect();
        assert_eq!(urls.len(), 4);
        for url in urls {
            assert!(url.starts_with("http://127.0.0.1:8080/"), "{url}");
            assert_eq!(Url::parse(&url).expect("a URL").as_str(), url);
        }
    }
}
