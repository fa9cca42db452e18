//! Streaming-safe HTTP middleware.

#[cfg(feature = "capture")]
pub mod capture;
#[cfg(any(feature = "headers", feature = "metrics"))]
mod error;
mod grpc;
mod head;
#[cfg(feature = "headers")]
pub mod headers;
#[cfg(any(feature = "headers", feature = "metrics"))]
mod media_type;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod observe;

#[cfg(any(feature = "headers", feature = "metrics"))]
pub use self::error::BuildError;
pub use self::{
    grpc::GrpcStatus,
    head::{RequestHead, ResponseHead},
};
