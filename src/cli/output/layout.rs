//! Formats tables and lists of fields to fit the terminal.
//!
//! A table that fits is plain columns without lines, so that the usual tools can cut and search it. In one that does not fit, columns of
//! prose are wrapped first; a cell that still has no space is printed below its row, indented, whole. Names, fingerprints and ids are
//! never broken as long as the terminal can show them on a line of their own.

use unicode_width::UnicodeWidthStr as _;

use super::escape::one_line;

/// Blanks between two columns.
const GAP: usize = 2;
/// Indentation of cells that are printed below their row.
const INDENT: usize = 4;
/// Minimum width of a column of prose.
const PROSE: usize = 24;
/// Columns up to this width, and the first one, stay in the row.
const SHORT: usize = 10;

/// Formats a table that is at most `limit` terminal columns wide.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>, limit: Option<usize>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let columns: Vec<Column> =
        (0..header.len()).map(|index| Column::of(&header[index], rows.iter().map(|row| &row[index]))).collect();
    let plan = Plan::make(columns, limit);
    let mut text = plan.row(&header);
    for row in &rows {
        text += &plan.row(row);
    }
    text
}

struct Column {
    /// Width without wrapping.
    natural: usize,
    /// Width with prose and header wrapped.
    least: usize,
}

impl Column {
    fn of<'a>(header: &str, cells: impl Iterator<Item = &'a String>) -> Self {
        let (mut natural, mut prose, mut word) = (0, false, longest_word(header));
        for cell in cells {
            natural = natural.max(cell.width());
            prose |= cell.contains(' ');
            word = word.max(longest_word(cell));
        }
        let least = if prose { word.max(natural.min(PROSE)) } else { natural.max(word) };
        let natural = natural.max(header.width());
        Self { natural, least: least.min(natural) }
    }
}

struct Plan {
    /// The width of each column; `None` for a column whose cells are printed below the row.
    widths: Vec<Option<usize>>,
    limit: Option<usize>,
}

impl Plan {
    fn make(columns: Vec<Column>, limit: Option<usize>) -> Self {
        let natural: Vec<Option<usize>> = columns.iter().map(|column| Some(column.natural)).collect();
        let Some(width) = limit.filter(|limit| total(&natural) > *limit) else {
            return Self { widths: natural, limit };
        };
        let mut widths: Vec<Option<usize>> = columns.iter().map(|column| Some(column.least)).collect();
        while total(&widths) > width {
            let widest = (1..widths.len())
                .filter(|&index| widths[index].is_some_and(|width| width > SHORT))
                .max_by_key(|&index| widths[index]);
            let Some(widest) = widest else { break };
            widths[widest] = None;
        }
        // The remaining width goes to the columns that need it, the last first, because the last contains prose.
        for index in (0..columns.len()).rev() {
            let spare = width.saturating_sub(total(&widths));
            if let Some(column) = &mut widths[index] {
                *column += spare.min(columns[index].natural - *column);
            }
        }
        // A first column that is wider than the terminal.
        let over = total(&widths).saturating_sub(width);
        if let Some(Some(first)) = widths.first_mut().filter(|_| over > 0) {
            *first = first.saturating_sub(over).max(SHORT);
        }
        Self { widths, limit }
    }

