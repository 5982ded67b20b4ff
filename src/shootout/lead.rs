//! The result of a scenario in a few sentences.
//!
//! They are derived from the figures alone, and must be true for all possible figures.

use super::result::{Figures, Scenario, Standing, State};
use crate::format;

/// A median at most this share above the fastest counts as equally fast, even if no rounds overlap.
const ALIKE: f64 = 0.02;

/// A median more than this share above the fastest counts as slower, even if rounds overlap. With
/// too few rounds to detect an outlier, a delayed round overlaps with those of every entrant.
const APART: f64 = 0.15;

/// Costs of equally fast entrants differ if one is more than this many times the other.
const DIFFERS: f64 = 1.25;

/// The most names in a sentence. More entrants are counted instead.
const NAMES: usize = 3;

type Timed<'a> = (&'a Standing, &'a Figures);

/// Returns the sentences, in this order: the fastest, its cost, the slowest, entrants without a
/// time.
#[must_use]
pub fn lead(scenario: &Scenario) -> String {
    let timed: Vec<Timed<'_>> = scenario
        .standings
        .iter()
        .filter_map(|standing| Some((standing, standing.measured()?)))
        .collect();
    let failed = |state: &State| matches!(state, State::Failed(_));
    let absent = |state: &State| matches!(state, State::NotMeasured(_));
    let standings = &scenario.standings;
    let sentences = [
        fastest(&timed, standings.len()),
        cost(&timed),
        slowest(&timed),
        without_time(standings, failed, ("failed", "failed")),
        without_time(standings, absent, ("was not measured", "were not measured")),
        timed
            .is_empty()
            .then(|| "There is no time to compare.".to_owned()),
    ];
    sentences
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns how many of the first entrants are as fast as the first.
fn alike(timed: &[Timed<'_>]) -> usize {
    let Some((standing, first)) = timed.first() else {
        return 0;
    };
    let usual = standing
        .runs
        .iter()
        .enumerate()
        .filter(|(place, _)| !first.wall.outliers.contains(place))
        .map(|(_, run)| run.wall_s);
    let most = usual.fold(first.wall.median, f64::max);
    let within =
        |share: f64, figures: &Figures| figures.wall.median <= first.wall.median * (1.0 + share);
    // All entrants behind a slower one are slower, however widely their rounds spread.
    timed
        .iter()
        .take_while(|(_, figures)| {
            let overlap = figures.wall.min <= most;
            within(ALIKE, figures) || (overlap && within(APART, figures))
        })
        .count()
}

fn fastest(timed: &[Timed<'_>], all: usize) -> Option<String> {
    let &(first, figures) = timed.first()?;
    let time = format::seconds(figures.wall.median);
    let Some((second, next)) = timed.get(1) else {
        return Some(format!(
            "{} finishes in {time}; nobody else has a time to compare it with.",
            first.name
        ));
    };
    let group = &timed[..alike(timed)];
    Some(match group {
        [_, .., (_, last)] => format!(
            "{} are about equally fast: {}.",
            subject(group, all),
            range(&time, &format::seconds(last.wall.median)),
        ),
        _ => format!(
            "{} is fastest with {time}; {} follows with {}, {} as long.",
            first.name,
            second.name,
            format::seconds(next.wall.median),
            format::factor(figures.wall.median, next.wall.median),
        ),
    })
}

/// Names a group, as the subject of a sentence.
fn subject(group: &[Timed<'_>], all: usize) -> String {
    match group {
        _ if group.len() == all && all > NAMES => format!("All {} entrants", in_words(all)),
        _ if group.len() > NAMES => {
            format!(
                "{} of {} entrants",
                capital(in_words(group.len())),
                in_words(all)
            )
        }
        _ => {
            let names = group.iter().map(|(standing, _)| &*standing.name);
            listed(&names.collect::<Vec<_>>())
        }
    }
}

/// Compares the costs of the equally fast entrants.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn cost(timed: &[Timed<'_>]) -> Option<String> {
    let group = &timed[..alike(timed)];
    let cpu = Span::of(group, |_, figures| Some(figures.cpu_s()));
    let memory = Span::of(group, |standing, _| Some(standing.memory?.bytes as f64));
    let costs = [
        cpu.map(|span| (span.differs(), span.told(format::seconds, "of CPU time"))),
        memory.map(|span| (span.differs(), span.told(format::bytes, "of memory"))),
    ];
    let (differ, same): (Vec<_>, Vec<_>) = costs
        .into_iter()
        .flatten()
        .partition(|(differs, _)| *differs);
    let (said, of_which) = match differ.is_empty() {
        false => ("They differ in what that costs", differ),
        true => ("It costs each of them about the same", same),
    };
    let told: Vec<String> = of_which.into_iter().map(|(_, told)| told).collect();
    (!told.is_empty()).then(|| format!("{said}: {}.", told.join(", and ")))
}

/// The least and the greatest value of a cost, with the entrants' names.
struct Span<'a> {
    least: (&'a str, f64),
    most: (&'a str, f64),
}

impl<'a> Span<'a> {
    /// Returns the span over a group, if at least two of its entrants have a value.
    fn of(group: &[Timed<'a>], value: impl Fn(&Standing, &Figures) -> Option<f64>) -> Option<Self> {
        let named = |(standing, figures): &Timed<'a>| {
            let value = value(standing, figures)?;
            Some((standing.name.as_str(), value))
        };
        let mut values: Vec<(&str, f64)> = group.iter().filter_map(named).collect();
        values.sort_by(|one, other| one.1.total_cmp(&other.1));
        match values.as_slice() {
            [least, .., most] => Some(Self {
                least: *least,
                most: *most,
            }),
            _ => None,
        }
    }

    fn differs(&self) -> bool {
        self.most.1 > self.least.1 * DIFFERS
    }

    fn told(&self, text: fn(f64) -> String, what: &str) -> String {
        let end = |(name, value): (&str, f64)| match self.differs() {
            true => format!("{} ({name})", text(value)),
            false => text(value),
        };
        format!("{} {what}", range(&end(self.least), &end(self.most)))
    }
}

/// Returns `515 ms to 520 ms`, or one of the texts if both are equal.
fn range(least: &str, most: &str) -> String {
    match least == most {
        true => least.to_owned(),
        false => format!("{least} to {most}"),
    }
}

/// Names the slowest entrant, unless an earlier sentence named it.
fn slowest(timed: &[Timed<'_>]) -> Option<String> {
    let (_, first) = timed.first()?;
    let (last, figures) = timed.last()?;
    // If one entrant is clearly fastest, the first sentence also names the second.
    let said = alike(timed).max(2);
    (timed.len() > said).then(|| {
        format!(
            "The slowest is {} with {}, {} as long as the fastest.",
            last.name,
            format::seconds(figures.wall.median),
            format::factor(first.wall.median, figures.wall.median)
        )
    })
}

/// Names the entrants without a time.
fn without_time(
    standings: &[Standing],
    wanted: fn(&State) -> bool,
    (one, several): (&str, &str),
) -> Option<String> {
    let names: Vec<&str> = standings
        .iter()
        .filter(|standing| wanted(&standing.state))
        .map(|standing| &*standing.name)
        .collect();
    Some(match names.len() {
        0 => return None,
        1 => format!("{} {one}.", listed(&names)),
        2..=NAMES => format!("{} {several}.", listed(&names)),
        many => format!("{} entrants {several}.", capital(in_words(many))),
    })
}

/// Joins names: `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, front)) => format!("{} and {last}", front.join(", ")),
        None => String::new(),
    }
}

/// Capitalises a number in words, for the start of a sentence.
fn capital(mut number: String) -> String {
    number[..1].make_ascii_uppercase();
    number
}

/// Writes numbers up to twelve in words.
fn in_words(number: usize) -> String {
    const WORDS: [&str; 13] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    WORDS
        .get(number)
        .map_or_else(|| number.to_string(), |word| (*word).to_owned())
}
