//! Synthetic patient records: the data of a station.

use std::fmt::Write as _;

/// One station's records.
pub(super) struct Records {
    rows: Vec<(&'static str, u32)>,
    mark: String,
}

impl Records {
    /// Returns the records of the station at an index of the route; every station has others. `mark` makes them searchable.
    pub(crate) fn of_stop(index: u32, mark: &str) -> Self {
        let mut state = 0x2545_f491_u32.wrapping_add(index.wrapping_mul(0x9e37_79b9));
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        let count = 60 + next(90);
        let rows = (0..count).map(|_| (if next(100) < 54 { "female" } else { "male" }, 18 + next(75))).collect();
        Self { rows, mark: format!("patient-{mark}") }
    }

    /// Returns the text that no image may contain.
    pub(crate) fn needle(&self) -> &str {
        &self.mark
    }

    /// Formats the records for the algorithm.
    pub(crate) fn to_csv(&self) -> String {
        let mut csv = String::from("id,gender,age\n");
        for (number, (gender, age)) in self.rows.iter().enumerate() {
            // Writing to a String does not fail.
            let _ = writeln!(csv, "{}-{number},{gender},{age}", self.mark);
        }
        csv
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the number of records with a gender: the result that the algorithm must find.
    pub(crate) fn matching(&self, gender: &str) -> usize {
        self.rows.iter().filter(|row| row.0 == gender).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_differ_and_a_station_stays_the_same() {
        let csv = |index| Records::of_stop(index, "m").to_csv();
        assert_eq!(csv(1), csv(1));
        assert_ne!(csv(0), csv(1));
        let records = Records::of_stop(0, "m");
        assert_eq!(records.matching("female") + records.matching("male"), records.len());
        assert_eq!(csv(0).lines().count(), records.len() + 1);
    }
}
