//! Around what the kit can be put.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request as AxumRequest,
    middleware::{Next, from_fn},
};
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower::{
    BoxError, Service, ServiceBuilder, limit::ConcurrencyLimitLayer, service_fn,
    timeout::TimeoutLayer, util::BoxCloneSyncService,
};
use tower_passthrough::conformance::{
    self, Capability, Report, ScriptedBody, ScriptedService, Verdict,
};

use crate::saboteurs::names;

#[test]
fn a_service_that_cannot_fail_is_not_asked_to() {
    let report = conformance::check_with(ScriptedService::infallible);
    report.assert();
    assert_eq!(
        names(&report, Verdict::NotApplicable),
        ["ready.error", "service.error", "service.error_source"]
    );
    assert!(
        report
            .to_string()
            .contains("the service was made infallible"),
        "{report}"
    );
}

#[test]
fn an_axum_router_and_its_middleware_can_be_checked() {
    async fn pass_on(request: AxumRequest, next: Next) -> axum::response::Response {
        next.run(request).await
    }
    let report = conformance::check_with(|service: ScriptedService| {
        Router::<()>::new()
            .fallback_service(service.infallible())
            .layer(from_fn(pass_on))
    });
    assert_eq!(
        names(&report, Verdict::Failed),
        ["ready.pending"],
        "{report}"
    );
    assert_eq!(names(&report, Verdict::Unseen), ["ready.waker"]);
    report.except(Capability::Readiness).assert();
}

#[test]
fn boxed_bodies_and_services_can_be_checked() {
    type BoxBody = UnsyncBoxBody<bytes::Bytes, BoxError>;
    type Boxed = BoxCloneSyncService<Request<ScriptedBody>, Response<BoxBody>, BoxError>;
    let boxed = |body: ScriptedBody| BoxBody::new(body.map_err(Into::into));
    conformance::check_with(move |service: ScriptedService| -> Boxed {
        let service = ServiceBuilder::new()
            .map_err(BoxError::from)
            .map_request(move |request: Request<ScriptedBody>| request.map(boxed))
            .map_response(move |response: Response<ScriptedBody>| response.map(boxed))
            .service(service);
        BoxCloneSyncService::new(service)
    })
    .assert();
}

#[test]
fn a_service_may_borrow() {
    let count = std::cell::Cell::new(0);
    conformance::check_with(|service: ScriptedService| {
        let counted = |response: Response<ScriptedBody>| {
            count.set(count.get() + 1);
            response
        };
        ServiceBuilder::new().map_response(counted).service(service)
    })
    .assert();
    assert!(count.get() > 70, "{}", count.get());
}

#[tokio::test]
async fn layers_with_timers_and_limits_can_be_checked_in_an_async_test() {
    conformance::check(TimeoutLayer::new(Duration::from_secs(60))).assert();
    let limits = (ConcurrencyLimitLayer::new(2), ConcurrencyLimitLayer::new(2));
    conformance::check(limits).assert();
}

type Lock = Arc<tokio::sync::Mutex<()>>;

async fn locking<F: Future>(lock: Lock, response: F) -> F::Output {
    for _ in 0..3 {
        drop(lock.lock().await);
    }
    response.await
}

fn check_locking() -> Report {
    conformance::check_with(|mut service: ScriptedService| {
        let lock = Lock::default();
        service_fn(move |request: Request<ScriptedBody>| {
            locking(lock.clone(), service.call(request))
        })
    })
    .except(Capability::Readiness) // a function is always ready
}

#[tokio::test]
async fn locks_of_tokio_want_an_async_test_without_a_budget() {
    assert!(
        !check_locking().passes(),
        "the budget does not matter any more: say so in the docs"
    );
    tokio::task::unconstrained(async { check_locking().assert() }).await;
}
