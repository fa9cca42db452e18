//! Which published layers are streaming-safe?
//!
//! What it shows: the conformance kit at work. It drives each layer over a scripted service and
//! compares what comes out with what went in.
//!
//! How to run it (`--layer NAME` shows all that was found of one, `--markdown` is the README's
//! table):
//!
//! ```text
//! cargo run --example audit --features full
//! ```
//!
//! What to look for: a failed check is not always a fault. Who compresses has to merge frames; the
//! table says what that costs.
#![allow(clippy::print_stdout, reason = "it prints a table")]

mod bounds;
mod faults;
mod layers;
mod table;

use std::{error::Error, io, panic};

use clap::{CommandFactory, Parser, error::ErrorKind::InvalidValue};
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing::Level;

#[derive(Parser)]
#[command(name = "audit", about = "Which published layers are streaming-safe?")]
struct Arguments {
    /// Show the whole report on this layer.
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Print the table as Markdown.
    #[arg(long, conflicts_with = "layer")]
    markdown: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    // Layers that report to nobody may do nothing.
    PrometheusBuilder::new().install_recorder()?;
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(io::sink)
        .init();
    // Timers need a runtime around them. It has nothing to run: no check waits.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let audits = {
        let _entered = runtime.enter();
        silently(layers::audits)?
    };
    match &arguments.layer {
        None if arguments.markdown => print!("{}", table::markdown(&audits)?),
        None => print!("{}", table::text(&audits)?),
        Some(name) => {
            let Some(audit) = audits.iter().find(|audit| audit.name == *name) else {
                let names: Vec<_> = audits.iter().map(|audit| audit.name).collect();
                let wrong = format!("no layer '{name}'; there are:\n  {}\n", names.join("\n  "));
                Arguments::command().error(InvalidValue, wrong).exit();
            };
            println!("{}", audit.report);
        }
    }
    Ok(())
}

/// A layer's panic is a finding: it is not to be printed as well.
fn silently<T>(check: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let checked = check();
    panic::set_hook(hook);
    checked
}
