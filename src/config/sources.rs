//! What is downloaded and where it goes: the arguments, `--output` and `-o` together.
//!
//! `--output` always names a folder. `-o` names the file of a single URL, unless it ends in a slash
//! or is an existing folder. In every other case it is short for `--output`. Only the file of a
//! single URL can have a name that other URLs could also have. Every other file is named by the
//! rules for lists.

use std::path::{Path, PathBuf};

use super::network::{Network, default_output};
use crate::cli::run::RunArgs;
use crate::input::naming::{PlaceError, check_place};
use crate::input::{Excerpt, LineError, Source};

/// Why there is nothing to download, or no place for it.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// Standard input is given more than once.
    #[error("standard input (-) is given {0} times as a list of URLs; give it once")]
    StdinTwice(usize),
    /// A URL on the command line that cannot be downloaded.
    #[error(transparent)]
    Url(#[from] LineError),
    /// Two output folders are given.
    #[error(
        "-o {} and --output {} both name the folder for files; give one of them",
        short.display(), long.display()
    )]
    TwoFolders {
        /// What `-o` names.
        short: PathBuf,
        /// What `--output` names.
        long: PathBuf,
    },
    /// A name that no file can have.
    #[error("-o {file} names no file: it {problem}; --output DIR names the folder")]
    File {
        /// What was typed.
        file: String,
        /// What is wrong with it.
        problem: PlaceError,
    },
    /// Standard output cannot be the file.
    #[error("-o -: files cannot be written to standard output; name a file")]
    Stdout,
}

/// What is downloaded, and where it is stored.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) sources: Vec<Source>,
    pub(super) output: PathBuf,
    /// The only file has the plain name of its URL.
    pub(super) is_plain: bool,
}

/// Returns the sources and the output folder.
///
/// # Errors
///
/// Fails if a URL cannot be downloaded, `-o` is not valid, or the arguments contradict each other.
pub(super) fn sources(args: &RunArgs, network: &Network) -> Result<Sources, SourcesError> {
    let mut sources = match args.urls.as_slice() {
        // Without a list, a simulated run can use the built-in one. Nothing leaves the machine.
        [] => vec![Source::unnamed(network.is_simulated())],
        urls => Source::from_arguments(urls.iter().cloned())?,
    };
    let is_stdin = |source: &&Source| **source == Source::Stdin;
    let stdins = sources.iter().filter(is_stdin).count();
    if stdins > 1 {
        return Err(SourcesError::StdinTwice(stdins));
    }
    let mut folder = args.output.clone();
    let mut file = args.output_file.clone();
    let mut one = match sources.as_mut_slice() {
        [Source::Urls(urls)] if urls.len() == 1 => urls.first_mut(),
        _ => None,
    };
    if let Some(short) = file.take_if(|file| one.is_none() || is_folder(file)) {
        if let Some(long) = folder {
            return Err(SourcesError::TwoFolders { short, long });
        }
        folder = Some(short);
    }
    let is_plain = one.is_some() && file.is_none() && args.list.naming.is_none();
    let output = match (&mut one, &file) {
        (Some(url), Some(file)) => {
            let (folder, out) = place_of(file, folder, network)?;
            url.out = Some(out);
            folder
        }
        (Some(url), None) if is_plain => {
            url.out = url.plain_name();
            folder.unwrap_or_else(|| default_output(network))
        }
        (_, _) => folder.unwrap_or_else(|| default_output(network)),
    };
    Ok(Sources {
        sources,
        output,
        is_plain,
    })
}

/// Returns whether `-o` names a folder, by the rules of cp(1).
fn is_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
}

/// Returns the output folder, and the name of the file in it.
fn place_of(
    file: &Path,
    folder: Option<PathBuf>,
    network: &Network,
) -> Result<(PathBuf, String), SourcesError> {
    if file == Path::new("-") {
        return Err(SourcesError::Stdout);
    }
    let text = file.to_string_lossy();
    let refused = |problem| SourcesError::File {
        file: Excerpt::of_name(&text),
        problem,
    };
    // Simulated files are kept apart from real ones, unless a folder is named.
    let folder = folder.or_else(|| network.is_simulated().then(|| default_output(network)));
    let (folder, out) = match folder {
        Some(folder) => {
            // Shells can complete a name to this form.
            (folder, file.strip_prefix("./").unwrap_or(file).to_owned())
        }
        None => {
            let name = match file.file_name() {
                Some(name) => name,
                None => return Err(refused(PlaceError::EmptyPart)),
            };
            let parent = file.parent().filter(|parent| *parent != Path::new(""));
            (parent.unwrap_or(Path::new(".")).to_owned(), name.into())
        }
    };
    let out = out.to_string_lossy().into_owned();
    check_place(&out).map_err(refused)?;
    Ok((folder, out))
}
