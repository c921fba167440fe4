//! The identities of the mesh's own programs.

use std::fmt;

use mesh_ir::name::{Identity, Namespace, ServiceAccount, TrustDomain};

/// The namespace of the mesh's own programs.
const NAMESPACE: &str = "weir-system";

/// One of the mesh's own programs. Its identity is `ns/weir-system/sa/PROGRAM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    CertAuthority,
    MeshNode,
    MeshOperator,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Self::CertAuthority => "cert-authority",
            Self::MeshNode => "mesh-node",
            Self::MeshOperator => "mesh-operator",
        }
    }

    pub fn identity(self, trust_domain: &TrustDomain) -> Identity {
        const WELL_FORMED: &str = "the names of the mesh's programs are well-formed constants";
        Identity {
            trust_domain: trust_domain.clone(),
            namespace: Namespace::new(NAMESPACE).expect(WELL_FORMED),
            service_account: ServiceAccount::new(self.name()).expect(WELL_FORMED),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_identities_are_those_of_the_contract() {
        let trust_domain = TrustDomain::new("cluster.local").unwrap();
        let check = |program: Program, expected: &str| {
            assert_eq!(program.identity(&trust_domain).to_string(), expected);
        };
        check(Program::CertAuthority, "spiffe://cluster.local/ns/weir-system/sa/cert-authority");
        check(Program::MeshNode, "spiffe://cluster.local/ns/weir-system/sa/mesh-node");
        check(Program::MeshOperator, "spiffe://cluster.local/ns/weir-system/sa/mesh-operator");
    }
}
