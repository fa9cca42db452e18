//! The preset for event streams.

use std::future::ready;

use futures_util::FutureExt;
use http::{Request, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_passthrough::headers::HeadersLayer;

use crate::{Unpolled, common::Broken, listed, map, owned, pass, request, response};

const NO_CACHE: &str = "no-cache, no-transform";

#[test]
fn sse_sets_two_fields_on_event_streams_and_nothing_else() {
    for content_type in [
        "text/event-stream",
        "Text/Event-Stream",
        "TEXT/EVENT-STREAM",
        "text/event-stream;charset=utf-8",
        "text/event-stream; charset=UTF-8",
        "text/event-stream ; charset=utf-8; x=y",
        "text/event-stream\t;x",
        "text/event-stream;",
        " text/event-stream",
        "text/event-stream ",
    ] {
        let (request, response) = pass(
            &HeadersLayer::sse(),
            request(&[("accept", "text/event-stream")]),
            response(&[("content-type", content_type)]),
        );
        assert_eq!(
            listed(request.headers()),
            owned(&[("accept", "text/event-stream")])
        );
        assert_eq!(
            listed(response.headers()),
            owned(&[
                ("cache-control", NO_CACHE),
                ("content-type", content_type),
                ("x-accel-buffering", "no"),
            ]),
            "{content_type:?}"
        );
    }
}

#[test]
fn sse_leaves_what_is_not_an_event_stream() {
    for content_type in [
        Some("text/html"),
        Some("application/x-ndjson"),
        Some("application/grpc"),
        Some("text/event-streams"),
        Some("text/event-strea"),
        Some("text/event_stream"),
        Some("text / event-stream"),
        Some("x-text/event-stream"),
        Some("text/html; text/event-stream"),
        Some("text/event-stream, text/html"),
        Some("\"text/event-stream\""),
        Some("text/event-stream\u{e9}"),
        Some(";text/event-stream"),
        Some(""),
        None,
    ] {
        let mut fields = vec![("x-accel-buffering", "yes"), ("cache-control", "private")];
        fields.extend(content_type.map(|content_type| ("content-type", content_type)));
        let (request, response) = pass(
            &HeadersLayer::sse(),
            // Only the response counts.
            request(&[("content-type", "text/event-stream")]),
            response(&fields),
        );
        assert_eq!(response.headers(), &map(&fields), "{content_type:?}");
        assert_eq!(
            listed(request.headers()),
            owned(&[("content-type", "text/event-stream")])
        );
    }
}

#[test]
fn sse_keeps_a_cache_control_and_overrides_x_accel_buffering() {
    for (before, after) in [
        (
            &[("cache-control", "private")][..],
            &[("cache-control", "private"), ("x-accel-buffering", "no")][..],
        ),
        (
            &[("cache-control", "no-cache"), ("cache-control", "no-store")],
            &[
                ("cache-control", "no-cache"),
                ("cache-control", "no-store"),
                ("x-accel-buffering", "no"),
            ],
        ),
        (
            &[("cache-control", "")],
            &[("cache-control", ""), ("x-accel-buffering", "no")],
        ),
        (
            &[("x-accel-buffering", "yes"), ("x-accel-buffering", "maybe")],
            &[("cache-control", NO_CACHE), ("x-accel-buffering", "no")],
        ),
    ] {
        let event_stream = ("content-type", "text/event-stream");
        let mut fields = before.to_vec();
        fields.push(event_stream);
        let (_, response) = pass(&HeadersLayer::sse(), request(&[]), response(&fields));
        let mut expected = owned(after);
        expected.push(owned(&[event_stream]).remove(0));
        expected.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(listed(response.headers()), expected, "{before:?}");
    }
}

#[test]
fn sse_goes_by_the_content_type_of_any_status() {
    for status in [200, 206, 404, 503] {
        let mut response = response(&[("content-type", "text/event-stream")]);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let (_, response) = pass(&HeadersLayer::sse(), request(&[]), response);
        assert_eq!(response.headers().len(), 3, "{status}");
        assert_eq!(response.status(), status);
    }
}

#[test]
fn sse_twice_is_sse() {
    let service = ServiceBuilder::new()
        .layer(HeadersLayer::sse())
        .layer(HeadersLayer::sse())
        .service(service_fn(|_: Request<Unpolled>| {
            let event_stream = [("content-type", "text/event-stream")];
            ready(Ok::<_, Broken>(response(&event_stream)))
        }));
    let response = service.oneshot(request(&[])).now_or_never();
    assert_eq!(response.unwrap().unwrap().headers().len(), 3);
}
