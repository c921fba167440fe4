//! The network configuration that comes with each action.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Failure, code};

/// Those that have chains, in which the result of the plugin before is passed on. The last is what the plugin speaks
/// when the runtime says none.
pub(super) const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The specification's version that a configuration is written in. It decides how the rest is to be read.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    #[serde(rename = "cniVersion", default)]
    text: String,
}

impl Version {
    pub(super) fn of(input: &str) -> Result<Self, Failure> {
        serde_json::from_str(input).map_err(|error| Failure {
            code: code::DECODING,
            msg: "the network configuration on standard input is not JSON",
            details: error.to_string(),
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn supported(&self) -> Result<(), Failure> {
        if VERSIONS.contains(&self.as_str()) {
            return Ok(());
        }
        let known = VERSIONS.join(", ");
        Err(Failure {
            code: code::INCOMPATIBLE_VERSION,
            msg: "incompatible CNI version",
            details: format!("the configuration's cniVersion is {:?}; this plugin knows {known}", self.text),
        })
    }
}

/// What [`crate::conflist::Entry`] wrote, and what the runtime adds to it for one action.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config<'a> {
    #[serde(borrow)]
    pub(super) socket: &'a Path,
    /// How long mesh-node may take.
    pub(super) timeout_seconds: u64,
    /// Whether a pod that mesh-node cannot capture in that time must not start.
    pub(super) required: bool,
    /// Whose pods start whatever mesh-node says.
    pub(super) exclude_namespaces: BTreeSet<String>,
    #[serde(borrow)]
    prev_result: Option<&'a RawValue>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Debug, Deserialize)]
struct Attachment {
    #[serde(rename = "containerID")]
    container: String,
}

impl<'a> Config<'a> {
    pub(super) fn of(input: &'a str) -> Result<Self, Failure> {
        serde_json::from_str(input).map_err(|error| invalid(error.to_string()))
    }

    pub(super) fn previous_result(&self) -> Result<&'a str, Failure> {
        self.prev_result.map(RawValue::get).ok_or_else(|| {
            invalid(
                "there is no prevResult: the plugin makes no network, it goes behind one that does"
                    .to_owned(),
            )
        })
    }

    /// Those that there are, if the runtime says so.
    pub(super) fn sandboxes(&self) -> Option<Vec<String>> {
        let attachments = self.valid_attachments.as_ref()?;
        Some(attachments.iter().map(|attachment| attachment.container.clone()).collect())
    }
}

fn invalid(details: String) -> Failure {
    Failure { code: code::INVALID_CONFIGURATION, msg: "invalid network configuration", details }
}
