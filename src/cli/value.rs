//! Parsers for option values.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use protocol::{Bearer, Credentials, FailureKind, ResolveOverride};

use crate::dispatch::{Intensity, MaxFailures};

/// Parses a number that must be at least 1.
pub(super) fn at_least_one(text: &str) -> Result<NonZeroU16, String> {
    text.parse()
        .map_err(|_| format!("expected a number from 1 to {}", u16::MAX))
}

/// Parses a name that can be part of other names: letters, digits, `-`, `_`.
#[cfg(feature = "fleet")]
pub(super) fn token(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !text.is_empty() && text.len() <= 64 && text.chars().all(is_part) {
        true => Ok(text.to_owned()),
        false => Err("expected at most 64 letters, digits, - and _".to_owned()),
    }
}

/// Parses the number of URLs in a list.
pub(super) fn some_urls(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .ok()
        .filter(|urls: &NonZeroU32| urls.get() <= 10_000_000)
        .ok_or_else(|| "expected a number from 1 to 10000000".to_owned())
}

/// Parses a duration: seconds as a number, like curl (`30`, `0.5`), or with units (`2m 30s`).
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    };
    parsed
        .map_err(|error| format!("{error}; expected seconds (2.5) or a time with units (90s, 2m)"))
}

/// Parses a duration that must be longer than 0.
pub(super) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        some => Ok(some),
    }
}

/// The accepted sizes, for messages.
const SIZES: &str = "expected bytes (65536), or a size with kB, MB, GB, TB (of 1000) or KiB, MiB, GiB, \
                     TiB (of 1024)";

/// The accepted speeds, for messages.
const SPEEDS: &str = "expected bytes per second (200000), or with K, M, G (of 1024), kB, MB, GB (of \
                      1000) or KiB, MiB, GiB (of 1024)";

/// Parses a size in bytes, with decimal or binary units (`10MB`, `64KiB`).
pub(super) fn size(text: &str) -> Result<u64, String> {
    bytes(text, &parse_size::Config::new()).map_err(|error| format!("{error}; {SIZES}"))
}

/// Parses bytes per second like [`size`], but letters alone are binary, as in curl. 0 is no limit.
pub(super) fn limit_rate(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let number = text.strip_suffix("/s").unwrap_or(text);
    let config = match number.strip_suffix(['b', 'B']) {
        Some(_) => parse_size::Config::new(),
        None => parse_size::Config::new().with_binary(),
    };
    let bytes = bytes(number, &config).map_err(|error| format!("{error}; {SPEEDS}"))?;
    // A positive number that is rounded to 0 must not turn the limit off.
    if bytes == 0 && number.contains(|digit: char| ('1'..='9').contains(&digit)) {
        return Err("must be at least 1 byte per second, or 0 for no limit".to_owned());
    }
    Ok(bytes)
}

/// Parses bytes. Rejects a small b, which means bits (IEEE 1541), but bytes to the parser.
fn bytes<T: AsRef<str>>(text: T, config: &parse_size::Config) -> Result<u64, String> {
    let text = text.as_ref().trim();
    let unit = text.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let lower = unit.to_ascii_lowercase();
    if unit.ends_with('b')
        || ["bit", "bits", "bps"]
            .iter()
            .any(|bits| lower.ends_with(bits))
    {
        return Err(format!(
            "{unit} counts bits; give bytes (B), which have eight bits"
        ));
    }
    config.parse_size(text).map_err(|error| error.to_string())
}

/// Parses a proxy. In aria2, `-x` takes a number, which would be an address here (inet_aton(3)).
pub(super) fn proxy(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(
            "a number is not a proxy; the downloads from one host at once are --parallel-max-host N"
                .to_owned(),
        ),
        false => Ok(text.to_owned()),
    }
}

