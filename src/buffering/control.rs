//! The switch: which route has which policy, while the service runs.

use std::{fmt, sync::Arc};

use super::{
    Policy,
    published::Published,
    routes::{Route, Routes},
};
use crate::BuildError;

/// Says which policy is for which path, and can be told otherwise at any time.
///
/// Clones are handles of the same: one is given to a [`BufferingLayer`](super::BufferingLayer),
/// another to whoever is to change it, such as an administrator's page.
///
/// ```
/// use tower_passthrough::buffering::{Buffering, BufferingControl, Policy};
///
/// let control = BufferingControl::new(Buffering::Auto);
/// control.set("/v1/*", Buffering::Off)?;
/// control.set("/v1/files/*", Buffering::On)?;
/// control.set("/v1/files/tail", Policy::new(Buffering::Off).overriding())?;
///
/// assert_eq!(control.policy_for("/v1/chat").buffering(), Buffering::Off);
/// assert_eq!(control.policy_for("/v1/files/7").buffering(), Buffering::On);
/// assert_eq!(control.policy_for("/v1/files/tail").buffering(), Buffering::Off);
/// assert_eq!(control.policy_for("/v2/chat").buffering(), Buffering::Auto);
/// # Ok::<(), tower_passthrough::BuildError>(())
/// ```
///
/// # Routes
///
/// - `/exact/path` is this path and no other.
/// - `/prefix/*` is every path that begins with `/prefix/`; `/prefix` does not. `/*` is every path.
///
/// An exact route wins, then the longest prefix, then the default.
///
/// Paths are compared byte by byte, as the client wrote them: `/a%2Fb`, `/a%2fb` and `/a/b` are
/// three paths, and so are `/a` and `/a/`. The query is not looked at. What has no path (`OPTIONS *`
/// and CONNECT) has the default.
///
/// # What it costs
///
/// Whoever looks a policy up never waits for whoever changes one. It takes a hash of the path, and
/// a binary search among the prefixes; beyond that only as many steps as prefixes are nested.
///
/// A change copies all routes, about 10 ns each, and may wait for a look-up that began before the
/// change before it: that is, for a thread which was suspended in the middle of one. No lock is
/// held while a response streams, nor across an `await`.
#[derive(Clone)]
pub struct BufferingControl {
    routes: Arc<Published<Routes>>,
}

impl BufferingControl {
    /// Without routes: every path has the default.
    #[must_use]
    pub fn new(default: impl Into<Policy>) -> Self {
        Self {
            routes: Arc::new(Published::new(Routes::new(default.into()))),
        }
    }

    /// Changes the policy of all paths that no route is for.
    pub fn set_default(&self, policy: impl Into<Policy>) {
        let policy = policy.into();
        self.routes.change(|routes| routes.default = policy);
    }

    /// The policy of all paths that no route is for.
    #[must_use]
    pub fn default_policy(&self) -> Policy {
        self.routes.read(|routes| routes.default)
    }

    /// Gives a [route](Self#routes) this policy. Returns the one that it had.
    ///
    /// Every response whose head comes after this has returned goes by it.
    ///
    /// # Errors
    ///
    /// The route is neither a path nor a path and `/*`. Nothing is changed.
    pub fn set(
        &self,
        route: &str,
        policy: impl Into<Policy>,
    ) -> Result<Option<Policy>, BuildError> {
        let (route, policy) = (Route::parse(route)?, policy.into());
        Ok(self.routes.change(|routes| routes.set(&route, policy)))
    }

    /// Removes a route. Returns the policy that it had; `None` if there is no such route.
    #[allow(
        clippy::must_use_candidate,
        reason = "like a map's: what it was seldom matters"
    )]
    pub fn remove(&self, route: &str) -> Option<Policy> {
        let route = Route::parse(route).ok()?;
        self.routes.change(|routes| routes.remove(&route))
    }

    /// All routes as they are at this moment, in the order of their texts.
    #[must_use]
    pub fn routes(&self) -> Vec<(String, Policy)> {
        self.routes.read(Routes::list)
    }

    /// The policy of a path.
    #[must_use]
    pub fn policy_for(&self, path: &str) -> Policy {
        self.routes.read(|routes| routes.policy_for(path))
    }
}

impl fmt::Debug for BufferingControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (default, routes) = self.routes.read(|it| (it.default, it.list()));
        f.debug_struct("BufferingControl")
            .field("default", &default)
            .field("routes", &routes)
            .finish()
    }
}
