//! File names: what a URL is called on disk.
//!
//! A name depends on the URL alone (and, if a template asks for it, on its number in the list),
//! and not on what the server says unless that is asked for, so that doing a task twice gives the same file. Whatever the
//! scheme, a name stays in the output folder, and out of what the run keeps there for itself.

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
    /// All in one folder: `<stem>-<key>.<ext>`.
    #[default]
    Flat,
    /// In folders as the URL has them, host first: `<host>/<folders>/<stem>-<key>.<ext>`.
    Tree,
    /// By the key alone, in 1,024 folders: `<two characters>/<key>.<ext>`.
    Hash,
    /// As a template says.
    Template(Template),
}

/// The name of a file that its server calls `suggested`, with the key of its URL if there is one;
/// nothing if it can be none.
#[must_use]
pub fn suggested_name(suggested: &str, key: Option<UrlKey>) -> Option<String> {
    match key {
        Some(key) => flat::suggested_name(suggested, key),
        None => flat::plain_suggested_name(suggested),
    }
}

impl Naming {
    /// Where the file of `url` belongs, relative to the output folder. `key` is the URL's own, and
    /// `number` the task's.
    ///
    /// # Errors
    ///
    /// If a template gives a name that no file may have.
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

    /// Gives `target` the place it would have as task `number`, unless the list names its file.
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

    /// Whether a name depends on the number of its task.
    #[must_use]
    pub fn has_number(&self) -> bool {
        match self {
            Self::Flat | Self::Tree | Self::Hash => false,
            Self::Template(template) => template.has_number(),
        }
    }

    /// Whether no two URLs have the same name, because each holds its URL's key.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        match self {
            Self::Flat | Self::Tree | Self::Hash => true,
            Self::Template(template) => template.has_hash(),
        }
    }
}

/// `flat`, `tree`, `hash`, or a template.
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
