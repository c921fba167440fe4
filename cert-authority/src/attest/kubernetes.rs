//! Attestation by the Kubernetes API: a caller is who a TokenReview of its service-account token says, and what runs on
//! a node is what the API server has bound to it.

use kube::Client;
use mesh_ir::name::{Identity, NodeName};

use crate::attest::{AttestError, Attestor, Caller};

mod pods;
mod reviews;

use pods::Pods;
use reviews::Reviews;

/// Answers from one cluster. It follows the cluster's Pods until it is dropped.
#[derive(Debug)]
pub struct KubernetesAttestor {
    reviews: Reviews,
    pods: Pods,
}

impl KubernetesAttestor {
    /// `namespace` is where the mesh's own programs run. Must be called within a tokio runtime; until the Pods are
    /// listed, each question about them is asked of the API server.
    pub fn start(client: Client, namespace: &str) -> Self {
        Self { reviews: Reviews::new(client.clone(), namespace), pods: Pods::follow(client) }
    }
}

impl Attestor for KubernetesAttestor {
    async fn authenticate(&self, token: &[u8]) -> Result<Caller, AttestError> {
        self.reviews.caller(token).await
    }

    async fn runs(&self, node: &NodeName, identity: &Identity) -> Result<bool, AttestError> {
        self.pods.runs(node, identity).await
    }
}
