//! Which service accounts run on which node, from the manifests of Pods.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use mesh_ir::name::{Identity, Namespace, NodeName, ServiceAccount};
use serde::Deserialize;

/// Kubernetes itself takes no object larger than about 1.5 MiB.
const MAX_MANIFEST: u64 = 2 << 20;

/// The service accounts of the pods that run on each node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pods(BTreeMap<NodeName, BTreeSet<(Namespace, ServiceAccount)>>);

#[derive(Deserialize)]
struct Object {
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: serde_yaml_ng::Value,
    #[serde(default)]
    status: serde_yaml_ng::Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: Option<String>,
    deletion_timestamp: Option<serde_yaml_ng::Value>,
}

impl Pods {
    /// Reads a folder of manifests, one object a file. A file that cannot be read entitles nobody, and is said.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut pods = Self::default();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            match super::read_bounded(&path, MAX_MANIFEST) {
                Ok(manifest) => {
                    if let Err(problem) = pods.add(&manifest) {
                        tracing::warn!(path = %path.display(), %problem, "a manifest is passed over");
                    }
                }
                // Deleted between the listing and now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "a manifest is passed over"),
            }
        }
        Ok(pods)
    }

    pub fn runs(&self, node: &NodeName, identity: &Identity) -> bool {
        let account = (identity.namespace.clone(), identity.service_account.clone());
        self.0.get(node).is_some_and(|accounts| accounts.contains(&account))
    }

    fn add(&mut self, manifest: &[u8]) -> Result<(), String> {
        let object: Object = serde_yaml_ng::from_slice(manifest).map_err(|error| error.to_string())?;
        let finished = matches!(text(&object.status, "phase"), Some("Succeeded" | "Failed"));
        if object.kind != "Pod" || object.metadata.deletion_timestamp.is_some() || finished {
            return Ok(());
        }
        let Some(node) = text(&object.spec, "nodeName") else { return Ok(()) };
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        let account = text(&object.spec, "serviceAccountName").unwrap_or("default");
        let named = |error: mesh_ir::name::NameError| error.to_string();
        self.0.entry(NodeName::new(node).map_err(named)?).or_default().insert((
            Namespace::new(namespace).map_err(named)?,
            ServiceAccount::new(account).map_err(named)?,
        ));
        Ok(())
    }
}

fn text<'a>(value: &'a serde_yaml_ng::Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, expected: &[(&str, &str)]) {
        let mut pods = Pods::default();
        let _ = pods.add(manifest.as_bytes());
        let found: Vec<_> = pods
            .0
            .iter()
            .flat_map(|(node, accounts)| {
                accounts
                    .iter()
                    .map(move |(namespace, account)| (node.to_string(), format!("{namespace}/{account}")))
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(n, a)| (n.to_string(), a.to_string())).collect();
        assert_eq!(found, expected, "{manifest}");
    }

    #[test]
    fn pods_count_while_they_run_on_a_node() {
        let pod = "{kind: Pod, metadata: {namespace: shop, name: a}, ";
        check(
            &format!("{pod} spec: {{nodeName: node-1, serviceAccountName: cart}}}}"),
            &[("node-1", "shop/cart")],
        );
        check(&format!("{pod} spec: {{nodeName: node-1}}}}"), &[("node-1", "shop/default")]);
        check("{kind: Pod, metadata: {name: a}, spec: {nodeName: n}}", &[("n", "default/default")]);
        check(&format!("{pod} spec: {{}}}}"), &[]);
        check(
            &format!("{pod} spec: {{nodeName: n}}, status: {{phase: Running}}}}"),
            &[("n", "shop/default")],
        );
        check(&format!("{pod} spec: {{nodeName: n}}, status: {{phase: Succeeded}}}}"), &[]);
        check(&format!("{pod} spec: {{nodeName: n}}, status: {{phase: Failed}}}}"), &[]);
        check(
            "{kind: Pod, metadata: {namespace: a, deletionTimestamp: 2026-01-01T00:00:00Z}, spec: {nodeName: n}}",
            &[],
        );
        check("{kind: Deployment, metadata: {namespace: a}, spec: {nodeName: n}}", &[]);
        check(&format!("{pod} spec: {{nodeName: \"no de\"}}}}"), &[]);
        check(": not yaml", &[]);
    }
}
