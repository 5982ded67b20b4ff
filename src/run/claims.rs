//! Who has which path in the output folder: claimed in the order of the input, so that of two targets
//! that cannot both have what they want the first has it, in every run.
//!
//! A path is claimed as that of a file, and so is every folder on the way to it as that of a folder.
//! This module must not look at the disk.

use std::fmt;

use crate::disk_map::{DiskMap, DiskMapError};
use crate::input::{Excerpt, UrlKey};

/// Where in the input a target is: the number of its list, and of its line there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0.
    pub list: u16,
    /// Counted from 1.
    pub line: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Claims {
    /// Where in the input each path was claimed, and each folder by the first path in it. The key of a
    /// folder is that of its path with a `/` behind it.
    places: DiskMap<{ Place::BYTES }>,
    /// The last folder that was claimed.
    folder: String,
}

/// How a path meets one that was claimed; told in the middle of a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It is the same.
    Same,
    /// That one needs a folder in its place.
    Folder,
    /// That one is this file, where this needs a folder.
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
    /// Bytes in a place.
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
    /// Nothing is claimed.
    #[must_use]
    pub const fn new(places: DiskMap<{ Place::BYTES }>) -> Self {
        Self {
            places,
            folder: String::new(),
        }
    }

    /// How `path` meets an earlier one, if it does, and where in the input that is.
    ///
    /// # Errors
    ///
    /// If it cannot be looked up.
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

    /// Claims `path`, which meets none, for the target at `place`.
    ///
    /// # Errors
    ///
    /// If there is no room to keep track of it.
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

    /// The folders on the way to `path` that may not be claimed yet. Most paths of a list are in the
    /// folder of the one before.
    fn new_folders<'a>(&self, path: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let claimed = path
            .rsplit_once('/')
            .is_some_and(|(folder, _)| folder == self.folder);
        folders_of(path).filter(move |_| !claimed)
    }
}

/// The folders on the way to `path`, from above.
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
