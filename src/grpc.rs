//! The status of a gRPC call, as header fields and trailers tell it.

use std::{fmt, num::NonZeroU32};

use http::{HeaderMap, HeaderName};

use crate::head::decimal;

/// The status of a gRPC call, as `grpc-status` tells it.
///
/// Numbers that gRPC does not define are kept as they are; they have no name.
///
/// ```
/// use http::{HeaderMap, HeaderName};
/// use tower_passthrough::GrpcStatus;
///
/// let mut trailers = HeaderMap::new();
/// trailers.insert("grpc-status", "5".parse().unwrap());
/// let status = GrpcStatus::from_fields(&trailers).unwrap();
/// assert_eq!((status.code(), status.name()), (5, Some("NOT_FOUND")));
/// assert_eq!(status.to_string(), "NOT_FOUND");
///
/// trailers.insert("grpc-status", "99".parse().unwrap());
/// let status = GrpcStatus::from_fields(&trailers).unwrap();
/// assert_eq!((status.code(), status.name()), (99, None));
/// assert_eq!(status.to_string(), "99");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrpcStatus(
    /// The code plus one: an `Option` of it is no larger.
    NonZeroU32,
);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl GrpcStatus {
    /// The names of the codes from 0, from the gRPC documentation, `statuscodes.md`.
    pub(crate) const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// The status in these header fields or trailers. `None` if there is no `grpc-status`, or if
    /// it is not a decimal number below 4,294,967,295.
    ///
    /// A gRPC status is in the trailers, or, when the response has no body (trailers-only), in
    /// the header fields. See the gRPC documentation, `PROTOCOL-HTTP2.md`.
    #[must_use]
    pub fn from_fields(fields: &HeaderMap) -> Option<Self> {
        let code = decimal(fields.get(&GRPC_STATUS)?)?;
        NonZeroU32::new(u32::try_from(code).ok()?.checked_add(1)?).map(Self)
    }

    /// The number of the status.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0.get() - 1
    }

    /// The name of the status in upper case, for example `DEADLINE_EXCEEDED`; `None` if gRPC does
    /// not define its number.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.get(self.code() as usize).copied()
    }
}

/// The name, or the number if it has none.
impl fmt::Display for GrpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => self.code().fmt(f),
        }
    }
}

impl fmt::Debug for GrpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrpcStatus({}: {self})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decimal_numbers_are_statuses() {
        let code = |value: &[u8]| {
            let fields = HeaderMap::from_iter([(
                GRPC_STATUS,
                http::HeaderValue::from_bytes(value).unwrap(),
            )]);
            GrpcStatus::from_fields(&fields).map(GrpcStatus::code)
        };
        assert_eq!(code(b"0"), Some(0));
        assert_eq!(code(b"16"), Some(16));
        assert_eq!(code(b"007"), Some(7));
        assert_eq!(code(b"4294967294"), Some(4_294_967_294));
        for garbage in [
            "",
            "+5",
            "-1",
            "OK",
            "1 2",
            "4294967295",
            "18446744073709551616",
            "\u{e9}",
        ] {
            assert_eq!(code(garbage.as_bytes()), None, "{garbage:?}");
        }
        assert_eq!(GrpcStatus::from_fields(&HeaderMap::new()), None);
    }
}
