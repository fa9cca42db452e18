//! What the layers take from the throughput of a reverse proxy: the example `gateway`, as it is, and
//! without its layers. `cargo bench --all-features --bench gateway`, with wrk and h2load (of nghttp2)
//! at hand.
//!
//! All are processes on one machine: the load, the two gateways, and this one, which is their
//! upstream. Each round loads both gateways, in changing order, so that noise hits both; what is told
//! is the median of the rounds. Log lines are off in both, as it is not the layers that write them. The
//! last column compares how long the gateways themselves ran, as Linux tells it.
#![allow(clippy::print_stdout, reason = "it is a report")]
#![allow(clippy::expect_used, reason = "it fails by a panic")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tower::layer::util::Identity;

use crate::common::{
    Outcome,
    pairs::{Rate, compare},
    server::{App, Server, cpu},
    table::{publish, table},
};

const ROUNDS: usize = 21;

fn main() -> Outcome<()> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--all-features"])
        .args(["--example", "gateway"])
        .status()?;
    if !built.success() {
        return Err("the gateway cannot be built".into());
    }
    let upstream = Server::start(Identity::new(), App { events: 1_000 })?.address;
    let gateways = [
        Gateway::start(upstream, &["--bare"])?,
        Gateway::start(upstream, &[])?,
    ];
    let mut lines = Vec::new();
    for (what, load) in LOADS {
        lines.push(compare(what, ROUNDS, |turn| gateways[turn].under(load))?);
    }
    let header = [
        "requests per second",
        "bare",
        "layered",
        "ratio",
        "ratio, per CPU time of the gateway",
    ];
    publish("gateway", &table(&header, lines));
    Ok(())
}

/// The command that loads this address, and what it prints before and after the rate.
type Load = fn(&str) -> (Command, [&'static str; 2]);

const WRK: [&str; 2] = ["Requests/sec:", "\n"];
const H2LOAD: [&str; 2] = ["s, ", " req/s"];

const LOADS: [(&str, Load); 4] = [
    ("small responses, HTTP/1.1 (wrk)", |gateway| {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c32", "-d1s", &format!("{gateway}/small")]);
        (wrk, WRK)
    }),
    ("small responses, HTTP/2 (h2load)", |gateway| {
        let mut h2load = Command::new("h2load");
        h2load.args(["-c4", "-m8", "-t1", "-D1", &format!("{gateway}/small")]);
        (h2load, H2LOAD)
    }),
    ("streams of 1,000 events, HTTP/1.1 (wrk)", |gateway| {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c32", "-d1s", &format!("{gateway}/events")]);
        (wrk, WRK)
    }),
    ("streams of 1,000 events, HTTP/2 (h2load)", |gateway| {
        let mut h2load = Command::new("h2load");
        h2load.args(["-c4", "-m8", "-t1", "-D1", &format!("{gateway}/events")]);
        (h2load, H2LOAD)
    }),
];

struct Gateway {
    process: Child,
    url: String,
}

impl Gateway {
    fn start(upstream: SocketAddr, options: &[&str]) -> Outcome<Self> {
        let target = std::env::current_exe()?;
        let target = target.ancestors().nth(2).ok_or("no target directory")?;
        let mut process = Command::new(target.join("examples/gateway"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--upstream", &format!("http://{upstream}")])
            .args(options)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut first = String::new();
        let said = process.stdout.take().ok_or("no output")?;
        let mut said = BufReader::new(said);
        said.read_line(&mut first)?;
        thread::spawn(move || said.lines().count());
        let url = first.split_whitespace().last().ok_or("no address")?;
        Ok(Self {
            process,
            url: url.to_owned(),
        })
    }

    fn under(&self, load: Load) -> Outcome<Rate> {
        let (mut command, [before, after]) = load(&self.url);
        let start = self.cpu()?;
        let told = command
            .output()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let cpu = self.cpu()?.saturating_sub(start);
        let told = String::from_utf8(told.stdout)?;
        let is_clean = ["Non-2xx", "Socket errors"]
            .iter()
            .all(|it| !told.contains(it))
            && (before == WRK[0] || told.contains(" 0 failed, 0 errored, 0 timeout"));
        let rate = told
            .split(after)
            .find_map(|part| Some(part.rsplit_once(before)?.1));
        let rate = rate.filter(|_| is_clean).ok_or_else(|| told.clone())?;
        let per_second: f64 = rate.trim().parse()?;
        Ok(Rate {
            per_second,
            per_second_of_cpu: per_second / cpu.as_secs_f64(),
        })
    }

    /// How long its threads have run.
    fn cpu(&self) -> Outcome<Duration> {
        let process = Path::new("/proc").join(self.process.id().to_string());
        fs::read_dir(process.join("task"))?
            .map(|thread| cpu(&thread?.path().join("schedstat")))
            .sum()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
