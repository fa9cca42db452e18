//! The layer of an observer.

use tower_layer::Layer;

use super::Observe;

/// Watches every exchange of a service with an observer from `M`, a
/// [`MakeObserver`](super::MakeObserver).
///
/// See the [module docs](super#an-observer-of-your-own) for a complete example.
#[derive(Debug, Clone, Copy, Default)]
pub struct ObserveLayer<M> {
    make: M,
}

impl<M> ObserveLayer<M> {
    /// A layer whose services watch with observers from `make`.
    pub const fn new(make: M) -> Self {
        Self { make }
    }
}

impl<S, M: Clone> Layer<S> for ObserveLayer<M> {
    type Service = Observe<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe::new(inner, self.make.clone())
    }
}
