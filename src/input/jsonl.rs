//! One JSON object a line: `{"url": …, "out": …, "sha256": …, "size": …, "headers": {…}}`, and more
//! (`entry::Word`).
//!
//! Only the URL is required. Unknown keys are ignored, so that a dataset can be read without
//! changes. Values from other programs are accepted too: `NaN` and `Infinity`, which are not JSON,
//! count as null, an empty text counts as absent, and a size may be a text or a whole number with a
//! decimal point.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::entry::{Fields, Word, Words};
use super::error::{Excerpt, LineError};
use super::options::ListOptions;

/// Parses a line. A syntax error comes with its column, counted in bytes from 1.
pub(super) fn parse<'a>(
    line: &'a [u8],
    options: &ListOptions,
) -> Result<Fields<'a>, (LineError, Option<u64>)> {
    let Ok(text) = std::str::from_utf8(line) else {
        let text = Excerpt::of_bytes(line);
        return Err((LineError::NotUtf8 { text }, None));
    };
    let fields = read(text, options).or_else(|error| match with_nulls(text) {
        Some(text) => read(&text, options).map(Fields::into_owned),
        None => Err(error),
    });
    fields.map_err(|error| {
        let said = error.to_string();
        // The line is always 1. The column goes to the front of the message.
        let what = said
            .rsplit_once(" at line ")
            .map_or(&*said, |(what, _)| what);
        let problem = Excerpt::of(what);
        let column = error.column() as u64;
        (LineError::NotAnObject { problem }, Some(column.max(1)))
    })
}

fn read<'a>(text: &'a str, options: &ListOptions) -> serde_json::Result<Fields<'a>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let object = Object {
        url: options.url_name(),
    };
    let fields = object.deserialize(&mut json)?;
    json.end().map(|()| fields)
}

/// Returns `text` with null in place of numbers that JSON does not have, or `None` if it has none.
fn with_nulls(text: &str) -> Option<String> {
    const NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let mut changed = String::with_capacity(text.len() + 8);
    let (mut rest, mut found) = (text, false);
    while let Some(next) = rest.chars().next() {
        let number = NUMBERS.iter().find(|number| rest.starts_with(**number));
        let taken = match number {
            Some(number) => {
                found = true;
                changed.push_str("null");
                rest = &rest[number.len()..];
                continue;
            }
            None if next == '"' => string(rest),
            None => next.len_utf8(),
        };
        changed.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    found.then_some(changed)
}

/// Returns the length of the string at the start of `text`, including its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

struct Object<'o> {
    /// The key of the URL.
    url: &'o str,
}

/// A key with a meaning.
enum Key {
    Url,
    Urls,
    Size,
    Headers,
    /// The key of a [`Word`], by its index.
    Word(usize),
    Other,
}

impl<'de> DeserializeSeed<'de> for &Object<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(KeyVisitor { url: self.url })
    }
}

struct KeyVisitor<'o> {
    url: &'o str,
}

impl Visitor<'_> for KeyVisitor<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            _ if key == self.url => Key::Url,
            "urls" => Key::Urls,
            "size" => Key::Size,
            "headers" => Key::Headers,
            _ => match Word::ALL.iter().position(|word| word.key() == key) {
                Some(number) => Key::Word(number),
                None => Key::Other,
            },
        })
    }
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JSON object with the key {:?}", self.url)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut url: Option<Text<'de>> = None;
        let mut urls: Option<Option<Vec<Option<Text<'de>>>>> = None;
        let mut words: Words<Option<Text<'de>>> = Default::default();
        let mut size: Option<Option<Size>> = None;
        let mut headers: Option<Option<Headers>> = None;
        while let Some(key) = map.next_key_seed(&self)? {
            match key {
                Key::Url => once(&mut url, "the url", map.next_value()?)?,
                Key::Urls => once(&mut urls, "urls", map.next_value()?)?,
                Key::Size => once(&mut size, "size", map.next_value()?)?,
                Key::Headers => once(&mut headers, "headers", map.next_value()?)?,
                Key::Word(number) => {
                    let word = Word::ALL[number];
                    let text = if word == Word::Body {
                        map.next_value::<AnyBody<'_>>()?.0
                    } else {
                        map.next_value()?
                    };
                    once(&mut words[number], word.key(), text)?;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // An empty URL means that the first mirror replaces it.
        let first = Text(Cow::Borrowed(""));
        let Some(url) = url.or(urls.is_some().then_some(first)) else {
            return Err(A::Error::custom(format_args!(
                "no key {:?} in the object",
                self.url
            )));
        };
        let text = |text: Option<Option<Text<'de>>>| {
            let text = text.flatten().map(|text| text.0);
            text.filter(|text| !text.is_empty())
        };
        Ok(Fields {
            url: url.0,
            urls: urls
                .flatten()
                .into_iter()
                .flatten()
                .flatten()
                .map(|text| text.0)
                .collect(),
            words: words.map(text),
            size: size.flatten().and_then(|size| size.0),
            headers: headers
                .flatten()
                .map(|headers| headers.0)
                .unwrap_or_default(),
        })
    }
}

/// Stores a value. Two values for a key are an error, because either could be meant.
fn once<T, E: Error>(place: &mut Option<T>, name: &str, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(format_args!("{name} is given twice"))),
    }
}

/// Serde borrows into a `Cow`, but copies into an `Option<Cow>`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A request body of any type. Its contents do not matter.
struct AnyBody<'a>(Option<Text<'a>>);

impl<'de> Deserialize<'de> for AnyBody<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let is_absent = value.is_null() || value.as_str() == Some("");
        Ok(Self((!is_absent).then(|| Text(value.to_string().into()))))
    }
}

/// A number of bytes, as a number or a text. `None` if the text is empty.
struct Size(Option<u64>);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes")
    }

    fn visit_u64<E: Error>(self, size: u64) -> Result<Size, E> {
        Ok(Size(Some(size)))
    }

    fn visit_i64<E: Error>(self, size: i64) -> Result<Size, E> {
        // serde_json passes numbers that are not negative as u64.
        Err(E::invalid_value(Unexpected::Signed(size), &self))
    }

    fn visit_f64<E: Error>(self, size: f64) -> Result<Size, E> {
        // Every whole number up to here is exact.
        const EXACT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
        if size.fract() != 0.0 || !(0.0..=EXACT).contains(&size) {
            return Err(E::invalid_value(Unexpected::Float(size), &self));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and within the range"
        )]
        let size = size as u64;
        Ok(Size(Some(size)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        if text.is_empty() {
            return Ok(Size(None));
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse().ok().filter(|_| digits) {
            Some(size) => Ok(Size(Some(size))),
            None => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// Names, each with a value or a list of values.
struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of request headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, Values(values))) = map.next_entry::<String, Values>()? {
            headers.extend(values.into_iter().map(|value| (name.clone(), value)));
        }
        Ok(Headers(headers))
    }
}

struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header's value, or a list of values")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Values, E> {
        Ok(Values(vec![value.to_owned()]))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Values, E> {
        Ok(Values(vec![value.to_string()]))
    }

    fn visit_unit<E: Error>(self) -> Result<Values, E> {
        Ok(Values(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Values(values))
    }
}
