//! Wakers are code of others, and may do anything, with the same queue too.

use std::{
    sync::{Arc, Mutex, mpsc},
    task::{Wake, Waker},
    thread,
    time::Duration,
};

use tower::Layer;

use crate::{Limited, Stream, free, in_flight, is_ready, is_ready_for, limit, waiting};

/// Keeps a service until it is woken or dropped, as the waker of a task keeps the task.
struct Keeps(Mutex<Option<Limited>>);

impl Keeps {
    fn waker(service: Limited) -> Waker {
        Waker::from(Arc::new(Self(Mutex::new(Some(service)))))
    }
}

impl Wake for Keeps {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

/// Fails if the test hangs. The time limit decides nothing else.
fn without_deadlock(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let test = thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    let timeout = Err(mpsc::RecvTimeoutError::Timeout);
    assert_ne!(is_done.recv_timeout(Duration::from_secs(10)), timeout);
    test.join().unwrap();
}

#[test]
fn waker_may_drop_who_waits_behind() {
    without_deadlock(|| {
        let layer = limit(1);
        let exchange = in_flight(&layer);
        let (mut service, _) = waiting(&layer);
        let (behind, bell) = waiting(&layer);
        assert!(!is_ready_for(&mut service, &Keeps::waker(behind)));
        drop(exchange);
        assert_eq!(bell.rung(), 0);
        assert!(is_ready(&mut service));
        drop(service);
        assert_eq!(free(&layer, 1), 1);
    });
}

#[test]
fn waker_that_is_replaced_may_drop_who_waits() {
    without_deadlock(|| {
        let layer = limit(1);
        let exchange = in_flight(&layer);
        let (first, bell) = waiting(&layer);
        let mut service = layer.layer(Stream);
        assert!(!is_ready_for(&mut service, &Keeps::waker(first)));
        assert!(!is_ready(&mut service));
        assert_eq!(Arc::strong_count(&bell), 1, "the first one is gone");
        drop(exchange);
        assert!(is_ready(&mut service));
    });
}

#[test]
fn waker_that_is_let_go_may_drop_who_waits() {
    without_deadlock(|| {
        let layer = limit(1);
        let exchange = in_flight(&layer);
        let (first, bell) = waiting(&layer);
        let mut service = layer.layer(Stream);
        assert!(!is_ready_for(&mut service, &Keeps::waker(first)));
        drop(service);
        assert_eq!(Arc::strong_count(&bell), 1, "the first one is gone");
        drop(exchange);
        assert_eq!(free(&layer, 1), 1);
    });
}

#[test]
fn waker_that_panics_loses_no_permit() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("scripted");
        }
    }
    let layer = limit(1);
    let exchange = in_flight(&layer);
    let mut service = layer.layer(Stream);
    assert!(!is_ready_for(&mut service, &Waker::from(Arc::new(Panics))));
    assert!(thread::spawn(|| drop(exchange)).join().is_err());
    assert!(is_ready(&mut service));
    drop(service);
    assert_eq!(free(&layer, 1), 1);
}
