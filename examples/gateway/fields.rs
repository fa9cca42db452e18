//! Header fields: what is about one connection goes, what tells of the way is added.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, InvalidHeaderValue,
        MAX_FORWARDS, TE, TRANSFER_ENCODING, UPGRADE, VIA,
    },
    uri::{Authority, Scheme},
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes what is about the connection and not about the message: RFC 9110 §7.6.1.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH); // overridden by it: RFC 9112 §6.3
    }
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    let known = ["keep-alive", "proxy-connection"].map(HeaderName::from_static);
    let known = known.into_iter().chain([CONNECTION, TE, UPGRADE]);
    for name in known.chain(named) {
        headers.remove(name);
    }
}

/// Whether two who read this request head may disagree about whom it is for: RFC 9112 §3.2. About
/// where it ends hyper's server leaves no doubt: it refuses, or keeps one `transfer-encoding`, and
/// then closes the connection.
pub(crate) fn has_bad_host<B>(request: &Request<B>) -> bool {
    let target = request.uri();
    let is_http = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_bad_field = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() == Version::HTTP_11,
        (Some(host), None) => {
            Authority::try_from(host.as_bytes()).map_or(true, |host| !is_host(&host))
        }
        (Some(_), Some(_)) => true,
    };
    is_bad_field
        || target.authority().is_some_and(|host| !is_host(host))
        || target.scheme().is_some_and(|scheme| !is_http(scheme))
}

/// Whether it is `HOST`, `HOST:` or `HOST:PORT`, without a user's name.
pub(crate) fn is_host(authority: &Authority) -> bool {
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    let is_port = |port: &str| {
        let is_digits = port.bytes().all(|byte| byte.is_ascii_digit());
        is_digits && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    let has_port = |rest: &str| rest.strip_prefix(':').is_some_and(is_port);
    !host.is_empty() && rest.is_some_and(|rest| rest.is_empty() || has_port(rest))
}

/// Takes one off the hops that an OPTIONS or TRACE may still make: RFC 9110 §7.6.2. Whether it may
/// make this one.
pub(crate) fn may_go_on<B>(request: &mut Request<B>) -> bool {
    if ![Method::OPTIONS, Method::TRACE].contains(request.method()) {
        return true;
    }
    let headers = request.headers_mut();
    let hops = headers.get(MAX_FORWARDS).map(HeaderValue::to_str);
    match hops.and_then(|hops| hops.ok()?.parse::<u64>().ok()) {
        Some(0) => return false,
        Some(hops) => drop(headers.insert(MAX_FORWARDS, (hops - 1).into())),
        None => (),
    }
    true
}

/// Whether the body has transfer codings besides one `chunked`, which is all that hyper decodes.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(TRANSFER_ENCODING).into_iter();
    let is_chunked = |field: &HeaderValue| field.as_bytes().eq_ignore_ascii_case(b"chunked");
    fields.next().is_some_and(|field| !is_chunked(field)) || fields.next().is_some()
}

/// Whether these are of a gRPC call, with whichever codec.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Makes one field of those that HTTP/2 may split cookies into: RFC 9113 §8.2.3.
pub(crate) fn join_cookies(headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
    let crumbs = headers.get_all(COOKIE).into_iter();
    let crumbs: Vec<_> = crumbs.map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let cookie = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))?;
        headers.insert(COOKIE, cookie);
    }
    Ok(())
}

/// The host that is asked for. That of an absolute target overrides the field: RFC 9112 §3.2.2.
pub(crate) fn host(
    target: &Uri,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
    match target.authority() {
        Some(authority) => authority.as_str().parse().map(Some),
        None => Ok(headers.get(HOST).cloned()),
    }
}

/// Tells the upstream who asked, for which host, and how. What the client says of it goes, unless it
/// is trusted.
pub(crate) fn set_forwarded(
    headers: &mut HeaderMap,
    host: Option<HeaderValue>,
    client: IpAddr,
    trusted: bool,
) -> Result<(), InvalidHeaderValue> {
    remove_forwarded(headers, trusted);
    let client = client.to_canonical();
    headers.append(FORWARDED_FOR, client.to_string().parse()?);
    if headers.contains_key(FORWARDED) {
        // The two ways to say it must not contradict each other: RFC 7239.
        let node = match client {
            IpAddr::V4(client) => format!("for={client}"),
            IpAddr::V6(client) => format!("for=\"[{client}]\""),
        };
        headers.append(FORWARDED, node.parse()?);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if let Some(host) = host.filter(|_| !headers.contains_key(FORWARDED_HOST)) {
        headers.insert(FORWARDED_HOST, host);
    }
    Ok(())
}

/// Removes what is said of the way here: if that is trusted, only what has an underscore, which many
/// upstreams take for a hyphen, and no proxy sets.
fn remove_forwarded(headers: &mut HeaderMap, trusted: bool) {
    let is_false = |name: &&HeaderName| {
        let hyphenated = name.as_str().bytes();
        let hyphenated = hyphenated.map(|byte| if byte == b'_' { b'-' } else { byte });
        let tells_of_way = hyphenated.clone().eq(*b"forwarded")
            || hyphenated.clone().eq(*b"x-real-ip")
            || hyphenated.take(11).eq(*b"x-forwarded");
        tells_of_way && (!trusted || name.as_str().contains('_'))
    };
    let names: Vec<_> = headers.keys().filter(is_false).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Says that a message came through here, and how: RFC 9110 §7.6.3.
pub(crate) struct Via {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    pub(crate) fn new(gateway: &str) -> Result<Self, InvalidHeaderValue> {
        let value = |version| format!("{version} {gateway}").parse();
        Ok(Self {
            http10: value("1.0")?,
            http11: value("1.1")?,
            http2: value("2")?,
        })
    }

    pub(crate) fn append_to(&self, headers: &mut HeaderMap, version: Version) {
        let value = match version {
            Version::HTTP_10 => &self.http10,
            Version::HTTP_2 => &self.http2,
            _ => &self.http11,
        };
        headers.append(VIA, value.clone());
    }
}

pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

/// The members of a field that is a list of tokens, perhaps over several lines. Whatever else stands
/// among them does not hide them.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().flat_map(members)
}

pub(crate) fn members(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = line.as_bytes().split(|byte| *byte == b',');
    members.map(<[u8]>::trim_ascii)
}
