//! Escapes characters in untrusted text that move a terminal's cursor, end its line, or change the reading direction.

use std::fmt::Write as _;

/// Returns whether a character changes how the text around it is shown: C0 and C1 controls, U+007F, line and paragraph separators, and the marks,
/// embeddings, overrides and isolates of bidirectional text.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Escapes text of one or several lines: newlines stay, other invisible characters become `\u{…}`.
pub(in crate::cli) fn printable(text: &str) -> String {
    escaped(text, |letter| letter != '\n' && is_invisible(letter))
}

/// Escapes text of one line: newlines are escaped too.
pub(super) fn one_line(text: &str) -> String {
    escaped(text, is_invisible)
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' if is_hidden('\n') => shown.push_str("\\n"),
            letter if is_hidden(letter) => {
                // Writing to a String does not fail.
                let _ = write!(shown, "{}", letter.escape_unicode());
            }
            letter => shown.push(letter),
        }
    }
    shown
}

/// Replaces the same characters by JSON escapes, which does not change the value: they occur only within strings.
pub(in crate::cli) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_invisible(letter) && letter != '\n' {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSEEN: &str = "a\u{1b}[2Jb\u{9b}c\u{7f}d\u{202e}e\u{2066}f\u{2069}g\u{2028}h\u{2029}i\u{200f}j";

    #[test]
    fn unseen_characters_of_foreign_text_are_written_out() {
        let shown = printable(UNSEEN);
        assert!(shown.chars().all(|letter| (' '..='~').contains(&letter)), "{shown:?}");
        assert!(shown.starts_with(r"a\u{1b}[2Jb\u{9b}c\u{7f}d\u{202e}e"), "{shown}");
        assert_eq!(printable("Zürich 東京 😀\nb"), "Zürich 東京 😀\nb", "honest text is changed");
        assert_eq!(one_line("a\nb"), "a\\nb");
    }

    #[test]
    fn json_means_the_same_without_unseen_characters() {
        let value = serde_json::json!({ UNSEEN: [UNSEEN, "Zürich 😀\n\t\"\\"] });
        let text = json(&value.to_string());
        assert!(!text.chars().any(is_invisible), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
