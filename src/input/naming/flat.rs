//! Names with the key of their URL: readable names, in one folder or in a tree, and the key alone.
//!
//! They are valid on every file system in use and stay in their folder. The names of two URLs
//! differ even if the file system ignores case, because their keys differ.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::input::UrlKey;

/// Longest name, in bytes. The lowest limit in use is 255, and a partial body's name is longer.
pub const MAX_NAME: usize = 120;

const MAX_STEM: usize = 80;

/// Longest part for a folder or for a name in a template, in bytes. A longer part is truncated.
const MAX_PART: usize = 200;

/// Longest folder path of a tree, in bytes. Deeper folders are left out.
const MAX_FOLDER: usize = 600;
const MAX_EXTENSION: usize = 8;

/// Extensions that wrap another one, which is then kept too: `.tar.gz`, `.iso.sha256`.
const WRAPPERS: [&str; 18] = [
    "asc", "br", "bz2", "gpg", "gz", "lz", "lz4", "lzma", "lzo", "md5", "sha1", "sha256", "sha512",
    "sig", "torrent", "xz", "z", "zst",
];

/// Names that Windows reserves for devices, whatever follows their first dot. (`COM¹` and `CONIN$`
/// cannot occur in a cleaned name, because their last characters are not allowed.)
const RESERVED: [&str; 4] = ["aux", "con", "nul", "prn"];
const RESERVED_NUMBERED: [&str; 2] = ["com", "lpt"];

/// Returns the name of a URL's file: `<stem>-<key>.<ext>`, of ASCII letters, digits and `._-`.
///
/// Stem and extension come from the last part of the path. If the path is empty, the stem is the
/// name of the host. `key` must be the URL's own key.
#[must_use]
pub fn file_name(url: &Url, key: UrlKey) -> String {
    name_with(url, Some(key))
}

/// Returns the same name without the key. The file of another URL can have it too.
#[must_use]
pub fn file_name_without_key(url: &Url) -> String {
    name_with(url, None)
}

fn name_with(url: &Url, key: Option<UrlKey>) -> String {
    let last = last_part(url);
    let (stem, extension) = stem_and_extension(last.as_deref());
    let host;
    let stem = if stem.is_empty() {
        host = clean(url.host_str().unwrap_or_default());
        trim(&host)
    } else {
        stem
    };
    let stem = trim(&stem[..stem.len().min(MAX_STEM)]);
    let stem = if stem.is_empty() { "file" } else { stem };

    let mut name = String::with_capacity(stem.len() + extension.len() + UrlKey::CHARS + 3);
    // `con` followed by a key is not a device.
    if is_reserved(stem) || key.is_none() && is_device(stem) {
        name.push('_');
    }
    name.push_str(stem);
    if let Some(key) = key {
        // Writing to a String does not fail.
        let _ = write!(name, "-{key}");
    }
    if !extension.is_empty() {
        name.push('.');
        name.push_str(extension);
    }
    name
}

/// Returns a name like [`file_name`] from the one that the server suggests, but keeps letters of
/// every script. Returns `None` if no letter or digit is left.
pub(super) fn suggested_name(suggested: &str, key: UrlKey) -> Option<String> {
    let mut cleaned = String::with_capacity(suggested.len());
    for c in suggested.chars() {
        if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') {
            cleaned.push(c);
        } else if !cleaned.ends_with('_') {
            cleaned.push('_');
        }
    }
    let (stem, extension) = split(&cleaned);
    let stem = trim(&stem[..stem.floor_char_boundary(MAX_STEM)]);
    if !stem.contains(char::is_alphanumeric) {
        return None;
    }
    let device = if is_reserved(stem) { "_" } else { "" };
    let dot = if extension.is_empty() { "" } else { "." };
    Some(format!("{device}{stem}-{key}{dot}{extension}"))
}

/// Returns the name that the server suggests, for the file of a single URL. It is kept, except that
/// it must not hide the file, look like an option or name a device.
pub(super) fn plain_suggested_name(suggested: &str) -> Option<String> {
    let name = suggested.trim().trim_start_matches(['.', '-']);
    let (device, _) = name.split_once('.').unwrap_or((name, ""));
    let name = match is_device(device) {
        true => format!("_{name}"),
        false => name.to_owned(),
    };
    name.contains(char::is_alphanumeric).then_some(name)
}

