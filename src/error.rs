//! The errors of settings, and the box for those of bodies.

use std::{error::Error, fmt};

/// Why a layer cannot be built, or a setting of one not be made: the sentence names what is wrong
/// and why.
///
#[cfg_attr(feature = "headers", doc = "```")]
#[cfg_attr(not(feature = "headers"), doc = "```ignore")]
/// use tower_passthrough::headers::{HeadersLayer, ResponseRule};
///
/// let error = HeadersLayer::builder()
///     .response(ResponseRule::insert("connection", "keep-alive"))
///     .build()
///     .unwrap_err();
/// assert!(error.to_string().starts_with("header rule for `connection`: "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError(String);

impl BuildError {
    #[allow(dead_code, reason = "not every set of features has something to build")]
    pub(crate) fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for BuildError {}

/// The error of a body that has errors of its own beside those of the body in it, or whatever error
/// there may be.
#[cfg(any(feature = "conformance", feature = "sse", feature = "timeout"))]
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
