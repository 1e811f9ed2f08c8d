//! What Criterion found about the pure parts (`benches/pure`), read from where it leaves it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::table;

/// What the table means.
pub const ABOUT: &str = "\
## The pure parts

Without engine, token or disk (`cargo bench --bench pure`): Criterion's medians.
";

/// As a table; `None` when they were not measured.
pub fn table() -> Option<String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let mut rows = Vec::new();
    for group in directories(&target.join("criterion")) {
        for one in std::iter::once(group.clone()).chain(directories(&group)) {
            rows.extend(row(&one.join("new")));
        }
    }
    rows.sort();
    rows.dedup();
    (!rows.is_empty()).then(|| table::table(&["what", "time", "MB/s"], &rows))
}

fn row(new: &Path) -> Option<Vec<String>> {
    let json = |name: &str| serde_json::from_slice::<Value>(&fs::read(new.join(name)).ok()?).ok();
    let (estimates, about) = (json("estimates.json")?, json("benchmark.json")?);
    let nanoseconds = estimates["median"]["point_estimate"].as_f64()?;
    let bytes = about["throughput"]["Bytes"].as_f64();
    let time = match nanoseconds {
        short if short < 1e3 => format!("{} ns", table::number(short)),
        middle if middle < 1e6 => format!("{} µs", table::number(middle / 1e3)),
        long => format!("{} ms", table::number(long / 1e6)),
    };
    let speed = bytes.map_or(String::new(), |bytes| table::number(bytes / nanoseconds * 1e3));
    Some(vec![about["full_id"].as_str()?.to_owned(), time, speed])
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}
