//! Checks of a step in addition to admission, the station's rules, and the report on them.

pub mod base_check;
pub mod opt_allow_list;
pub mod rule_report;
pub mod rules;
