//! Objects put where the lab's mesh-operator reads them, past the lab itself, which would start what they describe.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::pods::Pods;
use crate::load::follow::FIELD;

/// The folder that mesh-operator follows.
#[derive(Debug)]
pub(super) struct Objects {
    folder: PathBuf,
    staging: PathBuf,
}

impl Objects {
    pub(super) fn of(pods: &Pods) -> anyhow::Result<Self> {
        let state = pods.stage.lab.state();
        // A file is renamed into its place, which works within one file system only.
        let staging = state.join("bench");
        fs::create_dir_all(&staging).with_context(|| format!("making {}", staging.display()))?;
        Ok(Self { folder: state.join("objects"), staging })
    }

    pub(super) fn put(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (staged, place) = (self.staging.join(name), self.folder.join(name));
        fs::write(&staged, text).with_context(|| format!("writing {}", staged.display()))?;
        fs::rename(&staged, &place).with_context(|| format!("writing {}", place.display()))
    }

    /// A route from the Service `server` to both servers, whose weights are of this number; answers bear it.
    pub(super) fn put_route(&self, number: usize) -> anyhow::Result<()> {
        let near = 1 + number % 99;
        self.put(
            "bench-route.yaml",
            &format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: server, namespace: bench}}\nspec:\n  \
                 parentRefs: [{{group: '', kind: Service, name: server, port: 8080}}]\n  rules:\n  - filters:\n    \
                 - type: ResponseHeaderModifier\n      responseHeaderModifier: {{set: [{{name: {FIELD}, value: '{number}'}}]}}\n    \
                 backendRefs:\n    - {{name: server, port: 8080, weight: {}}}\n    - {{name: near, port: 8080, weight: {near}}}\n",
                100 - near
            ),
        )
    }
}
