use super::*;
use crate::{
    config::StopSignature,
    vectors::{Step, steps},
};

fn step(index: usize) -> Step {
    steps().remove(index)
}

fn stop_at(config: &mut TrainConfig, index: i64) -> &mut RouteStop {
    config.route.iter_mut().find(|stop| stop.index == index).unwrap()
}

/// Returns the text with its first hex digit changed.
fn changed(text: &HexText) -> HexText {
    let (first, rest) = text.as_str().split_at(1);
    HexText::new(format!("{}{rest}", if first == "0" { "1" } else { "0" }))
}

#[test]
fn a_train_closed_by_train_lib_is_accepted_at_every_stop() {
    for step in steps() {
        assert_eq!(verify_creator_and_build(&step.config, &step.immutable), Ok(()));
        assert_eq!(verify_chain(&step.config, step.own.stops_before()), Ok(()));
        assert_eq!(verify_results(&step.config, step.own.stops_before(), &step.arriving), Ok(()));
    }
}

#[test]
fn our_chain_digest_is_the_one_train_lib_signs() {
    for step in steps() {
        let mut next = TrainConfig::parse(&step.next).unwrap();
        let link = stop_at(&mut next, step.own.stops_before() as i64).signature.clone().unwrap();
        assert_eq!(own_chain_digest(&step.config, &step.own, &step.results).unwrap().to_hex(), link.digest);
        assert_eq!(next.result_hash, Some(step.results.to_hex()));
    }
}

#[test]
fn changed_code_is_refused() {
    let Step { config, .. } = step(1);
    assert_eq!(verify_creator_and_build(&config, &Digest::of(b"other code")), Err(Distrust::ImmutableDigest));
}

#[test]
fn a_changed_creators_or_builders_signature_or_key_is_refused() {
    let Step { config, immutable, .. } = step(1);
    let refused = |change: fn(&mut TrainConfig)| {
        let mut config = config.clone();
        change(&mut config);
        verify_creator_and_build(&config, &immutable).unwrap_err()
    };
    assert_eq!(refused(|c| c.signature = changed(&c.signature)), Distrust::CreatorSignature);
    assert_eq!(refused(|c| c.build.signature = changed(&c.build.signature)), Distrust::BuildSignature);
    assert_eq!(refused(|c| c.creator.rsa_public_key = c.build.rsa_public_key.clone()), Distrust::CreatorSignature);
    assert_eq!(refused(|c| c.build.rsa_public_key = c.creator.rsa_public_key.clone()), Distrust::BuildSignature);
    assert_eq!(refused(|c| c.creator.rsa_public_key = HexText::new("00")), Distrust::CreatorKey(KeyError::NotPem));
    assert_eq!(refused(|c| c.build.rsa_public_key = HexText::new("x")), Distrust::BuildKey(KeyError::NotHex));
    assert_eq!(refused(|c| c.hash = HexText::new("00")), Distrust::Unreadable { field: "hash" });
    assert_eq!(refused(|c| c.signature = HexText::new("0")), Distrust::Unreadable { field: "signature" });
}

#[test]
fn hex_in_another_spelling_is_accepted() {
    let Step { mut config, immutable, own, arriving, .. } = step(2);
    let respell = |text: &HexText| HexText::new(format!(" {}\n", text.as_str().to_uppercase()));
    config.hash = respell(&config.hash);
    config.signature = respell(&config.signature);
    config.session_id = respell(&config.session_id);
    config.result_hash = config.result_hash.as_ref().map(respell);
    let link = stop_at(&mut config, 0).signature.as_mut().unwrap();
    link.digest = respell(&link.digest);
    assert_eq!(verify_creator_and_build(&config, &immutable), Ok(()));
    assert_eq!(verify_chain(&config, own.stops_before()), Ok(()));
    assert_eq!(verify_results(&config, own.stops_before(), &arriving), Ok(()));
}

#[test]
fn a_changed_link_is_refused() {
    let Step { config, own, .. } = step(2);
    for index in 0..2 {
        let mut config = config.clone();
        let link = stop_at(&mut config, index as i64).signature.as_mut().unwrap();
        link.digest = changed(&link.digest);
        assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainSignature { index }));
        let link = stop_at(&mut config, index as i64).signature.as_mut().unwrap();
        link.digest = HexText::new("0011");
        assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainDigest { index }));
        stop_at(&mut config, index as i64).signature = None;
        assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainDigest { index }));
    }
}

