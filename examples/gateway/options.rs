//! The command line.

use std::{num::NonZeroU32, time::Duration};

use clap::{Parser, error::ErrorKind};
use http::uri::Authority;

use crate::upstream::Upstream;

/// A reverse proxy for streams, wearing the layers of tower-passthrough.
#[derive(Debug, Parser)]
#[command(name = "gateway", next_line_help = true)]
pub(crate) struct Options {
    /// Where clients connect: HTTP/1.1, or HTTP/2 by prior knowledge.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,

    /// Where operators connect: /metrics, /healthz and /buffering.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub(crate) admin: String,

    /// The server to forward to: http or https [default: an embedded LLM-like demo].
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<Upstream>,

    /// Speak HTTP/2 with the upstream, with prior knowledge. Over https it is negotiated.
    #[arg(long)]
    pub(crate) upstream_h2: bool,

    /// Where CONNECT may go. May be given several times; anywhere else is answered 403.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub(crate) allow_connect: Vec<Authority>,

    /// Keep Forwarded, X-Forwarded-* and X-Real-IP of clients. Only behind a proxy that sets them.
    #[arg(long)]
    pub(crate) trust_forwarded: bool,

    /// What this gateway is called in metrics, in Via and in Proxy-Status.
    #[arg(long, value_name = "NAME", default_value = "gateway", value_parser = token)]
    pub(crate) service: String,

    /// Put a comment into an event stream that is quiet for so long.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub(crate) keep_alive: Duration,

    /// How long a shutdown may take: event streams end soon, the rest may finish.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) drain: Duration,

    /// How long connecting to the upstream may take, DNS and TLS included; then 504.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,

    /// How long the upstream may take to answer, or to read on; then 504.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) header_timeout: Duration,

    /// How long a client may take for its first request head, in HTTP/1.1 for each.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) client_timeout: Duration,

    /// How many connections clients may have; more wait to be accepted [default: no limit].
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) max_connections: Option<NonZeroU32>,

    /// Serve without the layers, to measure what they cost.
    #[arg(long, hide = true)]
    pub(crate) bare: bool,

    /// How long the demo's model takes for a token, so that a test has the time to look on.
    #[arg(long, hide = true, value_name = "SECONDS", default_value = "0.05", value_parser = seconds)]
    pub(crate) demo_token: Duration,
}

impl Options {
    /// The options of this process; ends it if they are wrong.
    pub(crate) fn of_process() -> Self {
        let options = Self::parse();
        let is_https = options.upstream.as_ref().is_some_and(Upstream::is_https);
        if options.upstream_h2 && is_https {
            let reason = "--upstream-h2 is for http://: over https:// the protocol is negotiated";
            <Self as clap::CommandFactory>::command()
                .error(ErrorKind::ArgumentConflict, reason)
                .exit()
        }
        options
    }
}

fn seconds(written: &str) -> Result<Duration, String> {
    let seconds = written.parse().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give seconds above 0, such as 15 or 0.5".to_owned())
}

fn number(written: &str) -> Result<NonZeroU32, &'static str> {
    let number = written.parse();
    number.map_err(|_| "give a number above 0, such as 1000")
}

fn host_and_port(written: &str) -> Result<Authority, String> {
    let authority: Option<Authority> = written.parse().ok();
    authority
        .filter(|it| it.port_u16().is_some() && !it.host().is_empty() && !written.contains('@'))
        .ok_or_else(|| "give it as HOST:PORT, such as db.example:5432".to_owned())
}

/// A token in Via (RFC 9110 §7.6.3) and in Proxy-Status, where one starts with a letter (RFC 9209 §2).
fn token(written: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if written.starts_with(|first: char| first.is_ascii_alphabetic())
        && written.bytes().all(is_token)
    {
        Ok(written.to_owned())
    } else {
        Err("give a letter, then letters, digits, '-', '_' or '.', such as edge-1".to_owned())
    }
}
