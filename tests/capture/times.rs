//! When what happened.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::Method;
use http_body::Body;
use tower::{Layer, Service, service_fn};
use tower_passthrough::{
    RequestHead, ResponseHead,
    observe::{MakeObserver, Moment, Observer, Outcome},
};

use crate::{
    capturing,
    common::{Broken, End, Size, Step, trailers},
    drive::{Does, Until, answer, answering, drive, exchange, hinting, request},
    summary_of,
};

#[test]
fn times_are_exactly_those_between_the_moments() {
    let (layer, all) = capturing();
    let start = Instant::now();
    let at = |seconds| Moment::from(start + Duration::from_secs(seconds));
    let request = request(Method::GET);
    let mut observer = layer.observe(&RequestHead::from(&request), &at(0)).unwrap();
    observer.on_response(&ResponseHead::from(&answer(200, &[], [])), &at(1));
    observer.on_data(&&b""[..], &at(2));
    observer.on_data(&&b"first"[..], &at(4));
    observer.on_data(&&b"second"[..], &at(8));
    observer.on_trailers(&trailers(), &at(16));
    observer.on_end(Outcome::Complete, &at(32));

    let [summary] = all().try_into().unwrap();
    assert_eq!(summary.time_to_head, Some(Duration::from_secs(1)));
    assert_eq!(summary.time_to_first_byte, Some(Duration::from_secs(4)));
    assert_eq!(summary.duration, Duration::from_secs(32));
}

#[test]
fn times_are_in_order_and_count_from_the_call() {
    const PAUSE: Duration = Duration::from_millis(10);
    let (layer, all) = capturing();
    let before = Instant::now();
    let mut service = layer.layer(service_fn(|_| {
        thread::sleep(PAUSE);
        async {
            let response = answer(200, &[], [Step::Data(0), Step::Data(1), Step::Data(1)]);
            Ok::<_, Broken>(response)
        }
    }));
    let response = service.call(request(Method::GET)).now_or_never();
    let mut body = pin!(response.unwrap().unwrap().into_body());
    let cx = &mut Context::from_waker(Waker::noop());
    while body.as_mut().poll_frame(cx).map(|frame| frame.is_some()) == Poll::Ready(true) {
        thread::sleep(PAUSE);
    }
    let all_of_it = before.elapsed();

    let [summary] = all().try_into().unwrap();
    let head = summary.time_to_head.unwrap();
    let first_byte = summary.time_to_first_byte.unwrap();
    assert!(head >= PAUSE);
    // The empty frame came with the head, the first byte a pause later, the end two pauses later.
    assert!(first_byte >= head + PAUSE);
    assert!(summary.duration >= first_byte + 2 * PAUSE);
    assert!(summary.duration <= all_of_it);
}

#[test]
fn what_happens_at_one_moment_has_one_time() {
    let empty = || hinting(answer(200, &[], []), Size::Unknown, End::Shown);
    let one_frame = || hinting(answer(200, &[], [Step::Data(5)]), Size::Unknown, End::Shown);

    let summary = summary_of(answering(empty()).until(Until::Head));
    assert_eq!(Some(summary.duration), summary.time_to_head);

    let summary = summary_of(answering(one_frame()).until(Until::Polls(1)));
    assert_eq!(Some(summary.duration), summary.time_to_first_byte);
    assert!(summary.time_to_head <= summary.time_to_first_byte);
}

#[test]
fn a_body_that_is_kept_does_not_lengthen_a_finished_exchange() {
    const HOLD: Duration = Duration::from_millis(30);
    let five = || answer(200, &[], [Step::Data(5)]);
    let sized = || answer(200, &[("content-length", "5")], [Step::Data(5)]);
    let exact = || hinting(five(), Size::Exact, End::Hidden);
    let shown = || hinting(five(), Size::Unknown, End::Shown);
    let no_content = || answer(204, &[], [Step::Data(5)]);
    let streamed = || five();
    let summary_after_hold = |exchange| {
        let (layer, all) = capturing();
        let held = drive(&layer, exchange);
        thread::sleep(HOLD);
        drop(held);
        let [summary] = all().try_into().unwrap();
        summary
    };

    for (name, exchange) in [
        ("content-length", answering(sized()).until(Until::Polls(1))),
        ("exact size", answering(exact()).until(Until::Polls(1))),
        ("shown end", answering(shown()).until(Until::Polls(1))),
    ] {
        let summary = summary_after_hold(exchange);
        assert_eq!(summary.outcome, Outcome::Complete, "{name}");
        assert_eq!(Some(summary.duration), summary.time_to_first_byte, "{name}");
    }
    let head = answering(streamed()).method(Method::HEAD);
    for (name, exchange) in [
        ("HEAD", head.until(Until::Head)),
        ("204", answering(no_content()).until(Until::Head)),
    ] {
        let summary = summary_after_hold(exchange);
        assert_eq!(summary.outcome, Outcome::Complete, "{name}");
        assert_eq!(Some(summary.duration), summary.time_to_head, "{name}");
    }
    for (name, exchange, outcome) in [
        (
            "mid-stream",
            answering(streamed()).until(Until::Polls(1)),
            Outcome::Disconnected,
        ),
        ("no head", exchange(Does::NeverAnswer), Outcome::Cancelled),
    ] {
        let summary = summary_after_hold(exchange);
        assert_eq!(summary.outcome, outcome, "{name}");
        assert!(summary.duration >= HOLD, "{name}");
    }
}
