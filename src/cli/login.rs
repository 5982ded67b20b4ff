//! Options for logging in. Names follow curl.

use std::path::PathBuf;

use clap::Args;
use protocol::{Bearer, Credentials};

use super::value;

/// Options for logging in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging in")]
pub struct LoginArgs {
    /// User name and password for the hosts of the list. Others on this machine can read them in the
    /// list of processes; a netrc file keeps them to yourself
    #[arg(short = 'u', long, value_name = "NAME:PASSWORD", value_parser = value::credentials)]
    pub user: Option<Credentials>,

    /// Never send a password: prove it by Digest, and fail where a server wants Basic
    #[arg(long)]
    pub digest: bool,

    /// Bearer token for the hosts of the list; with @FILE, the one in that file
    #[arg(long, value_name = "TOKEN|@FILE", value_parser = value::bearer, conflicts_with = "user")]
    pub oauth2_bearer: Option<Bearer>,

    /// Insist on ~/.netrc: a run without a usable one does not begin. It is used anyway if it is
    /// there
    #[arg(long, conflicts_with = "no_netrc")]
    pub netrc: bool,

    /// Take user names and passwords by host from FILE, and not from ~/.netrc. Its mode must keep
    /// others from reading it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["netrc", "no_netrc"])]
    pub netrc_file: Option<PathBuf>,

    /// Do not use ~/.netrc
    #[arg(long)]
    pub no_netrc: bool,

    /// Send the cookies in FILE (cookies.txt, Netscape's format) to the hosts that they are for
    #[arg(short = 'b', long, value_name = "FILE")]
    pub cookie: Option<PathBuf>,

    /// Share cookies between all URLs, and write them to FILE at the end of the run [default: each
    /// URL keeps its own, and nothing is written]
    #[arg(long, value_name = "FILE")]
    pub cookie_jar: Option<PathBuf>,

    /// Show the hosts of the list the client certificate in this PEM file, if they ask for one
    #[arg(short = 'E', long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// The private key of --cert, in PEM and not encrypted [default: in the file of --cert]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}
