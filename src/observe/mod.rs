//! The mechanism.

mod body;
mod future;
mod guard;
mod layer;
mod moment;
mod observer;
mod outcome;
mod service;
mod tunnel;

pub use self::{
    body::ResponseBody,
    future::ResponseFuture,
    layer::ObserveLayer,
    moment::Moment,
    observer::{MakeObserver, Observer},
    outcome::Outcome,
    service::Observe,
    tunnel::Tunnel,
};
