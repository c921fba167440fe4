//! What compiling reads of a ClusterTrustBundle: its certificates.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::Metadata;
use super::shared::Text;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct ClusterTrustBundle {
    pub metadata: Metadata,
    /// In PEM.
    pub(crate) certificates: Text,
}

impl From<Written> for ClusterTrustBundle {
    fn from(Written { metadata, spec }: Written) -> Self {
        Self {
            metadata: Metadata { name: metadata.name.unwrap_or_default(), ..Metadata::default() },
            certificates: spec.trust_bundle,
        }
    }
}

/// As it stands in a manifest.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
    spec: WrittenSpec,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    name: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSpec {
    trust_bundle: Text,
}
