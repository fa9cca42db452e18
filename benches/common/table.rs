//! Tables in Markdown, for a terminal and for the README.

use std::{env, fs};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head = [
        format!("| {} |\n", header.join(" | ")),
        format!("|{}\n", "---|".repeat(header.len())),
    ];
    let rows = rows
        .into_iter()
        .map(|row| format!("| {} |\n", row.join(" | ")));
    head.into_iter().chain(rows).collect()
}

/// Prints the table. With `UPDATE_README=1` also puts it into the README's section of that name.
pub(crate) fn publish(section: &str, table: &str) {
    println!("\n{table}");
    if env::var_os("UPDATE_README").is_some_and(|it| it == "1") {
        let readme = readme();
        let (before, _, after) = split(&readme, section);
        fs::write(README, format!("{before}{table}{after}")).expect("the README can be written");
    }
}

/// What the README's section of that name holds, cell by cell.
pub(crate) fn published(section: &str) -> Vec<Vec<String>> {
    let readme = readme();
    let (_, table, _) = split(&readme, section);
    let cells = |row: &str| {
        row.trim_matches(['|', ' '])
            .split(" | ")
            .map(str::to_owned)
            .collect()
    };
    table.lines().map(cells).collect()
}

fn readme() -> String {
    fs::read_to_string(README).expect("there is a README")
}

/// The README before, within and after the section.
fn split<'a>(readme: &'a str, section: &str) -> (&'a str, &'a str, &'a str) {
    let start = format!("<!-- {section} -->\n");
    let end = format!("<!-- /{section} -->\n");
    let from = readme.find(&start).expect("the section's start") + start.len();
    let length = readme[from..].find(&end).expect("the section's end");
    (
        &readme[..from],
        &readme[from..from + length],
        &readme[from + length..],
    )
}
