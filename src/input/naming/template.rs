//! Names from a template: `{host}/{n}-{name}`.
//!
//! A template may give invalid names, or the same name to two URLs. The caller must check this.

use std::fmt::Write as _;
use std::str::FromStr;

use url::Url;

use super::flat::{clean_part, clean_parts, host_part};
use super::{PlaceError, place};
use crate::input::UrlKey;

/// The name for the file of a folder, if a URL ends with `/`.
const INDEX: &str = "index";

/// A parsed template for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Path,
    Name,
    Hash,
    Number,
}

/// Why a text is not a template for names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that does not exist.
    #[error(
        "there is no {{{0}}}; a template has {{host}}, {{path}}, {{name}}, {{hash}} and {{n}}, and \
         {{{{ for a brace"
    )]
    Unknown(String),
    /// A brace without its partner.
    #[error("a brace has no partner; write {{{{ or }}}} for a brace in a name")]
    Brace,
    /// All files of a host would have the same name.
    #[error(
        "it is neither flat, tree nor hash, and as a template it gives every file of a host the same \
         name; use {{path}}, {{name}}, {{hash}} or {{n}} in it"
    )]
    Constant,
    /// Its names are not valid for any URL.
    #[error("the name that it gives {0}")]
    Place(PlaceError),
}

impl Template {
    /// Returns the file name of a URL.
    pub(super) fn fill(&self, url: &Url, key: UrlKey, number: u64) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            // Writing to a String does not fail.
            let _ = match piece {
                Piece::Text(text) => out.write_str(text),
                Piece::Host => out.write_str(&host_part(url)),
                Piece::Path => out.write_str(&path(url)),
                Piece::Name => out.write_str(&name(url)),
                Piece::Hash => write!(out, "{key}"),
                Piece::Number => write!(out, "{number}"),
            };
        }
        out
    }

    /// Returns whether it has `{hash}`, which makes its names unique.
    pub(super) fn has_hash(&self) -> bool {
        self.pieces.contains(&Piece::Hash)
    }

    /// Returns whether it has `{n}`, so that its names depend on the order of the list.
    pub(super) fn has_number(&self) -> bool {
        self.pieces.contains(&Piece::Number)
    }
}

/// Returns the URL's folders and last part, cleaned.
fn path(url: &Url) -> String {
    let mut parts = clean_parts(url.path());
    if parts.is_empty() || url.path().ends_with('/') {
        parts.push(INDEX.to_owned());
    }
    parts.join("/")
}

/// Returns the last part of the URL's path, cleaned.
fn name(url: &Url) -> String {
    let last = url.path().rsplit('/').find(|part| !part.is_empty());
    let name = last.map(clean_part).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| INDEX.to_owned())
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let template = Self {
            pieces: pieces(text)?,
        };
        let varies = |piece: &Piece| match piece {
            Piece::Path | Piece::Name | Piece::Hash | Piece::Number => true,
            Piece::Text(_) | Piece::Host => false,
        };
        if !template.pieces.iter().any(varies) {
            return Err(TemplateError::Constant);
        }
        // The values are as short as possible, so any error is in the template.
        let sample: String = template
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Host | Piece::Path | Piece::Name | Piece::Hash | Piece::Number => "x",
            })
            .collect();
        place::check(&sample).map_err(TemplateError::Place)?;
        Ok(template)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else {
            let inner = from.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(match name {
                "host" => Piece::Host,
                "path" => Piece::Path,
                "name" => Piece::Name,
                "hash" => Piece::Hash,
                "n" => Piece::Number,
                other => return Err(TemplateError::Unknown(other.to_owned())),
            });
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::naming::Naming;

    fn fill(template: &str, url: &str) -> String {
        let template: Template = template.parse().expect("a template");
        let url = Url::parse(url).expect("a URL");
        let key = UrlKey::of(url.as_str());
        template
            .fill(&url, key, 17)
            .replace(&key.to_string(), "KEY")
    }

    #[test]
    fn placeholders_are_filled_in() {
        let url = "https://h.example:8080/a/b%20c/d.tar.gz?page=2";
        let table = [
            ("{name}", "d.tar.gz"),
            ("{path}", "a/b_c/d.tar.gz"),
            ("{host}/{path}", "h.example_8080/a/b_c/d.tar.gz"),
            ("{hash}", "KEY"),
            ("{n}", "17"),
            ("img-{n}.jpg", "img-17.jpg"),
            ("{{{n}}}", "{17}"),
            ("x/{n}/{hash}-{name}", "x/17/KEY-d.tar.gz"),
        ];
        for (template, expected) in table {
            assert_eq!(fill(template, url), expected, "{template}");
        }
    }

    #[test]
    fn a_url_without_a_name_is_an_index() {
        for (url, path, name) in [
            ("https://h/", "index", "index"),
            ("https://h/a/", "a/index", "a"),
            ("https://h//a//b", "a/b", "b"),
            ("https://h/...", "index", "index"),
            ("https://h/%2e%2e%2f", "_", "_"),
        ] {
            assert_eq!(
                (fill("{path}", url), fill("{name}", url)),
                (path.to_owned(), name.to_owned()),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, part) in [
            ("{nmae}", "there is no {nmae}"),
            ("{}", "there is no {}"),
            ("{name", "brace"),
            ("name}", "brace"),
            ("{name}}", "brace"),
            ("{host}", "same name"),
            ("tre", "same name"),
            ("", "same name"),
            ("/tmp/{name}", "is absolute"),
            ("../{name}", "leaves the output folder"),
            ("{n}/../{name}", "leaves the output folder"),
            (".coordinator/{name}", "keeps for itself"),
            ("{name}/", "empty part"),
            ("{n}\n", "control character"),
        ] {
            let error = text.parse::<Template>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_a_place_or_refused(
            template in "[a./-]{0,3}\\{(name|path|hash|n)\\}[a./-]{0,3}(\\{host\\}|\\{path\\})?",
            path in prop_oneof!["\\PC{0,300}", "[./%a-c0-9~ -]{0,100}", "(/[.a]{0,40}){0,60}"],
        ) {
            let (Ok(naming), Ok(url)) = (
                template.parse::<Naming>(),
                Url::parse(&format!("https://h.example/{path}")),
            ) else {
                return Ok(());
            };
            let key = UrlKey::of(url.as_str());
            if let Ok(place) = naming.place(&url, key, 3) {
                prop_assert_eq!(place::check(&place), Ok(()));
            }
        }
    }
}
