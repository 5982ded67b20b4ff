//! Parses a line of the run log in the form that this program writes, without a JSON parser.
//!
//! A run of ten million lines begins by reading this many records. Nearly all of them have the form
//! that [`Record`](super::Record) has today: keys in its order, no white space. Serde reads all
//! other lines: lines in another form, lines with escapes in a text that is needed, and lines that
//! are not records. This module returns the same values as serde.

use data_encoding::HEXLOWER;
use protocol::{FailureKind, TaskId};

use super::brief::Text;
use super::form::Millis;
use super::{
    Brief, BriefProblem, Digest, FormatVersion, Moment, Outcome, RecordedExec, RecordedTiming,
};

/// Parses a line without its newline.
pub(super) fn read(line: &str) -> Option<Brief<'_>> {
    // Control characters must not stand in a string unescaped. `fold` is used, not `any` or `min`,
    // because it is vectorised.
    if line.bytes().fold(false, |some, byte| some | (byte < b' ')) {
        return None;
    }
    let mut line = Line(line);
    line.take("{\"v\":1,\"task\":")?;
    let task = line.integer()?;
    line.take(",\"url\":")?;
    let url = line.text()?;
    line.pass_text_of(",\"final_url\":")?;
    line.take(",\"outcome\":")?;
    let outcome = match line.text()? {
        "stored" => Outcome::Stored,
        "unchanged" => Outcome::Unchanged,
        "duplicate" => Outcome::Duplicate,
        "failed" => Outcome::Failed,
        "quarantined" => Outcome::Quarantined,
        "fenced" => Outcome::Fenced,
        _ => return None,
    };
    line.take(",\"status\":")?;
    let status = line.unless_null(Line::integer)?;
    line.take(",\"path\":")?;
    let path = line.unless_null(Line::text)?;
    line.take(",\"bytes\":")?;
    let bytes = line.unless_null(Line::integer)?;
    line.take(",\"sha256\":")?;
    let sha256 = line.unless_null(Line::digest)?;
    line.pass_text_of(",\"content_type\":")?;
    line.take(",\"attempts\":")?;
    let attempts = line.integer()?;
    line.take(",\"deliveries\":")?;
    let deliveries = line.integer()?;
    line.take(",\"worker\":")?;
    line.unless_null(Line::pass_worker)?;
    line.take(",\"started\":")?;
    let started = line.unless_null(Line::moment)?;
    line.take(",\"timing_ms\":")?;
    let timing_ms = line.timing()?;
    line.take(",\"error\":")?;
    let error = line.unless_null(Line::problem)?;
    line.take(",\"out\":")?;
    let out = line.unless_null(Line::text)?;
    line.take(",\"deaths\":[],\"exec\":")?;
    let exec = line.unless_null(|line| {
        line.take("{\"left\":")?;
        let left = line.unless_null(Line::integer)?;
        line.take("}")?;
        Some(RecordedExec { left })
    })?;
    line.pass_text_of(",\"etag\":")?;
    line.pass_text_of(",\"last_modified\":")?;
    line.take(",\"simulated\":")?;
    let simulated = line.truth()?;
    if line
        .take(",\"md5\":null,\"sha1\":null,\"sha512\":null,\"crc32c\":null")
        .is_none()
    {
        for key in [",\"md5\":", ",\"sha1\":", ",\"sha512\":", ",\"crc32c\":"] {
            line.pass_text_of(key)?;
        }
    }
    line.take(",\"range\":")?;
    let range = line.unless_null(Line::text)?;
    line.pass_text_of(",\"suggested_name\":")?;
    // Logs of earlier versions lack the key.
    let server_named = match line.take(",\"server_named\":") {
        Some(()) => line.truth()?,
        None => false,
    };
    (line.0 == "}").then_some(())?;
    Some(Brief {
        v: FormatVersion,
        task: TaskId(task),
        url: url.into(),
        outcome,
        status: status.map(u16::try_from).transpose().ok()?,
        path: path.map(|text| Text(text.into())),
        bytes,
        sha256,
        attempts: attempts.try_into().ok()?,
        deliveries: deliveries.try_into().ok()?,
        started,
        timing_ms,
        error,
        out: out.map(|text| Text(text.into())),
        range: range.map(|text| Text(text.into())),
        exec,
        simulated,
        server_named,
    })
}

