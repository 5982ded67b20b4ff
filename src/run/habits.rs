//! Detects which names the output folder treats as equal. Some file systems ignore case, or treat a
//! letter with an accent and its decomposed form as equal.
//!
//! File systems do not report this, so this module tests it. It must not touch a file of the user.

use std::borrow::Cow;
use std::fs::{self, OpenOptions};
use std::path::Path;

use icu_normalizer::DecomposingNormalizer;

/// The composed name of a test file, which is also looked up under the decomposed one.
const COMPOSED: &str = "probe-\u{e9}";
const DECOMPOSED: &str = "probe-e\u{301}";

/// Which names a folder treats as equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Whether the folder ignores case.
    case_blind: bool,
    /// Whether the folder ignores how a letter is composed.
    normalising: bool,
}

impl Habits {
    /// Tests `folder`, which is the run's own folder within the output folder.
    #[must_use]
    pub fn try_in(folder: &Path) -> Self {
        Self {
            normalising: is_normalising(folder),
            ..Self::look_at(folder)
        }
    }

    /// Returns what can be found out about `folder` without creating anything.
    #[must_use]
    pub fn look_at(folder: &Path) -> Self {
        let other = folder.file_name().map(|name| name.to_ascii_uppercase());
        let other = other.map(|name| folder.with_file_name(name));
        Self {
            case_blind: other.is_some_and(|other| other.symlink_metadata().is_ok()),
            normalising: false,
        }
    }

    /// Returns the path that represents all paths that are equal to this folder. Each file system
    /// has its own table of letters, so different paths may share a representation.
    #[must_use]
    pub fn fold(self, path: &str) -> Cow<'_, str> {
        let mut folded = Cow::Borrowed(path);
        if path.is_ascii() {
            if self.case_blind && path.bytes().any(|byte| byte.is_ascii_uppercase()) {
                folded = Cow::Owned(path.to_ascii_lowercase());
            }
            return folded;
        }
        if self.normalising {
            folded = Cow::Owned(decomposed(&folded));
        }
        if self.case_blind {
            // Convert through both cases: some letters share only one of them with another letter.
            let lower = folded.to_lowercase().to_uppercase().to_lowercase();
            folded = Cow::Owned(if self.normalising {
                decomposed(&lower)
            } else {
                lower
            });
        }
        folded
    }
}

fn decomposed(text: &str) -> String {
    DecomposingNormalizer::new_nfd()
        .normalize(text)
        .into_owned()
}

fn is_normalising(folder: &Path) -> bool {
    let path = folder.join(COMPOSED);
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let there = || folder.join(DECOMPOSED).symlink_metadata().is_ok();
    match created {
        Ok(_) => {
            let normalising = there();
            // A file that stays is harmless, and the next run finds it.
            let _ = fs::remove_file(&path);
            normalising
        }
        Err(_) => path.symlink_metadata().is_ok() && there(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_tells_all_apart_folds_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = folder.path().join(".own");
        fs::create_dir(&own).expect("created");
        assert_eq!(Habits::try_in(&own), Habits::default());
        assert_eq!(fs::read_dir(&own).expect("a folder").count(), 0);
        assert_eq!(Habits::default().fold("A/\u{c4}"), "A/\u{c4}");
    }

    #[test]
    fn names_that_are_one_to_the_folder_fold_to_one() {
        let case = Habits {
            case_blind: true,
            normalising: false,
        };
        let both = Habits {
            normalising: true,
            ..case
        };
        for (habits, one, other, same) in [
            (case, "Docs/A.txt", "dOCS/a.TXT", true),
            (case, "a", "b", false),
            (case, "\u{c4}", "\u{e4}", true),
            (case, "stra\u{df}e", "STRASSE", true),
            (case, "\u{1e9e}", "\u{df}", true),
            (case, "\u{3c3}\u{3c2}", "\u{3a3}\u{3a3}", true),
            (case, "\u{212a}", "k", true),
            (case, "\u{e9}", "e\u{301}", false),
            (both, "\u{e9}", "E\u{301}", true),
            (both, "\u{e9}", "e", false),
        ] {
            let folded = (habits.fold(one), habits.fold(other));
            assert_eq!(folded.0 == folded.1, same, "{folded:?}");
        }
    }
}
