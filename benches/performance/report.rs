//! The report: `docs/performance.md` and its plot, made from the record.

mod account;
mod flat;
mod images;
mod keys;
mod large;
mod plot;
pub mod pure;
mod table;
mod targets;
mod trains;

use std::{fs, path::Path};

use crate::{options::Part, record::Record};

const START: &str = "\
# Performance

`make bench` creates this page. `make bench ARGS=\"--only keys\"` repeats one part, `ARGS=--report` writes the page from stored
measurements.

* Nothing is simulated: the measurements use the service and its command line as built, SoftHSM, a Docker engine, and train_lib
  2.0.5 from PyPI.
* The compared programs alternate in each round, on the same images and the same engine, so compare the ratios, not the seconds.
* Figures are medians, with minimum and maximum in parentheses. Ratios are computed within each round. MB and GB are decimal.
";

const TRAINS: &str = "\
## Trains

A train at the second of three stops, so that pre-run verifies and opens what the first stop sealed.

* All programs use the same sealed image. The station's key is in a PEM file for train_lib and in the token for stationmaster.
* Each step is a new process, including its start: train_lib's protocol in Python (without its log, which is faster), and
  stationmaster's command line with a running service.
* *engine* is the floor of the same round: two containers created, the engine's archive of `/opt` piped from one into the other,
  a commit, both removed.
* Between pre-run and post-run a station keeps the run's results. *commit* is a commit of the run's container. *carry* is what
  stations do with train_lib: three paths copied onto the train's base, and a commit. Both are the same for all programs, and no
  train is run: a train that changes its results costs one commit more than this one, which changes none.
* Writes are flushed (`sync`) before each step.
";

/// All of it, for people.
pub fn text(record: &Record) -> String {
    let mut text = START.to_owned();
    text += &circumstances(record);
    text += &section("## Targets\n", &targets::table(record));
    if record.cases.contains_key(&Part::Trains) {
        text += &section(TRAINS, &trains::tables(record));
        text += &section(account::ABOUT, &account::table(record));
    }
    if !record.keys.is_empty() {
        text += &section(keys::ABOUT, &keys::table(record));
    }
    if record.cases.contains_key(&Part::Images) {
        text += &section(images::ABOUT, &images::table(record));
    }
    if record.cases.contains_key(&Part::Large) {
        text += &section(large::ABOUT, &large::table(record));
    }
    if record.cases.contains_key(&Part::Flat) {
        text += &section(flat::ABOUT, &flat::tables(record));
    }
    if !record.pure.is_empty() {
        text += &section(pure::ABOUT, &pure::table(record));
    }
    text
}

/// Writes the page and the plot.
pub fn write(record: &Record) {
    let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs"));
    let plotted = plot::draw(record, &docs.join("performance.svg"));
    let mut page = text(record);
    if plotted {
        page = page.replacen("## Trains\n", "## Trains\n\n![Steps in times of the engine's floor](performance.svg)\n", 1);
    }
    fs::write(docs.join("performance.md"), page).expect("docs/performance.md");
    eprintln!("written: docs/performance.md");
}

fn section(about: &str, table: &str) -> String {
    format!("\n{about}\n{table}")
}

/// Where and when; said once for all parts when it is the same.
fn circumstances(record: &Record) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (part, now) in &record.parts {
        let text = format!(
            "{}, on {}; engine: {}; {} build; load average over the last 15 minutes {}",
            now.date, now.machine, now.engine, now.build, now.load
        );
        let name = format!("{part:?}").to_lowercase();
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, parts)) => parts.push(name),
            None => groups.push((text, vec![name])),
        }
    }
    groups.iter().map(|(text, parts)| format!("\nMeasured {text} ({}).\n", parts.join(", "))).collect()
}
