//! A scale from zero, with round numbers as marks.
//!
//! This module must not know what is drawn.

use serde::Serialize;

use crate::format;

/// A mark on a scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tick {
    /// Its position, in percent of the scale.
    pub at: f64,
    /// Its label.
    pub label: String,
}

/// A scale from zero to a maximum.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    most: f64,
}

impl Scale {
    /// Creates a scale that covers all of `values`.
    #[must_use]
    pub fn over(values: impl IntoIterator<Item = f64>) -> Self {
        let most = values.into_iter().filter(|value| value.is_finite());
        Self {
            most: most.fold(0.0, f64::max),
        }
    }

    /// Returns the position of a value in percent, to a thousandth, which is finer than any screen.
    #[must_use]
    pub fn at(self, value: f64) -> f64 {
        if self.most <= 0.0 {
            return 0.0;
        }
        (value / self.most * 100_000.0).round() / 1000.0
    }

    /// Returns about `count` round numbers from zero up. They are round as multiples of `unit`.
    #[must_use]
    pub fn ticks(self, count: u32, unit: f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
        if self.most <= 0.0 {
            return Vec::new();
        }
        let step = round_step(self.most / unit / f64::from(count.max(1))) * unit;
        (0..=100_u32)
            .map(|number| f64::from(number) * step)
            .take_while(|value| *value <= self.most * 1.000_001)
            .map(|value| Tick {
                at: self.at(value),
                label: label(value),
            })
            .collect()
    }
}

/// Approximate number of marks on a scale.
const MARKS: u32 = 4;

impl Scale {
    /// Returns marks for a scale in seconds.
    #[must_use]
    pub fn seconds(self) -> Vec<Tick> {
        self.ticks(MARKS, 1.0, |seconds| match seconds {
            0.0 => "0".to_owned(),
            small if small < 1e-3 => format!("{} µs", round(small * 1e6)),
            small if small < 0.9995 => format!("{} ms", round(small * 1e3)),
            large => format!("{} s", round(large)),
        })
    }

    /// Returns the largest binary unit of bytes that is not above the maximum.
    #[must_use]
    pub fn binary_unit(self) -> f64 {
        let units = [30, 20, 10].map(|power| f64::from(1_u32 << power));
        let fitting = units.into_iter().find(|unit| *unit <= self.most);
        fitting.unwrap_or(1.0)
    }

    /// Returns marks for a scale in bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<Tick> {
        let mib = f64::from(1 << 20);
        self.ticks(MARKS, mib, |bytes| match bytes {
            0.0 => "0".to_owned(),
            some => format!("{} MiB", format::number(some / mib)),
        })
    }
}

/// Removes the noise of binary fractions.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Returns the next number of the form 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "powers of ten times 1, 2 or 5")]
    fn steps_are_round() {
        for (least, step) in [
            (0.7, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.0, 5.0),
            (60.0, 100.0),
        ] {
            assert_eq!(round_step(least), step, "{least}");
        }
    }

    #[test]
    fn ticks_begin_at_zero_and_stay_on_the_scale() {
        let scale = Scale::over([0.5, 3.02]);
        let ticks = scale.ticks(4, 1.0, |value| value.to_string());
        let labels: Vec<_> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["0", "1", "2", "3"]);
        assert!(ticks.iter().all(|tick| (0.0..=100.0).contains(&tick.at)));
        assert!(Scale::over([]).ticks(4, 1.0, |_| String::new()).is_empty());
    }

    #[test]
    fn marks_say_their_unit() {
        let labels = |ticks: Vec<Tick>| -> Vec<String> {
            ticks.into_iter().map(|tick| tick.label).collect()
        };
        let seconds = labels(Scale::over([1.1]).seconds());
        assert_eq!(seconds, ["0", "500 ms", "1 s"]);
        let bytes = labels(Scale::over([f64::from(20 << 20)]).bytes());
        assert_eq!(bytes, ["0", "5 MiB", "10 MiB", "15 MiB", "20 MiB"]);
    }
}
