//! When a rule acts, and when it does not.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use http::Request;
use tower::{Layer, Service, service_fn};
use tower_passthrough::headers::{HeadersLayer, RequestRule, ResponseRule, Rule};

use crate::{
    BEFORE, Unpolled, actions, common::Broken, listed, on_request, on_response, owned, pass,
    request, response, responses,
};

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let met = |conditions: [bool; 4]| {
        let [head, other_head, path, other_path] = conditions;
        let rule = ResponseRule::insert("x-met", "yes")
            .when(move |_| head)
            .when_request(move |_| path)
            .when(move |_| other_head)
            .when_request(move |_| other_path);
        on_response([rule], &[]).contains_key("x-met")
    };
    for bits in 0..16 {
        let conditions = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        assert_eq!(met(conditions), bits == 15, "{conditions:?}");
    }

    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let rule = RequestRule::insert("x-met", "yes")
            .when(move |_| first)
            .when(move |_| second);
        let met = on_request([rule], &[]).contains_key("x-met");
        assert_eq!(met, first && second, "{first} and {second}");
    }
}

#[test]
fn a_condition_keeps_every_action_from_acting() {
    for (name, rule, _) in actions() {
        let after = on_request([rule.when(|_| false)], BEFORE);
        assert_eq!(listed(&after), owned(BEFORE), "{name} on a request");
    }
    for (name, rule, _) in actions() {
        let after = on_response([rule.when(|_| false)], BEFORE);
        assert_eq!(listed(&after), owned(BEFORE), "{name} on a response");
    }
    for (name, rule, _) in actions() {
        let after = on_response([rule.when_request(|_| false)], BEFORE);
        assert_eq!(listed(&after), owned(BEFORE), "{name} on a response");
    }
    for (name, rule, expected) in actions() {
        let rule = rule.when(|_| true).when_request(|_| true);
        let after = on_response([rule], BEFORE);
        assert_eq!(listed(&after), owned(expected), "{name} on a response");
    }
}

#[test]
fn conditions_look_at_status_and_path() {
    let layer = responses([
        ResponseRule::insert("x-error", "yes").when(|head| head.status.is_server_error()),
        Rule::insert("deprecation", "@1767225600")
            .when_request(|request| request.uri.path().starts_with("/v1/")),
    ]);
    for (path, status, expected) in [
        ("/v1/chat", 200, &[("deprecation", "@1767225600")][..]),
        (
            "/v1/chat",
            503,
            &[("deprecation", "@1767225600"), ("x-error", "yes")],
        ),
        ("/v2/chat", 500, &[("x-error", "yes")]),
        ("/v2/chat", 499, &[]),
    ] {
        let mut request = request(&[]);
        *request.uri_mut() = path.parse().unwrap();
        let mut response = response(&[]);
        *response.status_mut() = status.try_into().unwrap();
        let (_, response) = pass(&layer, request, response);
        assert_eq!(
            listed(response.headers()),
            owned(expected),
            "{path} {status}"
        );
    }
}

#[test]
fn a_condition_on_the_content_type_goes_by_the_media_type_alone() {
    for (content_type, met) in [
        ("text/css", true),
        ("Text/CSS", true),
        ("text/css;charset=utf-8", true),
        (" text/css\t; charset=utf-8", true),
        ("text/css; a=\"x;y\"", true),
        ("text/csss", false),
        ("text/cs", false),
        ("text", false),
        ("", false),
        ("text/html; text/css", false),
    ] {
        let fields = [("content-type", content_type)];
        let rule = ResponseRule::insert("x-met", "yes").when_content_type("text/css");
        let after = on_response([rule], &fields);
        assert_eq!(after.contains_key("x-met"), met, "{content_type:?}");
        let rule = RequestRule::insert("x-met", "yes").when_content_type("TEXT/css");
        let after = on_request([rule], &fields);
        assert_eq!(after.contains_key("x-met"), met, "{content_type:?}");
    }
    let rule = ResponseRule::insert("x-met", "yes").when_content_type("text/css");
    assert_eq!(on_response([rule], &[]).len(), 0);
}

