//! XMeshes (GEP-3949): which of them are ours, and what we support.

use std::collections::BTreeMap;

use mesh_ir::name::TrustDomain;

use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::status::{Conditions, MeshStatus, Status};
use crate::{CONTROLLER, features};

/// The statuses of those that are ours; `trust_domain` tells which mesh speaks.
pub(crate) fn compile(snapshot: &Lookup<'_>, trust_domain: &TrustDomain) -> BTreeMap<ObjectId, Status> {
    let mut statuses = BTreeMap::new();
    for (name, mesh) in snapshot.meshes.iter().filter(|(_, mesh)| mesh.spec.controller_name == CONTROLLER) {
        let conditions = Conditions { generation: mesh.metadata.generation };
        let status = match &mesh.spec.parameters_ref {
            None => {
                let message = format!("Weir is this mesh, of trust domain {trust_domain}");
                MeshStatus {
                    conditions: vec![conditions.ok("Accepted", "Accepted", message)],
                    supported_features: features::of_meshes(),
                }
            }
            Some(parameters) => {
                let message = format!(
                    "spec.parametersRef names {} {}, and no kind of parameters is supported: remove parametersRef",
                    parameters.kind, parameters.name
                );
                MeshStatus {
                    conditions: vec![conditions.no("Accepted", "InvalidParameters", message)],
                    supported_features: Vec::new(),
                }
            }
        };
        let id = ObjectId { kind: Kind::XMesh, namespace: None, name: name.clone() };
        statuses.insert(id, Status::Mesh(status));
    }
    statuses
}
