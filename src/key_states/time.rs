//! Times that administrators state.

use jiff::{Timestamp, civil::Date};

/// Parses a date, which means 00:00 UTC of that day, or a time in RFC 3339.
///
/// # Errors
/// When the text is neither.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let neither = || "neither a date, such as 2027-01-31, nor a time, such as 2027-01-31T12:00:00Z".to_owned();
    // A date with a time parses as a date, too.
    if text.len() > "2027-01-31".len() {
        return text.parse().map_err(|_| neither());
    }
    text.parse::<Date>().map_err(|_| neither())?;
    format!("{text}T00:00:00Z").parse().map_err(|_| neither())
}

#[cfg(test)]
mod tests {
    use crate::key_states::parse_time;

    #[test]
    fn a_date_is_its_first_moment_in_utc_and_a_time_names_its_zone() {
        let parsed = |text: &str| parse_time(text).map(|time| time.to_string());
        assert_eq!(parsed("2027-01-31").unwrap(), "2027-01-31T00:00:00Z");
        assert_eq!(parsed("2027-01-31T12:30:00+02:00").unwrap(), "2027-01-31T10:30:00Z");
        for wrong in ["", "31.01.2027", "2027-02-30", "tomorrow", "2027-01-31T12:00:00"] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
