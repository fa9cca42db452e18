//! Changes and look-ups at the same time.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use http_body::SizeHint;
use tower_passthrough::buffering::{
    Buffering::{Auto, Off, On},
    BufferingControl, Policy,
};

use crate::{Answer, overriding, pass, values};

#[test]
fn every_response_after_a_change_goes_by_it() {
    const CHANGES: usize = 3_000;

    let control = BufferingControl::new(Auto);
    let sized = Answer::new(SizeHint::with_exact(5));
    let response = |path: &str| {
        let fields = pass(&control, &Method::GET, path, &sized);
        values(&fields).concat()
    };
    let work = |own: &str| {
        for change in 0..CHANGES {
            let (policy, expected) = [(Off, "no"), (On, "yes"), (Auto, "")][change % 3];
            control.set(own, policy).unwrap();
            assert_eq!(response(own), expected, "{own}, change {change}");
        }
        assert_eq!(control.remove(own), Some(Policy::new(Auto)));
    };
    thread::scope(|scope| {
        // Each changes its own route, so that nobody else's change can be the cause.
        for own in ["/a", "/b", "/c", "/d"] {
            scope.spawn(move || work(own));
        }
    });
    assert_eq!(control.routes(), []);
}

#[test]
fn a_change_that_was_announced_or_seen_is_not_missed_later() {
    const CHANGES: usize = 1_000;

    let control = BufferingControl::new(Auto);
    let announced = AtomicUsize::new(0);
    let is_set = |change: usize| control.policy_for(&format!("/{change}")) == overriding(Off);
    let look = || {
        let mut seen = 0;
        while seen < CHANGES {
            let known = announced.load(Ordering::Acquire);
            while seen < known {
                assert!(is_set(seen), "{seen} was announced");
                seen += 1;
            }
            while seen < CHANGES && is_set(seen) {
                assert!(is_set(seen), "{seen} was seen");
                seen += 1;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(look);
        }
        for change in 0..CHANGES {
            let set = control.set(&format!("/{change}"), overriding(Off));
            assert_eq!(set, Ok(None));
            announced.store(change + 1, Ordering::Release);
        }
    });
    assert_eq!(control.routes().len(), CHANGES);
}

#[test]
fn look_ups_get_on_while_others_change_without_a_pause() {
    const LOOK_UPS: usize = 100_000;
    const CHANGES: usize = 10_000;
    /// Only turns a hang into a failure.
    const PATIENCE: Duration = Duration::from_secs(60);

    let control = BufferingControl::new(Auto);
    control.set("/a/*", On).unwrap();
    let done = AtomicBool::new(false);
    let changes = AtomicUsize::new(0);
    thread::scope(|scope| {
        for buffering in [Off, Auto] {
            let (control, done, changes) = (&control, &done, &changes);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    control.set_default(buffering);
                    control.set("/b", buffering).unwrap();
                    changes.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let look = || {
            let start = Instant::now();
            let mut look_ups = 0;
            while look_ups < LOOK_UPS || changes.load(Ordering::Relaxed) < CHANGES {
                assert_eq!(control.policy_for("/a/b"), Policy::new(On));
                look_ups += 1;
                assert!(
                    start.elapsed() < PATIENCE,
                    "{look_ups} look-ups, {changes:?} changes"
                );
            }
        };
        let readers = [scope.spawn(look), scope.spawn(look)];
        let ended = readers.map(thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
}
