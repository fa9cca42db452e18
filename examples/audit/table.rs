//! The table, for a terminal and for the README.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use tower_passthrough::conformance::{Capability, Report, Verdict};

use crate::layers::Audit;

const WIDTH: usize = 110;

/// One row for each layer, and under it what fails.
pub(crate) fn text(audits: &[Audit]) -> Result<String, fmt::Error> {
    let mut text = row("layer", "package", "asks", "verdict");
    for audit in audits {
        let package = package(audit.package);
        text += &row(audit.name, &package, audit.asks, &verdict(&audit.report));
        for (capability, checks) in failures(&audit.report) {
            let mut line = format!("    {capability:<13}");
            for check in checks {
                if line.len() + check.len() >= WIDTH {
                    writeln!(text, "{line}")?;
                    line = " ".repeat(17);
                }
                line += " ";
                line += &check;
            }
            writeln!(text, "{line}")?;
        }
    }
    text += "\nasks: what it asks of the response's body. A check with `?` was left unseen.\n";
    Ok(text)
}

fn row(layer: &str, package: &str, asks: &str, verdict: &str) -> String {
    format!("{layer:<30} {package:<43} {asks:<5} {verdict}\n")
}

/// One row for each layer, with the number of checks that fail of each capability.
pub(crate) fn markdown(audits: &[Audit]) -> Result<String, fmt::Error> {
    let mut text = "| layer | package | asks | verdict | what fails |\n".to_owned();
    text += "|---|---|---|---|---|\n";
    for audit in audits {
        let Audit {
            name, asks, report, ..
        } = audit;
        let package = package(audit.package);
        let verdict = verdict(report);
        let fails: Vec<_> = failures(report)
            .iter()
            .map(|(capability, checks)| format!("{capability} {}", count(checks)))
            .collect();
        let fails = fails.join(", ");
        writeln!(
            text,
            "| {name} | {package} | {asks} | {verdict} | {fails} |"
        )?;
    }
    Ok(text)
}

/// How many fail, and how many were left unseen.
fn count(checks: &[String]) -> String {
    let unseen = checks.iter().filter(|check| check.ends_with('?')).count();
    match (checks.len() - unseen, unseen) {
        (failed, 0) => failed.to_string(),
        (0, unseen) => format!("{unseen}?"),
        (failed, unseen) => format!("{failed} + {unseen}?"),
    }
}

fn verdict(report: &Report) -> String {
    if report.passes() {
        return "passes".to_owned();
    }
    let of = |verdict| report.failures().filter(move |it| it.verdict == verdict);
    match (of(Verdict::Failed).count(), of(Verdict::Unseen).count()) {
        (failed, 0) => format!("{failed} failed"),
        (failed, unseen) => format!("{failed} failed, {unseen} unseen"),
    }
}

fn failures(report: &Report) -> BTreeMap<Capability, Vec<String>> {
    let mut failures = BTreeMap::<_, Vec<_>>::new();
    for finding in report.failures() {
        let mark = match finding.verdict {
            Verdict::Unseen => "?",
            _ => "",
        };
        let check = format!("{}{mark}", finding.check);
        failures.entry(finding.capability).or_default().push(check);
    }
    failures
}

/// With its version, if it is one of those that this was built with.
fn package(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let start = format!("name = \"{name}\"\nversion = \"");
    match lock
        .split_once(&start)
        .and_then(|(_, rest)| rest.split_once('"'))
    {
        Some((version, _)) => format!("{name} {version}"),
        None => name.to_owned(),
    }
}
