//! The figures of every entrant as a line of CSV (RFC 4180): the columns of the table, in base
//! units.

use crate::shootout::ShootoutError;
use crate::shootout::columns::{COLUMNS, ENTRANT};
use crate::shootout::result::{Scenario, Shootout, Standing};

pub(super) fn text(shootout: &Shootout) -> Result<String, ShootoutError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let mut write = || -> csv::Result<()> {
        let keys = COLUMNS.iter().map(|column| column.key);
        let before = ["work", "in_flight", ENTRANT, "family"];
        writer.write_record(before.into_iter().chain(keys).chain(["problem"]))?;
        for scenario in &shootout.scenarios {
            let points = scenario.scan.iter();
            let points = points.map(|point| (point.in_flight, &point.standings));
            let all = [(scenario.in_flight, &scenario.standings)].into_iter();
            for (in_flight, standings) in all.chain(points) {
                for standing in standings {
                    writer.write_record(record(scenario, in_flight, standing, standings))?;
                }
            }
        }
        Ok(())
    };
    let failed = |source| ShootoutError::Write {
        what: "the results as CSV".to_owned(),
        source,
    };
    write().map_err(|error| failed(error.into()))?;
    let bytes = writer.into_inner();
    let bytes = bytes.map_err(|error| failed(error.into_error()))?;
    String::from_utf8(bytes).map_err(|error| failed(std::io::Error::other(error)))
}

/// Returns the record of an entrant. Without a time, it has a problem and empty fields for the
/// figures.
fn record(
    scenario: &Scenario,
    in_flight: u16,
    standing: &Standing,
    all: &[Standing],
) -> Vec<String> {
    let mut record = vec![
        scenario.name.clone(),
        in_flight.to_string(),
        standing.name.clone(),
        standing.family.key().to_owned(),
    ];
    record.extend(COLUMNS.iter().map(|column| {
        let value = column.value(standing, all);
        value.map_or_else(String::new, |value| value.to_string())
    }));
    record.push(match standing.problem() {
        Some((what, reason)) => format!("{what}: {reason}"),
        None => String::new(),
    });
    record
}
