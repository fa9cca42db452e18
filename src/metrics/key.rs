//! The keys under which label sets are held: written from requests and responses, and read back
//! when a set is made.

use std::{borrow::Cow, iter};

use metrics::{Label, SharedString};

use super::{
    labels::{self, OTHER},
    settings::{Settings, Style},
};
use crate::{RequestHead, ResponseHead};

/// Values that are longer are `_other`: a client may send any number of them.
const MAX_VALUE_LEN: usize = 256;

/// Which labels a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The base labels, all known from the request.
    Request,
    /// Those, and the ones that are taken from the response.
    Response,
    /// Those of a gRPC call.
    Call,
}

/// The values of a label set's labels, in one piece: what the set is found by.
///
/// The head has those that are on a list, by their places there. Each value after it ends with a
/// byte that is never part of UTF-8.
#[derive(Debug, Clone, Default)]
pub(super) struct Key(Vec<u8>);

/// The part of a [`Key`] that has a fixed length.
#[derive(Debug, Clone, Copy)]
struct KeyHead {
    scope: Scope,
    method: u8,
    scheme: u8,
    version: u8,
    host: u16,
}

impl KeyHead {
    const fn new(scope: Scope) -> Self {
        Self {
            scope,
            method: 0,
            scheme: 0,
            version: 0,
            host: 0,
        }
    }
}

impl Key {
    const HEAD: usize = 6;
    const END: u8 = 0xFF;
    /// A value that there is not: its label is left out.
    const ABSENT: u8 = 0xFE;
    /// A flag of the scope: each value is `_other`.
    const OVERFLOW: u8 = 0x80;

    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.0
            .first()
            .is_some_and(|scope| scope & Self::OVERFLOW != 0)
    }

    /// Becomes the key of all for which there is no room.
    pub(super) fn overflow(&mut self) {
        self.0.truncate(1);
        for scope in &mut self.0 {
            *scope |= Self::OVERFLOW;
        }
    }

    fn begin(&mut self, head: KeyHead) {
        let [host, host_high] = head.host.to_le_bytes();
        let KeyHead {
            scope,
            method,
            scheme,
            version,
            ..
        } = head;
        self.0.clear();
        self.0
            .extend_from_slice(&[scope as u8, method, scheme, version, host, host_high]);
    }

    /// Begins with the values of another key. If that has no room, this one has none either, and
    /// it is done.
    fn begin_with(&mut self, scope: Scope, other: &Self) -> bool {
        self.0.clone_from(&other.0);
        if let Some(first) = self.0.first_mut() {
            *first = scope as u8;
        }
        if other.is_overflow() {
            self.overflow();
        }
        !other.is_overflow()
    }

    #[inline]
    fn push(&mut self, value: &str) {
        let value = if value.len() > MAX_VALUE_LEN {
            OTHER
        } else {
            value
        };
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(Self::END);
    }

    fn push_if_any(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.push(value),
            None => self.0.extend_from_slice(&[Self::ABSENT, Self::END]),
        }
    }

    fn head(&self) -> KeyHead {
        let byte = |index: usize| self.0.get(index).copied().unwrap_or_default();
        KeyHead {
            scope: match byte(0) & !Self::OVERFLOW {
                1 => Scope::Response,
                2 => Scope::Call,
                _ => Scope::Request,
            },
            method: byte(1),
            scheme: byte(2),
            version: byte(3),
            host: u16::from_le_bytes([byte(4), byte(5)]),
        }
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let values = self.0.get(Self::HEAD..).unwrap_or_default();
        values.split(|byte| *byte == Self::END)
    }
}

impl Settings {
    /// The key of a request's base labels.
    pub(super) fn write_request(&self, key: &mut Key, request: &RequestHead<'_>) {
        let mut head = KeyHead::new(Scope::Request);
        if self.style != Style::OnlyRequests {
            head.method = labels::method(request.method);
        }
        if self.style == Style::OpenTelemetry {
            head.scheme = match request.uri.scheme_str() {
                Some(scheme) => labels::scheme(scheme),
                None => self.scheme.unwrap_or(labels::scheme("http")),
            };
            head.version = labels::version(request.version);
        }
        if let Some(hosts) = &self.hosts {
            let place = labels::host(request, hosts);
            head.host = place
                .and_then(|place| u16::try_from(place).ok())
                .unwrap_or(u16::MAX);
        }
        key.begin(head);
        for (_, value) in &self.request_labels {
            key.push(&value(request));
        }
        if self.path.is_told() {
            key.push_if_any(self.path.of(request).as_deref());
        }
    }

