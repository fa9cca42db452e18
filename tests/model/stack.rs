//! The stack of a case, and those who use its layers: each writes down all that it is told, and
//! may panic at that.

use std::sync::Arc;

use bytes::Buf;
use http::{HeaderMap, HeaderValue};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tower::Layer as _;
use tower_passthrough::{
    RequestHead, ResponseHead,
    capture::{self, CaptureLayer},
    headers::{HeadersLayer, RequestRule, ResponseRule},
    metrics::{
        MetricsLayer, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RESPONSE_BODY_BYTES,
        RESPONSES_ENDED_TOTAL,
    },
    observe::{MakeObserver, Moment, ObserveLayer, Observer, Outcome},
};

use crate::{
    case::{Case, Hook, Kind, Part},
    stage::{AnyService, Bare, Event, Metric, Panic, Stage, Summary, Told, Who},
};

/// The field that the [`HeadersLayer`] of this number sets.
pub(crate) fn field(layer: usize) -> &'static str {
    ["x-layer-0", "x-layer-1", "x-layer-2"][layer]
}

pub(crate) fn stack(case: &Arc<Case>, stage: &Arc<Stage>) -> AnyService {
    let mut service = AnyService::new(Bare::new(case, stage));
    for (number, layer) in case.layers.iter().enumerate().rev() {
        let users = layer.parts().into_iter().enumerate();
        let mut users = users.map(|(part, plan)| User {
            who: Who {
                layer: number,
                part,
            },
            plan,
            stage: Arc::clone(stage),
            frames: 0,
        });
        service = match (layer.kind, users.next(), users.next()) {
            (Kind::Observe, Some(user), _) => {
                AnyService::new(ObserveLayer::new(user).layer(service))
            }
            (Kind::Pair, Some(first), Some(second)) => {
                AnyService::new(ObserveLayer::new((first, second)).layer(service))
            }
            (Kind::Capture, Some(user), _) => AnyService::new(capture(user).layer(service)),
            (Kind::Headers, Some(user), _) => AnyService::new(headers(&user).layer(service)),
            _ => AnyService::new(metrics(number).layer(service)),
        };
    }
    service
}

#[derive(Debug, Clone)]
struct User {
    who: Who,
    plan: Part,
    stage: Arc<Stage>,
    frames: usize,
}

impl User {
    fn blow(&self, hook: Hook) {
        if self.plan.bomb == Some(hook) {
            Panic::User(self.who, hook).blow();
        }
    }

    fn told(&self, told: Told, at: &Moment) {
        self.stage.told_at(self.who, told, at.instant());
    }
}

impl MakeObserver for User {
    type Observer = Self;

    fn observe(&self, request: &RequestHead<'_>, at: &Moment) -> Option<Self> {
        self.told(Told::Request(request.method.clone()), at);
        self.blow(Hook::Observe);
        self.plan.watches.then(|| self.clone())
    }
}

impl Observer for User {
    fn on_response(&mut self, head: &ResponseHead<'_>, at: &Moment) {
        let told = Told::Response {
            status: head.status,
            fields: head.headers.len(),
            lower: head.body_size.lower(),
            upper: head.body_size.upper(),
            tunnel: head.tunnel,
        };
        self.told(told, at);
        self.blow(Hook::Response);
    }

    fn on_data<D: Buf>(&mut self, data: &D, at: &Moment) {
        let told = Told::Data {
            len: data.remaining(),
            in_place: self.stage.is_in_place(data.chunk()),
        };
        self.told(told, at);
        self.frames += 1;
        self.blow(Hook::Data(self.frames));
    }

    fn on_trailers(&mut self, trailers: &HeaderMap, at: &Moment) {
        self.told(Told::Trailers(trailers.clone()), at);
        self.blow(Hook::Trailers);
    }

    fn on_end(self, outcome: Outcome, at: &Moment) {
        self.told(Told::End(outcome), at);
        self.blow(Hook::End);
    }
}

fn capture(
    user: User,
) -> CaptureLayer<impl Fn(&capture::Summary) + Clone + Send, impl Fn(&RequestHead<'_>) + Clone> {
    let asked = user.clone();
    let context = move |request: &RequestHead<'_>| {
        let told = Told::Request(request.method.clone());
        asked.stage.write(Event::Told(asked.who, told));
        asked.blow(Hook::Observe);
    };
    let callback = move |summary: &capture::Summary| {
        let told = Told::Summary(Summary {
            method: summary.method.clone(),
            status: summary.status,
            outcome: summary.outcome,
            bytes: summary.body_bytes,
            frames: summary.data_frames,
            trailers: summary.trailers,
            has_time_to_head: summary.time_to_head.is_some(),
            has_time_to_first_byte: summary.time_to_first_byte.is_some(),
        });
        user.stage.write(Event::Told(user.who, told));
        user.blow(Hook::End);
    };
    CaptureLayer::with_context(context, callback)
}

fn headers(user: &User) -> HeadersLayer {
    let name = field(user.who.layer);
    let (asked, answered) = (user.clone(), user.clone());
    HeadersLayer::builder()
        .request(RequestRule::insert_with(name, move |_| {
            asked.blow(Hook::Observe);
            Some(HeaderValue::from_static("request"))
        }))
        .response(ResponseRule::insert_with(name, move |_| {
            answered.blow(Hook::Response);
            Some(HeaderValue::from_static("response"))
        }))
        .build()
        .expect("names and values are valid")
}

fn metrics(layer: usize) -> MetricsLayer {
    let builder = MetricsLayer::builder().service(layer.to_string());
    builder.build().expect("there are no hosts")
}

/// Writes down the metrics of each [`MetricsLayer`]: which one it is tells the label `service`.
#[derive(Debug, Clone)]
pub(crate) struct Journal(pub(crate) Arc<Stage>);

struct Series {
    stage: Arc<Stage>,
    key: Key,
}

impl Journal {
    fn series(&self, key: &Key) -> Arc<Series> {
        Arc::new(Series {
            stage: Arc::clone(&self.0),
            key: key.clone(),
        })
    }
}

impl Recorder for Journal {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

impl Series {
    fn label(&self, name: &str) -> String {
        let label = self.key.labels().find(|label| label.key() == name);
        label.expect("the label").value().to_owned()
    }

    fn write(&self, metric: Metric) {
        let layer = self.label("service").parse().expect("a number");
        self.stage.metric(layer, metric);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        assert_eq!(value, 1, "{}", self.key);
        let status = self.label("status");
        match self.key.name() {
            REQUESTS_TOTAL => self.write(Metric::Requests { status }),
            RESPONSES_ENDED_TOTAL => self.write(Metric::Ended {
                status,
                outcome: self.label("outcome"),
            }),
            other => unreachable!("no such counter: {other}"),
        }
    }

    fn absolute(&self, _: u64) {
        unreachable!("counters only count");
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        assert_eq!((self.key.name(), value), (REQUESTS_IN_FLIGHT, 1.0));
        self.write(Metric::InFlight(1));
    }

    fn decrement(&self, value: f64) {
        assert_eq!((self.key.name(), value), (REQUESTS_IN_FLIGHT, 1.0));
        self.write(Metric::InFlight(-1));
    }

    fn set(&self, _: f64) {
        unreachable!("the gauge goes up and down");
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        // Times have tests of their own.
        if self.key.name() == RESPONSE_BODY_BYTES {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small whole number"
            )]
            self.write(Metric::Bytes(value as u64));
        }
    }
}
