//! Tests of when a body is resumed.

use http::{HeaderName, HeaderValue, StatusCode, Version};

use super::*;

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                HeaderName::try_from(*name).expect("a name"),
                HeaderValue::try_from(*value).expect("a value"),
            )
        })
        .collect()
}

fn head(headers: &HeaderMap, length: Option<u64>) -> Head<'_> {
    Head {
        status: StatusCode::OK,
        version: Version::HTTP_11,
        headers,
        length,
    }
}

fn made(length: Option<u64>) -> PartialNote {
    PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: "http://a.test/".to_owned(),
        validator: Validator::Etag("\"1\"".to_owned()),
        length,
        content_type: None,
        whole: None,
    }
}

#[test]
fn only_a_strong_validator_is_noted() {
    let check = |list: &[(&str, &str)], expect: Option<&str>| {
        let headers = headers(list);
        let note = note(&head(&headers, Some(9)), Some(9), "http://a.test/");
        let text = note.as_ref().map(|note| note.validator.text());
        assert_eq!(text, expect, "{list:?}");
    };
    let (old, date, later) = (
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:01 GMT",
        "Thu, 01 Jan 1970 00:00:02 GMT",
    );
    check(&[("etag", "\"a\"")], Some("\"a\""));
    check(&[("etag", "\"\"")], Some("\"\""));
    check(&[("etag", "W/\"a\"")], None);
    check(&[("etag", "a")], None);
    check(&[("etag", "\"")], None);
    check(&[("etag", "\"a\""), ("etag", "\"b\"")], None);
    check(&[("last-modified", date), ("date", later)], Some(date));
    check(&[("last-modified", date), ("date", date)], None);
    check(&[("last-modified", date), ("date", old)], None);
    check(&[("last-modified", date)], None);
    check(&[("last-modified", "yesterday"), ("date", later)], None);
    check(
        &[
            ("etag", "W/\"a\""),
            ("last-modified", date),
            ("date", later),
        ],
        None,
    );
    check(&[("etag", "\"a\""), ("content-encoding", "gzip")], None);
    check(
        &[("etag", "\"a\""), ("content-encoding", "identity")],
        Some("\"a\""),
    );
    check(&[("etag", "\"a\""), ("accept-ranges", "none")], None);
    check(&[], None);
}

#[test]
fn an_offer_asks_for_what_is_missing_and_for_one_byte_at_least() {
    let check = |length, have, expect: Option<&str>| {
        let offer = Offer::new(made(length), have);
        assert_eq!(offer.map(|offer| offer.range()).as_deref(), expect);
    };
    check(Some(9), 5, Some("bytes=5-"));
    check(None, 5, Some("bytes=5-"));
    check(Some(9), 9, Some("bytes=8-"));
    check(Some(9), 10, None);
    check(Some(1), 1, None);
    check(Some(0), 0, None);
    check(None, 0, None);
}

#[test]
fn only_exactly_what_is_missing_fits() {
    let check = |list: &[(&str, &str)], length, expect| {
        let headers = headers(list);
        let offer = Offer::new(made(Some(9)), 5).expect("an offer");
        assert_eq!(offer.fits(&head(&headers, length)), expect, "{list:?}");
    };
    check(&[("content-range", "bytes 5-8/9")], Some(4), Some(9));
    check(&[("content-range", "bytes 5-8/9")], None, Some(9));
    check(
        &[("content-range", "bytes 5-8/9"), ("etag", "\"1\"")],
        None,
        Some(9),
    );
    check(
        &[("content-range", "bytes 5-8/9"), ("etag", "\"2\"")],
        None,
        None,
    );
    check(
        &[("content-range", "bytes 5-8/9"), ("etag", "W/\"1\"")],
        None,
        None,
    );
    check(
        &[("content-range", "bytes 5-8/9"), ("content-encoding", "br")],
        None,
        None,
    );
    check(&[("content-range", "bytes 5-8/9")], Some(5), None);
    check(&[("content-range", "bytes 4-8/9")], None, None);
    check(&[("content-range", "bytes 6-8/9")], None, None);
    check(&[("content-range", "bytes 5-7/9")], None, None);
    check(&[("content-range", "bytes 5-9/10")], None, None);
    check(&[("content-range", "bytes 5-8/*")], None, None);
    check(
        &[("content-range", "bytes 5-18446744073709551615/9")],
        None,
        None,
    );
    check(&[("content-range", "lines 5-8/9")], None, None);
    check(&[("content-range", "bytes */9")], None, None);
    check(
        &[("content-type", "multipart/byteranges; boundary=x")],
        None,
        None,
    );
    check(
        &[
            ("content-range", "bytes 5-8/9"),
            ("content-type", "Multipart/ByteRanges; boundary=x"),
        ],
        None,
        None,
    );
    check(&[], Some(4), None);
}

#[test]
fn a_whole_body_does_not_contradict_what_is_known() {
    let check = |known, is_open, list: &[(&str, &str)], length, expect: Option<Option<u64>>| {
        let headers = headers(list);
        let mut offer = Offer::new(made(known), 5).expect("an offer");
        offer.is_open = is_open;
        let judged = judge(&head(&headers, length), Some(&offer)).ok();
        assert_eq!(
            judged,
            expect.map(Extent::Whole),
            "{known:?} {is_open} {list:?} {length:?}"
        );
    };
    let (same, other, coded) = (
        &[("etag", "\"1\"")][..],
        &[("etag", "\"2\"")][..],
        &[("content-encoding", "gzip")][..],
    );
    // In answer to a range, only the known length counts.
    check(Some(9), true, &[], Some(9), Some(Some(9)));
    check(Some(9), true, other, Some(9), Some(Some(9)));
    check(Some(9), true, same, Some(4), None);
    check(Some(9), true, other, Some(4), None);
    check(Some(9), true, same, None, None);
    check(None, true, same, None, None);
    check(None, true, same, Some(4), None);
    // Without a range, the same body has the same length.
    check(Some(9), false, same, Some(9), Some(Some(9)));
    check(Some(9), false, same, Some(4), None);
    check(Some(9), false, &[], Some(4), None);
    check(Some(9), false, same, None, Some(Some(9)));
    check(Some(9), false, &[], None, Some(Some(9)));
    check(Some(9), false, other, Some(4), Some(Some(4)));
    check(Some(9), false, other, None, Some(None));
    check(Some(9), false, coded, Some(4), Some(Some(4)));
    check(None, false, same, Some(4), Some(Some(4)));
}