    /// The key of base labels and those from a response. Without one they are empty.
    pub(super) fn write_response(
        &self,
        key: &mut Key,
        base: &Key,
        head: Option<&ResponseHead<'_>>,
    ) {
        if key.begin_with(Scope::Response, base) {
            for (_, value) in &self.response_labels {
                key.push(&head.map_or(Cow::Borrowed(""), |head| value(head)));
            }
        }
    }

    /// The key of a call of the gRPC method at this path; if there is none, of any other.
    pub(super) fn write_call(&self, key: &mut Key, base: &Key, path: Option<&str>) {
        if self.style == Style::OpenTelemetry {
            key.begin(KeyHead::new(Scope::Call));
            key.push(path.map_or("_OTHER", |path| path.strip_prefix('/').unwrap_or(path)));
        } else if key.begin_with(Scope::Call, base) {
            let (service, method) = path.map_or((OTHER, OTHER), labels::grpc_names);
            key.push(service);
            key.push(method);
        }
    }

    /// The labels that a key stands for, `service` among them.
    pub(super) fn labels(&self, key: &Key) -> Vec<Label> {
        let head = key.head();
        // A key without room has no values, and all of them are the same.
        let values = key.values().chain(iter::repeat(&[][..]));
        let told = self
            .listed(head)
            .into_iter()
            .chain(self.names(head.scope).into_iter().zip(values))
            .filter(|(_, value)| *value != [Key::ABSENT])
            .map(|(name, value)| {
                let value = if key.is_overflow() {
                    OTHER.into()
                } else {
                    String::from_utf8_lossy(value)
                };
                Label::new(name, value.into_owned())
            });
        self.service_label().chain(told).collect()
    }

    /// The names and values of a key's head.
    fn listed(&self, head: KeyHead) -> Vec<(SharedString, &[u8])> {
        let value = |values: &[&'static str], place: u8| {
            let value = values.get(usize::from(place)).unwrap_or(&OTHER);
            value.as_bytes()
        };
        let method = value(&labels::METHODS, head.method);
        let scheme = value(&labels::SCHEMES, head.scheme);
        let version = value(&labels::VERSIONS, head.version);
        let told = match (self.style, head.scope) {
            (Style::OpenTelemetry, Scope::Call) => return Vec::new(),
            (Style::OpenTelemetry, _) => &[
                ("http.request.method", method),
                ("url.scheme", scheme),
                ("network.protocol.version", version),
            ][..],
            (Style::Prometheus, _) => &[("method", method)],
            (Style::OnlyRequests, _) => &[],
        };
        let told = told
            .iter()
            .map(|(name, value)| (SharedString::const_str(name), *value));
        let host = self.hosts.iter().map(|hosts| {
            let host = hosts.get(usize::from(head.host)).map_or(OTHER, |host| host);
            (self.name_of("host", "server.address"), host.as_bytes())
        });
        told.chain(host).collect()
    }

    /// The names of the values after a key's head, in the order in which they are written.
    fn names(&self, scope: Scope) -> Vec<SharedString> {
        if scope == Scope::Call && self.style == Style::OpenTelemetry {
            return vec![SharedString::const_str("rpc.method")];
        }
        let path = self.path.is_told();
        let path = path.then(|| self.name_of("path", "http.route"));
        let of_request = self.request_labels.iter().map(|(name, _)| name.clone());
        let mut names: Vec<_> = of_request.chain(path).collect();
        match scope {
            Scope::Request => {}
            Scope::Response => names.extend(self.response_labels.iter().map(|it| it.0.clone())),
            Scope::Call => {
                names.extend(["grpc_service", "grpc_method"].map(SharedString::const_str));
            }
        }
        names
    }
}
