//! Every timed run as a line (RFC 4180).

use crate::shootout::ShootoutError;
use crate::shootout::result::{Scenario, Shootout, Standing};

const HEADER: [&str; 12] = [
    "scenario",
    "in_flight",
    "name",
    "round",
    "wall_s",
    "user_s",
    "system_s",
    "voluntary_switches",
    "involuntary_switches",
    "files",
    "bytes",
    "origin_cpu_s",
];

pub(super) fn text(shootout: &Shootout) -> Result<String, ShootoutError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let mut write = || -> csv::Result<()> {
        writer.write_record(HEADER)?;
        for scenario in &shootout.scenarios {
            for standing in &scenario.standings {
                rows(&mut writer, scenario, scenario.in_flight, standing)?;
            }
            for point in &scenario.scan {
                for standing in &point.standings {
                    rows(&mut writer, scenario, point.in_flight, standing)?;
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

/// Whoever failed has no time, and so no line.
fn rows(
    writer: &mut csv::Writer<Vec<u8>>,
    scenario: &Scenario,
    in_flight: u16,
    standing: &Standing,
) -> csv::Result<()> {
    if standing.measured().is_none() {
        return Ok(());
    }
    for run in &standing.runs {
        writer.write_record([
            scenario.name.clone(),
            in_flight.to_string(),
            standing.name.clone(),
            run.round.to_string(),
            run.wall_s.to_string(),
            run.user_s.to_string(),
            run.system_s.to_string(),
            run.voluntary.to_string(),
            run.involuntary.to_string(),
            run.files.to_string(),
            run.bytes.to_string(),
            run.origin_cpu_s
                .map_or_else(String::new, |cpu| cpu.to_string()),
        ])?;
    }
    Ok(())
}