#[test]
fn conditions_on_the_request_judge_it_as_it_came() {
    let layer = HeadersLayer::builder()
        .request(RequestRule::remove("x-debug"))
        .request(RequestRule::insert("x-added", "yes"))
        .response(
            ResponseRule::insert("x-saw-debug", "yes")
                .when_request(|request| request.headers.contains_key("x-debug")),
        )
        .response(
            ResponseRule::insert("x-saw-added", "yes")
                .when_request(|request| request.headers.contains_key("x-added")),
        )
        .build()
        .unwrap();
    let (request, response) = pass(&layer, request(&[("x-debug", "1")]), response(&[]));
    assert_eq!(listed(request.headers()), owned(&[("x-added", "yes")]));
    assert_eq!(listed(response.headers()), owned(&[("x-saw-debug", "yes")]));
}

/// A rule that appends its number if `holds` does, judged by the request.
fn numbered(number: usize, holds: fn(usize) -> bool) -> ResponseRule {
    ResponseRule::append("x-number", number.to_string()).when_request(move |_| holds(number))
}

#[test]
fn sixty_four_rules_may_have_conditions_on_the_request() {
    let rules: [fn(usize) -> bool; 6] = [
        |_| true,
        |_| false,
        |number| number % 2 == 0,
        |number| number % 3 == 0,
        |number| number == 0,
        |number| number == 63,
    ];
    for holds in rules {
        // Rules without such conditions, between the others, do not shift them.
        let layer = responses((0..64).flat_map(|number| {
            let plain = Rule::append("x-plain", "yes");
            [
                plain.when(move |_| number % 2 == 1),
                numbered(number, holds),
            ]
        }));
        let (_, response) = pass(&layer, request(&[]), response(&[]));
        let numbers = response.headers().get_all("x-number");
        let numbers: Vec<usize> = numbers
            .iter()
            .map(|number| number.to_str().unwrap().parse().unwrap())
            .collect();
        let expected: Vec<usize> = (0..64).filter(|number| holds(*number)).collect();
        assert_eq!(numbers, expected);
        assert_eq!(response.headers().get_all("x-plain").iter().count(), 32);
    }
}

#[test]
fn sixty_five_rules_with_conditions_on_the_request_are_refused() {
    let builder = || {
        (0..65).fold(HeadersLayer::builder(), |builder, number| {
            builder.response(numbered(number, |_| true))
        })
    };
    assert_eq!(
        builder().build().unwrap_err().to_string(),
        "more than 64 response rules have conditions on the request: \
         put some of them into a second layer"
    );
    // Several conditions on one rule count once, and rules without any not at all.
    let rule = || numbered(0, |_| true).when_request(|_| true);
    let layer = responses((0..64).map(|_| rule()).chain(
        (0..64).map(|number| ResponseRule::append("x-number", number.to_string()).when(|_| true)),
    ));
    let (_, response) = pass(&layer, request(&[]), response(&[]));
    assert_eq!(response.headers().get_all("x-number").iter().count(), 128);
}

#[test]
fn conditions_are_judged_once_for_each_exchange_and_not_mixed_up() {
    let judged = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&judged);
    let layer = responses(
        [Rule::insert("x-first", "yes").when_request(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            request.uri.path() == "/first"
        })],
    );
    let service = layer.layer(service_fn(|_: Request<Unpolled>| {
        ready(Ok::<_, Broken>(response(&[])))
    }));
    // Both are under way at once.
    let call = |path: &'static str| {
        let mut request = request(&[]);
        *request.uri_mut() = path.parse().unwrap();
        service.clone().call(request)
    };
    let (first, second) = (call("/first"), call("/second"));
    assert_eq!(judged.load(Ordering::SeqCst), 2);
    let second = second.now_or_never().unwrap().unwrap();
    let first = first.now_or_never().unwrap().unwrap();
    assert_eq!(first.headers().len(), 1);
    assert_eq!(second.headers().len(), 0);
    assert_eq!(judged.load(Ordering::SeqCst), 2);
}
