//! Checks paths of files. Every path chosen by a list or a template is checked here.

/// Longest path of a file, relative to the output folder, in bytes.
pub const MAX_PLACE: usize = 1024;

/// Longest part of a path, in bytes. It is the limit of every file system in use.
const MAX_PART: usize = 255;

/// The run's private folder in the output folder. It is reserved in upper and lower case, because
/// some file systems ignore case.
const RESERVED: &str = ".coordinator";

/// Why a path is not allowed for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It starts with `/`.
    #[error("is absolute; give it relative to the output folder")]
    Absolute,
    /// A part of it is `..`.
    #[error("leaves the output folder with '..'")]
    Leaves,
    /// A part of it is `.`, or empty.
    #[error("has an empty part, or one that is '.'")]
    EmptyPart,
    /// A part of it consists of three or more dots.
    #[error("has a part that is only dots")]
    Dots,
    /// Without its extension, the file name would consist of dots. A path made from the stem
    /// (`{stem}` of `--exec`) would then be the folder itself or its parent.
    #[error("is only dots before its extension; put a letter or a digit before the last dot")]
    DotsBeforeExtension,
    /// It begins with the run's private folder.
    #[error("is in '{RESERVED}', which the run keeps for itself")]
    Reserved,
    /// It has a control character, such as NUL.
    #[error("has a control character")]
    ControlCharacter,
    /// A part is longer than any file name can be.
    #[error("has a part of more than {MAX_PART} bytes")]
    LongPart,
    /// It is longer than [`MAX_PLACE`].
    #[error("is longer than {MAX_PLACE} bytes")]
    TooLong,
}

/// Checks that `path` is allowed for a file below the output folder: relative, with `/` between its
/// parts. Links on the way are not checked, because that requires the folder.
///
/// # Errors
///
/// Returns the reason if it is not allowed.
pub fn check(path: &str) -> Result<(), PlaceError> {
    if path.is_empty() {
        return Err(PlaceError::Empty);
    }
    if path.starts_with('/') {
        return Err(PlaceError::Absolute);
    }
    if path.len() > MAX_PLACE {
        return Err(PlaceError::TooLong);
    }
    if path.contains(char::is_control) {
        return Err(PlaceError::ControlCharacter);
    }
    for (depth, part) in path.split('/').enumerate() {
        match part {
            ".." => return Err(PlaceError::Leaves),
            "" | "." => return Err(PlaceError::EmptyPart),
            _ if is_dots(part) => return Err(PlaceError::Dots),
            _ if part.len() > MAX_PART => return Err(PlaceError::LongPart),
            _ if depth == 0 && part.eq_ignore_ascii_case(RESERVED) => {
                return Err(PlaceError::Reserved);
            }
            _ => {}
        }
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() && is_dots(stem) => {
            Err(PlaceError::DotsBeforeExtension)
        }
        _ => Ok(()),
    }
}

fn is_dots(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_path_below_the_folder_is_a_place() {
        let long = "x".repeat(256);
        let deep = ["x".repeat(200).as_str(); 6].join("/");
        let table = [
            ("a", Ok(())),
            ("a/b.txt", Ok(())),
            ("a/.coordinator", Ok(())),
            (".coordinators", Ok(())),
            (".a", Ok(())),
            (".a.zip", Ok(())),
            ("..a.zip", Ok(())),
            ("a...", Ok(())),
            ("..zip/a", Ok(())),
            ("...", Err(PlaceError::Dots)),
            ("a/....", Err(PlaceError::Dots)),
            (".../a", Err(PlaceError::Dots)),
            ("..zip", Err(PlaceError::DotsBeforeExtension)),
            ("a/...zip", Err(PlaceError::DotsBeforeExtension)),
            ("....zip", Err(PlaceError::DotsBeforeExtension)),
            ("-rf", Ok(())),
            ("a\\b", Ok(())),
            ("", Err(PlaceError::Empty)),
            ("/etc/passwd", Err(PlaceError::Absolute)),
            ("/", Err(PlaceError::Absolute)),
            ("..", Err(PlaceError::Leaves)),
            ("a/../b", Err(PlaceError::Leaves)),
            ("a/..", Err(PlaceError::Leaves)),
            (".", Err(PlaceError::EmptyPart)),
            ("./a", Err(PlaceError::EmptyPart)),
            ("a//b", Err(PlaceError::EmptyPart)),
            ("a/", Err(PlaceError::EmptyPart)),
            (".coordinator", Err(PlaceError::Reserved)),
            (".Coordinator/results.jsonl", Err(PlaceError::Reserved)),
            ("a\0b", Err(PlaceError::ControlCharacter)),
            ("a\nb", Err(PlaceError::ControlCharacter)),
            (long.as_str(), Err(PlaceError::LongPart)),
            (deep.as_str(), Err(PlaceError::TooLong)),
        ];
        for (path, expected) in table {
            assert_eq!(check(path), expected, "{path:?}");
        }
    }
}
