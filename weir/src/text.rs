//! Writing for people: standard output, and tables.

use std::io::Write;

use anyhow::Context;

/// Writes to standard output; a reader that has gone away ends the program quietly.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

/// Adds a table with these heads, and a blank line; nothing where there are no rows.
pub(crate) fn table(text: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let heads = heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    for line in columns(&all) {
        text.push_str(&line);
        text.push('\n');
    }
    text.push('\n');
}

/// Rows of as many cells each as lines whose columns stand under each other.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let cells = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
