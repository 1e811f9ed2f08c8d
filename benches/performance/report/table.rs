//! Tables and numbers.

use crate::statistics::{median, spread};

/// A table of the page.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    line(&head) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// Three digits that count.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// A median, and the spread where there is one.
pub fn figure(values: &[f64]) -> String {
    let (least, most) = spread(values);
    match values.len() {
        0 => "–".into(),
        _ if !median(values).is_finite() => "–".into(),
        1 => number(values[0]),
        _ => format!("{} ({} to {})", number(median(values)), number(least), number(most)),
    }
}

/// One by the other, round by round.
pub fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}
