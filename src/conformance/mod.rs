//! Is this `Layer` streaming-safe?
//!
//! TODO

mod checks;
mod log;
mod report;
mod script;
mod service;
mod stage;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use self::{
    checks::{Check, Sight},
    log::BoxError,
    script::{Answer, Script},
    stage::{Bench, Stop, Subject, Worn, caught},
};
pub use self::{
    report::{Capability, Finding, Report, Verdict},
    service::{
        InfallibleFuture, InfallibleService, ScriptedBody, ScriptedError, ScriptedFuture,
        ScriptedService,
    },
};

/// Checks a layer: [`Kit::check`] of the plain kit.
pub fn check<L, B>(layer: L) -> Report
where
    L: Layer<ScriptedService>,
    L::Service: Service<Request<ScriptedBody>, Response = Response<B>>,
    <L::Service as Service<Request<ScriptedBody>>>::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    Kit::new().check(layer)
}

/// Checks whatever this makes of a service: [`Kit::check_with`] of the plain kit.
pub fn check_with<S, B>(wrap: impl Fn(ScriptedService) -> S) -> Report
where
    S: Service<Request<ScriptedBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    Kit::new().check_with(wrap)
}

/// The checks, with fields of your own in the heads: for layers that look at them.
#[derive(Debug, Clone, Default)]
pub struct Kit {
    request: HeaderMap,
    response: HeaderMap,
}

impl Kit {
    /// The plain kit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets this field in each request that is made.
    #[must_use]
    pub fn request_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request.append(name, value);
        self
    }

    /// Sets this field in each response of the service.
    #[must_use]
    pub fn response_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.response.append(name, value);
        self
    }

    /// Checks a layer.
    pub fn check<L, B>(&self, layer: L) -> Report
    where
        L: Layer<ScriptedService>,
        L::Service: Service<Request<ScriptedBody>, Response = Response<B>>,
        <L::Service as Service<Request<ScriptedBody>>>::Error: Into<BoxError>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        self.check_with(|service| layer.layer(service))
    }

    /// Checks whatever this makes of a service.
    pub fn check_with<S, B>(&self, wrap: impl Fn(ScriptedService) -> S) -> Report
    where
        S: Service<Request<ScriptedBody>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        B: Body,
        B::Error: Into<BoxError>,
    {
        let wrap = |service| -> Box<dyn Subject<'_> + '_> { Box::new(Worn(wrap(service))) };
        let bench = Bench {
            wrap: &wrap,
            kit: self,
        };
        Report::new(checks::all().map(|check| check.run(&bench)).collect())
    }

    /// Puts the kit's fields into a script.
    fn dress(&self, script: &mut Script) {
        script.request_fields.extend(self.request.clone());
        if let Answer::Response { fields, .. } = &mut script.answer {
            fields.extend(self.response.clone());
        }
    }
}

impl Check {
    fn run(&self, bench: &Bench<'_>) -> Finding {
        // Each step that may panic is watched by itself; what is left is the drop of a service.
        let looked = caught(|| (self.look)(bench))
            .unwrap_or_else(|panic| Err(Stop::Unseen(format!("the layer panicked: {panic}"))));
        let (verdict, expected, observed) = match looked {
            Ok(Sight { expected, observed }) if expected == observed => {
                (Verdict::Passed, expected, observed)
            }
            Ok(Sight { expected, observed }) => (Verdict::Failed, expected, observed),
            Err(Stop::Unseen(why)) => (Verdict::Unseen, String::new(), why),
            Err(Stop::NotApplicable(why)) => {
                (Verdict::NotApplicable, String::new(), why.to_owned())
            }
        };
        Finding {
            check: self.name,
            capability: self.capability,
            verdict,
            expected,
            observed,
            consequence: self.consequence,
        }
    }
}
