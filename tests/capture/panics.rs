//! Callbacks that panic.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;
use http::Method;
use http_body::Body;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
};

use crate::{
    common::{Broken, End, Size, Step},
    drive::{Does, Until, answer, answering, drive_and_panic, exchange, hinting, request},
};

/// A layer whose callback counts, then panics.
fn panicking() -> (
    CaptureLayer<impl Fn(&Summary) + Clone + Send + 'static>,
    Arc<AtomicUsize>,
) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let layer = CaptureLayer::new(move |_: &Summary| {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("callback");
    });
    (layer, calls)
}

/// The message of the panic that gets out of `f`, if one does.
fn panic_of<T>(f: impl FnOnce() -> T) -> Option<&'static str> {
    let payload = catch_unwind(AssertUnwindSafe(f)).err()?;
    Some(payload.downcast_ref::<&str>().copied().unwrap())
}

#[test]
fn a_panic_of_the_callback_goes_to_whoever_ends_the_exchange() {
    let streamed = || answer(200, &[], [Step::Data(3)]);
    let ends_at_a_poll = [
        ("the end of the body", answering(streamed())),
        ("an error", answering(answer(200, &[], [Step::Error]))),
        ("trailers", answering(answer(200, &[], [Step::Trailers]))),
        (
            "an empty body",
            answering(hinting(answer(200, &[], []), Size::Exact, End::Shown)),
        ),
        (
            "an upgrade that nobody keeps",
            answering(answer(101, &[], [])).upgrade(),
        ),
        ("a service error", exchange(Does::Fail)),
    ];
    for (name, exchange) in ends_at_a_poll {
        let (layer, calls) = panicking();
        let panicked = panic_of(|| drive_and_panic(&layer, exchange));
        assert_eq!(panicked, Some("callback"), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
    }

    let ends_at_a_drop = [
        ("mid-stream", answering(streamed()).until(Until::Polls(1))),
        (
            "after its content-length",
            answering(answer(200, &[("content-length", "3")], [Step::Data(3)]))
                .until(Until::Polls(1)),
        ),
        ("no head", exchange(Does::NeverAnswer)),
        (
            "a tunnel",
            answering(answer(101, &[], [])).upgrade().keeping_tunnel(),
        ),
    ];
    for (name, exchange) in ends_at_a_drop {
        let (layer, calls) = panicking();
        let held = drive_and_panic(&layer, exchange);
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{name}");
        assert_eq!(panic_of(|| drop(held)), Some("callback"), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
    }
}

#[test]
fn a_panic_of_the_callback_does_not_replace_the_one_that_unwinds() {
    let in_body = answer(200, &[], [Step::Data(1), Step::Panic]);
    for (name, exchange) in [
        ("call", exchange(Does::PanicInCall)),
        ("future", exchange(Does::PanicInFuture)),
        ("body", answering(in_body)),
    ] {
        let (layer, calls) = panicking();
        let panicked = panic_of(|| drive_and_panic(&layer, exchange));
        assert_eq!(panicked, Some("scripted"), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
    }

    // Dropped by a panic that has nothing to do with the exchange.
    let (layer, calls) = panicking();
    let streamed = answer(200, &[], [Step::Data(1)]);
    let panicked = panic_of(|| {
        let _held = drive_and_panic(&layer, answering(streamed).until(Until::Polls(1)));
        panic!("elsewhere");
    });
    assert_eq!(panicked, Some("elsewhere"));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_stays_usable_after_a_panic_of_the_callback() {
    let (layer, calls) = panicking();
    let service = layer.layer(service_fn(|_| async {
        let response = answer(200, &[], [Step::Trailers, Step::Data(5)]);
        Ok::<_, Broken>(response)
    }));
    let response = service.oneshot(request(Method::GET)).now_or_never();
    let mut body = Box::pin(response.unwrap().unwrap().into_body());
    let mut poll = || {
        body.as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()))
            .map(|polled| polled.map(|frame| frame.unwrap().into_data().unwrap().len()))
    };
    assert_eq!(panic_of(&mut poll), Some("callback"));
    assert_eq!(poll(), Poll::Ready(Some(5)));
    assert_eq!(poll(), Poll::Ready(None));
    drop(body);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_while_the_context_is_taken_goes_to_the_caller() {
    let called = Arc::new(AtomicUsize::new(0));
    let (by_service, by_callback) = (Arc::clone(&called), Arc::clone(&called));
    let layer = CaptureLayer::with_context(
        |_: &RequestHead<'_>| -> u8 { panic!("context") },
        move |_: &Summary<u8>| {
            by_callback.fetch_add(1, Ordering::SeqCst);
        },
    );
    let mut service = layer.layer(service_fn(move |_| {
        by_service.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Broken>(answer(200, &[], [])) }
    }));
    let panicked = panic_of(|| drop(service.call(request(Method::GET))));
    assert_eq!(panicked, Some("context"));
    assert_eq!(called.load(Ordering::SeqCst), 0);
}
