//! A caller that is refused for too many calls is told which limit it met, whose, the setting, and when to try again.

use crate::support::{Station, set};

#[test]
fn a_rate_that_is_exceeded_is_named_with_its_setting_and_the_time_to_wait() {
    let layouts = tempfile::tempdir().unwrap();
    let station =
        Station::with("a").layouts(layouts.path()).start_configured(|config| set(config, "limits", "principal_calls_per_s", 2));
    let refusal = (0..50).find_map(|_| station.keys().err()).expect("a refusal");
    assert_eq!((refusal.reason.as_str(), refusal.has_retry_info), ("OVERLOADED", true), "{refusal:?}");
    assert_eq!(refusal.metadata.get("limit").map(String::as_str), Some("limits.principal_calls_per_s"), "{refusal:?}");
    assert_eq!(refusal.metadata.get("of").map(String::as_str), Some("principal"), "{refusal:?}");
    assert!(refusal.message.contains("[limits] principal_calls_per_s = 2"), "{refusal:?}");
    let said = (0..50).map(|_| crate::cli::said(&station.socket_command(&["key", "list"]).output().unwrap()));
    let said = said.into_iter().find(|said| said.contains("OVERLOADED")).expect("a refusal");
    assert!(said.contains("0.5 s") && said.contains("principal_calls_per_s"), "{said}");
}
