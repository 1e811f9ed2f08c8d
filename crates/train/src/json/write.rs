//! JSON writer, byte for byte equal to Python's `json.dumps(value, indent=2)`.

use super::Json;
use crate::python::float_repr;

pub(super) fn write(value: &Json) -> String {
    let mut out = String::new();
    write_value(&mut out, value, 0);
    out
}

fn write_value(out: &mut String, value: &Json, level: usize) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Int(number) => out.push_str(number.as_str()),
        Json::Float(number) => out.push_str(&float_repr(*number)),
        Json::Text(text) => write_text(out, text),
        Json::Array(items) => write_block(out, ('[', ']'), items, level, |out, item| write_value(out, item, level + 1)),
        Json::Object(fields) => write_block(out, ('{', '}'), fields, level, |out, (key, value)| {
            write_text(out, key);
            out.push_str(": ");
            write_value(out, value, level + 1);
        }),
    }
}

/// Writes one item per line, and nothing between the brackets of an empty block.
fn write_block<T>(out: &mut String, (open, close): (char, char), items: &[T], level: usize, one: impl Fn(&mut String, &T)) {
    out.push(open);
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        new_line(out, level + 1);
        one(out, item);
    }
    if !items.is_empty() {
        new_line(out, level);
    }
    out.push(close);
}

fn new_line(out: &mut String, level: usize) {
    out.push('\n');
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_python_escapes_it() {
        let value = Json::Text("a\"\\\n\r\t\u{8}\u{c}\u{0}\u{1f}/<>~\u{7f}ä\u{2028}😀".to_owned());
        assert_eq!(write(&value), r#""a\"\\\n\r\t\b\f\u0000\u001f/<>~\u007f\u00e4\u2028\ud83d\ude00""#);
    }

    #[test]
    fn blocks_are_laid_out_as_python_lays_them_out() {
        let value = Json::parse(br#"{"a":[],"b":{},"c":[1,[2.50,{"d":null}]],"e":true}"#).unwrap();
        let text = "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    [\n      2.5,\n      {\n        \"d\": null\n      }\n    ]\n  ],\n  \"e\": true\n}";
        assert_eq!(write(&value), text);
    }
}
