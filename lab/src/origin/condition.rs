//! Conditions and ranges of a request (RFC 9110, sections 13 and 14): which part of a body is sent.
//!
//! This module only decides. It must not know the content of a body, or build a response.

use std::time::{Duration, SystemTime};

use http::header::{
    ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, Method};

use super::body::Key;
use super::spec::{Range, Spec, Validators};

/// Part of a body that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The whole body.
    Whole,
    /// 206: the bytes from `first` up to but not including `end`.
    Part {
        /// The first byte.
        first: u64,
        /// The first byte that is not sent.
        end: u64,
    },
    /// 304: the client has the body.
    Unchanged,
    /// 412: the client requires another state of it.
    PreconditionFailed,
    /// 416: the range contains nothing.
    Unsatisfiable,
}

/// Validators that distinguish the states of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Validation {
    /// A strong entity tag, with quotes.
    etag: Option<String>,
    /// In seconds since 1970; long ago, and therefore also strong (RFC 9110, section 8.8.2.2).
    modified: Option<u64>,
}

impl Validation {
    /// Returns the validators of the body with this key.
    pub(super) fn of(spec: &Spec, key: &Key) -> Self {
        let (etag, date) = match spec.validators {
            Validators::Both => (true, true),
            Validators::Etag => (true, false),
            Validators::Date => (false, true),
            Validators::None => (false, false),
        };
        Self {
            etag: etag.then(|| key.etag()),
            modified: date.then(|| key.modified()),
        }
    }

    /// Adds them to the head of a response.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        let etag = self.etag.as_ref().map(HeaderValue::try_from);
        if let Some(Ok(etag)) = etag {
            headers.insert(ETAG, etag);
        }
        let date = self.modified.map(http_date).map(HeaderValue::try_from);
        if let Some(Ok(date)) = date {
            headers.insert(LAST_MODIFIED, date);
        }
    }
}

/// Returns which part of a body of `len` bytes is sent, in the order of RFC 9110, section 13.2.2.
pub(super) fn extent(
    spec: &Spec,
    method: &Method,
    headers: &HeaderMap,
    validation: &Validation,
    len: u64,
) -> Extent {
    let dated = |name| Some((date(headers, &name)?, validation.modified?));
    if let Some(tags) = tags(headers, IF_MATCH) {
        if !tags.any(validation, false) {
            return Extent::PreconditionFailed;
        }
    } else if dated(IF_UNMODIFIED_SINCE).is_some_and(|(date, modified)| modified > date) {
        return Extent::PreconditionFailed;
    }
    if let Some(tags) = tags(headers, IF_NONE_MATCH) {
        if tags.any(validation, true) {
            return Extent::Unchanged;
        }
    } else if dated(IF_MODIFIED_SINCE).is_some_and(|(date, modified)| modified <= date) {
        return Extent::Unchanged;
    }
    if *method != Method::GET || spec.range == Range::Off || !is_wanted(headers, validation) {
        return Extent::Whole;
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    range.map_or(Extent::Whole, |range| part(range, len))
}

/// Returns whether `If-Range` (RFC 9110, section 13.1.5) permits a range: it is absent or names
/// exactly this state.
fn is_wanted(headers: &HeaderMap, validation: &Validation) -> bool {
    let Some(value) = headers.get(IF_RANGE) else {
        return true;
    };
    let value = value.to_str().unwrap_or_default().trim();
    match httpdate::parse_http_date(value) {
        Ok(date) => validation
            .modified
            .is_some_and(|modified| seconds(date) == Some(modified)),
        Err(_) => validation.etag.as_deref() == Some(value),
    }
}

/// Returns the part that a `Range` asks for (RFC 9110, section 14.1.2). Several ranges, other units
/// and invalid values are ignored, as the RFC permits.
fn part(range: &str, len: u64) -> Extent {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that overflows is larger than any body.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let asked = range.split_once('=').and_then(|(unit, range)| {
        let (first, last) = range.trim().split_once('-')?;
        let ends = match (first, last) {
            ("", suffix) => (
                len.saturating_sub(number(suffix)?),
                len,
                number(suffix)? > 0,
            ),
            (first, "") => (number(first)?, len, true),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(())?;
                (first, last.saturating_add(1).min(len), true)
            }
        };
        unit.trim().eq_ignore_ascii_case("bytes").then_some(ends)
    });
    match asked {
        None => Extent::Whole,
        Some((first, end, true)) if first < end => Extent::Part { first, end },
        Some(_) => Extent::Unsatisfiable,
    }
}

/// A list of entity tags, or `*`, which matches any tag.
struct Tags<'h>(Vec<&'h str>);

impl Tags<'_> {
    /// Returns whether the tag of the body is in the list. Weak tags count only if `weakly` (RFC
    /// 9110, section 8.8.3.2).
    fn any(&self, validation: &Validation, weakly: bool) -> bool {
        self.0.iter().any(|&tag| {
            let opaque = match tag.strip_prefix("W/") {
                Some(opaque) if weakly => opaque,
                Some(_) | None => tag,
            };
            tag == "*" || validation.etag.as_deref() == Some(opaque)
        })
    }
}

