//! Every way in which an exchange can end, driven by hand.

mod common;

use std::convert::Infallible;

use bytes::Bytes;
use common::{End, Script, Size, Step, Watch};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_passthrough::observe::{ObserveLayer, Outcome};

#[tokio::test]
async fn a_body_polled_to_its_end_is_complete() {
    let watch = Watch::default();
    let service = ServiceBuilder::new()
        .layer(ObserveLayer::new(watch.clone()))
        .service(service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Script::new(
                [Step::Data(3)],
                Size::Unknown,
                End::Hidden,
            )))
        }));
    let response = service.oneshot(Request::new(Empty::new())).await.unwrap();
    assert_eq!(watch.outcomes(), []);
    response.into_body().collect().await.unwrap();
    assert_eq!(watch.outcomes(), [Outcome::Complete]);
}
