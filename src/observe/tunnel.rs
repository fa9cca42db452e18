//! Exchanges that go on when their connection is no longer HTTP.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use http::{Extensions, Method, Request, header::UPGRADE};

use super::{Observer, guard::Guard};

/// Keeps the exchange of an upgraded connection open until its last clone is dropped.
///
/// A layer cannot see the bytes that pass after an upgrade, so it cannot know when the tunnel
/// closes. A request that may upgrade (CONNECT, or one with an `Upgrade` field) therefore carries
/// a `Tunnel` in its extensions; other requests do not. A service that moves it into the task that
/// serves the tunnel keeps the exchange open, in-flight gauge and duration included, until that
/// task is done. Without it the exchange ends at the response head.
///
/// In axum it is an extension, of which only requests that may upgrade have one:
///
/// ```
/// use axum::{Extension, Router, routing::any};
/// use tower_passthrough::observe::{ObserveLayer, Tunnel};
/// # use tower_passthrough::{RequestHead, observe::{MakeObserver, Moment, Observer, Outcome}};
/// # #[derive(Clone)]
/// # struct Quiet;
/// # impl MakeObserver for Quiet {
/// #     type Observer = Self;
/// #     fn observe(&self, _: &RequestHead<'_>, _: &Moment) -> Option<Self> { Some(Self) }
/// # }
/// # impl Observer for Quiet { fn on_end(self, _: Outcome, _: &Moment) {} }
///
/// async fn socket(tunnel: Option<Extension<Tunnel>>) -> &'static str {
///     // ... `WebSocketUpgrade::on_upgrade(move |socket| async move { let _open = tunnel; ... })`
///     if tunnel.is_some() { "may upgrade" } else { "never upgrades" }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router = Router::new().route("/ws", any(socket)).layer(ObserveLayer::new(Quiet));
/// # use tower::ServiceExt;
/// # for (field, answer) in [("upgrade", "may upgrade"), ("x-other", "never upgrades")] {
/// #     let request = http::Request::get("/ws").header(field, "websocket");
/// #     let response = app.clone().oneshot(request.body(axum::body::Body::empty())?).await?;
/// #     assert_eq!(axum::body::to_bytes(response.into_body(), 99).await?, answer);
/// # }
/// # Ok(())
/// # }
/// ```
///
/// Around a client, it is the client that gets the request with the tunnel, and drops it: an
/// upgraded exchange ends at the head.
///
/// If the response is not an upgrade after all, the tunnel means nothing: the exchange ends as
/// any other. If several layers watch the exchange, one `Tunnel` keeps all of them open.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Empty;
/// use tower_passthrough::observe::Tunnel;
///
/// type Body = Empty<bytes::Bytes>;
///
/// async fn serve(mut request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
///     let tunnel = request.extensions_mut().remove::<Tunnel>();
///     tokio::spawn(async move {
///         let _open = tunnel; // the exchange ends when this task does
///         // ... `hyper::upgrade::on(request)`, then serve the upgraded connection
///     });
///     let mut response = Response::new(Body::new());
///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     Ok(response)
/// }
/// ```
#[derive(Clone)]
pub struct Tunnel(Arc<Passage>);

struct Passage {
    /// The guard of the upgraded exchange; dropping it ends the exchange.
    exchange: Mutex<Option<Box<dyn Send>>>,
    /// The tunnel of the layer outside this one, held for the handler that only sees ours.
    _outer: Option<Tunnel>,
}

/// The mechanism's end of a [`Tunnel`]: does not keep it open.
#[derive(Debug)]
pub(super) struct Entrance(Weak<Passage>);

/// Puts a tunnel into the extensions of a request that may upgrade.
#[inline]
pub(super) fn offer<B>(request: &mut Request<B>) -> Option<Entrance> {
    // The field, not `Connection: upgrade`: servers go by it too, and on HTTP/2 neither exists.
    if request.method() == Method::CONNECT || request.headers().contains_key(&UPGRADE) {
        Some(dig(request.extensions_mut()))
    } else {
        None
    }
}

// Out of line and not generic: few requests may upgrade.
#[cold]
fn dig(extensions: &mut Extensions) -> Entrance {
    let passage = Arc::new(Passage {
        exchange: Mutex::new(None),
        _outer: extensions.remove(),
    });
    let entrance = Entrance(Arc::downgrade(&passage));
    extensions.insert(Tunnel(passage));
    entrance
}

/// Hands the exchange over to whoever holds the tunnel. If nobody does, it ends here.
pub(super) fn enter<O: Observer>(entrance: Option<Entrance>, exchange: Guard<O>) {
    if let Some(passage) = entrance.and_then(|entrance| entrance.0.upgrade()) {
        let mut held = passage
            .exchange
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Some(Box::new(exchange));
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("holders", &Arc::strong_count(&self.0))
            .finish_non_exhaustive()
    }
}
