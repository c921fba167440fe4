//! What compiling reads of a CustomResourceDefinition: of which release it is.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::Metadata;
use super::shared::Text;

/// On each definition of the Gateway API, the release that it is of.
pub const BUNDLE_VERSION_ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct Definition {
    pub metadata: Metadata,
    /// What it has under [`BUNDLE_VERSION_ANNOTATION`].
    pub(crate) bundle_version: Option<Text>,
}

impl From<Written> for Definition {
    fn from(Written { metadata }: Written) -> Self {
        let WrittenMetadata { name, annotations } = metadata;
        Self {
            metadata: Metadata { name: name.unwrap_or_default(), ..Metadata::default() },
            bundle_version: annotations.and_then(|annotations| annotations.bundle_version),
        }
    }
}

/// As it stands in a manifest.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    name: Option<Arc<str>>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    // As `BUNDLE_VERSION_ANNOTATION`.
    #[serde(rename = "gateway.networking.k8s.io/bundle-version")]
    bundle_version: Option<Text>,
}
