//! The names and values of fields, as rules are given them.

use std::fmt;

use http::{
    HeaderName, HeaderValue,
    header::{InvalidHeaderName, InvalidHeaderValue},
};

use crate::BuildError;

/// Nobody else is to implement these.
mod sealed {
    #![allow(unnameable_types, reason = "so that nobody can")]

    use http::{HeaderName, HeaderValue};

    pub trait Name {}
    impl Name for HeaderName {}
    impl Name for &'static str {}
    impl Name for String {}

    pub trait FixedValue {}
    impl FixedValue for HeaderValue {}
    impl FixedValue for &'static str {}
    impl FixedValue for String {}
}

/// What names a header field: a [`HeaderName`], a `&'static str` or a [`String`].
pub trait Name: sealed::Name {
    #[doc(hidden)]
    fn written(&self) -> &str;

    #[doc(hidden)]
    fn checked(self) -> Result<HeaderName, InvalidHeaderName>;
}

/// What gives a field's fixed value: a [`HeaderValue`], a `&'static str` or a [`String`].
pub trait FixedValue: sealed::FixedValue {
    #[doc(hidden)]
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue>;
}

impl Name for HeaderName {
    fn written(&self) -> &str {
        self.as_str()
    }

    fn checked(self) -> Result<HeaderName, InvalidHeaderName> {
        Ok(self)
    }
}

impl Name for String {
    fn written(&self) -> &str {
        self
    }

    fn checked(self) -> Result<HeaderName, InvalidHeaderName> {
        HeaderName::try_from(self)
    }
}

impl Name for &'static str {
    fn written(&self) -> &str {
        self
    }

    fn checked(self) -> Result<HeaderName, InvalidHeaderName> {
        let name = HeaderName::try_from(self)?;
        // Each response gets a clone, and one of a static name counts no references. It must be
        // written in lower case, though.
        Ok(if name.as_str() == self {
            HeaderName::from_static(self)
        } else {
            name
        })
    }
}

impl FixedValue for HeaderValue {
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue> {
        Ok(self)
    }
}

impl FixedValue for String {
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue> {
        HeaderValue::try_from(self)
    }
}

impl FixedValue for &'static str {
    fn checked(self) -> Result<HeaderValue, InvalidHeaderValue> {
        let value = HeaderValue::try_from(self)?;
        // As with names; a static value must be ASCII.
        Ok(if self.is_ascii() {
            HeaderValue::from_static(self)
        } else {
            value
        })
    }
}

/// The field of this name, if a rule may name it.
pub(super) fn checked_name<N: Name>(name: N) -> Result<HeaderName, BuildError> {
    let written = name.written().to_owned();
    let refused = |why: &dyn fmt::Display| {
        Err(BuildError::new(format_args!(
            "header rule for `{written}`: {why}"
        )))
    };
    let name = match name.checked() {
        Ok(name) => name,
        Err(error) => return refused(&error),
    };
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            refused(
                &"the field is connection-specific: HTTP/2 forbids it (RFC 9113 section 8.2.2), on HTTP/1 it is the server's own",
            )
        }
        "te" => refused(
            &"the field is connection-specific: HTTP/2 allows nothing but `trailers` in it (RFC 9113 section 8.2.2), which is the client's own",
        ),
        "content-length" => {
            refused(&"the field tells the length of a body that this layer does not know")
        }
        "trailer" => {
            refused(&"the field announces the trailers of a body that this layer does not know")
        }
        _ => Ok(name),
    }
}