    fn row(&self, cells: &[String]) -> String {
        let wrapped: Vec<Vec<String>> =
            cells.iter().zip(&self.widths).map(|(cell, width)| width.map_or_else(Vec::new, |width| wrap(cell, width))).collect();
        let lines = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::new();
        for index in 0..lines {
            let mut line = String::new();
            for (column, width) in wrapped.iter().zip(&self.widths) {
                let Some(width) = width else { continue };
                let cell = column.get(index).map_or("", String::as_str);
                line += cell;
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + GAP));
            }
            text += line.trim_end();
            text.push('\n');
        }
        let below = cells.iter().zip(&self.widths).filter(|(cell, width)| width.is_none() && !matches!(cell.as_str(), "" | "-"));
        text + &self.below(below.map(|(cell, _)| cell))
    }

    /// Formats the cells below a row: several on a line if they fit.
    fn below<'a>(&self, cells: impl Iterator<Item = &'a String>) -> String {
        let width = self.limit.unwrap_or(usize::MAX).saturating_sub(INDENT).max(SHORT);
        let mut lines: Vec<String> = Vec::new();
        for cell in cells {
            match lines.last_mut() {
                Some(line) if line.width() + GAP + cell.width() <= width => *line += &format!("{:GAP$}{cell}", ""),
                _ => lines.extend(wrap(cell, width)),
            }
        }
        lines.iter().map(|line| format!("{:INDENT$}{line}\n", "")).collect()
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown: Vec<usize> = widths.iter().flatten().copied().collect();
    shown.iter().sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

fn longest_word(text: &str) -> usize {
    text.split(' ').map(|word| word.width()).max().unwrap_or(0)
}

/// Formats names and values, one per line; fields without a value are omitted. A value that is too long is wrapped.
pub(super) fn fields(fields: &[(&str, String)], limit: Option<usize>) -> String {
    let name_width = fields.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let value = one_line(value);
        let available = limit.map_or(usize::MAX, |limit| limit.saturating_sub(name_width + GAP)).max(SHORT);
        if value.width() > available && longest_word(&value) > available {
            // A digest or a path is not broken if it fits on a line of its own.
            let width = limit.unwrap_or(usize::MAX).saturating_sub(INDENT).max(SHORT);
            text += &format!("{name}\n");
            text.extend(wrap(&value, width).iter().map(|line| format!("{:INDENT$}{line}\n", "")));
            continue;
        }
        let mut name = *name;
        for line in wrap(&value, available) {
            text += &format!("{name:<name_width$}{:GAP$}{line}\n", "");
            name = "";
        }
    }
    text
}

/// Splits a text into lines, at blanks, and within a word only if the word is longer than a line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |line| line.width());
        if line > 0 && line + 1 + word.width() <= width {
            if let Some(line) = lines.last_mut() {
                line.push(' ');
                line.push_str(word);
            }
            continue;
        }
        if line > 0 {
            lines.push(String::new());
        }
        for letter in word.chars() {
            let mut bytes = [0; 4];
            let letter: &str = letter.encode_utf8(&mut bytes);
            if lines.last().is_some_and(|line| !line.is_empty() && line.width() + letter.width() > width) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push_str(letter);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn what_fits_is_plain_columns() {
        let rows = rows(&[&["a", "x y"], &["long", "z"]]);
        assert_eq!(table(&["ONE", "TWO"], rows.clone(), None), "ONE   TWO\na     x y\nlong  z\n");
        assert_eq!(table(&["ONE", "TWO"], rows, Some(9)), "ONE   TWO\na     x y\nlong  z\n");
    }

    #[test]
    fn a_table_is_never_wider_than_the_terminal() {
        let prose = "not one of many words of this sentence is longer than a column can be";
        let id = "5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10";
        let all = rows(&[&[id, "1", FINGERPRINT, "2026-11-30T02:05:28Z", prose, "ok"], &["b", "22", "-", "", "-", "failed"]]);
        for limit in 20..200 {
            let shown = table(&["ID", "NUMBER", "FINGERPRINT", "MADE IN TOKEN", "WHAT", "OUTCOME"], all.clone(), Some(limit));
            for line in shown.lines() {
                assert!(line.width() <= limit.max(31), "{limit}: {line:?}\n{shown}");
            }
            if limit >= 60 {
                assert!(shown.contains(FINGERPRINT) && shown.contains(id), "{limit}: broken in the middle\n{shown}");
            }
        }
    }

    #[test]
    fn prose_is_wrapped_within_its_column_or_goes_below() {
        let all = rows(&[&["plain-names", "checked", "one two three four five six seven eight"]]);
        let shown = table(&["RULE", "OUTCOME", "NOTE"], all, Some(50));
        assert_eq!(
            shown,
            "RULE         OUTCOME  NOTE\nplain-names  checked  one two three four five six\n                      seven eight\n"
        );
        let all = rows(&[&["audit", "2026-11-30T02:05:28", "unix:uid=1000", "one two three four five six seven eight"]]);
        let shown = table(&["LOG", "TIME", "PRINCIPAL", "WHAT"], all, Some(44));
        assert!(
            shown.ends_with("\naudit  2026-11-30T02:05:28  unix:uid=1000\n    one two three four five six seven eight\n"),
            "{shown}"
        );
    }

    #[test]
    fn a_field_is_shown_whole_where_a_line_has_room_for_it() {
        let shown =
            fields(&[("Fingerprint of a key", FINGERPRINT.into()), ("None", String::new()), ("A", "b\nc".into())], Some(60));
        assert_eq!(shown, format!("Fingerprint of a key\n    {FINGERPRINT}\nA                     b\\nc\n"));
        assert_eq!(fields(&[("A", "one two three".into())], Some(13)), "A  one two\n   three\n");
    }
}
