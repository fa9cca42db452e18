//! What the gateway prints: what to try, and then its log.

use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::net::TcpListener;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::upstream::Upstream;

/// How many lines wait for who reads them. What is logged beyond that is lost: no exchange waits.
const LINES: usize = 10_000;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log, which a thread of its own writes.
pub(crate) struct Log(WorkerGuard);

impl Log {
    pub(crate) fn start() -> Self {
        let lines = NonBlockingBuilder::default().buffered_lines_limit(LINES);
        let (lines, written) = lines.finish(io::stdout());
        let level = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
        tracing_subscriber::fmt()
            .with_target(false)
            .with_ansi(io::stdout().is_terminal())
            .with_env_filter(level.from_env_lossy())
            .with_writer(lines)
            .init();
        Self(written)
    }

    /// Waits for the last lines, if somebody reads them.
    pub(crate) fn end(self) {
        let (done, written) = mpsc::channel::<()>();
        // When nobody does, the guard says so where nobody reads, and waits for that.
        thread::spawn(move || {
            drop(self.0);
            drop(done);
        });
        let _ = written.recv_timeout(LAST_LINES);
    }
}

pub(crate) fn greet(
    public: &TcpListener,
    admin: &TcpListener,
    upstream: &Upstream,
    is_demo: bool,
) -> io::Result<()> {
    let public = public.local_addr()?;
    let admin = admin.local_addr()?;
    let demo = if is_demo { " (the embedded demo)" } else { "" };
    let mut out = io::stdout().lock();
    writeln!(out, "gateway   http://{public}")?;
    writeln!(out, "metrics   http://{admin}/metrics")?;
    writeln!(out, "upstream  {upstream}{demo}\n")?;
    if is_demo {
        let chat = format!("http://{public}/v1/chat/completions");
        writeln!(
            out,
            "Watch tokens stream through the gateway, in a browser or here:
  http://{public}/
  curl -N {chat} -d '{{\"stream\":true}}'
Press Ctrl-C in the midst of it, and see it counted as disconnected:
  curl -s http://{admin}/metrics | grep outcome
The same answer in one piece; Ctrl-C before it comes is cancelled:
  curl -i {chat} -d '{{}}'"
        )?;
    } else {
        writeln!(
            out,
            "Send it what you would send to the upstream, for instance
  curl -iN http://{public}/
and see how it ended:
  curl -s http://{admin}/metrics | grep outcome"
        )?;
    }
    writeln!(
        out,
        "HTTP/2 is spoken on the same port: curl --http2-prior-knowledge ...
Each exchange is logged below when it has ended. Ctrl-C ends the gateway.\n"
    )
}