/// Returns a name like [`file_name`], in the folders of the URL, with the host first. Depth is
/// limited. Files that then share a folder still differ by their keys.
pub(super) fn tree(url: &Url, key: UrlKey) -> String {
    let mut out = host_part(url);
    let mut parts = clean_parts(url.path());
    // The last part is in the file name.
    parts.pop();
    for part in parts {
        if out.len() + part.len() >= MAX_FOLDER {
            break;
        }
        out.push('/');
        out.push_str(&part);
    }
    out.push('/');
    out.push_str(&file_name(url, key));
    out
}

/// Returns the key and the extension, in a folder named after the first two characters of the key.
/// A folder with ten million files would be slow.
pub(super) fn hash(url: &Url, key: UrlKey) -> String {
    let last = last_part(url);
    let (_, extension) = stem_and_extension(last.as_deref());
    let key = key.to_string();
    let dot = if extension.is_empty() { "" } else { "." };
    format!("{}/{key}{dot}{extension}", &key[..2])
}

/// Returns the host, with its port if the URL has one, as one part of a path.
pub(super) fn host_part(url: &Url) -> String {
    let host = clean_part(url.host_str().unwrap_or_default());
    let host = if host.is_empty() {
        "host".to_owned()
    } else {
        host
    };
    match url.port() {
        Some(port) => format!("{host}_{port}"),
        None => host,
    }
}

/// Returns the parts of a URL's path, cleaned, without those that are then empty.
pub(super) fn clean_parts(path: &str) -> Vec<String> {
    let parts = path.split('/').map(clean_part);
    parts.filter(|part| !part.is_empty()).collect()
}

/// Converts one part of a URL's path to a part of a file's path that hides no file, is neither an
/// option nor a device, and does not lead elsewhere. Returns an empty text if nothing is left.
pub(super) fn clean_part(part: &str) -> String {
    let cleaned = clean(part);
    let part = trim(&cleaned[..cleaned.len().min(MAX_PART)]);
    let device = part.split_once('.').map_or(part, |(device, _)| device);
    if is_device(device) {
        return format!("_{part}");
    }
    part.to_owned()
}

/// Returns the last part of a URL's path that is not empty, cleaned.
fn last_part(url: &Url) -> Option<Cow<'_, str>> {
    let mut parts = url.path().rsplit('/');
    parts.find(|part| !part.is_empty()).map(clean)
}

fn stem_and_extension(last: Option<&str>) -> (&str, &str) {
    match last.map(split) {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        Some(_) | None => ("", ""),
    }
}

