use super::*;

#[test]
fn a_train_key_is_used_raw_only_when_it_is_named() {
    let policy = Policy { raw_use: ["named".to_owned()].into() };
    assert!(policy.allows_raw(Purpose::General, "any"));
    assert!(policy.allows_raw(Purpose::Train, "named"));
    assert!(!policy.allows_raw(Purpose::Train, "other"));
    assert!(!Policy::default().allows_raw(Purpose::Train, "named"));
}

#[test]
fn every_scheme_of_the_wire_is_known_and_nothing_else() {
    for number in 1..=7 {
        assert!(convert::signature_scheme(number).is_ok(), "{number}");
    }
    for number in [0, 8, -1] {
        assert_eq!(convert::signature_scheme(number).unwrap_err().reason(), Reason::MalformedRequest);
    }
    assert!(convert::wrapping_scheme(1).is_ok() && convert::wrapping_scheme(2).is_ok());
    for number in [0, 3] {
        assert_eq!(convert::wrapping_scheme(number).unwrap_err().reason(), Reason::MalformedRequest);
    }
}
