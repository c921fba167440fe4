//! What names an object, and what it says of itself to selectors.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::shared::{Labels, Text};

/// Of the kinds that a mesh has most of: what compiling reads of an `ObjectMeta`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    pub name: Arc<str>,
    pub namespace: Option<Text>,
    pub(crate) labels: Labels,
}

/// What an object is called, as far as it says so.
pub(crate) trait Named {
    fn name(&self) -> Arc<str>;
    fn namespace(&self) -> Option<Arc<str>>;
}

impl Named for Metadata {
    fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    fn namespace(&self) -> Option<Arc<str>> {
        self.namespace.clone().map(Into::into)
    }
}

impl Named for ObjectMeta {
    fn name(&self) -> Arc<str> {
        self.name.as_deref().unwrap_or_default().into()
    }

    fn namespace(&self) -> Option<Arc<str>> {
        self.namespace.as_deref().map(Into::into)
    }
}
