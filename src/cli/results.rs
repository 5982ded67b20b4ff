//! Options of `coordinator results`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use protocol::FailureKind;

use super::run::OUTPUT;
use super::value;

/// Options of `coordinator results`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ResultsArgs {
    /// Output folder of the run
    #[arg(value_name = "DIR", default_value = OUTPUT, value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,

    /// The same as DIR, with the name of the option of a run
    #[arg(long, value_name = "DIR", visible_alias = "output-dir", value_hint = ValueHint::DirPath, conflicts_with = "folder")]
    pub output: Option<PathBuf>,

    /// Print only the URLs that failed or are quarantined, one per line, as a list for another run.
    /// The list is JSONL if one of them has a name (out) or a range, and text otherwise
    #[arg(long, conflicts_with_all = ["slowest", "export_csv", "export_json"])]
    pub failed: bool,

    /// Print only the URL and the path of each stored file, one file per line, with a tab between
    /// them; the path is relative to the output folder
    #[arg(long, conflicts_with_all = ["failed", "kind", "slowest", "json", "export_csv", "export_json"])]
    pub stored: bool,

    /// Only URLs that failed with this kind of error; several kinds are separated by commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = value::failure_kind())]
    pub kind: Vec<FailureKind>,

    /// Only URLs of this host; several hosts are separated by commas
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = value::host)]
    pub host: Vec<String>,

    /// Number of slowest downloads to show
    #[arg(long, value_name = "N", default_value = "10")]
    pub slowest: usize,

    /// Print the figures as one JSON object, without the URLs
    #[arg(long, conflicts_with_all = ["failed", "export_csv", "export_json"])]
    pub json: bool,

    /// Write every URL as a line of CSV; - is standard output
    #[arg(long, value_name = "FILE")]
    pub export_csv: Option<PathBuf>,

    /// Write everything as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub export_json: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
If a URL has several lines in the run log, because it failed in one run and was stored by the next, \
the last line counts. You can look at the results during a run. Nothing in the folder is changed.

Examples:
  coordinator results --failed --kind timeout | coordinator -
      try again what timed out
  coordinator results --failed | coordinator --retry-quarantined -
      try failed and quarantined URLs again
  coordinator results --host www.example.com --export-csv -
      one host as a table
  coordinator results --stored | cut -f 2
      the paths of all stored files

Exit status:
  0    the results were printed, whatever they are
  2    the command line is wrong
  3    there is no run log, it cannot be read, or a result could not be written";
