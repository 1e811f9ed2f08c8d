use std::sync::{Arc, atomic::AtomicUsize};

use super::*;

#[tokio::test]
async fn calls_at_once_share_one_check() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&checks);
    let probes = Probes::default().with("trust", ALL, Schedule::OnRequest, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, String>(()))
    });
    let (board, stop) = (probes.board(), CancellationToken::new());
    let (_, reporter) = service().await;
    let watching = tokio::spawn(watch(reporter, probes, Manager::default(), stop.clone(), || {}));
    // All of them ask before the other task runs for the first time.
    join_all((0..200).map(|_| board.look())).await;
    let made = checks.load(Ordering::SeqCst);
    assert!(made <= 2, "{made} checks for the start and 200 calls");
    stop.cancel();
    watching.await.expect("no panic");
}

#[test]
fn a_component_with_a_warning_serves_and_is_reported() {
    let starting = State::Starting;
    let mut components = [Component { name: "token", services: ALL, state: starting, since: SystemTime::UNIX_EPOCH }];
    assert!(note(&mut components[0], Ok(None)));
    let since = components[0].since;
    assert_eq!(summary(&components), "SERVING");
    assert!(note(&mut components[0], Ok(Some("no PIN".to_owned()))) && !note(&mut components[0], Ok(Some("no PIN".to_owned()))));
    assert_eq!((summary(&components).as_str(), components[0].since), ("SERVING, with a warning: token: no PIN", since));
    assert!(note(&mut components[0], Err("no token".to_owned())));
    assert_eq!(summary(&components), "NOT_SERVING: token: no token");
    assert!(components[0].since > since);
}
