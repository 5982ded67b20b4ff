//! Options for logging in. Names follow curl.

use std::path::PathBuf;

use clap::Args;
use protocol::{Bearer, Credentials};

use super::value;

/// Options for logging in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging in")]
pub struct LoginArgs {
    /// User name and password for the hosts of the list. Other users of this machine can see them
    /// in the list of processes; a netrc file keeps them private
    #[arg(short = 'u', long, value_name = "NAME:PASSWORD", value_parser = value::credentials)]
    pub user: Option<Credentials>,

    /// Never send a password: use Digest, and fail if a server requires Basic
    #[arg(long)]
    pub digest: bool,

    /// Bearer token for the hosts of the list; with @FILE, the one in that file
    #[arg(long, value_name = "TOKEN|@FILE", value_parser = value::bearer, conflicts_with = "user")]
    pub oauth2_bearer: Option<Bearer>,

    /// Require ~/.netrc: the run does not start without a usable one. Without this option, it is
    /// used if it exists
    #[arg(long, conflicts_with = "no_netrc")]
    pub netrc: bool,

    /// Read user names and passwords by host from FILE instead of ~/.netrc. Other users must not be
    /// able to read it (mode 600)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["netrc", "no_netrc"])]
    pub netrc_file: Option<PathBuf>,

    /// Do not use ~/.netrc
    #[arg(long)]
    pub no_netrc: bool,

    /// Send the cookies in FILE (cookies.txt, in Netscape's format) to their hosts
    #[arg(short = 'b', long, value_name = "FILE")]
    pub cookie: Option<PathBuf>,

    /// Share cookies between all URLs, and write them to FILE at the end of the run [default: each
    /// URL has its own cookies, and none are written]
    #[arg(long, value_name = "FILE")]
    pub cookie_jar: Option<PathBuf>,

    /// Client certificate (PEM) for the hosts of the list, if they ask for one
    #[arg(short = 'E', long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// Private key of --cert, in PEM and not encrypted [default: from the file of --cert]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}
