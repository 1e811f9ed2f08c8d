//! Checks that a step makes beside admission, the station's rules, and the report of them.

pub mod base_check;
pub mod opt_allow_list;
pub mod rule_report;
pub mod rules;
