use super::*;

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
