//! Content types, by their type and subtype alone (RFC 9110 §8.3.1).

use http::{HeaderMap, header::CONTENT_TYPE};

/// The type and subtype of a message's content, without parameters and the spaces around it.
/// Their case means nothing: compare with `eq_ignore_ascii_case`. Bytes, as that costs least.
pub(crate) fn essence(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(&CONTENT_TYPE)?.as_bytes();
    let essence = value.split(|byte| *byte == b';').next()?;
    Some(essence.trim_ascii())
}

#[cfg(any(feature = "headers", feature = "sse"))]
pub(crate) fn is(headers: &HeaderMap, media_type: &str) -> bool {
    essence(headers).is_some_and(|essence| essence.eq_ignore_ascii_case(media_type.as_bytes()))
}

/// Whether this can be an [`essence`]: `type/subtype`, each a token (RFC 9110 §5.6.2).
#[cfg(feature = "headers")]
pub(crate) fn is_essence(written: &str) -> bool {
    let is_token = |part: &str| {
        let is_tchar =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !part.is_empty() && part.bytes().all(is_tchar)
    };
    written
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

#[cfg(all(test, any(feature = "headers", feature = "sse")))]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn parameters_case_and_spaces_do_not_matter() {
        let is_event_stream = |value: &str| {
            let headers = HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )]);
            is(&headers, "text/event-stream")
        };
        for value in [
            "text/event-stream",
            "text/event-stream; x=\"ü\"",
            "Text/Event-Stream",
            "text/event-stream;charset=utf-8",
            " \ttext/event-stream \t; charset=utf-8; x=\"a;b\"",
        ] {
            assert!(is_event_stream(value), "{value:?}");
        }
        for value in [
            "",
            ";",
            "text/event-streams",
            "text/event",
            "text/html; text/event-stream",
        ] {
            assert!(!is_event_stream(value), "{value:?}");
        }
        assert!(!is(&HeaderMap::new(), "text/event-stream"));
    }
}
