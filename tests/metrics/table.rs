//! Each outcome of each kind of exchange, in both styles: the exact series.

use std::panic::{AssertUnwindSafe, catch_unwind};

use metrics::with_local_recorder;
use tower_passthrough::{
    metrics::{
        MetricsLayer, MetricsLayerBuilder, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL,
        RESPONSES_ENDED_TOTAL,
    },
    observe::Outcome,
};

use crate::{
    common::{OUTCOMES, Step},
    drive::{Does, Until, answer, answering, drive, exchange},
    rows::{Row, Sort, possible, row, rows, upgrade_rows},
    series::{Labels, Series, by_label, in_flight, recorder, rendered, requests_by, series, with},
};

/// The row as it is while its body is not polled yet. It ends when it is dropped.
fn unpolled(row: &Row) -> Option<Row> {
    let is_body = row.head.is_some_and(|(_, kind)| kind != "upgrade");
    let mut unpolled = row.clone().held();
    unpolled.exchange.until = Until::Head;
    unpolled.bytes = 0;
    is_body.then_some(unpolled)
}

#[test]
fn each_outcome_of_each_kind_has_its_exact_series() {
    for row in rows() {
        let base = vec![("method", row.method)];
        for row in unpolled(&row).into_iter().chain([row]) {
            let layer = MetricsLayer::builder().build().unwrap();
            let recorder = recorder();
            let context = format!("{} {:?} {}", row.name, row.head, row.outcome);
            with_local_recorder(&recorder, || {
                let held = drive(&layer, row.exchange.clone());
                let expected = row.expected(&base, !row.is_held);
                assert_eq!(rendered(&recorder), expected, "{context}, held");
                drop(held);
                if row.exchange.until != Until::Head {
                    let expected = row.expected(&base, true);
                    assert_eq!(rendered(&recorder), expected, "{context}, dropped");
                }
            });
        }
    }
}

#[test]
fn each_outcome_of_each_kind_has_its_exact_conventional_series() {
    for row in rows() {
        for row in unpolled(&row).into_iter().chain([row]) {
            let layer = MetricsLayer::builder().opentelemetry().build().unwrap();
            let recorder = recorder();
            let context = format!("{} {:?} {}", row.name, row.head, row.outcome);
            with_local_recorder(&recorder, || {
                let held = drive(&layer, row.exchange.clone());
                let expected = row.conventional(!row.is_held);
                assert_eq!(rendered(&recorder), expected, "{context}, held");
                drop(held);
                if row.exchange.until != Until::Head {
                    let expected = row.conventional(true);
                    assert_eq!(rendered(&recorder), expected, "{context}, dropped");
                }
            });
        }
    }
}

#[test]
fn the_table_has_all_that_can_be() {
    let grid = [Sort::Unary, Sort::Stream, Sort::Grpc, Sort::Upgrade].map(|sort| {
        OUTCOMES
            .iter()
            .map(|outcome| {
                if row(sort, *outcome).is_ok() {
                    'x'
                } else {
                    '-'
                }
            })
            .collect::<String>()
    });
    // Complete, upgraded, body error, disconnected, service error, cancelled, panicked.
    assert_eq!(grid, ["x-xxxxx", "x-xx--x", "x-xxxxx", "-x-----"]);
    assert_eq!(possible().len(), 17);
}

#[test]
fn the_body_of_an_upgrade_has_no_say() {
    for style in [MetricsLayerBuilder::opentelemetry, |builder| builder] {
        let layer = style(MetricsLayer::builder()).build().unwrap();
        for steps in [vec![Step::Data(5)], vec![Step::Error], vec![Step::Panic]] {
            let recorder = recorder();
            let [_, kept, ..] = upgrade_rows();
            let mut exchange = kept.exchange.clone().until(Until::End);
            exchange.does = Does::Answer(Box::new(answer(101, &[], steps)));
            with_local_recorder(&recorder, || drop(drive(&layer, exchange)));
            let expected = [
                kept.expected(&vec![("method", "GET")], true),
                kept.conventional(true),
            ];
            let rendered = rendered(&recorder);
            assert!(expected.contains(&rendered), "{rendered:#?}");
        }
    }
}

#[test]
fn a_kept_tunnel_is_in_flight_without_its_response() {
    let layer = MetricsLayer::builder().build().unwrap();
    for row in upgrade_rows().into_iter().filter(|row| row.is_held) {
        let recorder = recorder();
        let base = vec![("method", row.method)];
        with_local_recorder(&recorder, || {
            let held = drive(&layer, row.exchange.clone()).unwrap();
            let tunnel = held.only_tunnel();
            let expected = row.expected(&base, false);
            assert_eq!(rendered(&recorder), expected, "{}", row.name);
            drop(tunnel);
            let expected = row.expected(&base, true);
            assert_eq!(rendered(&recorder), expected, "{}", row.name);
        });
    }
}

/// Settings for all labels, and what they give for a request without a host.
pub(crate) fn labelled() -> (MetricsLayerBuilder, Labels<'static>) {
    let builder = MetricsLayer::builder()
        .service("gateway")
        .hosts(["api.example"])
        .path(|_| "/v1/*".into());
    let labels = vec![
        ("service", "gateway"),
        ("host", "_other"),
        ("path", "/v1/*"),
    ];
    (builder, labels)
}

