//! Label values. Whatever a client chooses comes out as one of a set that it cannot grow.

use std::sync::Arc;

use http::{Method, header, uri::Authority};
use metrics::SharedString;

use crate::{RequestHead, ResponseHead, media_type};

/// What stands for a host that is not on the list.
pub(super) const OTHER: &str = "_other";

/// The method, if RFC 9110 §9.3 or RFC 5789 (PATCH) defines it, or QUERY.
pub(super) fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => "_OTHER",
    }
}

/// The entry of `known` that the request is for, whatever its case and port.
pub(super) fn host(request: &RequestHead<'_>, known: &[Arc<str>]) -> SharedString {
    let entry = |host: &str| known.iter().find(|known| known.eq_ignore_ascii_case(host));
    let known = match request.uri.host() {
        // A target that carries a host is what counts (RFC 9112 §3.2.2), and HTTP/2 has no other.
        Some(host) => entry(host),
        None => request
            .headers
            .get(header::HOST)
            .and_then(|field| Authority::try_from(field.as_bytes()).ok())
            .and_then(|authority| entry(authority.host())),
    };
    known.map_or(SharedString::const_str(OTHER), |known| {
        SharedString::from_shared(known.clone())
    })
}

/// What kind of exchange it is: `kind` keeps those apart whose times cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unary,
    Stream,
    Grpc,
    Upgrade,
}

impl Kind {
    pub(super) fn of(head: &ResponseHead<'_>) -> Self {
        let essence = media_type::essence(head.headers);
        let is = |media_type| essence.is_some_and(|it: &str| it.eq_ignore_ascii_case(media_type));
        let is_grpc = essence
            .and_then(|it| it.get(.."application/grpc".len()))
            .is_some_and(|it| it.eq_ignore_ascii_case("application/grpc"));
        let is_sized =
            head.body_size.exact().is_some() || head.headers.contains_key(header::CONTENT_LENGTH);
        if head.tunnel {
            Self::Upgrade
        } else if is_grpc {
            Self::Grpc
        } else if is("text/event-stream") || is("application/x-ndjson") || !is_sized {
            Self::Stream
        } else {
            Self::Unary
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Stream => "stream",
            Self::Grpc => "grpc",
            Self::Upgrade => "upgrade",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::{Empty, Full};

    use super::*;

    #[test]
    fn methods_that_nobody_defined_are_other() {
        let label = |name: &str| method(&name.parse().unwrap());
        for defined in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        ] {
            assert_eq!(label(defined), defined);
        }
        for other in ["get", "PROPFIND", "X"] {
            assert_eq!(label(other), "_OTHER");
        }
    }

    #[test]
    fn only_hosts_on_the_list_are_told() {
        let known = ["api.example".into(), "[::1]".into()];
        let label = |target: &str, field: Option<&str>| {
            let mut request = Request::get(target).body(Empty::<&[u8]>::new()).unwrap();
            request
                .headers_mut()
                .extend(field.map(|it| (header::HOST, it.parse().unwrap())));
            host(&RequestHead::from(&request), &known).to_string()
        };
        assert_eq!(label("/", Some("api.example")), "api.example");
        assert_eq!(label("/", Some("API.Example:8080")), "api.example");
        assert_eq!(label("/", Some("[::1]:8080")), "[::1]");
        assert_eq!(
            label("http://api.example/", Some("evil.example")),
            "api.example"
        );
        assert_eq!(label("http://evil.example/", Some("api.example")), "_other");
        for other in ["", "evil.example", "api.example.evil", "a b", "::1"] {
            assert_eq!(label("/", Some(other)), "_other", "{other:?}");
        }
        assert_eq!(label("/", None), "_other");
    }

    #[test]
    fn kinds_are_told_by_the_head() {
        let kind = |status: u16, fields: &[(&str, &str)], sized: bool| {
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            let body = Full::new(&b"body"[..]);
            if sized {
                Kind::of(&ResponseHead::from(&response.body(body).unwrap())).as_str()
            } else {
                let body = http_body_util::BodyStream::new(body);
                let body = http_body_util::StreamBody::new(body);
                Kind::of(&ResponseHead::from(&response.body(body).unwrap())).as_str()
            }
        };
        assert_eq!(kind(200, &[], true), "unary");
        assert_eq!(kind(200, &[], false), "stream");
        assert_eq!(kind(200, &[("content-length", "4")], false), "unary");
        assert_eq!(
            kind(200, &[("content-type", "text/event-stream; x=y")], true),
            "stream"
        );
        assert_eq!(
            kind(200, &[("content-type", "application/x-ndjson")], true),
            "stream"
        );
        assert_eq!(
            kind(200, &[("content-type", "application/grpc")], true),
            "grpc"
        );
        assert_eq!(
            kind(200, &[("content-type", "Application/gRPC+proto")], false),
            "grpc"
        );
        assert_eq!(
            kind(200, &[("content-type", "application/grp")], true),
            "unary"
        );
        assert_eq!(kind(101, &[], true), "upgrade");
    }
}
