//! A Kubernetes object as the lab passes it on: its identity and its content, the latter kept whole, since most
//! kinds are not the lab's to understand.

use std::fmt;

use serde_json::Value;

/// Which object: the version of its API is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) kind: String,
    /// None for cluster-scoped objects.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl ObjectId {
    pub(crate) fn namespaced(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        ObjectId {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    pub(crate) fn cluster_scoped(group: &str, kind: &str, name: &str) -> Self {
        ObjectId { group: group.to_owned(), kind: kind.to_owned(), namespace: None, name: name.to_owned() }
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// The namespace, which is empty for a cluster-scoped object.
    pub(crate) fn space(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// `KIND.GROUP.NS.NAME.yaml`, without the namespace for cluster-scoped objects.
    pub(crate) fn file_name(&self) -> String {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        let parts =
            [Some(self.kind.as_str()), Some(group), self.namespace.as_deref(), Some(self.name.as_str())];
        let mut name = parts.into_iter().flatten().map(sanitised).collect::<Vec<_>>().join(".");
        name.push_str(".yaml");
        name
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Names may hold characters that a file name must not (RBAC names hold `:`).
fn sanitised(part: &str) -> String {
    part.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' }).collect()
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    pub(crate) value: Value,
}

/// A text field below an object's value, by its path.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// The map at `key` of an object, made if it is absent or null.
pub(crate) fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut serde_json::Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let entry = &mut value[key];
    if !entry.is_object() {
        *entry = Value::Object(serde_json::Map::new());
    }
    entry.as_object_mut().expect("the entry was made an object above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_hold_no_separator_of_paths() {
        let id = ObjectId::cluster_scoped("rbac.authorization.k8s.io", "ClusterRole", "system:a/b");
        assert_eq!(id.file_name(), "ClusterRole.rbac.authorization.k8s.io.system_a_b.yaml");
        let id = ObjectId::namespaced("", "Service", "bookinfo", "reviews");
        assert_eq!(id.file_name(), "Service.core.bookinfo.reviews.yaml");
    }
}
