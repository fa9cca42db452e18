//! What the gateway answers itself, when the upstream cannot or must not be asked.

use std::{error::Error, io, iter};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper_util::client::legacy;
use tokio_rustls::rustls;
use tower::timeout::error::Elapsed;

/// Why there is no answer of the upstream. The extensions of the response have it, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    status: StatusCode,
    /// As RFC 9209 §2.3 names it.
    pub(crate) error_type: &'static str,
    reason: &'static str,
    /// Whether an HTTP/1.1 connection ends with the answer, since what follows on it is not to be taken
    /// for a request.
    is_last: bool,
}

impl Failure {
    pub(crate) const BAD_HEAD: Self = Self::of_request(StatusCode::BAD_REQUEST, "bad request head");
    pub(crate) const CODED_REQUEST: Self = Self::of_request(
        StatusCode::NOT_IMPLEMENTED,
        "no transfer coding but chunked is spoken",
    );
    pub(crate) const BROKEN_UPLOAD: Self =
        Self::of_request(StatusCode::BAD_REQUEST, "the request body is broken");
    pub(crate) const TRACE: Self = Self::new(
        StatusCode::NOT_IMPLEMENTED,
        "http_request_denied",
        "TRACE is not answered here",
    );
    pub(crate) const CONNECT_DENIED: Self = Self {
        is_last: true,
        ..Self::new(
            StatusCode::FORBIDDEN,
            "http_request_denied",
            "CONNECT may not go there",
        )
    };
    pub(crate) const UNREACHABLE: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        "destination_unavailable",
        "the upstream cannot be reached",
    );
    pub(crate) const REFUSED: Self = Self {
        error_type: "connection_refused",
        ..Self::UNREACHABLE
    };
    const NO_TLS: Self = Self {
        error_type: "tls_protocol_error",
        ..Self::UNREACHABLE
    };
    pub(crate) const CONNECT_TIMEOUT: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        "connection_timeout",
        "connecting to the upstream takes too long",
    );
    pub(crate) const HEADER_TIMEOUT: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        "http_response_timeout",
        "the upstream takes too long to answer",
    );
    const BROKEN: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        "connection_terminated",
        "the upstream gave no valid answer",
    );
    const MALFORMED: Self = Self {
        error_type: "http_protocol_error",
        ..Self::BROKEN
    };
    pub(crate) const CODED_RESPONSE: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        "http_response_transfer_coding",
        "the upstream's transfer coding is not spoken",
    );
    pub(crate) const UNASKED_UPGRADE: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        "http_upgrade_failed",
        "the upstream switched protocols, and nobody asked for it",
    );

    const fn new(status: StatusCode, error_type: &'static str, reason: &'static str) -> Self {
        Self {
            status,
            error_type,
            reason,
            is_last: false,
        }
    }

    const fn of_request(status: StatusCode, reason: &'static str) -> Self {
        Self {
            is_last: true,
            ..Self::new(status, "http_request_error", reason)
        }
    }

    /// Why there is no connection for a tunnel. What follows on the client's was meant for that.
    pub(crate) fn without_tunnel(self) -> Self {
        Self {
            reason: "there is no connection to where CONNECT asks for",
            is_last: true,
            ..self
        }
    }

    /// What an error of the HTTP client means.
    pub(crate) fn of_client(error: &legacy::Error) -> Self {
        if error.is_connect() {
            return Self::of_connecting(error);
        }
        match cause::<hyper::Error>(error) {
            Some(error) if error.is_parse() => Self::MALFORMED,
            _ => Self::BROKEN,
        }
    }

    /// What it means that there is no connection.
    pub(crate) fn of_connecting(error: &(dyn Error + 'static)) -> Self {
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if cause::<Elapsed>(error).is_some() {
            Self::CONNECT_TIMEOUT
        } else if cause::<rustls::Error>(error).is_some() {
            Self::NO_TLS
        } else if cause::<io::Error>(error).is_some_and(is_refused) {
            Self::REFUSED
        } else {
            Self::UNREACHABLE
        }
    }

    /// The answer, of the gateway of this name. To a gRPC call, with what its client looks for first.
    pub(crate) fn response(self, gateway: &str, is_grpc: bool) -> Response<Full<Bytes>> {
        let mut response = Response::new(format!("{}\n", self.reason).into());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        let fields = response.headers_mut();
        if self.is_last {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        // RFC 9209.
        let told = format!("{gateway}; error={}", self.error_type);
        if let Ok(told) = HeaderValue::from_str(&told) {
            fields.insert(HeaderName::from_static("proxy-status"), told);
        }
        if is_grpc {
            let reason = HeaderValue::from_static(self.reason);
            fields.insert(HeaderName::from_static("grpc-status"), self.grpc_status());
            fields.insert(HeaderName::from_static("grpc-message"), reason);
        }
        response
    }

    /// What gRPC makes of the status (`http-grpc-status-mapping.md` of its documentation).
    fn grpc_status(self) -> HeaderValue {
        HeaderValue::from_static(match self.status {
            StatusCode::BAD_REQUEST => "13",
            StatusCode::FORBIDDEN => "7",
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => "14",
            _ => "2",
        })
    }
}

/// The first of this type among the error and its sources.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    iter::successors(Some(error), |&error| beneath(error)).find_map(|error| error.downcast_ref())
}

/// An I/O error does not give what it was made of as its source.
fn beneath<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
