//! What each mode lost, as a table for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::Cost;

/// Returns a table with a row for each mode.
pub(super) fn table(costs: &[Cost]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "",
        "survived",
        "first run",
        "lost by it",
        "runs",
        "all else stored",
        "done again",
        "memory",
        "CPU",
    ]);
    for cost in costs {
        table.add_row([
            cost.mode.name().to_owned(),
            yes(cost.survived).to_owned(),
            cost.first_run.clone(),
            cost.lost.to_string(),
            cost.runs.to_string(),
            cost.recovered_s
                .map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s")),
            cost.served_again.to_string(),
            cost.memory.map_or_else(String::new, |memory| {
                format!("{:.1} MiB", memory.bytes as f64 / f64::from(1 << 20))
            }),
            format!("{:.0} ms", cost.cpu_s * 1e3),
        ]);
    }
    for column in 3..=8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

const fn yes(survived: bool) -> &'static str {
    match survived {
        true => "yes",
        false => "no",
    }
}
