//! What each rule does, and in which order.

use http::{HeaderName, HeaderValue, Method, Version, header};
use tower_passthrough::{
    ResponseHead,
    headers::{HeadersLayer, RequestRule, ResponseRule, Rule},
};

use crate::{BEFORE, actions, listed, on_request, on_response, owned, pass, request, response};

#[test]
fn each_action_does_what_it_says_on_requests_and_on_responses() {
    for (name, rule, expected) in actions() {
        let after = on_request([rule], BEFORE);
        assert_eq!(listed(&after), owned(expected), "{name} on a request");
    }
    for (name, rule, expected) in actions() {
        let after = on_response([rule], BEFORE);
        assert_eq!(listed(&after), owned(expected), "{name} on a response");
    }
}

#[test]
fn names_and_values_may_be_written_in_each_way() {
    const X_ID: HeaderName = HeaderName::from_static("x-id");
    let latin = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let rules: [(&str, ResponseRule, &str, &[u8]); 11] = [
        ("str", Rule::insert("x-id", "v"), "x-id", b"v"),
        (
            "String",
            Rule::insert("x-id".to_owned(), "v".to_owned()),
            "x-id",
            b"v",
        ),
        (
            "HeaderName, HeaderValue",
            Rule::insert(X_ID, HeaderValue::from_static("v")),
            "x-id",
            b"v",
        ),
        (
            "a constant of http",
            Rule::insert(header::VARY, "accept"),
            "vary",
            b"accept",
        ),
        (
            "the name of a constant",
            Rule::insert("vary", "accept"),
            "vary",
            b"accept",
        ),
        ("an upper-case str", Rule::insert("X-ID", "v"), "x-id", b"v"),
        (
            "an upper-case String",
            Rule::insert("X-Id".to_owned(), "v"),
            "x-id",
            b"v",
        ),
        (
            "a str that is not ASCII",
            Rule::insert("x-id", "caf\u{e9}"),
            "x-id",
            b"caf\xc3\xa9",
        ),
        (
            "a String that is not ASCII",
            Rule::insert("x-id", "\u{1f600}".to_owned()),
            "x-id",
            b"\xf0\x9f\x98\x80",
        ),
        (
            "a HeaderValue that is not UTF-8",
            Rule::insert("x-id", latin),
            "x-id",
            b"caf\xe9",
        ),
        ("an empty str", Rule::insert("x-id", ""), "x-id", b""),
    ];
    for (how, rule, name, value) in rules {
        let after = on_response([rule], &[]);
        assert_eq!(after.len(), 1, "{how}");
        assert_eq!(after[name].as_bytes(), value, "{how}");
    }
    // Other actions take names in the same ways.
    let upper_case = on_response(
        [
            Rule::remove("X-A"),
            Rule::append("X-B", "new"),
            Rule::if_absent("X-B", "never"),
        ],
        BEFORE,
    );
    assert_eq!(listed(&upper_case), owned(&[("x-b", "3"), ("x-b", "new")]));
}

#[test]
fn a_sensitive_value_stays_sensitive() {
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    let after = on_request([Rule::insert("authorization", secret)], &[]);
    assert!(after["authorization"].is_sensitive());
}

#[test]
fn rules_are_applied_in_order_and_see_what_those_before_did() {
    let count = |name: &'static str| {
        move |head: &ResponseHead<'_>| {
            let count = head.headers.get_all(name).iter().count();
            Some(HeaderValue::from(count))
        }
    };
    let after = on_response(
        [
            Rule::insert_with("x-count", count("x-a")),
            Rule::append("x-a", "3"),
            Rule::append_with("x-count", count("x-a")),
            Rule::insert("x-a", "4"),
            Rule::append_with("x-count", count("x-a")),
            Rule::remove("x-a"),
            Rule::append_with("x-count", count("x-a")),
            Rule::if_absent("x-a", "5"),
            Rule::if_absent("x-a", "6"),
            ResponseRule::insert("x-b", "7").when(|head| head.headers["x-a"] == "5"),
            ResponseRule::insert("x-b", "8").when(|head| head.headers["x-a"] == "1"),
        ],
        BEFORE,
    );
    assert_eq!(
        listed(&after),
        owned(&[
            ("x-a", "5"),
            ("x-b", "7"),
            ("x-count", "2"),
            ("x-count", "3"),
            ("x-count", "1"),
            ("x-count", "0"),
        ])
    );

    let after = on_request(
        [
            Rule::insert("x-a", "new"),
            RequestRule::insert_with("x-b", |head| head.headers.get("x-a").cloned()),
            Rule::remove("x-a"),
            RequestRule::insert("x-c", "never").when(|head| head.headers.contains_key("x-a")),
        ],
        BEFORE,
    );
    assert_eq!(listed(&after), owned(&[("x-b", "new")]));
}

#[test]
fn values_are_computed_from_the_whole_head() {
    let layer = HeadersLayer::builder()
        .request(RequestRule::insert_with("x-request", |head| {
            let (method, uri, version) = (head.method, head.uri, head.version);
            let size = head.body_size.exact()?;
            let user = head.extensions.get::<&str>()?;
            HeaderValue::try_from(format!("{method} {uri} {version:?} {size} {user}")).ok()
        }))
        .response(ResponseRule::insert_with("x-response", |head| {
            let (status, version, tunnel) = (head.status, head.version, head.tunnel);
            let size = head.body_size.exact()?;
            let user = head.extensions.get::<&str>()?;
            let text = format!("{} {version:?} {size} {user} {tunnel}", status.as_u16());
            HeaderValue::try_from(text).ok()
        }))
        .build()
        .unwrap();
    for (method, status, tunnel) in [
        (Method::GET, 200, false),
        (Method::GET, 101, true),
        (Method::CONNECT, 200, true),
        (Method::CONNECT, 407, false),
    ] {
        let mut request = request(&[]);
        *request.method_mut() = method.clone();
        *request.uri_mut() = "http://h.example/p?q".parse().unwrap();
        *request.version_mut() = Version::HTTP_2;
        request.extensions_mut().insert("alice");
        let mut response = response(&[]);
        *response.status_mut() = status.try_into().unwrap();
        *response.version_mut() = Version::HTTP_10;
        response.extensions_mut().insert("bob");
        let (request, response) = pass(&layer, request, response);
        assert_eq!(
            request.headers()["x-request"],
            format!("{method} http://h.example/p?q HTTP/2.0 5 alice")
        );
        assert_eq!(
            response.headers()["x-response"],
            format!("{status} HTTP/1.0 5 bob {tunnel}")
        );
    }
}
