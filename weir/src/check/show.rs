//! The report as text.

use super::finding::{Area, Level, Report};

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut area = None;
    for finding in &report.findings {
        if area != Some(finding.area) {
            if area.is_some() {
                text.push('\n');
            }
            text.push_str(head(finding.area));
            text.push('\n');
            area = Some(finding.area);
        }
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "ERROR",
        };
        let object = if finding.object.is_empty() { String::new() } else { format!("{}: ", finding.object) };
        text.push_str(&format!("  {level:<8} {object}{}\n", finding.message));
        if !finding.advice.is_empty() {
            text.push_str(&format!("           to do: {}\n", finding.advice));
        }
    }
    text.push_str(&format!("\n{}\n", closing(report)));
    text
}

fn head(area: Area) -> &'static str {
    match area {
        Area::Cluster => "Cluster",
        Area::Nodes => "Nodes",
        Area::Network => "Network",
        Area::Programs => "Weir's programs",
        Area::Pods => "Pods of the mesh",
        Area::Objects => "Gateways, routes, policies and pools",
    }
}

/// One line that says it all.
fn closing(report: &Report) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    match (report.errors, report.warnings) {
        (0, 0) => "all is well".into(),
        (0, warnings) => format!("no error, {}", count(warnings, "warning")),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}
