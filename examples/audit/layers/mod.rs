//! The layers, each with its report.

mod others;
mod ours;
mod tower_http;

use std::time::Duration;

use http::{
    HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_TYPE},
};
use tower_passthrough::{
    BuildError,
    conformance::{Kit, Report},
};

pub(crate) struct Audit {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// What it asks of the response's body.
    pub(crate) asks: &'static str,
    pub(crate) report: Report,
}

pub(crate) fn audits() -> Result<Vec<Audit>, BuildError> {
    let all = [tower_http::audits(), others::audits(), ours::audits()?];
    Ok(all.into_iter().flatten().collect())
}

/// Layers of one package, under one kit. Each is built anew for each use, since its types may
/// differ.
macro_rules! checked {
    ($package:literal, $kit:expr; $($name:literal => $layer:expr,)+) => {
        vec![$($crate::layers::Audit {
            name: $name,
            package: $package,
            asks: $crate::bounds::asks!($layer),
            report: $kit.check($layer),
        }),+]
    };
}
use checked;

const MINUTE: Duration = Duration::from_secs(60);

/// A client that takes gzip, and a response of this type.
fn stream_of(content_type: &'static str) -> Kit {
    Kit::new()
        .request_field(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))
        .response_field(CONTENT_TYPE, HeaderValue::from_static(content_type))
}
