//! Claims on paths in the output folder. Paths are claimed in the order of the input. If two
//! targets need conflicting paths, the first one gets its path, in every run.
//!
//! A target claims its path as a file, and each folder on the way to it as a folder. This module
//! must not look at the disk.

use std::fmt;

use crate::disk_map::{DiskMap, DiskMapError};
use crate::input::{Excerpt, UrlKey};

/// Position of a target in the input: the number of its list and its line there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the list, counted from 0.
    pub list: u16,
    /// Line in the list, counted from 1.
    pub line: u64,
}

/// The paths that targets have claimed so far.
#[derive(Debug)]
pub struct Claims {
    /// Position in the input of the first claim on each path and each folder. The key of a folder
    /// is that of its path followed by `/`.
    places: DiskMap<{ Place::BYTES }>,
    /// The last folder that was claimed.
    folder: String,
}

/// How a path conflicts with an earlier claim. The text is for the middle of a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The earlier claim is for the same file.
    Same,
    /// The earlier claim needs a folder at this path.
    Folder,
    /// The earlier claim is for this file, and the path needs a folder there.
    File(String),
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("which is the file of"),
            Self::Folder => f.write_str("which is a folder for the file of"),
            Self::File(path) => write!(f, "and {} is the file of", Excerpt::of_name(path)),
        }
    }
}

impl Place {
    /// Size of an encoded place in bytes.
    pub const BYTES: usize = 8;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b] = self.list.to_be_bytes();
        // No list has 2^48 lines.
        let [.., c, d, e, f, g, h] = self.line.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    const fn from_bytes([a, b, c, d, e, f, g, h]: [u8; Self::BYTES]) -> Self {
        Self {
            list: u16::from_be_bytes([a, b]),
            line: u64::from_be_bytes([0, 0, c, d, e, f, g, h]),
        }
    }
}

impl Claims {
    /// Creates an empty set of claims.
    #[must_use]
    pub const fn new(places: DiskMap<{ Place::BYTES }>) -> Self {
        Self {
            places,
            folder: String::new(),
        }
    }

    /// Returns how `path` conflicts with an earlier claim, and where in the input that claim is.
    ///
    /// # Errors
    ///
    /// Fails if the disk map cannot be read.
    pub fn meeting(&self, path: &str) -> Result<Option<(Meeting, Place)>, DiskMapError> {
        let claimed = |path: &str| {
            let place = self.places.get(UrlKey::of(path).as_bytes())?;
            Ok(place.map(Place::from_bytes))
        };
        if let Some(other) = claimed(path)? {
            return Ok(Some((Meeting::Same, other)));
        }
        if let Some(other) = claimed(&format!("{path}/"))? {
            return Ok(Some((Meeting::Folder, other)));
        }
        for folder in self.new_folders(path) {
            if let Some(other) = claimed(folder)? {
                return Ok(Some((Meeting::File(folder.to_owned()), other)));
            }
        }
        Ok(None)
    }

    /// Claims `path`, which must not conflict with any claim, for the target at `place`.
    ///
    /// # Errors
    ///
    /// Fails if the disk map has no room.
    pub fn claim(&mut self, path: &str, place: Place) -> Result<(), DiskMapError> {
        let place = place.to_bytes();
        for folder in self.new_folders(path).map(|folder| format!("{folder}/")) {
            let key = *UrlKey::of(&folder).as_bytes();
            if self.places.get(&key)?.is_none() {
                self.places.insert(key, place)?;
            }
        }
        if let Some((folder, _)) = path.rsplit_once('/')
            && folder != self.folder
        {
            folder.clone_into(&mut self.folder);
        }
        self.places.insert(*UrlKey::of(path).as_bytes(), place)
    }

    /// Returns the folders on the way to `path` that may not be claimed yet. Most paths of a list
    /// are in the same folder as the path before.
    fn new_folders<'a>(&self, path: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let claimed = path
            .rsplit_once('/')
            .is_some_and(|(folder, _)| folder == self.folder);
        folders_of(path).filter(move |_| !claimed)
    }
}

/// Returns the folders on the way to `path`, outermost first.
pub fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_meet_in_both_orders() {
        let folder = std::env::temp_dir();
        let mut claims = Claims::new(DiskMap::new(folder));
        let mut claim = |path: &str, line| {
            let met = claims.meeting(path).expect("there is room");
            if met.is_none() {
                let place = Place { list: 0, line };
                claims.claim(path, place).expect("there is room");
            }
            met.map(|(meeting, place)| (meeting.to_string(), place.line))
        };
        let met = |text: &str, line| Some((text.to_owned(), line));
        assert_eq!(claim("a/b/c", 1), None);
        assert_eq!(claim("a/b/d", 2), None);
        assert_eq!(claim("a/e", 3), None);
        assert_eq!(claim("a", 4), met("which is a folder for the file of", 1));
        assert_eq!(claim("a/b", 5), met("which is a folder for the file of", 1));
        assert_eq!(claim("a/e", 6), met("which is the file of", 3));
        assert_eq!(claim("a/e/f/g", 7), met("and a/e is the file of", 3));
        assert_eq!(claim("a/b/d/x", 8), met("and a/b/d is the file of", 2));
        assert_eq!(claim("ab", 9), None);
        assert_eq!(claim("ab/c", 10), met("and ab is the file of", 9));
        assert_eq!(claim("a/b/f", 11), None);
    }
}
