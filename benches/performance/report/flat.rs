//! Many files, and several trains at once.

use super::table::{self, figure, number};
use crate::{options::Part, record::Record, statistics::median};

/// What the table means.
pub const ABOUT: &str = "\
## Scaling

Many small files; and four trains, whose pre-runs and then post-runs are sequential or concurrent (nothing is run in between).
Memory is the service's maximum above its idle level.
";

/// As a table.
pub fn tables(record: &Record) -> String {
    let mut rows = Vec::new();
    for case in &record.cases[&Part::Flat] {
        for series in &case.series {
            let of = |value: &dyn Fn(&crate::record::Cost) -> f64| series.costs.iter().map(value).collect::<Vec<_>>();
            rows.push(vec![
                case.name.clone(),
                series.who.clone(),
                series.step.clone(),
                figure(&of(&|cost| cost.wall)),
                figure(&of(&|cost| cost.peak_mib.unwrap_or(f64::NAN))),
                number(median(&of(&|cost| cost.user + cost.system))),
            ]);
        }
    }
    table::table(&["results", "who", "step", "s", "memory, MiB", "processor, s"], &rows)
}
