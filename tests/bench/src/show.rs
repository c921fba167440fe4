//! What a person sees while cases run.

#[allow(clippy::print_stdout, reason = "a person reads it")]
pub(crate) fn line(text: &str) {
    println!("{text}");
}

pub(crate) fn heading(text: &str) {
    line(&format!("\n{text}"));
}

#[allow(clippy::print_stderr, reason = "a person reads it")]
pub(crate) fn progress(text: &str) {
    eprintln!("  {text}");
}

#[allow(clippy::print_stderr, reason = "a person reads it")]
pub(crate) fn failure(text: &str) {
    eprintln!("bench: {text}");
}

/// A table whose first column is words and whose others are figures.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = if column == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") };
            text.push_str(&cell);
        }
        text.push('\n');
    }
    text
}
