//! Who asks.

use anyhow::bail;
use mesh_ir::name::{Identity, NodeName, TrustDomain};
use mesh_ir::resource::Workload;
use mesh_ir::view::MeshView;

use super::question::From;
use crate::near;

/// Where requests begin, as far as what becomes of them depends on it.
#[derive(Clone, Debug)]
pub(super) enum Source<'v> {
    Pod { workload: &'v Workload, identity: Option<Identity> },
    Outside,
}

impl<'v> Source<'v> {
    pub(super) fn find(view: &'v MeshView, trust_domain: &TrustDomain, from: &From) -> anyhow::Result<Self> {
        let workload = match from {
            From::Outside => return Ok(Self::Outside),
            From::Pod { namespace, name } => pod(view, namespace, name)?,
            From::Deployment { namespace, name } => pod_of_deployment(view, namespace, name)?,
        };
        Ok(Self::Pod { workload, identity: workload.identity(trust_domain) })
    }

    pub(super) fn pod(&self) -> Option<&'v Workload> {
        match self {
            Self::Pod { workload, .. } => Some(workload),
            Self::Outside => None,
        }
    }

    pub(super) fn node(&self) -> Option<&'v NodeName> {
        self.pod().and_then(|workload| workload.node.as_ref())
    }
}

fn pod<'v>(view: &'v MeshView, namespace: &str, name: &str) -> anyhow::Result<&'v Workload> {
    let is_it = |w: &&Workload| w.name.namespace.as_str() == namespace && &*w.name.name == name;
    if let Some(workload) = view.workloads().find(is_it) {
        return Ok(workload);
    }
    let names: Vec<String> = view.workloads().map(|workload| workload.name.to_string()).collect();
    let wanted = format!("{namespace}/{name}");
    bail!(
        "--from {wanted}: there is no such pod among those that run; {}",
        near::instead(&wanted, names.iter().map(String::as_str))
    )
}

/// The first pod that is called as a Deployment calls its pods: NAME-HASH-ID.
fn pod_of_deployment<'v>(view: &'v MeshView, namespace: &str, name: &str) -> anyhow::Result<&'v Workload> {
    let deployment = |workload: &'v Workload| {
        let mut parts = workload.name.name.rsplitn(3, '-');
        let (_id, _hash) = (parts.next()?, parts.next()?);
        parts.next()
    };
    let here = || view.workloads().filter(|workload| workload.name.namespace.as_str() == namespace);
    let mut pods: Vec<_> = here().filter(|workload| deployment(workload) == Some(name)).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(first) = pods.first() {
        return Ok(first);
    }
    let names: Vec<&str> = here().filter_map(deployment).collect();
    bail!(
        "--from {namespace}/deploy/{name}: no pod of such a Deployment runs; {}",
        near::instead(name, names)
    )
}
