//! What can be wrong with settings.

use http::uri::Authority;

use super::{
    labels,
    settings::{Path, Settings, Style},
    table::OVERFLOW_SETS,
};
use crate::BuildError;

fn refused<T>(why: std::fmt::Arguments<'_>) -> Result<T, BuildError> {
    Err(BuildError::new(format_args!("metrics: {why}")))
}

/// What has a meaning of its own in a label set.
const TAKEN: [&str; 21] = [
    "service",
    "host",
    "method",
    "path",
    "status",
    "outcome",
    "kind",
    "grpc_service",
    "grpc_method",
    "grpc_code",
    "le",
    "quantile",
    "service.name",
    "server.address",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "url.scheme",
    "network.protocol.version",
    "error.type",
    "rpc.method",
];

impl Settings {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        self.check_hosts()?;
        self.check_labels()?;
        self.check_style()?;
        self.check_only_requests()?;
        self.check_numbers()
    }

    fn check_hosts(&self) -> Result<(), BuildError> {
        let count = self.hosts.iter().flatten().count();
        if count >= usize::from(u16::MAX) {
            return refused(format_args!(
                "{count} hosts are more than can be told apart"
            ));
        }
        for host in self.hosts.iter().flatten() {
            if !host
                .parse::<Authority>()
                .is_ok_and(|authority| authority.host() == &**host)
            {
                return refused(format_args!(
                    "`{host}` is not a host: write a name or an address, without a port, an IPv6 \
                     address in brackets"
                ));
            }
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), BuildError> {
        let of_request = self.request_labels.iter().map(|(name, _)| &**name);
        let of_response = self.response_labels.iter().map(|(name, _)| &**name);
        let may_have_dots = self.style == Style::OpenTelemetry;
        // What an exporter for Prometheus makes of a name: it takes no scrape with a label twice.
        let plain = |name: &str| {
            if may_have_dots {
                name.replace('.', "_")
            } else {
                name.to_owned()
            }
        };
        let mut seen = Vec::new();
        for name in of_request.chain(of_response) {
            if !is_name(name, if may_have_dots { "_." } else { "_" }) || name.starts_with("__") {
                return refused(format_args!(
                    "`{name}` is not the name of a label: write letters, digits and `_`{}, not a \
                     digit first, nor two `_`",
                    if may_have_dots { " and `.`" } else { "" }
                ));
            }
            if TAKEN.iter().any(|taken| plain(taken) == plain(name)) {
                return refused(format_args!("the label `{name}` has a meaning already"));
            }
            if seen.contains(&plain(name)) {
                return refused(format_args!("two labels are called `{name}`"));
            }
            seen.push(plain(name));
        }
        Ok(())
    }

    fn check_style(&self) -> Result<(), BuildError> {
        let style = match self.style {
            Style::Prometheus => "the Prometheus style",
            Style::OpenTelemetry => "the OpenTelemetry style",
            Style::OnlyRequests => "`only_requests_total`",
        };
        let is_prometheus = self.style == Style::Prometheus;
        let has_status = self.style != Style::OpenTelemetry;
        let has_labels = self.style != Style::OnlyRequests;
        for (is_set, is_known, setting) in [
            (self.scheme.is_some(), !has_status, "scheme"),
            (self.live_bytes, is_prometheus, "live_bytes"),
            (self.frame_gaps, is_prometheus, "frame_gaps"),
            (self.sse_events, is_prometheus, "sse_events"),
            (!self.prefix.is_empty(), has_status, "prefix"),
            (self.cancelled.is_some(), has_status, "status_if_cancelled"),
            (self.failed.is_some(), has_status, "status_if_failed"),
            (matches!(self.path, Path::Raw), has_status, "raw_paths"),
            (!self.request_labels.is_empty(), has_labels, "request_label"),
            (
                !self.response_labels.is_empty(),
                has_labels,
                "response_label",
            ),
        ] {
            if is_set && !is_known {
                return refused(format_args!(
                    "`{setting}` is set, but {style} does not have it"
                ));
            }
        }
        Ok(())
    }

    fn check_only_requests(&self) -> Result<(), BuildError> {
        if self.style != Style::OnlyRequests {
            return Ok(());
        }
        for (is_set, setting) in [
            (self.service.is_some(), "service"),
            (self.hosts.is_some(), "hosts"),
            (!matches!(self.path, Path::Matched), "path"),
        ] {
            if !is_set {
                return refused(format_args!(
                    "`only_requests_total` has the labels service, host, path and status, but \
                     `{setting}` is not set"
                ));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), BuildError> {
        if !self.prefix.is_empty() && !is_name(&self.prefix, "_:") {
            return refused(format_args!(
                "`{}` cannot begin the name of a metric: write letters, digits, `_` and `:`, not \
                 a digit first",
                self.prefix
            ));
        }
        if self.scheme == Some(labels::scheme("")) {
            return refused(format_args!("the scheme is neither `http` nor `https`"));
        }
        if self.max_label_sets <= OVERFLOW_SETS {
            return refused(format_args!(
                "there is room for {} label sets, but {OVERFLOW_SETS} are kept for what has none: \
                 at least {} are needed",
                self.max_label_sets,
                OVERFLOW_SETS + 1
            ));
        }
        if self.handle_ttl.is_zero() {
            return refused(format_args!(
                "handles would be out of date at once: the TTL is zero"
            ));
        }
        Ok(())
    }
}

/// Letters, digits and what else is allowed, a digit not first.
fn is_name(name: &str, more: &str) -> bool {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || more.contains(it);
    name.starts_with(|it: char| is_allowed(it) && !it.is_ascii_digit())
        && name.chars().all(is_allowed)
}
