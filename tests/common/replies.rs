//! What a service on a real connection answers with.
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::{common::Broken, net::BoxError};

pub(crate) type Reply = Result<Response<UnsyncBoxBody<Bytes, Broken>>, BoxError>;

pub(crate) fn reply(
    head: http::response::Builder,
    body: impl Body<Data = Bytes, Error = Broken> + Send + 'static,
) -> Reply {
    Ok(head.body(body.boxed_unsync())?)
}

pub(crate) fn ok(body: impl Body<Data = Bytes, Error = Broken> + Send + 'static) -> Reply {
    reply(Response::builder(), body)
}

pub(crate) fn full(length: usize) -> impl Body<Data = Bytes, Error = Broken> + Send {
    Full::from(vec![b'x'; length]).map_err(|never| match never {})
}
