//! Checks of a step in addition to admission, and the report on the rules.

pub mod base_check;
pub mod opt_allow_list;
pub mod rule_report;
