//! What compiling reads of a ConfigMap. A cluster keeps anything in them, and only certificates are asked for.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::Metadata;
use super::shared::Text;

/// The key under which an object holds the certificates of authorities, in PEM.
pub const AUTHORITIES_KEY: &str = "ca.crt";

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct ConfigMap {
    pub metadata: Metadata,
    /// What it has under [`AUTHORITIES_KEY`]; many namespaces have the same.
    pub(crate) authorities: Option<Text>,
}

impl From<Written> for ConfigMap {
    fn from(Written { metadata, data }: Written) -> Self {
        let WrittenMetadata { name, namespace } = metadata;
        Self {
            metadata: Metadata { name: name.unwrap_or_default(), namespace, ..Metadata::default() },
            authorities: data.and_then(|data| data.authorities),
        }
    }
}

/// As it stands in a manifest.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    name: Option<Arc<str>>,
    namespace: Option<Text>,
}

#[derive(Deserialize)]
struct Data {
    // As `AUTHORITIES_KEY`.
    #[serde(rename = "ca.crt")]
    authorities: Option<Text>,
}
