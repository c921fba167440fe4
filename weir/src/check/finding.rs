//! What a check says: findings, and the report that they make.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Level {
    Ok,
    Warning,
    Error,
}

/// What a finding is about; the report is in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Area {
    Cluster,
    Nodes,
    Network,
    Programs,
    Pods,
    Objects,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) area: Area,
    /// `Gateway shop/web`; empty where it is about the whole area.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) object: String,
    pub(super) message: String,
    /// What to do; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) advice: String,
}

/// As `-o json` gives it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn ok(area: Area, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, area, object: String::new(), message: message.into(), advice: String::new() }
    }

    pub(super) fn warning(
        area: Area,
        object: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (object, message, advice) = (object.into(), message.into(), advice.into());
        Self { level: Level::Warning, area, object, message, advice }
    }

    pub(super) fn error(
        area: Area,
        object: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { level: Level::Error, ..Self::warning(area, object, message, advice) }
    }

    /// For what could not be looked at, and why.
    pub(super) fn unseen(area: Area, what: &str, why: &str) -> Self {
        let message = format!("{what} cannot be looked at: {why}");
        Self::warning(area, "", message, format!("run weir check as a user who may read {what}"))
    }
}

impl Report {
    /// The findings keep their order within an area.
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.area);
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self { errors: count(Level::Error), warnings: count(Level::Warning), findings }
    }
}
