//! A large image.

use super::table::{self, figure, number, ratios};
use crate::{
    large::{HASH, OFFLINE, TRAIN_LIB, VALIDATE},
    modes::FLOOR,
    options::Part,
    record::Record,
    statistics::median,
    steps::WHOLE,
};

/// What the table means.
pub const ABOUT: &str = "\
## A large image

A large master, with 20 files of 60 MB and very many of 27 kB, which do not compress, and an image with a train of one file on
it.

* *engine* is the export of that image (`docker save >/dev/null`), the floor for every program that reads it.
* `hash` and `image validate` use the service, and read every layer once.
* `hash --place` reads the saved archive from a file in the page cache, without engine and service.
* train_lib 2.0.6a0 validates the same image against the same master, saves both, and reaches the same verdict.
* Memory is the service's maximum above its idle level; for the last two, the maximum of the process.
";

/// As a table.
pub fn table(record: &Record) -> String {
    let mut rows = Vec::new();
    for case in &record.cases[&Part::Large] {
        let floor = case.walls(FLOOR, &[WHOLE]);
        for who in [FLOOR, HASH, VALIDATE, OFFLINE, TRAIN_LIB] {
            let (walls, costs) = (case.walls(who, &[WHOLE]), case.costs(who, WHOLE));
            let peaks: Vec<f64> = costs.iter().filter_map(|cost| cost.peak_mib).collect();
            let cpu: Vec<f64> = costs.iter().map(|cost| cost.user + cost.system + cost.client).collect();
            let engines: Vec<f64> = costs.iter().filter_map(|cost| cost.engine).collect();
            let is_floor = who == FLOOR;
            rows.push(vec![
                case.name.clone(),
                who.to_owned(),
                figure(&walls),
                if is_floor { String::new() } else { figure(&ratios(&walls, &floor)) },
                if is_floor { String::new() } else { figure(&peaks) },
                if is_floor { String::new() } else { number(median(&cpu)) },
                if engines.is_empty() { String::new() } else { number(median(&engines)) },
            ]);
        }
    }
    table::table(&["image", "who", "s", "of the export", "memory, MiB", "processor, s", "engine's, s"], &rows)
}
