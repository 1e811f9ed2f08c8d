//! What is refused of layouts, and that nothing is written then.

use super::station;
use crate::support::{Station, Train, yard::Yard};

#[test]
fn placeholder_removed_below() {
    let yard = Yard::new();
    let station = station("a", &yard);
    let train = Train::of(&[Station::seat(&station)]).make();
    yard.take(&train);
}