/// Parses `N/PERIOD`.
pub(super) fn intensity(text: &str) -> Result<Intensity, String> {
    let (restarts, period) = text
        .split_once('/')
        .ok_or("expected N/PERIOD, for example 18/60s")?;
    Ok(Intensity {
        restarts: restarts
            .trim()
            .parse()
            .map_err(|_| format!("'{restarts}' is not a number of restarts"))?,
        period: some_duration(period)?,
    })
}

/// Parses a rate (`5`, `5/s`, `30/m`, `100/h`) into the time between two events.
pub(super) fn rate(text: &str) -> Result<Duration, String> {
    let expected =
        "expected a number above 0, per second (5 or 5/s), minute (30/m) or hour (100/h)";
    let (number, period) = text.split_once('/').unwrap_or((text, "s"));
    let period = match period.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected.to_owned()),
    };
    let number: f64 = number.trim().parse().map_err(|_| expected.to_owned())?;
    if number.is_nan() || number <= 0.0 {
        return Err(expected.to_owned());
    }
    Duration::try_from_secs_f64(period / number).map_err(|_| expected.to_owned())
}

/// Parses `N` or `P%`.
pub(super) fn max_failures(text: &str) -> Result<MaxFailures, String> {
    let expected = "expected a number (100) or a part of all (5%)";
    match text.trim().strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => {
                Ok(MaxFailures::Share(percent / 100.0))
            }
            Ok(_) | Err(_) => Err(expected.to_owned()),
        },
        None => match text.trim().parse() {
            Ok(count) => Ok(MaxFailures::Count(count)),
            Err(_) => Err(expected.to_owned()),
        },
    }
}

