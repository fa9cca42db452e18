//! Header maps that take no more.

use http::{HeaderMap, HeaderName, HeaderValue};
use tower_passthrough::headers::Rule;

use crate::{
    BEFORE, actions, listed, map, naming, owned, pass, request, requests, response, responses,
};

/// As many different fields as a header map can hold.
fn full() -> HeaderMap {
    let mut map = HeaderMap::new();
    for number in 0.. {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        if map.try_insert(name, HeaderValue::from(number)).is_err() {
            break;
        }
    }
    map
}

#[test]
fn a_full_header_map_is_no_panic() {
    let full = full();
    let rules = || {
        naming("x-new").into_iter().chain([
            ("insert", Rule::insert("x-new", "v")),
            (
                "insert_with",
                Rule::insert_with("x-new", |_| Some(HeaderValue::from_static("v"))),
            ),
            (
                "append_with",
                Rule::append_with("x-new", |_| Some(HeaderValue::from_static("v"))),
            ),
            (
                "if_absent_with",
                Rule::if_absent_with("x-new", |_| Some(HeaderValue::from_static("v"))),
            ),
        ])
    };
    for (action, rule) in rules() {
        let mut response = response(&[]);
        *response.headers_mut() = full.clone();
        let (_, response) = pass(&responses([rule]), request(&[]), response);
        assert!(*response.headers() == full, "{action}");
    }

    // There is room again once a rule has made some.
    let mut request = request(&[]);
    *request.headers_mut() = full.clone();
    let layer = requests([
        Rule::insert("x-refused", "v"),
        Rule::remove("x-7"),
        Rule::insert("x-new", "v"),
    ]);
    let (request, _) = pass(&layer, request, response(&[]));
    assert_eq!(request.headers().keys_len(), full.keys_len());
    assert_eq!(request.headers().get("x-refused"), None);
    assert_eq!(request.headers().get("x-7"), None);
    assert_eq!(request.headers()["x-new"], "v");
}

#[test]
fn a_rule_on_a_field_of_a_full_header_map_is_no_panic() {
    let mut full = full();
    for name in ["x-0", "x-1"] {
        drop(full.remove(name));
    }
    full.extend(map(BEFORE));
    for (action, rule, expected) in actions() {
        let mut response = response(&[]);
        *response.headers_mut() = full.clone();
        let (_, response) = pass(&responses([rule]), request(&[]), response);
        let mut after = listed(response.headers());
        after.retain(|(name, _)| ["x-a", "x-b", "x-c"].contains(&&**name));
        // A full map takes no new field, and perhaps no other value for one that it has.
        let is_applied = after == owned(expected);
        let is_left = after == owned(BEFORE) && !action.starts_with("remove");
        assert!(is_applied || is_left, "{action}: {after:?}");
    }
}
