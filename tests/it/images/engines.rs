//! Images on other engines: Docker of Debian's next release, with either image store, and a storage driver that copies layers.

use super::{inputs, layers, validate};
use crate::{
    steps::interop,
    support::{Engine, PrivateEngine},
};

#[test]
fn on_an_engine_from_25_on_every_image_is_judged_as_on_an_older_one() {
    let test = "images::engines::on_an_engine_from_25_on_every_image_is_judged_as_on_an_older_one";
    PrivateEngine::with_next(test, |_| {
        assert!(Engine::connect().major() >= 25);
        validate::every_image_with_more_than_its_master_and_a_train_is_reported_beside_train_libs_verdict();
        validate::the_master_is_named_by_the_station_and_by_digest_and_never_by_the_train();
        validate::archives_are_judged_as_the_engine_is_and_by_no_other_rules();
        layers::what_an_engine_makes_of_a_layer_is_never_more_than_what_was_compared();
    });
}

#[test]
fn on_an_engine_from_25_on_an_image_is_the_same_wherever_it_lies_and_trains_travel() {
    let test = "images::engines::on_an_engine_from_25_on_an_image_is_the_same_wherever_it_lies_and_trains_travel";
    PrivateEngine::with_next(test, |_| {
        assert!(Engine::connect().major() >= 25);
        inputs::the_tree_digest_is_one_value_wherever_the_image_lies();
        inputs::a_train_is_verified_and_inspected_wherever_it_lies();
        interop::mixed_route();
    });
}

#[test]
fn with_containerds_image_store_images_are_judged_alike_and_trains_travel() {
    PrivateEngine::with_next_containerd(
        "images::engines::with_containerds_image_store_images_are_judged_alike_and_trains_travel",
        |_| {
            assert!(!Engine::connect().takes_partial_archives(), "it is that store");
            validate::every_image_with_more_than_its_master_and_a_train_is_reported_beside_train_libs_verdict();
            layers::what_an_engine_makes_of_a_layer_is_never_more_than_what_was_compared();
            inputs::the_tree_digest_is_one_value_wherever_the_image_lies();
            inputs::a_train_is_verified_and_inspected_wherever_it_lies();
            interop::mixed_route();
        },
    );
}

#[test]
fn on_an_engine_that_copies_trees_images_are_judged_alike() {
    PrivateEngine::with_copies("images::engines::on_an_engine_that_copies_trees_images_are_judged_alike", |_| {
        layers::what_an_engine_makes_of_a_layer_is_never_more_than_what_was_compared();
    });
}
