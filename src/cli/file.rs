//! Settings from config files that are not options.

use std::path::PathBuf;

/// Settings from config files that are not options, and the source of each value.
#[derive(Clone, Debug, Default)]
pub struct FileArgs {
    /// Settings for single hosts.
    pub hosts: Vec<HostArgs>,
    /// One line for each value that is not the default: option, value, source.
    pub origins: Vec<[String; 3]>,
    /// The files that were read, and those that do not exist.
    pub files: Vec<String>,
    /// A note to show the user before the run.
    pub note: Option<String>,
}

/// A table `[host."NAME"]`.
#[derive(Clone, Debug)]
pub struct HostArgs {
    /// The host, as it is written in URLs.
    pub host: String,
    /// A file with a client certificate.
    pub cert: PathBuf,
    /// The file with its key, if it is not the same file.
    pub key: Option<PathBuf>,
}