#[test]
fn the_base_labels_are_those_that_were_asked_for() {
    let (all, labels) = labelled();
    let builder = MetricsLayer::builder;
    let builders = [
        (builder(), vec![]),
        (builder().service("gateway"), vec![labels[0]]),
        (builder().hosts(["api.example"]), vec![labels[1]]),
        (builder().hosts([""; 0]), vec![("host", "_other")]),
        (builder().path(|_| "/v1/*".into()), vec![labels[2]]),
        (
            builder().request_label("plan", |_| "free".into()),
            vec![("plan", "free")],
        ),
        (all, labels),
    ];
    for (builder, labels) in builders {
        for row in rows() {
            let layer = builder.clone().build().unwrap();
            let recorder = recorder();
            with_local_recorder(&recorder, || drop(drive(&layer, row.exchange.clone())));
            let base = with(&labels, [("method", row.method)]);
            let context = format!("{} {labels:?}", row.name);
            assert_eq!(rendered(&recorder), row.expected(&base, true), "{context}");
        }
    }
}

#[test]
fn the_preset_has_one_counter_with_exactly_four_labels() {
    let (builder, labels) = labelled();
    let layer = builder.only_requests_total().build().unwrap();
    for row in rows() {
        let recorder = recorder();
        let status = row.head.map_or(row.otherwise, |(status, _)| status);
        let labels = with(&labels, [("status", status)]);
        let counted = Series::from([(series(REQUESTS_TOTAL, &labels), "1".to_owned())]);
        let context = format!("{} {:?}", row.name, row.head);
        with_local_recorder(&recorder, || {
            let held = drive(&layer, row.exchange.clone());
            // Counted as soon as the status is known.
            let is_counted = row.head.is_some() || !row.is_held;
            let expected = if is_counted {
                counted.clone()
            } else {
                Series::new()
            };
            assert_eq!(rendered(&recorder), expected, "{context}, held");
            drop(held);
            assert_eq!(rendered(&recorder), counted, "{context}, dropped");
        });
    }

    let recorder = recorder();
    with_local_recorder(&recorder, || {
        for row in rows() {
            drop(drive(&layer, row.exchange));
        }
    });
    let requests = requests_by(&recorder, "status");
    let total: u64 = requests.iter().map(|(_, count)| count).sum();
    assert_eq!(total, rows().len() as u64, "{requests:?}");
}

#[test]
fn exchanges_of_all_kinds_add_up() {
    let recorder = recorder();
    let layer = MetricsLayer::builder().build().unwrap();
    with_local_recorder(&recorder, || {
        for row in rows() {
            drop(drive(&layer, row.exchange));
        }
    });
    let of = |name: &str, label: (&str, &str)| -> u64 {
        by_label(&recorder, name, label.0)
            .iter()
            .filter(|(value, _)| value == label.1)
            .map(|(_, count)| count)
            .sum()
    };
    let count =
        |holds: &dyn Fn(&Row) -> bool| rows().iter().filter(|row| holds(row)).count() as u64;
    for outcome in OUTCOMES {
        let ended = of(RESPONSES_ENDED_TOTAL, ("outcome", outcome.as_str()));
        assert_eq!(ended, count(&|row| row.outcome == outcome), "{outcome}");
    }
    for (kind, bytes) in [("unary", 39), ("stream", 44), ("grpc", 29), ("upgrade", 0)] {
        let sum = of("http_response_body_bytes_sum", ("kind", kind));
        assert_eq!(sum, bytes, "{kind}");
    }
    assert_eq!(
        of(REQUESTS_TOTAL, ("status", "499")),
        count(&|row| row.outcome == Outcome::Cancelled)
    );
    for method in ["GET", "HEAD", "CONNECT", "POST"] {
        let expected = count(&|row| row.method == method);
        assert_eq!(of(REQUESTS_TOTAL, ("method", method)), expected);
        let lasted = of("http_request_duration_seconds_count", ("method", method));
        assert_eq!(lasted, expected, "{method}");
        assert_eq!(of(REQUESTS_IN_FLIGHT, ("method", method)), 0);
    }
}

#[test]
fn exchanges_that_overlap_are_all_in_flight() {
    let recorder = recorder();
    let layer = MetricsLayer::builder().build().unwrap();
    let in_flight = || in_flight(&recorder, &[("method", "GET")]);
    with_local_recorder(&recorder, || {
        let streaming = || answering(answer(200, &[], [Step::Data(5), Step::Data(5)]));
        let mut held: Vec<_> = (0..3)
            .map(|polls| drive(&layer, streaming().until(Until::Polls(polls))))
            .collect();
        held.push(drive(&layer, exchange(Does::NeverAnswer)));
        assert_eq!(in_flight(), "4");
        for left in (0..4).rev() {
            drop(held.remove(0));
            assert_eq!(in_flight(), left.to_string());
        }
    });
}

#[test]
fn a_gauge_comes_down_if_the_exchange_is_dropped_by_a_panic() {
    let layer = MetricsLayer::builder().build().unwrap();
    let recorder = recorder();
    let streaming = answering(answer(200, &[], [Step::Data(5)])).until(Until::Polls(1));
    with_local_recorder(&recorder, || {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _held = drive(&layer, streaming);
            panic!("elsewhere");
        }));
        assert!(unwound.is_err());
    });
    let base = vec![("method", "GET")];
    assert_eq!(in_flight(&recorder, &base), "0");
    let ended = with(&base, [("status", "200"), ("outcome", "disconnected")]);
    assert_eq!(
        rendered(&recorder)[&series(RESPONSES_ENDED_TOTAL, &ended)],
        "1"
    );
}
