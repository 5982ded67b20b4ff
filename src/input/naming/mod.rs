//! File names: how the file of a URL is named on disk.
//!
//! A name depends on the URL alone, so that a repeated task gives the same file. A template may
//! also use the URL's number in the list, and an option may allow the server to suggest names. In
//! every scheme, a name stays in the output folder and outside the run's private folder.

mod flat;
mod place;
mod template;

use std::str::FromStr;

use url::Url;

use super::{Target, UrlKey};
pub use flat::{MAX_NAME, file_name, file_name_without_key};
pub use place::{MAX_PLACE, PlaceError, check as check_place};
pub use template::{Template, TemplateError};

/// How files are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// In one folder: `<stem>-<key>.<ext>`.
    #[default]
    Flat,
    /// In the folders of the URL, host first: `<host>/<folders>/<stem>-<key>.<ext>`.
    Tree,
    /// Named by the key alone, in 1,024 folders: `<two characters>/<key>.<ext>`.
    Hash,
    /// Named by a template.
    Template(Template),
}

/// Returns a file name from the name that the server suggests, with the URL's key if given. Returns
/// `None` if it gives no valid name.
#[must_use]
pub fn suggested_name(suggested: &str, key: Option<UrlKey>) -> Option<String> {
    match key {
        Some(key) => flat::suggested_name(suggested, key),
        None => flat::plain_suggested_name(suggested),
    }
}

impl Naming {
    /// Returns the path of the file of `url`, relative to the output folder. `key` is the URL's own
    /// key, and `number` is the number of the task.
    ///
    /// # Errors
    ///
    /// Fails if a template gives a name that is not allowed.
    pub fn place(&self, url: &Url, key: UrlKey, number: u64) -> Result<String, PlaceError> {
        match self {
            Self::Flat => Ok(file_name(url, key)),
            Self::Tree => Ok(flat::tree(url, key)),
            Self::Hash => Ok(flat::hash(url, key)),
            Self::Template(template) => {
                let place = template.fill(url, key, number);
                place::check(&place).map(|()| place)
            }
        }
    }

    /// Sets the path that `target` has as task `number`, unless the list names its file.
    pub fn renumber(&self, target: &mut Target, number: u64) {
        if let Self::Template(template) = self
            && template.has_number()
            && !target.named
            && let Ok(url) = Url::parse(&target.url)
            && let Ok(place) = self.place(&url, target.key, number)
        {
            target.path = place;
        }
    }

    /// Returns whether a name depends on the number of its task.
    #[must_use]
    pub fn has_number(&self) -> bool {
        match self {
            Self::Flat | Self::Tree | Self::Hash => false,
            Self::Template(template) => template.has_number(),
        }
    }

    /// Returns whether every name is unique because it contains the key of its URL.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        match self {
            Self::Flat | Self::Tree | Self::Hash => true,
            Self::Template(template) => template.has_hash(),
        }
    }
}

/// Parses `flat`, `tree`, `hash`, or a template.
impl FromStr for Naming {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text {
            "flat" => Ok(Self::Flat),
            "tree" => Ok(Self::Tree),
            "hash" => Ok(Self::Hash),
            template => template.parse().map(Self::Template),
        }
    }
}
