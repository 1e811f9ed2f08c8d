use crate::authz::grant::*;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn grant(rpcs: &[&str], keys: Option<&[&str]>, purposes: Option<&[&str]>, trains: Option<&[&str]>) -> Result<Grant, GrantError> {
    let [keys, purposes, trains] = [keys, purposes, trains].map(|names| names.map(owned));
    Grant::new(&GrantSpec {
        principal: "unix:uid=7",
        rpcs: &owned(rpcs),
        keys: keys.as_deref(),
        purposes: purposes.as_deref(),
        trains: trains.as_deref(),
        comment: None,
    })
}

fn me() -> Principals {
    Principals::of_socket(7, 70)
}

#[test]
fn access_is_denied_by_default() {
    let mut grants = Grants::default();
    assert_eq!(grants.decide(&me(), Rpc::ListKeys), None);
    grants.add(grant(&["ListKeys", "Sign"], Some(&["a"]), None, None).unwrap());
    assert!(grants.decide(&me(), Rpc::Sign).is_some());
    assert_eq!(grants.decide(&me(), Rpc::UnwrapKey), None);
    assert_eq!(grants.decide(&Principals::of_socket(8, 7), Rpc::Sign), None, "a group is not the user of that number");
    assert_eq!(grants.decide(&Principals::default(), Rpc::Sign), None);
}

#[test]
fn raw_use_is_for_general_keys_unless_the_purpose_is_named() {
    let mut grants = Grants::default();
    grants.add(grant(&["Sign"], Some(&["*"]), None, None).unwrap());
    let permit = grants.decide(&me(), Rpc::Sign).unwrap();
    assert!(permit.covers_key("x", Purpose::General) && !permit.covers_key("x", Purpose::Train));
    grants.add(grant(&["Sign"], Some(&["t"]), Some(&["train"]), None).unwrap());
    let permit = grants.decide(&me(), Rpc::Sign).unwrap();
    assert!(permit.covers_key("t", Purpose::Train) && !permit.covers_key("u", Purpose::Train));
    assert!(!permit.covers_key("x", Purpose::Audit), "an audit key was granted");
}

#[test]
fn no_grant_covers_the_services_own_tls_key() {
    let mut grants = Grants::default();
    grants.add(grant(&["ListKeys", "GetKey", "Sign", "UnwrapKey"], Some(&["*"]), None, None).unwrap());
    for rpc in [Rpc::ListKeys, Rpc::GetKey, Rpc::Sign, Rpc::UnwrapKey] {
        let permit = grants.decide(&me(), rpc).unwrap();
        assert!(permit.covers_key("x", Purpose::General) && !permit.covers_key("x", Purpose::Tls), "{}", rpc.name());
    }
}

#[test]
fn keys_and_trains_of_two_grants_do_not_mix() {
    let mut grants = Grants::default();
    grants.add(grant(&["PreRun"], Some(&["k1"]), None, Some(&["t1"])).unwrap());
    grants.add(grant(&["PreRun"], Some(&["k2"]), None, Some(&["t2"])).unwrap());
    let permit = grants.decide(&me(), Rpc::PreRun).unwrap();
    assert!(permit.is_for_named_trains());
    let first = permit.for_train("t1").unwrap();
    assert!(first.covers_key("k1", Purpose::Train) && !first.covers_key("k2", Purpose::Train));
    assert_eq!(permit.for_train("t3"), None);
}

#[test]
fn a_grant_that_could_be_misread_is_refused() {
    assert_eq!(grant(&[], None, None, None), Err(GrantError::NoRpc));
    assert!(matches!(grant(&["sign"], None, None, None), Err(GrantError::UnknownRpc(_))));
    assert_eq!(grant(&["Sign"], None, None, None), Err(GrantError::NoKeys("Sign")));
    assert_eq!(grant(&["Sign"], Some(&[]), None, None), Err(GrantError::Empty("keys")));
    assert_eq!(grant(&["Sign"], Some(&["a"]), Some(&[]), None), Err(GrantError::Empty("purposes")));
    assert!(matches!(grant(&["Sign"], Some(&["a"]), Some(&["all"]), None), Err(GrantError::UnknownPurpose(_))));
    assert_eq!(grant(&["Sign"], Some(&["a"]), None, Some(&["t"])), Err(GrantError::Useless("trains")));
    assert_eq!(grant(&["CheckPush"], Some(&["a"]), None, None), Err(GrantError::Useless("keys")));
    assert_eq!(grant(&["PreRun"], None, None, Some(&[])), Err(GrantError::Empty("trains")));
    assert_eq!(grant(&["PreRun"], None, None, Some(&["\u{1b}"])), Err(GrantError::Text("trains")));
}

#[test]
fn what_is_revoked_is_gone_and_nothing_else() {
    let mut grants = Grants::default();
    grants.add(grant(&["PreRun", "PostRun"], None, None, None).unwrap());
    assert_eq!(grants.revoke(&Principal::UnixUser(8), &[]), 0);
    assert_eq!(grants.revoke(&Principal::UnixUser(7), &[Rpc::PreRun]), 1);
    assert_eq!(grants.decide(&me(), Rpc::PreRun), None);
    assert!(grants.decide(&me(), Rpc::PostRun).is_some());
    assert_eq!(grants.revoke(&Principal::UnixUser(7), &[Rpc::Sign]), 0);
    assert_eq!(grants.revoke(&Principal::UnixUser(7), &[]), 1);
    assert!(grants.all().is_empty());
}
