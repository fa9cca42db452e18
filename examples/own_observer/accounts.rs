//! The observer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::http::{HeaderMap, HeaderName};
use bytes::Buf;
use tower_passthrough::{
    RequestHead, ResponseHead,
    observe::{MakeObserver, Moment, Observer, Outcome},
};

pub(crate) const TENANT: HeaderName = HeaderName::from_static("x-tenant");
pub(crate) const TOKENS: HeaderName = HeaderName::from_static("x-tokens");

/// The accounts of all tenants that there are: not of all names that clients can think of.
#[derive(Clone)]
pub(crate) struct Accounts(BTreeMap<&'static str, Arc<Account>>);

#[derive(Default)]
struct Account {
    complete: AtomicU64,
    broken: AtomicU64,
    bytes: AtomicU64,
    tokens: AtomicU64,
}

/// Watches one exchange.
pub(crate) struct Meter {
    account: Arc<Account>,
    accepted: bool,
    bytes: u64,
    tokens: u64,
}

impl MakeObserver for Accounts {
    type Observer = Meter;

    fn observe(&self, request: &RequestHead<'_>, _: &Moment) -> Option<Meter> {
        // With `None` the exchange is not watched.
        let tenant = request.headers.get(TENANT)?.to_str().ok()?;
        let account = self.0.get(tenant)?;
        Some(Meter {
            account: Arc::clone(account),
            accepted: false,
            bytes: 0,
            tokens: 0,
        })
    }
}

impl Observer for Meter {
    fn on_response(&mut self, head: &ResponseHead<'_>, _: &Moment) {
        self.accepted = head.status.is_success();
    }

    fn on_data<D: Buf>(&mut self, data: &D, _: &Moment) {
        self.bytes += data.remaining() as u64;
    }

    fn on_trailers(&mut self, trailers: &HeaderMap, _: &Moment) {
        let tokens = trailers.get(TOKENS).and_then(|it| it.to_str().ok());
        self.tokens = tokens.and_then(|it| it.parse().ok()).unwrap_or(0);
    }

    /// Takes `self`: nothing can come after it. It must not block, nor can it fail.
    fn on_end(self, outcome: Outcome, _: &Moment) {
        if !self.accepted {
            return;
        }
        let account = self.account;
        match outcome {
            Outcome::Complete => account.complete.fetch_add(1, Relaxed),
            _ => account.broken.fetch_add(1, Relaxed),
        };
        account.bytes.fetch_add(self.bytes, Relaxed);
        account.tokens.fetch_add(self.tokens, Relaxed);
    }
}

impl Accounts {
    pub(crate) fn of<const N: usize>(tenants: [&'static str; N]) -> Self {
        Self(tenants.map(|it| (it, Arc::default())).into())
    }
}

impl fmt::Display for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tenant, account) in &self.0 {
            writeln!(
                f,
                "{tenant}: {} complete, {} broken, {} bytes, {} tokens",
                account.complete.load(Relaxed),
                account.broken.load(Relaxed),
                account.bytes.load(Relaxed),
                account.tokens.load(Relaxed),
            )?;
        }
        Ok(())
    }
}
