//! What config files say beside options.

use std::path::PathBuf;

/// What config files say beside options, and where each value comes from.
#[derive(Clone, Debug, Default)]
pub struct FileArgs {
    /// What is for one host alone.
    pub hosts: Vec<HostArgs>,
    /// A line for each value that is not the default: option, value, where it comes from.
    pub origins: Vec<[String; 3]>,
    /// The files that were read, and those that are not there.
    pub files: Vec<String>,
    /// What the user is to know before the run.
    pub note: Option<String>,
}

/// A table `[host."NAME"]`.
#[derive(Clone, Debug)]
pub struct HostArgs {
    /// The host, as URLs write it.
    pub host: String,
    /// A file with a client certificate.
    pub cert: PathBuf,
    /// A file with its key, if that is not the same file.
    pub key: Option<PathBuf>,
}
