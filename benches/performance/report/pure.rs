//! What Criterion found about the pure parts (`benches/pure`), read from where it leaves it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::table;
use crate::record::{Pure, Record};

/// What the table means.
pub const ABOUT: &str = "\
## Computation only

Without engine, token or disk (`cargo bench --bench pure`): Criterion's medians.
";

/// What was measured on this machine last; nothing where nothing was.
pub fn measured() -> Vec<Pure> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let mut found = Vec::new();
    for group in directories(&target.join("criterion")) {
        for one in std::iter::once(group.clone()).chain(directories(&group)) {
            found.extend(read(&one.join("new")));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    found
}

fn read(new: &Path) -> Option<Pure> {
    let json = |name: &str| serde_json::from_slice::<Value>(&fs::read(new.join(name)).ok()?).ok();
    let (estimates, about) = (json("estimates.json")?, json("benchmark.json")?);
    Some(Pure {
        name: about["full_id"].as_str()?.to_owned(),
        nanoseconds: estimates["median"]["point_estimate"].as_f64()?,
        bytes: about["throughput"]["Bytes"].as_f64(),
    })
}

/// As a table.
pub fn table(record: &Record) -> String {
    let row = |one: &Pure| {
        let time = match one.nanoseconds {
            short if short < 1e3 => format!("{} ns", table::number(short)),
            middle if middle < 1e6 => format!("{} µs", table::number(middle / 1e3)),
            long => format!("{} ms", table::number(long / 1e6)),
        };
        let speed = one.bytes.map_or(String::new(), |bytes| table::number(bytes / one.nanoseconds * 1e3));
        vec![one.name.clone(), time, speed]
    };
    table::table(&["what", "time", "MB/s"], &record.pure.iter().map(row).collect::<Vec<_>>())
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}
