use super::*;
use crate::{
    config::{HexText, Id, StopSignature},
    vectors::steps,
};

/// The config as it arrives at stop 1 of 3.
fn at_second_stop() -> TrainConfig {
    steps().remove(1).config
}

fn stop_at(config: &mut TrainConfig, index: i64) -> &mut RouteStop {
    config.route.iter_mut().find(|stop| stop.index == index).unwrap()
}

#[test]
fn each_stop_of_a_real_train_finds_itself() {
    for (index, step) in steps().iter().enumerate() {
        assert_eq!((step.own.stops_before(), step.own.is_first()), (index, index == 0));
        assert_eq!(step.config.route[step.own.position()].index, index as i64);
    }
}

#[test]
fn an_unknown_station_is_not_on_the_route() {
    assert_eq!(own_stop(&at_second_stop(), "s-9999"), Err(RouteError::NotOnRoute));
    assert_eq!(own_stop(&at_second_stop(), ""), Err(RouteError::NotOnRoute));
}

#[test]
fn a_numeric_station_never_matches() {
    let mut config = at_second_stop();
    stop_at(&mut config, 1).station = Id::from_text("7".to_owned());
    assert_eq!(own_stop(&config, "7"), Err(RouteError::NotOnRoute));
}

#[test]
fn a_station_named_twice_is_refused() {
    let mut config = at_second_stop();
    stop_at(&mut config, 2).station = Id::from_text("s-3072".to_owned());
    assert_eq!(own_stop(&config, "s-3072"), Err(RouteError::StationTwice));
}

#[test]
fn indices_that_would_overwrite_another_stop_are_refused() {
    for indices in [[1, 2, 3], [0, 0, 1], [-1, 0, 1], [0, 1, 3], [0, 1, i64::MAX], [i64::MIN, 0, 1]] {
        let mut config = at_second_stop();
        for (stop, index) in config.route.iter_mut().zip(indices) {
            stop.index = index;
        }
        assert_eq!(own_stop(&config, "s-3072"), Err(RouteError::BadIndices), "{indices:?}");
    }
}

#[test]
fn removing_the_results_digest_does_not_switch_off_the_checks() {
    let mut config = at_second_stop();
    config.result_hash = None;
    assert_eq!(own_stop(&config, "s-3072"), Err(RouteError::ResultMissing));
}

#[test]
fn results_at_the_first_stop_are_refused() {
    let mut config = steps().remove(0).config;
    config.result_hash = Some(HexText::new("00"));
    assert_eq!(own_stop(&config, "s-2048"), Err(RouteError::ResultAtFirstStop));
}

#[test]
fn an_unsigned_earlier_stop_is_refused() {
    let mut config = at_second_stop();
    stop_at(&mut config, 0).signature = None;
    assert_eq!(own_stop(&config, "s-3072"), Err(RouteError::EarlierStopUnsigned { index: 0 }));
}

#[test]
fn a_train_that_was_here_before_is_refused() {
    let finished = TrainConfig::parse(&steps()[2].next).unwrap();
    assert_eq!(own_stop(&finished, "s-4096"), Err(RouteError::AlreadySigned { index: 2 }));
    assert_eq!(own_stop(&finished, "s-3072"), Err(RouteError::AlreadySigned { index: 1 }));
    let mut config = at_second_stop();
    stop_at(&mut config, 2).signature = Some(StopSignature { digest: HexText::new(""), signature: HexText::new("") });
    assert_eq!(own_stop(&config, "s-3072"), Err(RouteError::AlreadySigned { index: 2 }));
}

#[test]
fn a_stop_without_a_wrapped_key_is_refused() {
    let mut config = at_second_stop();
    stop_at(&mut config, 1).encrypted_key = None;
    assert_eq!(own_stop(&config, "s-3072"), Err(RouteError::NoWrappedKey));
}

#[test]
fn the_stops_that_have_signed_are_counted_where_the_route_has_a_stops_shape() {
    for (signed, step) in steps().iter().enumerate() {
        assert_eq!(stops_signed(&step.config), Ok(signed));
        let next = TrainConfig::parse(&step.next).unwrap();
        assert_eq!(stops_signed(&next), Ok(signed + 1));
    }
    let refused = |change: fn(&mut TrainConfig)| {
        let mut config = at_second_stop();
        change(&mut config);
        stops_signed(&config).unwrap_err()
    };
    assert_eq!(refused(|c| c.result_hash = None), RouteError::ResultStripped);
    assert_eq!(refused(|c| stop_at(c, 0).signature = None), RouteError::ResultBeforeFirstStop);
    assert_eq!(refused(|c| stop_at(c, 2).signature = stop_at(c, 0).signature.clone()), RouteError::StopSkipped { index: 1 });
    assert_eq!(refused(|c| stop_at(c, 2).index = 3), RouteError::BadIndices);
}

#[test]
fn a_train_can_be_read_at_every_stop_that_has_its_key_wherever_it_is() {
    for (signed, step) in steps().iter().enumerate() {
        let next = TrainConfig::parse(&step.next).unwrap();
        for (index, station) in ["s-2048", "s-3072", "s-4096"].into_iter().enumerate() {
            // train_lib wraps the next key for all stops, including past ones.
            let (own, count) = stop_to_read(&next, station).unwrap();
            assert_eq!((own.stops_before(), count), (index, signed + 1));
            assert_eq!(next.route[own.position()].index, index as i64);
        }
    }
    let refused = |change: fn(&mut TrainConfig)| {
        let mut config = at_second_stop();
        change(&mut config);
        stop_to_read(&config, "s-3072").unwrap_err()
    };
    assert_eq!(refused(|c| stop_at(c, 1).encrypted_key = None), RouteError::NoWrappedKey);
    assert_eq!(refused(|c| c.result_hash = None), RouteError::ResultStripped);
    assert_eq!(refused(|c| stop_at(c, 2).station = Id::from_text("s-3072".to_owned())), RouteError::StationTwice);
    assert_eq!(stop_to_read(&at_second_stop(), "s-9999"), Err(RouteError::NotOnRoute));
}
