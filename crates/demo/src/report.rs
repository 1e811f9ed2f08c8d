//! Output of the demonstration: one line per step, with its duration.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

const NAME_WIDTH: usize = 14;
const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";

/// The report. A closed pipe ends the output, not the demonstration.
pub(super) struct DemoReport {
    began: Instant,
    last: Instant,
    colour: bool,
    proven: Vec<String>,
}

impl DemoReport {
    pub(crate) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let now = Instant::now();
        Self { began: now, last: now, colour: !plain && io::stdout().is_terminal(), proven: Vec::new() }
    }

    pub(crate) fn title(&self, id: &str) {
        let text = format!("stationmaster {} demonstration {id}", env!("CARGO_PKG_VERSION"));
        line(&format!("{}: one train, three stations, each with its key in a token of its own\n", self.paint(BOLD, &text)));
    }

    /// Begins a new part.
    pub(crate) fn part(&self, text: impl Display) {
        line(&format!("\n{}", self.paint(BOLD, &text)));
    }

    /// Reports a completed step, with the time since the previous step.
    pub(crate) fn step(&mut self, name: &str, what: impl Display) {
        let took = format!("{:>6.2} s", self.last.elapsed().as_secs_f64());
        line(&format!("{}  {name:<NAME_WIDTH$} {what}", self.paint(DIM, &took)));
        self.last = Instant::now();
    }

    /// Adds a detail to the previous step.
    pub(crate) fn detail(&self, what: impl Display) {
        line(&format!("{:10}{:NAME_WIDTH$} {}", "", "", self.paint(DIM, &what)));
    }

    /// Notes a fact that has been verified.
    pub(crate) fn proven(&mut self, what: impl Into<String>) {
        self.proven.push(what.into());
    }

    /// Prints a table; all columns except the first contain numbers.
    pub(crate) fn table(&self, header: &[&str], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.to_vec());
        table.add_rows(rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in table.lines() {
            line(&format!("{:9}{}", "", row.trim_end()));
        }
    }

    /// Ends the report: what was proven, the total time, what was kept.
    pub(crate) fn end(&self, kept: Option<String>) {
        self.part("What was proven");
        for claim in &self.proven {
            let mut lines = claim.lines();
            line(&format!("  {} {}", self.paint(GREEN, &"✓"), lines.next().unwrap_or_default()));
            lines.for_each(|more| line(&format!("    {more}")));
        }
        line(&format!("\n{} in {:.1} s", self.paint(GREEN, &"All checks passed"), self.began.elapsed().as_secs_f64()));
        if let Some(kept) = kept {
            line(&kept);
        }
    }

    fn paint(&self, code: &str, text: &dyn Display) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