/// Parses `Name: value`, in the syntax of RFC 9110 section 5.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
    let (name, value) = (name.trim(), value.trim());
    http::HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("'{}' is not a header name", name.escape_debug()))?;
    http::HeaderValue::from_str(value)
        .map_err(|_| format!("the value of '{name}' has characters that a header cannot have"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses `NAME:PASSWORD`. Error messages never repeat any part of it.
pub(super) fn credentials(text: &str) -> Result<Credentials, String> {
    let (user, password) = text
        .split_once(':')
        .ok_or("expected NAME:PASSWORD; a name without a password belongs in a netrc file")?;
    Ok(Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// Parses a token, or `@` and the name of the file that holds it.
#[allow(clippy::unnecessary_wraps, reason = "clap wants a result")]
pub(super) fn bearer(text: &str) -> Result<Bearer, String> {
    Ok(Bearer(text.to_owned()))
}

/// Parses a user agent: any header value.
pub(super) fn user_agent(text: &str) -> Result<String, String> {
    header(&format!("User-Agent: {text}")).map(|(_, value)| value)
}

/// Parses `HOST:PORT:ADDR`.
pub(super) fn resolve(text: &str) -> Result<ResolveOverride, String> {
    let expected = "expected HOST:PORT:ADDR, for example example.com:443:127.0.0.1";
    let (host, rest) = text.split_once(':').ok_or(expected)?;
    let (port, addr) = rest.split_once(':').ok_or(expected)?;
    if host.is_empty() {
        return Err(expected.to_owned());
    }
    let addr = addr.trim_start_matches('[').trim_end_matches(']');
    Ok(ResolveOverride {
        host: host.to_ascii_lowercase(),
        port: port
            .parse()
            .map_err(|_| format!("'{port}' is not a port"))?,
        addr: addr
            .parse::<IpAddr>()
            .map_err(|_| format!("'{addr}' is not an IP address"))?,
    })
}

/// Returns a parser for a kind of failure, by its name in the run log.
pub(super) fn failure_kind() -> impl TypedValueParser<Value = FailureKind> {
    let names = FailureKind::ALL.map(FailureKind::name);
    PossibleValuesParser::new(names).try_map(|name| {
        let kinds = FailureKind::ALL.into_iter();
        let mut kinds = kinds.filter(|kind| kind.name() == name);
        kinds.next().ok_or("not a kind of failure")
    })
}

/// Parses a host into the form that normalised URLs use.
pub(super) fn host(text: &str) -> Result<String, String> {
    url::Host::parse(text)
        .map(|host| host.to_string())
        .map_err(|error| format!("{error}; expected a name or an address, without a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_have_units() {
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(duration("2m 30s"), Ok(Duration::from_secs(150)));
        for wrong in ["", "-1", "nan", "1e999", "5 parsecs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(some_duration("0").is_err());
    }

    #[test]
    fn intensity_is_a_number_and_a_period() {
        let parsed = intensity("18/60s").expect("valid");
        assert_eq!((parsed.restarts, parsed.period.as_secs()), (18, 60));
        for wrong in ["18", "x/60s", "18/0", "18/", "/60"] {
            assert!(intensity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_per_second_minute_or_hour() {
        let ms = |text| rate(text).expect("valid").as_millis();
        assert_eq!((ms("5"), ms("4/s"), ms("30/m")), (200, 250, 2000));
        assert_eq!(ms("0.5"), 2000);
        for wrong in ["", "0", "-1", "nan", "5/d", "5/", "/s", "1e-300"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn speeds_are_as_curl_has_them_or_have_units() {
        let kib = |text| limit_rate(text).expect("valid") / 1024;
        assert_eq!(
            (kib("200K"), kib("200k"), kib("1M"), kib("1G")),
            (200, 200, 1024, 1 << 20)
        );
        assert_eq!(
            (kib("1.5MiB"), kib("1.5MiB/s"), kib("2Ki")),
            (1536, 1536, 2)
        );
        assert_eq!(limit_rate("200000"), Ok(200_000));
        assert_eq!(limit_rate("500kB"), Ok(500_000));
        assert_eq!(limit_rate("1MB/s"), Ok(1_000_000));
        assert_eq!(limit_rate("0"), Ok(0));
        for wrong in ["", "-1", "fast", "K", "1 parsec", "0.1", "1e30", "10/m"] {
            assert!(limit_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bits_are_no_bytes() {
        for wrong in [
            "10Mbit", "5Mb/s", "5Mb", "5mb", "10kbps", "1Gbits", "8b", "5 Mbps",
        ] {
            let told = limit_rate(wrong).expect_err(wrong);
            assert!(
                told.contains("bits") && told.contains("MiB"),
                "{wrong}: {told}"
            );
            assert!(size(wrong.trim_end_matches("/s")).is_err(), "{wrong}");
        }
        assert_eq!(size("10MB"), Ok(10_000_000));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("7B"), Ok(7));
        let told = size("10 parsecs").expect_err("no size");
        assert!(told.contains("MiB"), "{told}");
    }

    #[test]
    fn failures_are_counted_or_shared() {
        assert_eq!(max_failures("7"), Ok(MaxFailures::Count(7)));
        assert_eq!(max_failures("5%"), Ok(MaxFailures::Share(0.05)));
        for wrong in ["", "-1", "101%", "%", "x", "5 %%"] {
            assert!(max_failures(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_that_could_forge_others_are_refused() {
        assert_eq!(header("X-A:  b "), Ok(("X-A".to_owned(), "b".to_owned())));
        for wrong in ["X-A", ": b", "X A: b", "X-A: b\r\nX-B: c"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_as_in_normalised_urls() {
        for (text, expected) in [
            ("WWW.Example.com", "www.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(expected));
        }
        for wrong in ["", "h:80", "https://h/", "a b"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn resolve_takes_both_families() {
        assert!(resolve("a.example:80:127.0.0.1").is_ok());
        let six = resolve("A.example:443:[::1]").expect("valid");
        assert_eq!((six.host.as_str(), six.addr.is_ipv6()), ("a.example", true));
        for wrong in ["a.example", "a.example:80", ":80:::1", "a:x:::1", "a:80:b"] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
    }
}
