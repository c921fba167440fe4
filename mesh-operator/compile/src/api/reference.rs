//! The shapes that every kind of route shares, and `generate` leaves out of each.

use serde::{Deserialize, Serialize};

use super::GATEWAY_GROUP;

/// The group and kind of a Gateway.
pub(crate) const GATEWAY: (&str, &str) = (GATEWAY_GROUP, "Gateway");

/// The group and kind that a parentRef names: a Gateway's where it leaves them out.
pub(crate) fn parent_kind<'a>(group: Option<&'a str>, kind: Option<&'a str>) -> (&'a str, &'a str) {
    (group.unwrap_or(GATEWAY.0), kind.unwrap_or(GATEWAY.1))
}

/// A parentRef, as a route's spec has it and its status repeats it: what the spec leaves out is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// A backendRef of a route whose backends have no filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendReference {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}
