//! How an exchange ends.

use std::fmt;

/// How an exchange ended.
///
/// Every watched exchange has exactly one. It says what the *server* was handed by the service,
/// not what reached the client: a frame that the server took may still be lost on the way.
///
/// ```
/// use tower_passthrough::observe::Outcome;
///
/// assert_eq!(Outcome::BodyError.as_str(), "body_error");
/// assert_eq!(Outcome::Complete.to_string(), "complete");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// `complete`: the whole body was handed to the server.
    ///
    /// Servers often drop a body without polling it to its end. Such a drop is complete if the
    /// body had said that it was over, if the announced length was reached, or if the response
    /// has no body by its head. [The table](crate::observe#when-is-a-dropped-body-complete) has
    /// each case.
    Complete,
    /// `upgraded`: the response was 101 (Switching Protocols), or a 2xx to CONNECT, and the
    /// connection no longer speaks HTTP. Ends when the last [`Tunnel`](crate::observe::Tunnel)
    /// is dropped; if the service kept none, at the head.
    Upgraded,
    /// `body_error`: the body yielded an error. The client sees a broken stream.
    BodyError,
    /// `disconnected`: the body was dropped before its end. The client left, a timeout struck, or
    /// the server shut down; from inside a service these look the same.
    Disconnected,
    /// `service_error`: the service answered with `Err`. There was no response head.
    ServiceError,
    /// `cancelled`: the response future was dropped before it resolved. There was no response
    /// head.
    Cancelled,
    /// `panicked`: the service, its future, its body's `poll_frame` or an observer's hook panicked.
    Panicked,
}

impl Outcome {
    /// How many there are.
    #[cfg(feature = "metrics")]
    pub(crate) const COUNT: usize = Self::Panicked as usize + 1;

    /// The outcome as a label value: lower case, words joined by `_`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Upgraded => "upgraded",
            Self::BodyError => "body_error",
            Self::Disconnected => "disconnected",
            Self::ServiceError => "service_error",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
