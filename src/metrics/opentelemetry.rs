//! What is recorded in the style of OpenTelemetry.

use std::sync::OnceLock;

use http::StatusCode;
use metrics::{Gauge, Histogram, Label};

use super::{
    labels::GrpcCode,
    names::semconv::{
        ACTIVE_REQUESTS, REQUEST_BODY_SIZE, REQUEST_DURATION, RESPONSE_BODY_SIZE, RPC_DURATION,
    },
    set::{ByStatus, End, Registry, as_f64},
};
use crate::observe::Outcome;

/// The handles of one label set.
#[derive(Debug, Default)]
pub(super) struct OpenTelemetry {
    active: OnceLock<Gauge>,
    statuses: ByStatus<[Ended; Outcome::COUNT]>,
    calls: [OnceLock<Histogram>; GrpcCode::COUNT],
}

#[derive(Debug, Default)]
struct Ended {
    duration: OnceLock<Histogram>,
    request_size: OnceLock<Histogram>,
    response_size: OnceLock<Histogram>,
}

impl OpenTelemetry {
    pub(super) fn in_flight(&self, registry: &Registry) -> &Gauge {
        // The conventions give this one fewer attributes.
        let is_wanted =
            |label: &Label| !matches!(label.key(), "http.route" | "network.protocol.version");
        self.active
            .get_or_init(|| registry.gauge(ACTIVE_REQUESTS, is_wanted))
    }

    pub(super) fn on_end(&self, registry: &Registry, end: &End) {
        let series = &self.statuses.of(end.status)[end.outcome as usize];
        let record = |series: &OnceLock<Histogram>, name, value| {
            series
                .get_or_init(|| registry.histogram(name, of_response(end)))
                .record(value);
        };
        record(&series.duration, REQUEST_DURATION, end.seconds);
        if let Some(bytes) = end.request_bytes {
            record(&series.request_size, REQUEST_BODY_SIZE, as_f64(bytes));
        }
        if end.status.is_some() {
            record(
                &series.response_size,
                RESPONSE_BODY_SIZE,
                as_f64(end.response_bytes),
            );
        }
    }

    pub(super) fn on_call(&self, registry: &Registry, code: GrpcCode, seconds: f64) {
        self.calls[code.index()]
            .get_or_init(|| {
                let name = code.upper_case();
                let system = Label::from_static_parts("rpc.system.name", "grpc");
                let status = Label::from_static_parts("rpc.response.status_code", name);
                let error = Label::from_static_parts("error.type", name);
                let labels = [system, status]
                    .into_iter()
                    .chain(code.is_server_error().then_some(error));
                registry.histogram(RPC_DURATION, labels)
            })
            .record(seconds);
    }
}

/// The attributes that an exchange has by how it ended.
fn of_response(end: &End) -> impl Iterator<Item = Label> + use<> {
    let is_whole = matches!(end.outcome, Outcome::Complete | Outcome::Upgraded);
    let error = if is_whole {
        let failed = end.status.filter(StatusCode::is_server_error);
        failed.map(|status| status.as_str().to_owned().into())
    } else {
        Some(end.outcome.as_str().into())
    };
    let status = end
        .status
        .map(|status| Label::new("http.response.status_code", status.as_str().to_owned()));
    let error = error.map(|error: metrics::SharedString| Label::new("error.type", error));
    status.into_iter().chain(error)
}