#[test]
fn a_results_signature_is_no_link() {
    // Both are PSS over a digest by the same key; train_lib accepts one for the other.
    let Step { mut config, own, .. } = step(2);
    let digest = config.result_hash.clone().unwrap();
    let signature = config.result_signature.clone().unwrap();
    stop_at(&mut config, 1).signature = Some(StopSignature { digest, signature });
    assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainLink { index: 1 }));
}

#[test]
fn links_that_are_another_stops_or_the_results_are_distinguished() {
    for Step { config, own, .. } in steps() {
        assert_eq!(verify_signatures_apart(&config, own.stops_before()), Ok(()));
    }
    let Step { config, own, .. } = step(2);
    let link = |config: &mut TrainConfig, index| stop_at(config, index).signature.clone().unwrap();
    let first = Distrust::ChainPlace { index: 0 };
    let of_results = |c: &TrainConfig| (c.result_hash.clone().unwrap(), c.result_signature.clone().unwrap());
    let mut shown = config.clone();
    let results = of_results(&shown);
    stop_at(&mut shown, 0).signature.as_mut().unwrap().digest = results.0;
    assert_eq!(verify_signatures_apart(&shown, own.stops_before()), Err(first.clone()));
    let mut shown = config.clone();
    stop_at(&mut shown, 0).signature.as_mut().unwrap().signature = results.1;
    assert_eq!(verify_signatures_apart(&shown, own.stops_before()), Err(first));
    let second = Distrust::ChainPlace { index: 1 };
    let mut twice = config.clone();
    let of_first = link(&mut twice, 0);
    let digest = link(&mut twice, 1).digest;
    stop_at(&mut twice, 1).signature = Some(StopSignature { digest, ..of_first.clone() });
    assert_eq!(verify_signatures_apart(&twice, own.stops_before()), Err(second.clone()));
    // In another spelling it is the same digest.
    let digest = HexText::new(of_first.digest.as_str().to_uppercase());
    let mut twice = config.clone();
    let signature = link(&mut twice, 1).signature;
    stop_at(&mut twice, 1).signature = Some(StopSignature { digest, signature });
    assert_eq!(verify_signatures_apart(&twice, own.stops_before()), Err(second));
}

#[test]
fn a_link_made_under_another_session_or_over_other_results_is_refused() {
    let Step { mut config, own, .. } = step(1);
    config.session_id = changed(&config.session_id);
    assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainLink { index: 0 }));
    let Step { mut config, own, .. } = step(2);
    config.result_hash = config.result_hash.as_ref().map(changed);
    assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainLink { index: 1 }));
    config.result_hash = None;
    assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::Missing { field: "result_hash" }));
}

#[test]
fn changed_results_are_refused() {
    let Step { mut config, own, arriving, .. } = step(2);
    assert_eq!(verify_results(&config, own.stops_before(), &Digest::of(b"x")), Err(Distrust::ResultDigest));
    config.result_signature = config.result_signature.as_ref().map(changed);
    assert_eq!(verify_results(&config, own.stops_before(), &arriving), Err(Distrust::ResultSignature));
    config.result_signature = None;
    assert_eq!(verify_results(&config, own.stops_before(), &arriving), Err(Distrust::Missing { field: "result_signature" }));
}

#[test]
fn results_signed_by_another_stop_than_the_previous_are_refused() {
    let Step { mut config, own, arriving, .. } = step(2);
    stop_at(&mut config, 1).rsa_public_key = stop_at(&mut config, 0).rsa_public_key.clone();
    assert_eq!(verify_results(&config, own.stops_before(), &arriving), Err(Distrust::ResultSignature));
    assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::ChainSignature { index: 1 }));
}

#[test]
fn an_own_stop_of_another_config_proves_nothing() {
    let Step { mut config, own, arriving, .. } = step(2);
    config.route.truncate(1);
    assert_eq!(verify_chain(&config, own.stops_before()), Err(Distrust::Route));
    assert_eq!(verify_results(&config, own.stops_before(), &arriving), Err(Distrust::Route));
    assert!(own_chain_digest(&config, &own, &arriving).is_err());
}
