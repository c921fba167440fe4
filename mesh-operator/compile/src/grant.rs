//! ReferenceGrants: which references across namespaces their targets' owners have allowed (GEP-709).

use mesh_ir::name::ObjectName;

use crate::lookup::Lookup;
use crate::object::Kind;

/// Whether an object of `from_kind` in `from_namespace` may refer to the object `to`. Within one namespace it always may.
pub(crate) fn permits(
    snapshot: &Lookup<'_>,
    from_kind: Kind,
    from_namespace: &str,
    to_kind: Kind,
    to: &ObjectName,
) -> bool {
    if from_namespace == to.namespace.as_str() {
        return true;
    }
    let mut grants = snapshot.reference_grants.in_namespace(&to.namespace);
    grants.any(|(_, grant)| {
        let from = grant.spec.from.iter().any(|from| {
            from.group == from_kind.group()
                && from.kind == from_kind.as_str()
                && from.namespace == from_namespace
        });
        let target = grant.spec.to.iter().any(|target| {
            let named = target.name.as_deref().filter(|name| !name.is_empty());
            let is_it = target.group == to_kind.group() && target.kind == to_kind.as_str();
            is_it && named.is_none_or(|name| *name == *to.name)
        });
        from && target
    })
}
