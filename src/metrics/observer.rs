use std::time::Instant;

use ::metrics::{Gauge, Label, counter, gauge, histogram};
use bytes::Buf;
use http::StatusCode;

use super::{
    REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES,
    RESPONSE_HEAD_SECONDS, RESPONSES_ENDED_TOTAL, labels::Kind,
};
use crate::{
    ResponseHead,
    observe::{Moment, Observer, Outcome},
};

/// What a request that got no response head counts as: the client left.
const CLIENT_CLOSED_REQUEST: &str = "499";
/// What a request that got no response head counts as: the service failed.
const INTERNAL_SERVER_ERROR: &str = "500";

/// The observer of [`MetricsLayer`](super::MetricsLayer).
#[derive(Debug)]
pub struct MetricsObserver {
    base: Vec<Label>,
    status: Option<StatusCode>,
    body_bytes: u64,
    /// `None` if only requests are counted.
    timing: Option<Timing>,
}

#[derive(Debug)]
struct Timing {
    _in_flight: InFlight,
    start: Instant,
    kind: Kind,
}

impl MetricsObserver {
    pub(super) fn counting(base: Vec<Label>) -> Self {
        Self {
            base,
            status: None,
            body_bytes: 0,
            timing: None,
        }
    }

    pub(super) fn timing(base: Vec<Label>, at: &Moment) -> Self {
        let timing = Timing {
            _in_flight: InFlight::enter(gauge!(REQUESTS_IN_FLIGHT, base.clone())),
            start: at.instant(),
            kind: Kind::Unary,
        };
        Self {
            base,
            status: None,
            body_bytes: 0,
            timing: Some(timing),
        }
    }

    fn final_status_label(&self, outcome: Outcome) -> Label {
        match (self.status, outcome) {
            (Some(status), _) => status_label(status),
            (None, Outcome::Cancelled) => Label::from_static_parts("status", CLIENT_CLOSED_REQUEST),
            (None, _) => Label::from_static_parts("status", INTERNAL_SERVER_ERROR),
        }
    }
}

fn status_label(status: StatusCode) -> Label {
    Label::new("status", status.as_str().to_owned())
}

/// The base labels and more of them.
fn with<const N: usize>(base: &[Label], more: [Label; N]) -> Vec<Label> {
    base.iter().cloned().chain(more).collect()
}

impl Timing {
    fn seconds(&self, at: &Moment) -> f64 {
        at.instant()
            .saturating_duration_since(self.start)
            .as_secs_f64()
    }

    fn labels(&self, base: &[Label]) -> Vec<Label> {
        with(base, [Label::from_static_parts("kind", self.kind.as_str())])
    }
}

impl Observer for MetricsObserver {
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        self.status = Some(head.status);
        let status = status_label(head.status);
        counter!(REQUESTS_TOTAL, with(&self.base, [status])).increment(1);
        if let Some(timing) = &mut self.timing {
            timing.kind = Kind::of(head);
            histogram!(RESPONSE_HEAD_SECONDS, timing.labels(&self.base)).record(timing.seconds(at));
        }
    }

    #[inline]
    fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
        self.body_bytes = self.body_bytes.saturating_add(data.remaining() as u64);
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        let status = self.final_status_label(outcome);
        let had_head = self.status.is_some();
        if !had_head {
            counter!(REQUESTS_TOTAL, with(&self.base, [status.clone()])).increment(1);
        }
        if let Some(timing) = &self.timing {
            let outcome = Label::from_static_parts("outcome", outcome.as_str());
            let by_kind = timing.labels(&self.base);
            counter!(RESPONSES_ENDED_TOTAL, with(&self.base, [status, outcome])).increment(1);
            histogram!(REQUEST_DURATION_SECONDS, by_kind.clone()).record(timing.seconds(at));
            if had_head {
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "the facade's histograms take `f64`"
                )]
                histogram!(RESPONSE_BODY_BYTES, by_kind).record(self.body_bytes as f64);
            }
        }
    }
}

/// Up by one as long as it lives.
#[derive(Debug)]
struct InFlight(Gauge);

impl InFlight {
    fn enter(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
