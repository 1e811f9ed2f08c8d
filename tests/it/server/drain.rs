//! SIGTERM: what runs may end, or is undone; nothing new begins.

use crate::support::{
    proxied::Proxied,
    proxy::{Do, READ, Way},
    tamper::Before,
    wait_for,
};

#[test]
fn a_pre_run_under_way_is_finished_before_the_service_ends() {
    let mut proxied = Proxied::start();
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    let (scene, proxy) = (&proxied.scene, &proxied.proxy);
    let run = std::thread::scope(|scope| {
        let call = scope.spawn(|| scene.pre_run());
        proxy.struck();
        scene.station.signal(rustix::process::Signal::TERM);
        // A call that was accepted just before the drain gets the same answer. The log cannot tell: an earlier life of the
        // station has drained too.
        wait_for("new calls to be refused", || (scene.station.health().ok().as_deref() != Some("SERVING")).then_some(()));
        proxy.release();
        call.join().unwrap()
    });
    let run = run.expect("the call is finished");
    assert!(proxied.scene.station.wait().success(), "{}", proxied.scene.station.log());
    assert_eq!(proxied.scene.engine.find(&proxied.scene.train.image), Some(run.image_id.clone()));
    proxied.scene.station.start_again();
    assert_eq!(proxied.scene.pre_run().unwrap().run_id, run.run_id);
}

#[test]
fn a_pre_run_that_does_not_end_in_time_is_undone_before_the_service_ends() {
    let mut proxied = Proxied::configured(|config| {
        config.insert("limits".into(), toml::toml! { drain_s = 0 }.into());
    });
    let before = Before::of(&proxied.scene.engine, &proxied.scene.train);
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    let (scene, proxy) = (&proxied.scene, &proxied.proxy);
    let refused = std::thread::scope(|scope| {
        let call = scope.spawn(|| scene.pre_run());
        proxy.struck();
        scene.station.signal(rustix::process::Signal::TERM);
        call.join().unwrap()
    });
    refused.expect_err("the call was cut off");
    assert!(proxied.scene.station.wait().success(), "{}", proxied.scene.station.log());
    before.assert(&proxied.scene.station, "the service has ended");
    proxied.proxy.release();
    proxied.scene.station.start_again();
    assert!(!proxied.scene.pre_run().unwrap().repeated_answer);
}