/// The rest of a line. Each step removes its beginning, or returns `None` if that has another form.
#[derive(Clone, Copy)]
struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    /// Inlined, so that a text of known length is compared without a call, about fifty times per
    /// line.
    #[inline(always)]
    fn take(&mut self, expected: &str) -> Option<()> {
        let (head, rest) = self.0.split_at_checked(expected.len())?;
        (head == expected).then(|| self.0 = rest)
    }

    /// Takes `null`, or the value that `take` takes.
    #[inline(always)]
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

    /// Takes a string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let end = memchr::memchr2(b'"', b'\\', self.0.as_bytes())?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        self.take("\"")?;
        Some(text)
    }

    /// Skips a string.
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

    /// Skips a string or null after this key.
    #[inline(always)]
    fn pass_text_of(&mut self, key: &str) -> Option<()> {
        self.take(key)?;
        self.unless_null(Self::pass_text)?;
        Some(())
    }

    fn pass_worker(&mut self) -> Option<()> {
        self.take("{\"slot\":")?;
        self.integer()?;
        self.take(",\"pid\":")?;
        self.integer()?;
        self.take(",\"epoch\":")?;
        self.integer()?;
        self.take("}")
    }

    fn moment(&mut self) -> Option<Moment> {
        self.text()?.parse().ok()
    }

    fn timing(&mut self) -> Option<RecordedTiming> {
        let timing = RecordedTiming {
            queue: self.millis_of("{\"queue\":")?,
            resolve: self.millis_of(",\"resolve\":")?,
            connect: self.millis_of(",\"connect\":")?,
            tls: self.millis_of(",\"tls\":")?,
            first_byte: self.millis_of(",\"first_byte\":")?,
            body: self.millis_of(",\"body\":")?,
            store: self.millis_of(",\"store\":")?,
            exec: self.millis_of(",\"exec\":")?,
        };
        self.take("}")?;
        Some(timing)
    }

    #[inline(always)]
    fn millis_of(&mut self, key: &str) -> Option<Millis> {
        self.take(key)?;
        self.millis()
    }

    fn problem(&mut self) -> Option<BriefProblem<'a>> {
        self.take("{\"kind\":")?;
        let name = self.text()?;
        let kind = FailureKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)?;
        self.take(",\"message\":")?;
        let message = self.text()?.into();
        self.take("}")?;
        Some(BriefProblem { kind, message })
    }

    fn digits(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!digits.is_empty()).then_some(digits)
    }

    /// Takes the digits before a point. A leading zero is allowed only as the single digit.
    fn whole(&mut self) -> Option<&'a str> {
        let digits = self.digits()?;
        (digits == "0" || !digits.starts_with('0')).then_some(digits)
    }

    fn integer(&mut self) -> Option<u64> {
        let digits = self.whole()?;
        // A number that continues like this is not an integer.
        (!self.0.starts_with(['.', 'e', 'E'])).then_some(())?;
        digits.parse().ok()
    }

    /// Takes milliseconds in the written form: without exponent, and with at most three decimals.
    fn millis(&mut self) -> Option<Millis> {
        let whole: u64 = self.whole()?.parse().ok()?;
        let mut micros = whole.checked_mul(1000)?;
        if self.take(".").is_some() {
            let decimals = self.digits()?;
            let unit = [100, 10, 1].get(decimals.len() - 1)?;
            micros = micros.checked_add(decimals.parse::<u64>().ok()? * unit)?;
        }
        (!self.0.starts_with(['e', 'E'])).then_some(())?;
        Some(Millis::of_micros(micros))
    }

    fn digest(&mut self) -> Option<Digest> {
        let mut digest = [0; 32];
        let text = self.text()?;
        let is_digest =
            text.len() == 64 && HEXLOWER.decode_mut(text.as_bytes(), &mut digest).is_ok();
        is_digest.then_some(Digest(digest))
    }
}
