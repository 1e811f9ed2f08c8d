//! JSON parser. jiter tokenizes; the limits, the rejection of duplicate keys and the exact integers are implemented here.

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use super::{Json, JsonError, MAX_DEPTH, MAX_VALUES};
use crate::Integer;

pub(super) fn parse(text: &[u8]) -> Result<Json, JsonError> {
    // jiter checks UTF-8 in strings only.
    std::str::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
    let mut reader = Reader { jiter: Jiter::new(text), values_left: MAX_VALUES };
    let peek = reader.jiter.peek().map_err(refuse)?;
    let value = reader.value(peek, MAX_DEPTH)?;
    reader.jiter.finish().map_err(refuse)?;
    Ok(value)
}

struct Reader<'j> {
    jiter: Jiter<'j>,
    values_left: usize,
}

impl Reader<'_> {
    fn value(&mut self, peek: Peek, depth_left: usize) -> Result<Json, JsonError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(JsonError::TooManyValues)?;
        match peek {
            Peek::Null => self.jiter.known_null().map(|()| Json::Null).map_err(refuse),
            Peek::True | Peek::False => self.jiter.known_bool(peek).map(Json::Bool).map_err(refuse),
            Peek::String => self.jiter.known_str().map(|s| Json::Text(s.to_owned())).map_err(refuse),
            Peek::Array => self.array(depth_left),
            Peek::Object => self.object(depth_left),
            Peek::NaN | Peek::Infinity => Err(JsonError::NotFinite { offset: self.jiter.current_index() }),
            _ => self.number(peek),
        }
    }

    fn array(&mut self, depth_left: usize) -> Result<Json, JsonError> {
        let depth_left = depth_left.checked_sub(1).ok_or(JsonError::TooDeep)?;
        let mut items = Vec::new();
        let mut next = self.jiter.known_array().map_err(refuse)?;
        while let Some(peek) = next {
            items.push(self.value(peek, depth_left)?);
            next = self.jiter.array_step().map_err(refuse)?;
        }
        Ok(Json::Array(items))
    }

    fn object(&mut self, depth_left: usize) -> Result<Json, JsonError> {
        let depth_left = depth_left.checked_sub(1).ok_or(JsonError::TooDeep)?;
        let mut fields: Vec<(String, Json)> = Vec::new();
        let mut next = self.jiter.known_object().map_err(refuse)?.map(str::to_owned);
        while let Some(key) = next {
            let peek = self.jiter.peek().map_err(refuse)?;
            fields.push((key, self.value(peek, depth_left)?));
            next = self.jiter.next_key().map_err(refuse)?.map(str::to_owned);
        }
        let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(JsonError::DuplicateKey { offset: self.jiter.current_index() });
        }
        Ok(Json::Object(fields))
    }

    fn number(&mut self, peek: Peek) -> Result<Json, JsonError> {
        let offset = self.jiter.current_index();
        let bytes = self.jiter.known_number_bytes(peek).map_err(refuse)?;
        let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
        if !text.contains(['.', 'e', 'E']) {
            return Ok(Json::Int(Integer::from_json_digits(text)));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Json::Float(value)),
            Ok(_) => Err(JsonError::NotFinite { offset }),
            Err(_) => Err(JsonError::Syntax { offset }),
        }
    }
}

/// Converts jiter's error. Its message may quote the text, so it is not used.
fn refuse(error: JiterError) -> JsonError {
    let offset = error.index;
    match error.error_type {
        // `-Infinity` starts like a number.
        JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => JsonError::NotFinite { offset },
        _ => JsonError::Syntax { offset },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> JsonError {
        parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_key_named_twice_is_refused_at_every_level() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"\u0061":3}}]"#] {
            assert!(matches!(refused(text), JsonError::DuplicateKey { .. }), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for text in ["NaN", "Infinity", "[1e400]", "-1e999"] {
            assert!(matches!(refused(text), JsonError::NotFinite { .. }), "{text}");
        }
        refused("-Infinity");
        refused("-NaN");
    }

    #[test]
    fn broken_syntax_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "[1] x",
            "[1][2]",
            "\u{feff}[]",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "'a'",
            "nul",
            "\"\\ud800\"",
            "\"\\udc00\\ud800\"",
            "\"\\x\"",
            "\"a\nb\"",
            "\"\u{0}\"",
            "{1:2}",
            "[1 2]",
            "tru",
            "//\n1",
        ] {
            assert!(matches!(refused(text), JsonError::Syntax { .. }), "{text:?}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(JsonError::NotUtf8));
        assert_eq!(parse(b"\xff"), Err(JsonError::NotUtf8));
    }

    #[test]
    fn nesting_and_count_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(refused(&deep(MAX_DEPTH + 1)), JsonError::TooDeep);
        assert_eq!(refused(&"[".repeat(1_000_000)), JsonError::TooDeep);
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert_eq!(refused(&many), JsonError::TooManyValues);
    }

    #[test]
    fn integers_stay_exact() {
        let digits = "9".repeat(4300);
        let Json::Int(value) = parse(digits.as_bytes()).unwrap() else { panic!("not an integer") };
        assert_eq!(value.as_str(), digits);
        assert_eq!(parse(b"-0").unwrap(), Json::Int(0.into()));
        // Python's own limit: its reader raises here too.
        refused(&"9".repeat(4301));
    }

    #[test]
    fn messages_never_quote_the_text() {
        for text in ["{\"sekret\":1,\"sekret\":2}", "[sekret]", "\"sekret", "{\"a\": sekret}"] {
            assert!(!refused(text).to_string().contains("sekret"));
        }
    }
}
