//! The form of single values in the run log: version, durations, moments, digests.
//!
//! Values from a worker are cut to the range of the log, so writing a value never fails.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use protocol::{Executed, Timestamp};
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Version 1 of the format; no other can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatVersion;

impl Serialize for FormatVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for FormatVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            v => Err(D::Error::custom(format_args!(
                "version {v} of the run log, where only 1 is known"
            ))),
        }
    }
}

/// A duration in whole microseconds, written as milliseconds with at most three decimals: `0.4`,
/// `101.2`, `5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(u64);

impl Millis {
    /// About 31 years. Up to this value a double is precise enough to read every microsecond back.
    const MAX_MICROS: u64 = 1_000_000_000_000_000;

    /// Creates a duration, cut to 31 years.
    pub(super) fn of_micros(micros: u64) -> Self {
        Self(micros.min(Self::MAX_MICROS))
    }

    /// Returns the duration in whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

/// Rounds down to whole microseconds, and cuts to 31 years.
impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self::of_micros(micros)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact: MAX_MICROS is below 2^53"
            )]
            let millis = self.0 as f64 / 1000.0;
            serializer.serialize_f64(millis)
        }
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        // The cast saturates: a negative value becomes 0.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturation is meant"
        )]
        let micros = (millis * 1000.0).round() as u64;
        Ok(Self::of_micros(micros))
    }
}

/// A moment in whole milliseconds, written as RFC 3339 in UTC: `2026-01-31T12:00:00.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// The years that RFC 3339 can express, 0000 to 9999, as milliseconds since 1970.
    const MIN: i64 = -62_167_219_200_000;
    const MAX: i64 = 253_402_207_200_000;

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

/// For people: in UTC, to the second, `2026-01-31 12:00:00`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A moment is always in this range.
        let moment = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{}", moment.strftime("%Y-%m-%d %H:%M:%S"))
    }
}

/// As in RFC 3339.
impl FromStr for Moment {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let timestamp: jiff::Timestamp = text.parse()?;
        Ok(Self::from(Timestamp(timestamp.as_microsecond())))
    }
}

/// Rounds down to milliseconds, and cuts to the years 0000 to 9999: a worker may report any time.
impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.0.div_euclid(1000).clamp(Self::MIN, Self::MAX))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let timestamp =
            jiff::Timestamp::from_millisecond(self.0).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("{timestamp:.3}"))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment as in RFC 3339")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        serializer.serialize_str(HEXLOWER.encode_mut_str(&self.0, &mut text))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Digest, E> {
                let mut digest = [0; 32];
                if text.len() != 64 || HEXLOWER.decode_mut(text.as_bytes(), &mut digest).is_err() {
                    return Err(E::invalid_value(serde::de::Unexpected::Str(text), &self));
                }
                Ok(Digest(digest))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The program of `--exec` ran on the file and succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedExec {
    /// Size of the file after that; `None` if it did not exist any more.
    pub left: Option<u64>,
}

impl From<Executed> for RecordedExec {
    fn from(Executed { left }: Executed) -> Self {
        Self { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_durations_beyond_all_bounds_are_cut_to_them() {
        let moment = |micros| serde_json::to_string(&Moment::from(Timestamp(micros)));
        assert_eq!(
            moment(i64::MAX).expect("in bounds"),
            "\"9999-12-30T22:00:00.000Z\""
        );
        assert_eq!(
            moment(i64::MIN).expect("in bounds"),
            "\"0000-01-01T00:00:00.000Z\""
        );
        assert_eq!(
            moment(-1).expect("in bounds"),
            "\"1969-12-31T23:59:59.999Z\""
        );
        let said =
            [i64::MAX, i64::MIN, -1].map(|micros| Moment::from(Timestamp(micros)).to_string());
        assert_eq!(
            said,
            [
                "9999-12-30 22:00:00",
                "0000-01-01 00:00:00",
                "1969-12-31 23:59:59"
            ]
        );
        let longest = serde_json::to_string(&Millis::from(Duration::MAX));
        assert_eq!(longest.expect("a number"), "1000000000000");
    }

    #[test]
    fn a_digest_is_64_lower_case_digits_and_nothing_else() {
        let digits = "0123456789abcdef".repeat(4);
        let read = |text: &str| serde_json::from_str::<Digest>(&format!("\"{text}\""));
        let digest = read(&digits).expect("a digest");
        assert_eq!(digest.0[..2], [0x01, 0x23]);
        for wrong in [
            &digits[1..],
            &digits.to_uppercase(),
            &format!("{digits}00"),
            "",
        ] {
            read(wrong).expect_err(wrong);
        }
    }
}
