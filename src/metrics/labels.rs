//! Label values. Whatever a client chooses comes out as one of a set that it cannot grow, but for
//! paths, which the [table](super::table) bounds.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Version, header};

use crate::{GrpcStatus, RequestHead, ResponseHead, head::Asked, media_type, observe::Outcome};

/// What stands for a value that is not on a list, or for which there is no room.
pub(super) const OTHER: &str = "_other";

/// The methods that are told: those of RFC 9110 §9.3 and RFC 5789 (PATCH), and QUERY.
pub(super) const METHODS: [&str; 11] = [
    "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    "QUERY",
];

/// The place of a method in [`METHODS`].
pub(super) fn method(method: &Method) -> u8 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 2,
        Method::POST => 3,
        Method::PUT => 4,
        Method::DELETE => 5,
        Method::CONNECT => 6,
        Method::OPTIONS => 7,
        Method::TRACE => 8,
        Method::PATCH => 9,
        _ if method.as_str() == "QUERY" => 10,
        _ => 0,
    }
}

/// The values of `url.scheme`.
pub(super) const SCHEMES: [&str; 3] = [OTHER, "http", "https"];

/// The place of a scheme in [`SCHEMES`].
pub(super) fn scheme(scheme: &str) -> u8 {
    match scheme {
        "http" => 1,
        "https" => 2,
        _ => 0,
    }
}

/// The values of `network.protocol.version`.
pub(super) const VERSIONS: [&str; 6] = [OTHER, "0.9", "1.0", "1.1", "2", "3"];

/// The place of a version in [`VERSIONS`].
pub(super) fn version(version: Version) -> u8 {
    match version {
        Version::HTTP_09 => 1,
        Version::HTTP_10 => 2,
        Version::HTTP_11 => 3,
        Version::HTTP_2 => 4,
        Version::HTTP_3 => 5,
        _ => 0,
    }
}

/// The place in `known` of the host that the request is for, whatever its case and port.
pub(super) fn host(request: &RequestHead<'_>, known: &[Arc<str>]) -> Option<usize> {
    let host = match request.uri.host() {
        // A target that carries a host is what counts (RFC 9112 §3.2.2), and HTTP/2 has no other.
        Some(host) => host.as_bytes(),
        None => without_port(request.headers.get(&header::HOST)?.as_bytes()),
    };
    let place = |is: fn(&[u8], &[u8]) -> bool| known.iter().position(|it| is(it.as_bytes(), host));
    // Most clients write it as it is written here.
    place(<[u8] as PartialEq>::eq).or_else(|| place(<[u8]>::eq_ignore_ascii_case))
}

