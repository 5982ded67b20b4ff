//! Reads a line of the run log as this program writes it, without a parser of JSON.
//!
//! A run of ten million lines begins with reading as many records, and nearly all of them are of the form that
//! [`Record`](super::Record) has today: keys in its order, no white space. What is in any other form, has escapes where the text
//! is needed, or is no record, is not read here but by serde: this is an answer that is the same, or none.

use std::borrow::Cow;

use data_encoding::HEXLOWER;

use super::{Digest, Outcome, RecordedExec};

/// What a line says.
#[derive(Debug)]
pub(super) struct Quick<'a> {
    pub(super) task: u64,
    pub(super) url: Cow<'a, str>,
    pub(super) outcome: Outcome,
    pub(super) path: Option<Cow<'a, str>>,
    pub(super) bytes: Option<u64>,
    pub(super) sha256: Option<Digest>,
    pub(super) out: Option<Cow<'a, str>>,
    pub(super) range: Option<Cow<'a, str>>,
    pub(super) exec: Option<RecordedExec>,
    pub(super) simulated: bool,
    pub(super) server_named: bool,
}

/// Reads a line without its end.
pub(super) fn read(line: &str) -> Option<Quick<'_>> {
    // None may stand in a string as it is.
    // Not `any`, nor `min`: this is done for many bytes at a time.
    if line.bytes().fold(false, |some, byte| some | (byte < b' ')) {
        return None;
    }
    let mut line = Line(line);
    line.take("{\"v\":1,\"task\":")?;
    let task = line.integer()?;
    line.take(",\"url\":")?;
    let url = line.text()?;
    line.pass_texts(&["final_url"])?;
    line.take(",\"outcome\":")?;
    let outcome = match line.text()? {
        "stored" => Outcome::Stored,
        "unchanged" => Outcome::Unchanged,
        "duplicate" => Outcome::Duplicate,
        "failed" => Outcome::Failed,
        "quarantined" => Outcome::Quarantined,
        _ => return None,
    };
    line.take(",\"status\":")?;
    line.unless_null(Line::pass_number)?;
    line.take(",\"path\":")?;
    let path = line.unless_null(Line::text)?;
    line.take(",\"bytes\":")?;
    let bytes = line.unless_null(Line::integer)?;
    line.take(",\"sha256\":")?;
    let sha256 = line.unless_null(Line::digest)?;
    line.pass_texts(&["content_type"])?;
    for key in [",\"attempts\":", ",\"deliveries\":"] {
        line.take(key)?;
        line.pass_number()?;
    }
    line.take(",\"worker\":")?;
    line.unless_null(|line| line.pass_numbers(&["slot", "pid", "epoch"]))?;
    line.pass_texts(&["started"])?;
    line.take(",\"timing_ms\":")?;
    line.pass_numbers(&[
        "queue",
        "resolve",
        "connect",
        "tls",
        "first_byte",
        "body",
        "store",
        "exec",
    ])?;
    line.take(",\"error\":null,\"out\":")?;
    let out = line.unless_null(Line::text)?;
    line.take(",\"deaths\":[],\"exec\":")?;
    let exec = line.unless_null(|line| {
        line.take("{\"left\":")?;
        let left = line.unless_null(Line::integer)?;
        line.take("}")?;
        Some(RecordedExec { left })
    })?;
    line.pass_texts(&["etag", "last_modified"])?;
    line.take(",\"simulated\":")?;
    let simulated = line.truth()?;
    line.pass_texts(&["md5", "sha1", "sha512", "crc32c"])?;
    line.take(",\"range\":")?;
    let range = line.unless_null(Line::text)?;
    line.pass_texts(&["suggested_name"])?;
    // Logs of earlier versions lack the key.
    let server_named = match line.take(",\"server_named\":") {
        Some(()) => line.truth()?,
        None => false,
    };
    (line.0 == "}").then(|| Quick {
        task,
        url: url.into(),
        outcome,
        path: path.map(Cow::from),
        bytes,
        sha256,
        out: out.map(Cow::from),
        range: range.map(Cow::from),
        exec,
        simulated,
        server_named,
    })
}

/// What is left of a line. Each step takes something off its beginning, or says that it is not there.
#[derive(Clone, Copy)]
struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    fn take(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// Takes `null`, or what `take` takes.
    fn unless_null<T>(&mut self, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.take("null") {
            Some(()) => Some(None),
            None => take(self).map(Some),
        }
    }

    fn truth(&mut self) -> Option<bool> {
        match self.take("true") {
            Some(()) => Some(true),
            None => self.take("false").map(|()| false),
        }
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let end = memchr::memchr2(b'"', b'\\', self.0.as_bytes())?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        self.take("\"")?;
        Some(text)
    }

    /// Passes over a string.
    fn pass_text(&mut self) -> Option<()> {
        self.take("\"")?;
        loop {
            let at = memchr::memchr2(b'"', b'\\', self.0.as_bytes())?;
            let rest = self.0.as_bytes().get(at..)?;
            let taken = match *rest {
                [b'"', ..] => 1,
                [
                    _,
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                    ..,
                ] => 2,
                _ => return None,
            };
            self.0 = self.0.get(at + taken..)?;
            if taken == 1 {
                return Some(());
            }
        }
    }

    /// Passes over these keys, each with a string or null.
    fn pass_texts(&mut self, keys: &[&str]) -> Option<()> {
        for key in keys {
            self.take(",\"")?;
            self.take(key)?;
            self.take("\":")?;
            self.unless_null(Self::pass_text)?;
        }
        Some(())
    }

    /// Passes over an object of these keys, each with a number.
    fn pass_numbers(&mut self, keys: &[&str]) -> Option<()> {
        let mut before = "{\"";
        for key in keys {
            self.take(before)?;
            self.take(key)?;
            self.take("\":")?;
            self.pass_number()?;
            before = ",\"";
        }
        self.take("}")
    }

    fn digits(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!digits.is_empty()).then_some(digits)
    }

    /// The digits before a point. No more than one of them is a zero that comes first.
    fn whole(&mut self) -> Option<&'a str> {
        let digits = self.digits()?;
        (digits == "0" || !digits.starts_with('0')).then_some(digits)
    }

    fn integer(&mut self) -> Option<u64> {
        let digits = self.whole()?;
        // What goes on is no integer.
        (!self.0.starts_with(['.', 'e', 'E'])).then_some(())?;
        digits.parse().ok()
    }

    /// Passes over a number without exponent that is not negative.
    fn pass_number(&mut self) -> Option<()> {
        self.whole()?;
        if self.take(".").is_some() {
            self.digits()?;
        }
        Some(())
    }

    fn digest(&mut self) -> Option<Digest> {
        let mut digest = [0; 32];
        let text = self.text()?;
        let is_digest =
            text.len() == 64 && HEXLOWER.decode_mut(text.as_bytes(), &mut digest).is_ok();
        is_digest.then_some(Digest(digest))
    }
}
