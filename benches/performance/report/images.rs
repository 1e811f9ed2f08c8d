//! The reading of whole images.

use super::table::{self, figure, number, ratios};
use crate::{images::OURS, modes::FLOOR, options::Part, record::Record, statistics::median, steps::WHOLE};

/// What the table means.
pub const ABOUT: &str = "\
## Images

`stationmaster hash IMAGE`, which reads all layers and hashes the final file tree, compared with the engine's own export of the
same sealed image (`docker save >/dev/null`).
";

/// As a table.
pub fn table(record: &Record) -> String {
    let rows: Vec<Vec<String>> = record.cases[&Part::Images]
        .iter()
        .map(|case| {
            let (floor, own) = (case.walls(FLOOR, &[WHOLE]), case.walls(OURS, &[WHOLE]));
            let costs = case.costs(OURS, WHOLE);
            let peak: Vec<f64> = costs.iter().filter_map(|cost| cost.peak_mib).collect();
            let cpu: Vec<f64> = costs.iter().map(|cost| cost.user + cost.system + cost.client).collect();
            let name = case.name.clone();
            vec![name, figure(&floor), figure(&own), figure(&ratios(&own, &floor)), figure(&peak), number(median(&cpu))]
        })
        .collect();
    table::table(&["results", "export, s", "hash, s", "of the export", "memory, MiB", "processor, s"], &rows)
}
