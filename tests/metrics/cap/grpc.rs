//! Methods of gRPC: clients cannot fill the table with them.

use http::HeaderValue;
use tower_passthrough::metrics::{GRPC_SERVER_HANDLED_TOTAL, MetricsLayer, REQUESTS_TOTAL};

use super::{call, explicit, overflow, tally, to, value};
use crate::{
    common::{End, Size},
    drive::{Does, Exchange, answer, answering, drive, exchange, hinting},
};

#[test]
fn grpc_methods_take_room_if_they_are_there() {
    let builder = MetricsLayer::builder().path(|_| "/".into());
    let (layer, handle) = explicit(builder.max_label_sets(10));
    let said = |service: usize, method: &str, code: &str| {
        let service = format!("s{service}");
        let labels = [
            ("method", "POST"),
            ("path", "/"),
            ("grpc_service", &*service),
            ("grpc_method", method),
            ("grpc_code", code),
        ];
        value(&handle, GRPC_SERVER_HANDLED_TOTAL, &labels)
    };
    // Whoever names what is not there fills nothing, but the set for that.
    for service in 0..100 {
        drop(drive(&layer, call(&format!("/s{service}/none"), "12")));
    }
    assert_eq!(tally(&handle, GRPC_SERVER_HANDLED_TOTAL), (1, 100));
    assert_eq!(overflow(&handle), None);
    // Of a known request, and of what has no room.
    let other = |code| {
        [("POST", "/"), ("_other", "_other")].map(|(method, path)| {
            let labels = [
                ("method", method),
                ("path", path),
                ("grpc_service", "_other"),
                ("grpc_method", "_other"),
                ("grpc_code", code),
            ];
            value(&handle, GRPC_SERVER_HANDLED_TOTAL, &labels)
        })
    };
    assert_eq!(other("Unimplemented"), [Some("100".into()), None]);

    // One set is that of the request, one of what is not there: five are left.
    for service in 0..100 {
        drop(drive(&layer, call(&format!("/s{service}/m"), "0")));
    }
    assert_eq!(tally(&handle, GRPC_SERVER_HANDLED_TOTAL), (7, 200));
    assert_eq!(said(4, "m", "OK").as_deref(), Some("1"));
    assert_eq!(said(5, "m", "OK"), None);
    assert_eq!(other("OK"), [None, Some("95".into())]);
    assert_eq!(overflow(&handle).unwrap(), "95");
    assert_eq!(tally(&handle, REQUESTS_TOTAL), (1, 200));

    drop(drive(&layer, call("/s4/m", "0")));
    assert_eq!(said(4, "m", "OK").as_deref(), Some("2"));
    assert_eq!(overflow(&handle).unwrap(), "95");
}

/// A request that looks like a gRPC call of some method, and is answered so.
fn named_at_random(path: usize, answered: Option<u16>) -> Exchange {
    let mut exchange = match answered {
        Some(status) => answering(hinting(answer(status, &[], []), Size::Exact, End::Shown)),
        None => exchange(Does::NeverAnswer),
    };
    *exchange.request.uri_mut() = format!("/x{path}/m").parse().unwrap();
    *exchange.request.method_mut() = "POST".parse().unwrap();
    let fields = exchange.request.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    exchange
}

#[test]
fn clients_cannot_fill_the_table_with_grpc_methods() {
    for answered in [Some(200), Some(401), Some(404), Some(405), Some(503), None] {
        let builder = MetricsLayer::builder().path(|request| match request.method.as_str() {
            "POST" => "/calls".into(),
            _ => "/new".into(),
        });
        let (layer, handle) = explicit(builder.max_label_sets(10));
        for path in 0..100 {
            drop(drive(&layer, named_at_random(path, answered)));
        }
        assert_eq!(
            tally(&handle, GRPC_SERVER_HANDLED_TOTAL),
            (1, 100),
            "{answered:?}"
        );
        assert_eq!(overflow(&handle), None, "{answered:?}");

        drop(drive(&layer, to("/new")));
        let labels = [("method", "GET"), ("path", "/new"), ("status", "200")];
        assert_eq!(
            value(&handle, REQUESTS_TOTAL, &labels).as_deref(),
            Some("1")
        );
    }
}

#[test]
fn a_method_that_was_answered_is_named_however_its_calls_end() {
    let (layer, handle) = explicit(MetricsLayer::builder());
    let calls = |service: &str, code: &str| {
        let labels = [
            ("method", "POST"),
            ("grpc_service", service),
            ("grpc_method", if service == "x1" { "m" } else { "_other" }),
            ("grpc_code", code),
        ];
        value(&handle, GRPC_SERVER_HANDLED_TOTAL, &labels)
    };
    drop(drive(&layer, named_at_random(1, None)));
    assert_eq!(calls("_other", "Canceled").as_deref(), Some("1"));
    drop(drive(&layer, call("/x1/m", "0")));
    assert_eq!(calls("x1", "OK").as_deref(), Some("1"));
    drop(drive(&layer, named_at_random(1, None)));
    drop(drive(&layer, named_at_random(1, Some(503))));
    assert_eq!(calls("x1", "Canceled").as_deref(), Some("1"));
    assert_eq!(calls("x1", "Unavailable").as_deref(), Some("1"));
    assert_eq!(calls("_other", "Canceled").as_deref(), Some("1"));
}
