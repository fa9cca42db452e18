//! The callbacks: when they are called, with which context, and what they need not be.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
};

use futures_util::FutureExt;
use http::{Method, Request};
use http_body::Body;
use tower::{Layer, ServiceExt, service_fn};
use tower_passthrough::{
    RequestHead,
    capture::{CaptureLayer, Summary},
    observe::Outcome,
};

use crate::{
    common::{Broken, End, Size, Step},
    drive::{Does, answer, drive, exchange, hinting, request},
};

#[test]
fn the_context_is_taken_from_the_request_before_the_service_sees_it() {
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct RequestId(u64);

    let order = Arc::<Mutex<Vec<&str>>>::default();
    let (in_context, in_service, in_callback) =
        (Arc::clone(&order), Arc::clone(&order), Arc::clone(&order));
    let taken = Arc::<Mutex<Vec<_>>>::default();
    let all = Arc::clone(&taken);
    let layer = CaptureLayer::with_context(
        move |request: &RequestHead<'_>| {
            in_context.lock().unwrap().push("context");
            (
                request.uri.path().to_owned(),
                request.headers["x-who"].clone(),
                request.extensions.get::<RequestId>().cloned(),
            )
        },
        move |summary: &Summary<_>| {
            in_callback.lock().unwrap().push("callback");
            taken.lock().unwrap().push((
                summary.context.clone(),
                summary.status,
                summary.body_bytes,
            ));
        },
    );
    let service = layer.layer(service_fn(move |mut request: Request<_>| {
        in_service.lock().unwrap().push("service");
        // What the service does to the request comes too late.
        *request.uri_mut() = "/elsewhere".parse().unwrap();
        request.headers_mut().clear();
        request.extensions_mut().clear();
        async move {
            let _: Request<http_body_util::Empty<bytes::Bytes>> = request;
            let response = answer(202, &[], [Step::Data(5)]);
            Ok::<_, Broken>(hinting(response, Size::Unknown, End::Shown))
        }
    }));

    let mut asked = request(Method::GET);
    *asked.uri_mut() = "/v1/chat?model=x".parse().unwrap();
    asked.headers_mut().insert("x-who", "curl".parse().unwrap());
    asked.extensions_mut().insert(RequestId(7));
    let response = service.oneshot(asked).now_or_never().unwrap().unwrap();
    let mut body = pin!(response.into_body());
    let polled = body
        .as_mut()
        .poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Some(Ok(_)))));

    let context = (
        "/v1/chat".to_owned(),
        "curl".parse().unwrap(),
        Some(RequestId(7)),
    );
    assert_eq!(
        *all.lock().unwrap(),
        [(context, Some(http::StatusCode::ACCEPTED), 5)]
    );
    assert_eq!(*order.lock().unwrap(), ["context", "service", "callback"]);
}

#[test]
fn a_context_reaches_the_callback_without_a_head_too() {
    let (sender, receiver) = mpsc::channel();
    let layer = CaptureLayer::with_context(
        |request: &RequestHead<'_>| request.method.to_string(),
        move |summary: &Summary<String>| {
            let told = (summary.context.clone(), summary.outcome);
            sender.send(told).unwrap();
        },
    );
    for does in [Does::Fail, Does::NeverAnswer, Does::PanicInCall] {
        drop(drive(&layer, exchange(does)));
    }
    drop(layer);
    let context = || "GET".to_owned();
    assert_eq!(
        receiver.iter().collect::<Vec<_>>(),
        [
            (context(), Outcome::ServiceError),
            (context(), Outcome::Cancelled),
            (context(), Outcome::Panicked),
        ]
    );
}

#[test]
fn a_callback_may_be_a_function() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    fn count(_: &Summary) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }

    let layer: CaptureLayer<fn(&Summary)> = CaptureLayer::new(count);
    drop(drive(&layer, exchange(Does::Fail)));
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

#[test]
fn a_callback_that_holds_a_sender_tells_each_exchange_once() {
    let (sender, receiver) = mpsc::channel();
    let layer = CaptureLayer::new(move |summary: &Summary| {
        sender.send(summary.status.map(|it| it.as_u16())).unwrap();
    });
    // One service for all, and a clone for each: as servers do it.
    let service = layer.layer(service_fn(|request: Request<_>| async move {
        let _: &http_body_util::Empty<bytes::Bytes> = request.body();
        let status = request.uri().path()[1..].parse().unwrap();
        Ok::<_, Broken>(answer(status, &[], [Step::Data(1)]))
    }));
    let mut bodies = Vec::new();
    for status in 200..300 {
        let mut request = request(Method::GET);
        *request.uri_mut() = format!("/{status}").parse().unwrap();
        let response = service.clone().oneshot(request).now_or_never();
        bodies.push(response.unwrap().unwrap().into_body());
    }
    assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop((layer, service));
    // Ended on another thread, in the other order.
    thread::spawn(move || bodies.into_iter().rev().for_each(drop))
        .join()
        .unwrap();
    let told: Vec<_> = receiver.iter().collect();
    assert_eq!(told, (200..300).rev().map(Some).collect::<Vec<_>>());
}

#[test]
fn nothing_is_asked_of_the_callbacks_to_print_or_share_a_layer() {
    struct Opaque;
    let opaque = Arc::new(Opaque);
    let layer = CaptureLayer::new(move |_: &Summary| {
        let _ = &opaque;
    });
    assert_eq!(format!("{layer:?}"), "CaptureLayer { .. }");
    assert_eq!(format!("{:?}", layer.clone()), "CaptureLayer { .. }");
}
