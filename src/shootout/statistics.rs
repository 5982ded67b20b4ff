//! Statistics over a handful of repeated measurements.
//!
//! Pure arithmetic. Outliers are reported but never dropped: every value counts in every figure.

use serde::Serialize;

/// A modified z-score beyond this marks an outlier (Iglewicz and Hoaglin, 1993: 3.5).
const OUTLIER: f64 = 3.5;

/// The factor by which the median absolute deviation estimates the standard deviation of a normal
/// distribution: its 75th percentile.
const MAD_SCALE: f64 = 0.674_489_75;

/// The same factor for the mean absolute deviation: the square root of 2 / pi.
const MEAN_AD_SCALE: f64 = 0.797_884_56;

/// With fewer values, there are no outliers.
const FEWEST_FOR_OUTLIERS: usize = 4;

/// Figures over the values of one quantity, in its unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Number of values, at least one.
    pub count: usize,
    /// The middle value, or the mean of the middle two.
    pub median: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation (divided by n - 1), if there is more than one value.
    pub deviation: Option<f64>,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// Positions of the values that lie far from the others: modified z-score above 3.5.
    pub outliers: Vec<usize>,
}

impl Statistics {
    /// Returns the figures over `values`, or `None` if there is no value or one is not finite.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a handful of values")]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            count: values.len(),
            median: median(values),
            mean,
            deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            outliers: outliers(values),
        })
    }
}

/// Returns the median of at least one value.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

#[allow(clippy::cast_precision_loss, reason = "a handful of values")]
fn outliers(values: &[f64]) -> Vec<usize> {
    if values.len() < FEWEST_FOR_OUTLIERS {
        return Vec::new();
    }
    let center = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    // More than half of the values are equal, so the median of the distances is 0, and all other
    // values would be infinitely far away. The mean of the distances is used instead.
    let spread = match median(&distances) {
        0.0 => distances.iter().sum::<f64>() / distances.len() as f64 / MEAN_AD_SCALE,
        mad => mad / MAD_SCALE,
    };
    if spread == 0.0 {
        return Vec::new();
    }
    let far = |distance: &f64| distance / spread > OUTLIER;
    let places = distances.iter().enumerate();
    places
        .filter(|(_, distance)| far(distance))
        .map(|(place, _)| place)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Statistics {
        Statistics::of(values).expect("the values are finite")
    }

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn figures_are_those_of_a_textbook() {
        // The usual example: mean 5, population deviation 2, so sample deviation sqrt(32 / 7).
        let figures = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        close(figures.mean, 5.0);
        close(figures.median, 4.5);
        close(figures.deviation.expect("eight values"), 2.138_089_935);
        close(figures.min, 2.0);
        close(figures.max, 9.0);
        assert_eq!(figures.count, 8);
    }

    #[test]
    fn figures_match_the_nist_reference() {
        // NIST Statistical Reference Datasets, NumAcc1: mean 10000002, deviation exactly 1.
        let figures = of(&[10_000_001.0, 10_000_003.0, 10_000_002.0]);
        close(figures.mean, 10_000_002.0);
        close(figures.median, 10_000_002.0);
        close(figures.deviation.expect("three values"), 1.0);
    }

    #[test]
    fn one_value_has_no_deviation_and_none_has_no_figures() {
        let figures = of(&[3.0]);
        assert_eq!((figures.median, figures.deviation), (3.0, None));
        assert_eq!(Statistics::of(&[]), None);
        assert_eq!(Statistics::of(&[1.0, f64::NAN]), None);
        assert_eq!(Statistics::of(&[f64::INFINITY]), None);
    }

    #[test]
    fn an_outlier_is_named_and_still_counts() {
        // Median 0.51, distances 0.01 0 0.01 0.02 1.49, their median 0.01: a z-score of 100.
        let figures = of(&[0.50, 0.51, 0.52, 0.49, 2.0]);
        assert_eq!(figures.outliers, [4]);
        close(figures.max, 2.0);
        close(figures.mean, 4.02 / 5.0);
    }

    #[test]
    fn the_threshold_is_that_of_the_literature() {
        // Median 0, MAD 1: the score of x is 0.6745 x, so 5.18 is within the limit and 5.20 is not.
        let just_in = [-1.0, -1.0, 0.0, 1.0, 5.18];
        let just_out = [-1.0, -1.0, 0.0, 1.0, 5.20];
        assert_eq!(of(&just_in).outliers, [0_usize; 0]);
        assert_eq!(of(&just_out).outliers, [4]);
    }

    #[test]
    fn equal_values_have_no_outliers_but_one_among_them_is() {
        assert_eq!(of(&[1.0; 5]).outliers, [0_usize; 0]);
        assert_eq!(
            of(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0]).outliers,
            [6],
            "the MAD is 0, the mean deviation is not"
        );
        assert_eq!(of(&[1.0, 9.0, 1.0]).outliers, [0_usize; 0], "too few");
    }
}