/// Returns the tags in a field, if it is present. The origin's own tags contain no comma.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<Tags<'_>> {
    let values = headers.get_all(name).into_iter();
    let values: Vec<&str> = values
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    let tags = values.iter().flat_map(|value| value.split(','));
    (!values.is_empty()).then(|| Tags(tags.map(str::trim).collect()))
}

/// Returns the date in a field, in seconds since 1970. Any other text is ignored.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    seconds(httpdate::parse_http_date(text.trim()).ok()?)
}

fn seconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

/// Formats a time in seconds since 1970 (RFC 9110, section 5.6.7).
fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Thu, 01 Jan 2015 00:00:00 GMT";
    const NOW: &str = "Thu, 01 Jan 2015 00:00:01 GMT";
    const NEW: &str = "Thu, 01 Jan 2015 00:00:02 GMT";

    fn extent_of(spec: &str, method: &Method, fields: &[(&str, &str)]) -> Extent {
        let headers = fields.iter().map(|(name, value)| {
            (
                HeaderName::try_from(*name).expect("a name"),
                HeaderValue::try_from(*value).expect("a value"),
            )
        });
        let spec: Spec = spec.parse().expect("the test's spec is right");
        let validation = Validation {
            etag: Some("\"now\"".to_owned()),
            modified: Some(1_420_070_401),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        extent(&spec, method, &map, &validation, 100)
    }

    fn check(fields: &[(&str, &str)], expect: Extent) {
        assert_eq!(extent_of("", &Method::GET, fields), expect, "{fields:?}");
    }

    #[test]
    fn conditions_are_met_in_their_order() {
        use Extent::{PreconditionFailed, Unchanged, Whole};
        check(&[], Whole);
        for (tags, expect) in [
            ("\"now\"", Unchanged),
            ("W/\"now\"", Unchanged),
            ("\"old\", \"now\"", Unchanged),
            ("*", Unchanged),
            ("\"old\"", Whole),
            ("now", Whole),
        ] {
            check(&[("if-none-match", tags)], expect);
            // A tag has priority over any date.
            for date in [OLD, NEW] {
                check(
                    &[("if-none-match", tags), ("if-modified-since", date)],
                    expect,
                );
            }
        }
        check(
            &[("if-none-match", "\"old\""), ("if-none-match", "\"now\"")],
            Unchanged,
        );
        for (date, expect) in [
            (OLD, Whole),
            (NOW, Unchanged),
            (NEW, Unchanged),
            ("x", Whole),
        ] {
            check(&[("if-modified-since", date)], expect);
        }
        for (tags, expect) in [
            ("\"now\"", Whole),
            ("*", Whole),
            ("W/\"now\"", PreconditionFailed),
            ("\"old\"", PreconditionFailed),
        ] {
            check(&[("if-match", tags)], expect);
            check(&[("if-match", tags), ("if-unmodified-since", OLD)], expect);
        }
        check(&[("if-unmodified-since", OLD)], PreconditionFailed);
        check(&[("if-unmodified-since", NOW)], Whole);
        let both = [("if-match", "\"old\""), ("if-none-match", "\"now\"")];
        check(&both, PreconditionFailed);
    }

    #[test]
    fn a_range_is_answered_as_far_as_there_is_a_body() {
        let part = |first, end| Extent::Part { first, end };
        for (range, expect) in [
            ("bytes=0-", part(0, 100)),
            ("bytes=99-", part(99, 100)),
            ("Bytes=5-9", part(5, 10)),
            ("bytes=5-1000", part(5, 100)),
            ("bytes=5-99999999999999999999", part(5, 100)),
            ("bytes=-7", part(93, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=100-", Extent::Unsatisfiable),
            ("bytes=99999999999999999999-", Extent::Unsatisfiable),
            ("bytes=-0", Extent::Unsatisfiable),
            ("bytes=9-5", Extent::Whole),
            ("bytes=0-1,5-6", Extent::Whole),
            ("lines=0-1", Extent::Whole),
            ("bytes=", Extent::Whole),
            ("bytes=-", Extent::Whole),
            ("bytes=+1-2", Extent::Whole),
            ("bytes", Extent::Whole),
        ] {
            check(&[("range", range)], expect);
            let head = extent_of("", &Method::HEAD, &[("range", range)]);
            assert_eq!(head, Extent::Whole, "a range is for GET");
            let off = extent_of("range=off", &Method::GET, &[("range", range)]);
            assert_eq!(off, Extent::Whole);
        }
    }

    #[test]
    fn a_range_that_depends_on_another_state_is_ignored() {
        let part = Extent::Part { first: 5, end: 100 };
        for (condition, expect) in [
            ("\"now\"", part),
            ("W/\"now\"", Extent::Whole),
            ("\"old\"", Extent::Whole),
            (NOW, part),
            (OLD, Extent::Whole),
            (NEW, Extent::Whole),
            ("nonsense", Extent::Whole),
        ] {
            check(&[("range", "bytes=5-"), ("if-range", condition)], expect);
            check(&[("if-range", condition)], Extent::Whole);
            // Ignored where the range no longer matters.
            let fields = [
                ("range", "bytes=5-"),
                ("if-range", condition),
                ("if-none-match", "\"now\""),
            ];
            check(&fields, Extent::Unchanged);
        }
        check(&[("range", "bytes=5-"), ("if-none-match", "\"old\"")], part);
    }
}
