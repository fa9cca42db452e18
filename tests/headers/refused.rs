//! Rules that the builder refuses, and why.

use http::header;
use tower_passthrough::headers::{HeadersLayer, RequestRule, ResponseRule, Rule};

use crate::{naming, refused_request, refused_response};

const CONNECTION_SPECIFIC: &str = "the field is connection-specific: HTTP/2 forbids it \
    (RFC 9113 section 8.2.2), on HTTP/1 it is the server's own";

const TE: &str = "the field is connection-specific: HTTP/2 allows nothing but `trailers` in it \
    (RFC 9113 section 8.2.2), which is the client's own";

const LENGTH: &str = "the field tells the length of a body that this layer does not know";

const TRAILER: &str = "the field announces the trailers of a body that this layer does not know";

#[test]
fn what_no_rule_may_name_is_refused_with_the_reason() {
    for (name, why) in [
        ("connection", CONNECTION_SPECIFIC),
        ("keep-alive", CONNECTION_SPECIFIC),
        ("proxy-connection", CONNECTION_SPECIFIC),
        ("transfer-encoding", CONNECTION_SPECIFIC),
        ("upgrade", CONNECTION_SPECIFIC),
        ("te", TE),
        ("content-length", LENGTH),
        ("trailer", TRAILER),
        ("Connection", CONNECTION_SPECIFIC),
        ("KEEP-ALIVE", CONNECTION_SPECIFIC),
        ("Proxy-Connection", CONNECTION_SPECIFIC),
        ("Transfer-Encoding", CONNECTION_SPECIFIC),
        ("UPGRADE", CONNECTION_SPECIFIC),
        ("Content-Length", LENGTH),
        ("Trailer", TRAILER),
    ] {
        // It is called as it was written.
        let expected = format!("header rule for `{name}`: {why}");
        for (action, rule) in naming(name) {
            assert_eq!(refused_request(rule), expected, "{action}");
        }
        for (action, rule) in naming(name) {
            // Neither conditions nor other rules make it right.
            let rule = rule.when(|_| false).when_content_type("text/css");
            assert_eq!(refused_response(rule), expected, "{action}");
        }
    }
    assert_eq!(
        refused_response(Rule::insert("CONNECTION", "close")),
        format!("header rule for `CONNECTION`: {CONNECTION_SPECIFIC}"),
        "a static name"
    );
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        assert_eq!(
            refused_response(Rule::remove(name.clone())),
            format!("header rule for `{name}`: {CONNECTION_SPECIFIC}"),
        );
    }
}

#[test]
fn names_next_to_the_refused_ones_are_not_refused() {
    for name in [
        "tea",
        "trailers",
        "content-type",
        "x-connection",
        "via",
        "host",
    ] {
        for (action, rule) in naming(name) {
            let built = HeadersLayer::builder().request(rule).build();
            assert!(built.is_ok(), "{action} {name}");
        }
        for (action, rule) in naming(name) {
            let built = HeadersLayer::builder().response(rule).build();
            assert!(built.is_ok(), "{action} {name}");
        }
    }
}

#[test]
fn invalid_names_are_refused() {
    for name in ["", "x y", "x:y", "x\n", "caf\u{e9}", ":status"] {
        let expected = format!("header rule for `{name}`: invalid HTTP header name");
        for (action, rule) in naming(name) {
            assert_eq!(refused_request(rule), expected, "{action}");
        }
        for (action, rule) in naming(name) {
            assert_eq!(refused_response(rule), expected, "{action}");
        }
    }
    assert_eq!(
        refused_response(Rule::insert("x y", "v")),
        "header rule for `x y`: invalid HTTP header name"
    );
}

#[test]
fn invalid_values_are_refused() {
    const WHY: &str = "header rule for `x-id`: failed to parse header value";
    for value in ["a\nb", "a\r\nx-evil: 1", "\0", "\u{7f}", "a\x1b"] {
        assert_eq!(refused_request(Rule::insert("X-ID", value)), WHY);
        assert_eq!(refused_response(Rule::insert("x-id", value)), WHY);
        assert_eq!(refused_response(Rule::append("x-id", value)), WHY);
        assert_eq!(refused_response(Rule::if_absent("x-id", value)), WHY);
        let value = value.to_owned();
        assert_eq!(refused_response(Rule::insert("x-id", value)), WHY);
    }
}

#[test]
fn invalid_media_types_are_refused() {
    for media_type in [
        "",
        "text",
        "text/",
        "/css",
        "text/css; charset=utf-8",
        "text/css ",
        "text /css",
        "text/c/ss",
        "text/caf\u{e9}",
        "text/*/x",
    ] {
        let expected = format!(
            "header rule for `x-id`: `{media_type}` is not a media type: \
             write `type/subtype`, without parameters"
        );
        let rule = RequestRule::insert("x-id", "v").when_content_type(media_type);
        assert_eq!(refused_request(rule), expected);
        let rule = ResponseRule::remove("x-id").when_content_type(media_type);
        assert_eq!(refused_response(rule), expected);
    }
}

#[test]
fn the_first_fault_is_the_one_that_is_told() {
    let rule = ResponseRule::insert("connection", "\n").when_content_type("css");
    assert_eq!(
        refused_response(rule),
        format!("header rule for `connection`: {CONNECTION_SPECIFIC}")
    );
    let error = HeadersLayer::builder()
        .response(ResponseRule::insert("trailer", "x"))
        .response(ResponseRule::insert("x y", "x"))
        .request(RequestRule::insert("x-fine", "x"))
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("header rule for `trailer`: {TRAILER}")
    );
}