/// Decodes percent-encoding, and replaces each run of characters outside `[A-Za-z0-9._-]` by a `_`.
fn clean(segment: &str) -> Cow<'_, str> {
    if segment.bytes().all(is_allowed) {
        return Cow::Borrowed(segment);
    }
    let mut out = String::with_capacity(segment.len());
    for byte in percent_decode_str(segment) {
        if is_allowed(byte) {
            out.push(char::from(byte));
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    Cow::Owned(out)
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Splits a name into stem and extension. The extension has no leading dot.
fn split(name: &str) -> (&str, &str) {
    let name = trim(name);
    let Some((stem, extension)) = split_once(name) else {
        return (name, "");
    };
    if WRAPPERS.iter().any(|w| w.eq_ignore_ascii_case(extension))
        && let Some((inner, _)) = split_once(stem)
    {
        return (inner, &name[inner.len() + 1..]);
    }
    (stem, extension)
}

fn split_once(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let fits = !stem.is_empty()
        && (1..=MAX_EXTENSION).contains(&extension.len())
        && extension.bytes().all(|c| c.is_ascii_alphanumeric())
        // An extension without a letter is part of a version: `v1.2`.
        && extension.bytes().any(|c| c.is_ascii_alphabetic());
    fits.then_some((stem, extension))
}

/// Removes leading dots, which would hide the file, leading dashes, which would make it an option,
/// and trailing punctuation, which would look odd before the key.
fn trim(name: &str) -> &str {
    let name = name.trim_start_matches(['.', '-']);
    let shorter = name.trim_end_matches(['.', '-', '_']);
    if shorter.is_empty() { name } else { shorter }
}

fn is_reserved(stem: &str) -> bool {
    let Some((device, _)) = stem.split_once('.') else {
        // Without a dot, the key follows, and `con-…` is not a device.
        return false;
    };
    is_device(device)
}

fn is_device(device: &str) -> bool {
    RESERVED
        .iter()
        .any(|name| name.eq_ignore_ascii_case(device))
        || device.len() == 4
            && device.ends_with(|c: char| c.is_ascii_digit())
            && RESERVED_NUMBERED
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&device[..3]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::naming::check_place;

    fn name_of(url: &str) -> String {
        let url = Url::parse(url).expect("a valid URL");
        file_name(&url, UrlKey::of(url.as_str()))
    }

    /// Returns the name with `KEY` in place of its key.
    fn shape(url: &str) -> String {
        let name = name_of(url);
        let key = UrlKey::of(Url::parse(url).expect("a valid URL").as_str()).to_string();
        name.replace(&key, "KEY")
    }

    #[test]
    fn names_are_readable() {
        let table = [
            ("https://h.example/a/b.txt", "b-KEY.txt"),
            ("https://h.example/a/b.txt?page=2", "b-KEY.txt"),
            ("https://h.example/x.tar.gz", "x-KEY.tar.gz"),
            ("https://h.example/x.TAR.GZ", "x-KEY.TAR.GZ"),
            ("https://h.example/pages-1.xml.bz2", "pages-1-KEY.xml.bz2"),
            ("https://h.example/x.iso.sha256", "x-KEY.iso.sha256"),
            ("https://h.example/jquery.min.js", "jquery.min-KEY.js"),
            ("https://h.example/v1.2", "v1.2-KEY"),
            ("https://h.example/foo-1.2.3", "foo-1.2.3-KEY"),
            ("https://h.example/song.mp3", "song-KEY.mp3"),
            ("https://h.example/", "h.example-KEY"),
            ("https://h.example", "h.example-KEY"),
            ("https://h.example//", "h.example-KEY"),
            ("https://h.example:8080/?q=1", "h.example-KEY"),
            ("http://[::1]:80/", "_1-KEY"),
            ("https://h.example/docs/", "docs-KEY"),
            ("https://h.example/.htaccess", "htaccess-KEY"),
            ("https://h.example/...", "h.example-KEY"),
            ("https://h.example/-rf", "rf-KEY"),
            ("https://h.example/.tar.gz", "tar-KEY.gz"),
            ("https://h.example/My%20File%20(1).pdf", "My_File_1-KEY.pdf"),
            ("https://h.example/a%2F..%2Fb.txt", "a_.._b-KEY.txt"),
            ("https://h.example/日本.html", "_-KEY.html"),
            ("https://h.example/con", "con-KEY"),
            ("https://h.example/con.foo.txt", "_con.foo-KEY.txt"),
            ("https://h.example/COM7.a.b", "_COM7.a-KEY.b"),
            ("https://h.example/common.a.b", "common.a-KEY.b"),
            (
                "https://h.example/x.verylongextension",
                "x.verylongextension-KEY",
            ),
            ("https://h.example/x.%00", "x-KEY"),
            ("http://./", "file-KEY"),
        ];
        for (url, expected) in table {
            assert_eq!(shape(url), expected, "{url}");
        }
    }

    #[test]
    fn names_that_servers_suggest_keep_their_letters_and_lead_nowhere() {
        let key = UrlKey::of("https://h/");
        for (suggested, with_key, plain) in [
            ("report.pdf", Some("report-KEY.pdf"), Some("report.pdf")),
            (
                "Bericht Mai.tar.gz",
                Some("Bericht_Mai-KEY.tar.gz"),
                Some("Bericht Mai.tar.gz"),
            ),
            (
                "naïve %41.txt",
                Some("naïve_41-KEY.txt"),
                Some("naïve %41.txt"),
            ),
            ("日本.html", Some("日本-KEY.html"), Some("日本.html")),
            (".htaccess", Some("htaccess-KEY"), Some("htaccess")),
            ("-rf", Some("rf-KEY"), Some("rf")),
            ("CON.txt", Some("CON-KEY.txt"), Some("_CON.txt")),
            ("con.a.txt", Some("_con.a-KEY.txt"), Some("_con.a.txt")),
            ("...", None, None),
            ("", None, None),
            ("***", None, None),
        ] {
            let named = suggested_name(suggested, key).map(|name| {
                assert!(check_place(&name).is_ok(), "{name}");
                name.replace(&key.to_string(), "KEY")
            });
            assert_eq!(named.as_deref(), with_key, "{suggested}");
            let named = plain_suggested_name(suggested);
            assert_eq!(named.as_deref(), plain, "{suggested}");
        }
        let long = suggested_name(&"é".repeat(127), key).expect("a name");
        assert!(long.len() <= MAX_NAME, "{long}");
    }

    // The key was computed with another implementation of SHA-256 and base32.
    #[test]
    fn a_key_is_sixteen_lower_case_characters_of_the_url_alone() {
        assert_eq!(name_of("https://h.example/a"), "a-ruqbcp5fgr3tvkvo");
    }

    /// Checks what every name must satisfy on any file system.
    fn check_name(name: &str) {
        assert!(name.len() <= MAX_NAME, "{name}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(name.chars().all(plain), "{name}");
        assert!(!name.starts_with(['.', '-']), "{name}");
        assert!(
            name.ends_with(|c: char| c.is_ascii_alphanumeric()),
            "{name}"
        );
        let device = name.split('.').next().unwrap_or_default();
        let reserved = [
            "CON", "PRN", "AUX", "NUL", "COM0", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6",
            "COM7", "COM8", "COM9", "LPT0", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7",
            "LPT8", "LPT9",
        ];
        assert!(
            !reserved.contains(&device.to_uppercase().as_str()),
            "{name}"
        );
    }

    /// Returns the key in a name. It makes the name unique, even if case is ignored.
    fn key_in(name: &str) -> &str {
        let (_, rest) = name.rsplit_once('-').expect("a name has a key");
        rest.split('.').next().unwrap_or_default()
    }

    #[test]
    fn a_tree_has_the_folders_of_the_url() {
        let long = "d".repeat(90);
        let table = [
            (
                "https://h.example/a/b/c.txt?x",
                "h.example/a/b/c-KEY.txt".to_owned(),
            ),
            ("https://h.example/", "h.example/h.example-KEY".to_owned()),
            ("https://h.example/a/b/", "h.example/a/b-KEY".to_owned()),
            (
                "https://h.example:81/a//%2e%2e/b",
                "h.example_81/a/b-KEY".to_owned(),
            ),
            ("http://[::1]/.git/config", "_1/git/config-KEY".to_owned()),
            ("http://./con/x", "host/_con/x-KEY".to_owned()),
            (
                &format!("http://h{}/x", format!("/{long}").repeat(9)),
                format!("h{}/x-KEY", format!("/{long}").repeat(6)),
            ),
        ];
        for (url, expected) in table {
            let url = Url::parse(url).expect("a valid URL");
            let key = UrlKey::of(url.as_str());
            assert_eq!(tree(&url, key).replace(&key.to_string(), "KEY"), expected);
        }
    }

    #[test]
    fn a_hash_is_the_key_in_a_folder() {
        for (url, expected) in [
            ("https://h.example/a", "ru/ruqbcp5fgr3tvkvo"),
            ("https://h.example/a.tar.gz", "3j/3jd4ud0li231vmhi.tar.gz"),
        ] {
            let url = Url::parse(url).expect("a valid URL");
            assert_eq!(hash(&url, UrlKey::of(url.as_str())), expected);
        }
    }

    proptest! {
        #[test]
        fn names_are_valid_everywhere_and_carry_their_key(
            path in prop_oneof![
                "\\PC{0,300}",
                "[./%a-cA-Z0-9_~: -]{0,150}",
                "(/(con|PRN|aux|nul|com[0-9]|LPT[0-9])?[. -]{0,2}[a-z]{0,9}(%[0-9a-fA-F]{2})?\\.?){1,4}",
                "[a-z.]{60,300}",
            ],
        ) {
            let Ok(url) = Url::parse(&format!("https://h.example/{path}")) else {
                return Ok(());
            };
            let key = UrlKey::of(url.as_str());
            let name = file_name(&url, key);
            check_name(&name);
            let text = key.to_string();
            prop_assert_eq!(key_in(&name), text.as_str());
            prop_assert_eq!(&name, &file_name(&url, key));
            for place in [name.clone(), tree(&url, key), hash(&url, key)] {
                prop_assert_eq!(check_place(&place), Ok(()), "{}", &place);
                prop_assert!(place.contains(&text));
                for part in place.split('/') {
                    prop_assert!(!part.starts_with(['.', '-']), "{}", &place);
                }
            }
        }

        #[test]
        fn keys_of_different_urls_differ(a in "[a-z]{1,12}", b in "[a-zA-Z]{1,12}") {
            let of = |path: &str| UrlKey::of(&format!("https://h.example/{path}"));
            prop_assert_eq!(a == b, of(&a) == of(&b));
            prop_assert_eq!(
                a == b,
                name_of(&format!("https://h.example/{a}")).to_lowercase()
                    == name_of(&format!("https://h.example/{b}")).to_lowercase()
            );
        }
    }
}
