//! Upgrades that were asked for, and refused.

use std::{
    convert::Infallible,
    future::{pending, ready},
    pin::pin,
};

use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use tower::Service;
use tower_passthrough::observe::{
    Outcome::{Cancelled, Complete, Disconnected, ServiceError},
    Tunnel,
};

use super::{REFUSALS, response, take_tunnel, websocket};
use crate::{
    Incoming,
    common::{Broken, End, Script, Size, Step::Data, Told, Watch},
    frames, poll, watched,
};

#[test]
fn refused_upgrade_ends_as_any_other_exchange() {
    for (request, status) in REFUSALS {
        for polls in 0..=3 {
            let context = format!("{status}, {polls} polls");
            let watch = Watch::default();
            let script = Script::new([Data(3), Data(2)], Size::Unknown, End::Hidden);
            let (response, tunnel) = take_tunnel(&watch, request(), response(status, script));
            assert!(tunnel.is_some(), "{context}");
            let mut body = response.into_body();
            frames(&mut body, polls);
            let at_none = if polls == 3 { vec![Complete] } else { vec![] };
            assert_eq!(watch.outcomes(), at_none, "{context}");

            drop(body);
            let outcome = if polls == 3 || status.is_informational() {
                Complete
            } else {
                Disconnected
            };
            assert_eq!(watch.outcomes(), [outcome], "{context}");
            drop(tunnel);
            assert_eq!(watch.outcomes(), [outcome], "{context}");
        }
    }
}

#[test]
fn refused_upgrade_whose_tunnel_is_dropped_first_goes_on() {
    for (request, status) in REFUSALS {
        let watch = Watch::default();
        let script = Script::new([Data(3)], Size::Unknown, End::Hidden);
        let (response, tunnel) = take_tunnel(&watch, request(), response(status, script));
        drop(tunnel);
        let mut body = response.into_body();
        frames(&mut body, 2);
        assert_eq!(
            watch.told(),
            [Told::Response(status), Told::Data(3), Told::End(Complete)],
            "{status}"
        );
    }
}

#[test]
fn upgrade_that_never_gets_a_head_ends_without_its_tunnel() {
    let watch = Watch::default();
    let mut tunnel = None;
    let mut service = watched(&watch, |mut request: Incoming| {
        tunnel = request.extensions_mut().remove::<Tunnel>();
        ready(Err::<Response<Empty<Bytes>>, _>(Broken))
    });
    assert!(poll(pin!(service.call(websocket()))).is_ready());
    drop(service);
    assert_eq!(watch.told(), [Told::End(ServiceError)]);
    drop(tunnel.expect("a request that may upgrade"));
    assert_eq!(watch.told(), [Told::End(ServiceError)]);

    let watch = Watch::default();
    let mut tunnel = None;
    let mut service = watched(&watch, |mut request: Incoming| {
        tunnel = request.extensions_mut().remove::<Tunnel>();
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    let mut future = Box::pin(service.call(websocket()));
    assert!(poll(future.as_mut()).is_pending());
    drop(future);
    drop(service);
    assert_eq!(watch.told(), [Told::End(Cancelled)]);
    drop(tunnel.expect("a request that may upgrade"));
    assert_eq!(watch.told(), [Told::End(Cancelled)]);
}
