//! What the scripted service and its bodies are to do in one check.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::{
    body::{Role, ScriptedBody},
    log::Exchange,
};

/// One check's script.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) target: &'static str,
    pub(super) request_fields: HeaderMap,
    pub(super) request_body: BodyScript,
    /// What `poll_ready` gives, one step at a time; ready once they are used up.
    pub(super) ready: Vec<Readiness>,
    /// What the service's future does before it resolves to [`Script::answer`].
    pub(super) handler: Vec<Do>,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Pending,
    Error,
}

/// One step of the service's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Do {
    /// Waits until the check lets it go on.
    Wait,
    /// Polls the request body for its next frame; further reads follow at further polls.
    Read,
    /// Drops the request body, and waits.
    LetGoAndWait,
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Response {
        status: StatusCode,
        fields: HeaderMap,
        body: BodyScript,
    },
    Error,
}

/// One step of a body.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Data(Bytes),
    Trailers,
    Error,
    /// Waits until the check lets it go on.
    Wait,
}

/// What a body says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Unknown,
    /// Just what is still to come.
    Exact,
    Between(u64, u64),
}

#[derive(Debug, Clone)]
pub(super) struct BodyScript {
    pub(super) steps: Vec<Step>,
    pub(super) size: Size,
    /// Whether `is_end_stream` tells that the last step was taken.
    pub(super) shows_end: bool,
}

/// A step of a body that yields `text`. Each poll that yields it makes it anew, in memory of its
/// own.
pub(super) fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from_static(text.as_bytes()))
}

/// A body of these steps, of unknown size, that shows its end.
pub(super) fn body(steps: impl IntoIterator<Item = Step>) -> BodyScript {
    BodyScript {
        steps: steps.into_iter().collect(),
        size: Size::Unknown,
        shows_end: true,
    }
}

impl Step {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers | Self::Error | Self::Wait => 0,
        }
    }
}

impl BodyScript {
    pub(super) fn exact(self) -> Self {
        Self {
            size: Size::Exact,
            ..self
        }
    }

    pub(super) fn between(self, lower: u64, upper: u64) -> Self {
        Self {
            size: Size::Between(lower, upper),
            ..self
        }
    }

    pub(super) fn hiding_its_end(self) -> Self {
        Self {
            shows_end: false,
            ..self
        }
    }
}

impl Script {
    /// `GET` with an empty body, answered at once with this body.
    pub(super) fn answering(body: BodyScript) -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            target: "/a%2Fb%20c?n=3&q=%C3%BC",
            request_fields: fields([
                ("host", HeaderValue::from_static("conformance.test")),
                ("x-foreign", HeaderValue::from_static("one")),
                ("x-foreign", opaque()),
            ]),
            request_body: self::body([]).exact(),
            ready: Vec::new(),
            handler: Vec::new(),
            answer: Answer::Response {
                status: StatusCode::OK,
                fields: fields([
                    ("etag", HeaderValue::from_static("\"1\"")),
                    ("set-cookie", HeaderValue::from_static("a=1")),
                    ("set-cookie", HeaderValue::from_static("b=2")),
                    ("x-foreign", opaque()),
                ]),
                body,
            },
        }
    }

    /// `POST` with this body, read as `handler` does, answered with an empty body.
    pub(super) fn asking(request_body: BodyScript, handler: impl Into<Vec<Do>>) -> Self {
        Self {
            method: Method::POST,
            request_body,
            handler: handler.into(),
            ..Self::answering(body([]).exact())
        }
    }

    /// A request to upgrade, granted (RFC 9110 §7.8).
    pub(super) fn upgrade() -> Self {
        Self::answering(body([]).exact())
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .request_field("connection", "upgrade")
            .request_field("upgrade", "websocket")
            .response_field("connection", "upgrade")
            .response_field("upgrade", "websocket")
    }

    /// A tunnel, granted (RFC 9110 §9.3.6).
    pub(super) fn connect() -> Self {
        Self {
            method: Method::CONNECT,
            target: "tunnel.test:443",
            ..Self::answering(body([]).exact())
        }
    }

    /// What the service answers, if it does not fail.
    pub(super) fn response<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.version_mut() = self.version;
        if let Answer::Response { status, fields, .. } = &self.answer {
            *response.status_mut() = *status;
            *response.headers_mut() = fields.clone();
        }
        response.extensions_mut().insert(Marker);
        response
    }

    pub(super) fn request(&self, exchange: Arc<Exchange>) -> Request<ScriptedBody> {
        let body = ScriptedBody::new(self.request_body.clone(), exchange, Role::Request);
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.version_mut() = self.version;
        *request.uri_mut() = Uri::from_static(self.target);
        *request.headers_mut() = self.request_fields.clone();
        request.extensions_mut().insert(Marker);
        request
    }

    pub(super) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(super) fn request_field(mut self, name: &'static str, value: &'static str) -> Self {
        self.request_fields
            .append(name, HeaderValue::from_static(value));
        self
    }

    pub(super) fn ready(self, ready: impl Into<Vec<Readiness>>) -> Self {
        Self {
            ready: ready.into(),
            ..self
        }
    }

    pub(super) fn handler(self, handler: impl Into<Vec<Do>>) -> Self {
        Self {
            handler: handler.into(),
            ..self
        }
    }

    pub(super) fn failing(self) -> Self {
        Self {
            answer: Answer::Error,
            ..self
        }
    }

    pub(super) fn status(mut self, to: StatusCode) -> Self {
        if let Answer::Response { status, .. } = &mut self.answer {
            *status = to;
        }
        self
    }

    /// Of the request and of the response.
    pub(super) fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    pub(super) fn response_field(mut self, name: &'static str, value: &'static str) -> Self {
        if let Answer::Response { fields, .. } = &mut self.answer {
            fields.append(name, HeaderValue::from_static(value));
        }
        self
    }
}

/// An extension of requests and responses, as servers put them there: `OnUpgrade`, `Protocol`,
/// `ReasonPhrase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker;

/// A value that is no text (RFC 9110 §5.5, obs-text): one that is parsed and written anew is lost.
fn opaque() -> HeaderValue {
    HeaderValue::from_bytes(b"tw\xf6").unwrap_or_else(|_| HeaderValue::from_static("two"))
}

/// What [`Step::Trailers`] yields.
pub(super) fn trailers() -> HeaderMap {
    fields([
        ("grpc-status", HeaderValue::from_static("0")),
        ("x-checksum", opaque()),
    ])
}

fn fields<const N: usize>(fields: [(&'static str, HeaderValue); N]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name, value);
    }
    map
}
