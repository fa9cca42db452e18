//! Labels do not grow with what clients send.

use std::iter::repeat_n;

use tower_passthrough::metrics::{MetricsLayer, OVERFLOW_TOTAL};

use super::{Connection, PROTOS, answering, assert_tells, entry, read, request};
use crate::{
    books::{Entry, Expected, assert_agree, books},
    net::{Proto, no_body},
    replies::{full, ok},
};

/// Sends a thousand requests, each with a path, a host and a method of its own.
async fn a_thousand_of_each(proto: Proto, layer: &MetricsLayer) {
    let mut connection = Connection::open(proto, answering(layer, || ok(full(0)))).await;
    for number in 0..1000 {
        let method = format!("METHOD{number}").parse().unwrap();
        let uri = match proto {
            Proto::H1 => format!("/path/{number}"),
            Proto::H2 => format!("http://host{number}.example/path/{number}"),
        };
        let asked = request(method).uri(uri);
        let asked = match proto {
            Proto::H1 => asked.header("host", format!("host{number}.example")),
            Proto::H2 => asked,
        };
        let response = connection
            .ask(asked.body(no_body()).unwrap())
            .await
            .unwrap();
        assert_eq!(read(response).await, 0);
    }
    connection.leave().await;
}

#[tokio::test]
async fn a_thousand_paths_hosts_and_methods_are_one_label_set() {
    for proto in PROTOS {
        let (builder, exporter) = books();
        let layer = builder.hosts(["api.example"]).build().unwrap();
        a_thousand_of_each(proto, &layer).await;
        let told = Entry {
            base: vec![("host", "_other"), ("method", "_OTHER")],
            ..entry(200)
        };
        assert_tells(&exporter, repeat_n(told, 1000), proto);
    }
}

#[tokio::test]
async fn raw_paths_take_no_more_label_sets_than_there_are() {
    const MAX: usize = 100;
    // As many are kept for what has no room.
    const OWN: usize = MAX - 3;
    for proto in PROTOS {
        let (builder, exporter) = books();
        let builder = builder.hosts(["api.example"]).raw_paths();
        let layer = builder.max_label_sets(MAX).build().unwrap();
        a_thousand_of_each(proto, &layer).await;

        let told = (0..1000).map(|number| {
            let path = if number < OWN {
                &*format!("/path/{number}").leak()
            } else {
                "_other"
            };
            let method = if number < OWN { "_OTHER" } else { "_other" };
            Entry {
                base: vec![("host", "_other"), ("method", method), ("path", path)],
                ..entry(200)
            }
        });
        let mut expected = Expected::of(told);
        expected.insert(OVERFLOW_TOTAL.to_owned(), 1000 - OWN as u64);
        assert_agree(&exporter.series(), &expected, &format!("{proto:?}"));
    }
}
