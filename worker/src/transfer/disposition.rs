//! The file name that a server suggests: `Content-Disposition` (RFC 6266).
//!
//! The result is one component of a path; nothing else is guaranteed. It must be checked before a
//! file with that name is created.

use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use percent_encoding::percent_decode_str;

use super::cut;

/// Longest name, in bytes: the limit of every common file system.
const MAX_NAME: usize = 255;

/// Returns the name in the headers, if any. `filename*` has priority (RFC 6266 section 4.3).
pub(super) fn suggested_name(headers: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(CONTENT_DISPOSITION)?.as_bytes()).into_owned();
    let (_, mut rest) = value.split_once(';')?;
    let (mut plain, mut extended) = (None, None);
    while let Some((name, value, after)) = parameter(rest) {
        match name.to_ascii_lowercase().as_str() {
            "filename" if plain.is_none() => plain = Some(value),
            "filename*" if extended.is_none() => extended = decoded(&value),
            _ => {}
        }
        rest = after;
    }
    let name = extended.or(plain)?;
    // Some servers send whole paths of their own file system.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let mut name: String = name.chars().filter(|c| !c.is_control()).collect();
    cut(&mut name, MAX_NAME);
    (!name.is_empty() && !name.bytes().all(|byte| byte == b'.')).then_some(name)
}

/// Returns the first parameter: its name, its value without quotes, and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t', ';']);
    let (name, rest) = text.split_once('=')?;
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, after) = rest.split_once(';').unwrap_or((rest, ""));
        return Some((name.trim(), value.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((name.trim(), value, &quoted[at + 1..])),
            // Before any other character it is probably a path separator.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                value.extend(chars.next().map(|(_, escaped)| escaped));
            }
            c => value.push(c),
        }
    }
    Some((name.trim(), value, ""))
}

/// Decodes `UTF-8'en'na%C3%AFve.txt` (RFC 8187). Returns `None` for another charset.
fn decoded(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    let is_utf8 = charset.eq_ignore_ascii_case("utf-8");
    let text = percent_decode_str(text).decode_utf8().ok()?;
    is_utf8.then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn name(value: &str) -> Option<String> {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        suggested_name(&HeaderMap::from_iter([(CONTENT_DISPOSITION, value)]))
    }

    #[test]
    fn names_are_read_as_rfc_6266_has_them_and_as_servers_send_them() {
        for (value, expected) in [
            ("attachment; filename=x.pdf", Some("x.pdf")),
            ("attachment;filename=\"a b.pdf\"; x=1", Some("a b.pdf")),
            ("inline; FileName = \"x;y.pdf\"", Some("x;y.pdf")),
            ("attachment; filename=\"a\\\"b\"", Some("a\"b")),
            ("attachment; filename=\"C:\\dir\\x.doc\"", Some("x.doc")),
            (
                "attachment; filename=a; filename*=UTF-8''na%C3%AFve.txt",
                Some("naïve.txt"),
            ),
            ("attachment; filename*=utf-8'en'b; filename=a", Some("b")),
            ("attachment; filename*=iso-8859-1''b; filename=a", Some("a")),
            ("attachment; filename*=UTF-8''%FF; filename=a", Some("a")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename*=UTF-8''..%2F..%2Fx", Some("x")),
            ("attachment; filename*=UTF-8''a%00%0Ab", Some("ab")),
            ("attachment; filename=\"naïve\"", Some("naïve")),
            ("attachment; filename=\"open", Some("open")),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\"a/\"", None),
            ("attachment; filename=", None),
            ("attachment", None),
            ("filename=x", None),
            ("", None),
        ] {
            assert_eq!(name(value).as_deref(), expected, "{value}");
        }
        let long = name(&format!("a; filename={}", "é".repeat(300))).expect("a name");
        assert_eq!(long.len(), 254);
    }
}