/// The host of a `Host` field (RFC 9110 §7.2). Not an [`Authority`](http::uri::Authority), which
/// would be a copy of it.
fn without_port(field: &[u8]) -> &[u8] {
    let digits = field.iter().rev().take_while(|byte| byte.is_ascii_digit());
    match field.split_at(field.len() - digits.count()).0 {
        [host @ .., b':'] => host,
        _ => field,
    }
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
    pub(super) const COUNT: usize = Self::Upgrade as usize + 1;

    pub(super) fn of(head: &ResponseHead<'_>, asked: Asked) -> Self {
        let essence = media_type::essence(head.headers);
        let is = |media_type: &[u8]| {
            essence.is_some_and(|it: &[u8]| it.eq_ignore_ascii_case(media_type))
        };
        if head.tunnel {
            Self::Upgrade
        } else if essence.is_some_and(is_any_grpc) {
            Self::Grpc
        } else if asked.has_no_content(head.status) {
            Self::Unary
        } else if is(b"text/event-stream") || is(b"application/x-ndjson") || !head.has_length() {
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

const GRPC: &[u8] = b"application/grpc";

/// gRPC and what is derived from it, such as gRPC-Web.
fn is_any_grpc(essence: &[u8]) -> bool {
    essence
        .get(..GRPC.len())
        .is_some_and(|it| it.eq_ignore_ascii_case(GRPC))
}

/// Whether a request is a gRPC call: `application/grpc`, perhaps with a codec (gRPC documentation,
/// `PROTOCOL-HTTP2.md`). gRPC-Web is not: its status is in the body.
pub(super) fn is_grpc_call(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST
        && media_type::essence(headers).is_some_and(|essence| {
            is_any_grpc(essence) && matches!(essence.get(GRPC.len()), None | Some(b'+'))
        })
}

/// The service and the method of a gRPC call, of `/package.Service/Method`.
pub(super) fn grpc_names(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.rsplit_once('/').unwrap_or((OTHER, OTHER))
}

/// How a gRPC call ended, by its number: 0 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrpcCode(u8);

impl GrpcCode {
    pub(super) const COUNT: usize = GrpcStatus::NAMES.len();
    const CANCELLED: Self = Self(1);
    const UNKNOWN: Self = Self(2);
    const PERMISSION_DENIED: Self = Self(7);
    pub(super) const UNIMPLEMENTED: Self = Self(12);
    const INTERNAL: Self = Self(13);
    const UNAVAILABLE: Self = Self(14);
    const UNAUTHENTICATED: Self = Self(16);

    /// What the service says in these fields, if it does.
    pub(super) fn from_fields(fields: &HeaderMap) -> Option<Self> {
        let code = GrpcStatus::from_fields(fields)?.code();
        // `as` cannot cut off: of more than 16 there is no code.
        #[allow(clippy::cast_possible_truncation, reason = "less than 17")]
        Some(if (code as usize) < Self::COUNT {
            Self(code as u8)
        } else {
            Self::UNKNOWN
        })
    }

    /// What the service said; else what a client makes of it: of a broken stream what the gRPC
    /// documentation says in `PROTOCOL-HTTP2.md` ("Errors"), of a status of HTTP what it says in
    /// `http-grpc-status-mapping.md`.
    pub(super) fn of(said: Option<Self>, status: Option<StatusCode>, outcome: Outcome) -> Self {
        match (said, outcome) {
            (Some(said), _) => said,
            (None, Outcome::Cancelled | Outcome::Disconnected) => Self::CANCELLED,
            (None, Outcome::BodyError | Outcome::ServiceError | Outcome::Panicked) => {
                Self::INTERNAL
            }
            (None, Outcome::Complete | Outcome::Upgraded) => match status.map(|it| it.as_u16()) {
                Some(400) => Self::INTERNAL,
                Some(401) => Self::UNAUTHENTICATED,
                Some(403) => Self::PERMISSION_DENIED,
                Some(404) => Self::UNIMPLEMENTED,
                Some(429 | 502..=504) => Self::UNAVAILABLE,
                _ => Self::UNKNOWN,
            },
        }
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    /// As the label `grpc_code` has it.
    pub(super) const fn camel_case(self) -> &'static str {
        [
            "OK",
            "Canceled",
            "Unknown",
            "InvalidArgument",
            "DeadlineExceeded",
            "NotFound",
            "AlreadyExists",
            "PermissionDenied",
            "ResourceExhausted",
            "FailedPrecondition",
            "Aborted",
            "OutOfRange",
            "Unimplemented",
            "Internal",
            "Unavailable",
            "DataLoss",
            "Unauthenticated",
        ][self.index()]
    }

    /// As `rpc.response.status_code` has it.
    pub(super) const fn upper_case(self) -> &'static str {
        GrpcStatus::NAMES[self.index()]
    }

    /// Whether it is the server that failed, says OpenTelemetry: UNKNOWN, `DEADLINE_EXCEEDED`,
    /// UNIMPLEMENTED, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
    pub(super) const fn is_server_error(self) -> bool {
        matches!(self.0, 2 | 4 | 12..=15)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::{BodyStream, Empty, Full, StreamBody};

    use super::*;

    #[test]
    fn methods_that_nobody_defined_are_other() {
        let label = |name: &str| METHODS[usize::from(method(&name.parse().unwrap()))];
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
        let known: [Arc<str>; 2] = ["api.example".into(), "[::1]".into()];
        let label = |target: &str, field: Option<&str>| {
            let mut request = Request::get(target).body(Empty::<&[u8]>::new()).unwrap();
            request
                .headers_mut()
                .extend(field.map(|it| (header::HOST, it.parse().unwrap())));
            host(&RequestHead::from(&request), &known).map_or(OTHER, |place| &known[place])
        };
        assert_eq!(label("/", Some("api.example")), "api.example");
        assert_eq!(label("/", Some("API.Example:8080")), "api.example");
        assert_eq!(label("/", Some("[::1]:8080")), "[::1]");
        assert_eq!(
            label("http://api.example/", Some("evil.example")),
            "api.example"
        );
        assert_eq!(label("http://evil.example/", Some("api.example")), "_other");
        for other in [
            "",
            "evil.example",
            "api.example.evil",
            "a b",
            "::1",
            "[::1]:x",
            "api.example:x",
            "user@api.example",
        ] {
            assert_eq!(label("/", Some(other)), "_other", "{other:?}");
        }
        assert_eq!(label("/", None), "_other");
    }

    #[test]
    fn both_spellings_of_a_grpc_code_are_of_the_same_one() {
        for code in (0..GrpcCode::COUNT).map(|code| GrpcCode(u8::try_from(code).unwrap())) {
            let capitalised = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
            let camel_case = match code.upper_case() {
                "OK" => "OK".to_owned(),
                // As the gRPC libraries for Go and their metrics spell it.
                "CANCELLED" => "Canceled".to_owned(),
                upper_case => upper_case.split('_').map(capitalised).collect(),
            };
            assert_eq!(code.camel_case(), camel_case);
        }
    }

    fn kind(asked: Asked, status: u16, fields: &[(&str, &str)], is_sized: bool) -> &'static str {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let sized = response.body(Full::new(&b"body"[..])).unwrap();
        let kind = if is_sized {
            Kind::of(&ResponseHead::from(&sized), asked)
        } else {
            let unsized_ = sized.map(|body| StreamBody::new(BodyStream::new(body)));
            Kind::of(&ResponseHead::from(&unsized_), asked)
        };
        kind.as_str()
    }

    #[test]
    fn kinds_are_told_by_the_head() {
        let of_type = |value| [("content-type", value)];
        for (status, fields, is_sized, expected) in [
            (200, &[][..], true, "unary"),
            (200, &[], false, "stream"),
            (200, &[("content-length", "4")], false, "unary"),
            (200, &of_type("text/event-stream; x=y"), true, "stream"),
            (200, &of_type("application/x-ndjson"), true, "stream"),
            (200, &of_type("application/grpc"), true, "grpc"),
            (200, &of_type("Application/gRPC+proto"), false, "grpc"),
            (200, &of_type("application/grp"), true, "unary"),
            (101, &[], true, "upgrade"),
            (204, &[], false, "unary"),
            (304, &[], false, "unary"),
        ] {
            let kind = kind(Asked::Other, status, fields, is_sized);
            assert_eq!(kind, expected, "{status} {fields:?}, sized: {is_sized}");
        }
        assert_eq!(kind(Asked::Head, 200, &[], false), "unary");
        let grpc = of_type("application/grpc");
        assert_eq!(kind(Asked::Head, 200, &grpc, false), "grpc");
    }
}
