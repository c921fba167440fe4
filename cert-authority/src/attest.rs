//! Who calls, and what runs where: the questions that must be answered before a certificate is signed. What the answers
//! entitle a caller to is decided once here, whatever the source of the answers.
//!
//! A caller is known by its bootstrap token only. A node's own mesh-node certificate is no substitute, so that a node
//! whose token is withdrawn cannot renew itself for ever.

use std::fmt;
use std::future::Future;

use mesh_ir::name::{Identity, NodeName, TrustDomain};
use mesh_trust::Program;

pub mod kubernetes;
pub mod lab;

/// A caller whose token was good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// The mesh-node of a node.
    Node(NodeName),
    /// The mesh-operator.
    Operator,
}

/// The source of the answers. The lab's is [`lab::LabAttestor`]; a cluster's is
/// [`kubernetes::KubernetesAttestor`].
pub trait Attestor: Send + Sync + 'static {
    /// Whose token this is.
    fn authenticate(&self, token: &[u8]) -> impl Future<Output = Result<Caller, AttestError>> + Send;

    /// Whether a pod that runs on `node` has the service account of `identity`.
    fn runs(
        &self,
        node: &NodeName,
        identity: &Identity,
    ) -> impl Future<Output = Result<bool, AttestError>> + Send;
}

/// A question that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    #[error("the token is not known; give the program the token that was made for it")]
    UnknownToken,
    #[error("the token is refused: {0}")]
    BadToken(String),
    #[error("cannot attest now: {0}")]
    Unavailable(String),
}

/// Why a caller does not get an identity.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{caller} may not have {identity}: it is not of the trust domain {expected}")]
    OtherTrustDomain { caller: Caller, identity: Identity, expected: TrustDomain },
    #[error("{caller} may not have {identity}: only {program} itself may")]
    ProgramOnly { caller: Caller, identity: Identity, program: Program },
    #[error("{caller} may not have {identity}: it gets its own identity only")]
    OwnOnly { caller: Caller, identity: Identity },
    #[error(
        "{caller} may not have {identity}: no running pod of service account {}/{} is on that node",
        identity.namespace, identity.service_account
    )]
    NoPod { caller: Caller, identity: Identity },
    #[error(transparent)]
    Attest(#[from] AttestError),
}

/// Whether `caller` may have a certificate of `identity`.
pub async fn entitle(
    attestor: &impl Attestor,
    trust_domain: &TrustDomain,
    caller: &Caller,
    identity: &Identity,
) -> Result<(), Refusal> {
    let (caller, identity) = (caller.clone(), identity.clone());
    if identity.trust_domain != *trust_domain {
        return Err(Refusal::OtherTrustDomain { caller, identity, expected: trust_domain.clone() });
    }
    let asked = [Program::CertAuthority, Program::MeshNode, Program::MeshOperator]
        .into_iter()
        .find(|program| program.identity(trust_domain) == identity);
    match (&caller, asked) {
        (Caller::Node(_), Some(Program::MeshNode)) => Ok(()),
        (Caller::Operator, Some(Program::MeshOperator)) => Ok(()),
        (Caller::Operator, _) => Err(Refusal::OwnOnly { caller, identity }),
        // A pod with the operator's service account may run on the node, but its node must not speak for it.
        (Caller::Node(_), Some(program)) => Err(Refusal::ProgramOnly { caller, identity, program }),
        (Caller::Node(node), None) => match attestor.runs(node, &identity).await? {
            true => Ok(()),
            false => Err(Refusal::NoPod { caller, identity }),
        },
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Operator => f.write_str("mesh-operator"),
        }
    }
}
