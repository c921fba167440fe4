//! The keys and certificates of the workloads on this node, and the TLS configurations made of them. Nothing outside
//! this module sees a key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mesh_ir::name::Identity;
use mesh_trust::{
    Bundle, CertificateClient, ClientAuth, Expect, Renewing, Svid, TlsError, client_config, server_config,
};
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

/// Mutual TLS between the mesh's proxies, with the workload's own bytes inside.
pub const ALPN: &[u8] = b"weir/1";

/// How many destinations' TLS sessions one workload keeps; beyond that they are forgotten and begun anew.
const MAX_CLIENT_CONFIGS: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("{identity} has no certificate yet: {why}")]
    NoCertificate { identity: Identity, why: Arc<str> },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The identities in use on this node. One that no pod uses any more is dropped, and its renewal with it.
#[derive(Debug)]
pub struct Identities {
    client: CertificateClient,
    in_use: Mutex<HashMap<Identity, Weak<WorkloadIdentity>>>,
}

impl Identities {
    pub fn new(client: CertificateClient) -> Self {
        Self { client, in_use: Mutex::default() }
    }

    /// Begins to get the identity's certificate if no pod has it yet. Must be called within a tokio runtime.
    pub fn take(&self, identity: &Identity) -> Arc<WorkloadIdentity> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = in_use.get(identity).and_then(Weak::upgrade) {
            return held;
        }
        in_use.retain(|_, held| held.strong_count() > 0);
        let renewing = self.client.renewing(identity.clone());
        let (svid, problem) = (renewing.svid(), renewing.problem());
        let bundle = self.client.bundle();
        let taken =
            Arc::new(WorkloadIdentity { renewing, svid, problem, bundle, prepared: Mutex::default() });
        in_use.insert(identity.clone(), Arc::downgrade(&taken));
        taken
    }
}

/// A workload's certificate, kept fresh, and the TLS configurations of its current state.
#[derive(Debug)]
pub struct WorkloadIdentity {
    renewing: Renewing,
    svid: watch::Receiver<Option<Arc<Svid>>>,
    problem: watch::Receiver<Option<Arc<str>>>,
    bundle: watch::Receiver<Arc<Bundle>>,
    prepared: Mutex<Option<Prepared>>,
}

/// Configurations live as long as what they are made of: with them go the sessions that could be resumed.
#[derive(Debug)]
struct Prepared {
    svid: Arc<Svid>,
    bundle: Arc<Bundle>,
    server: Arc<ServerConfig>,
    clients: HashMap<Identity, Arc<ClientConfig>>,
}

impl WorkloadIdentity {
    pub fn identity(&self) -> &Identity {
        self.renewing.identity()
    }

    pub async fn ready(&self) {
        self.renewing.ready().await;
    }

    /// For gRPC to the mesh's own programs.
    pub async fn grpc_client(&self, expect: Expect) -> Result<watch::Receiver<Arc<ClientConfig>>, TlsError> {
        self.renewing.client_configs(expect, &[b"h2"]).await
    }

    /// For connections that come in to the workload.
    pub fn server(&self) -> Result<Arc<ServerConfig>, CredentialError> {
        self.with_prepared(|prepared| Ok(prepared.server.clone()))
    }

    /// For connections of the workload to one that must be `expected`.
    pub fn client(&self, expected: &Identity) -> Result<Arc<ClientConfig>, CredentialError> {
        self.with_prepared(|prepared| {
            if let Some(config) = prepared.clients.get(expected) {
                return Ok(config.clone());
            }
            if prepared.clients.len() >= MAX_CLIENT_CONFIGS {
                prepared.clients.clear();
            }
            let expect = Expect::Exactly(expected.clone());
            let mut config = client_config(Some(&prepared.svid), &prepared.bundle, expect, &[ALPN])?;
            // The proxy seals and opens a connection's records itself.
            Arc::make_mut(&mut config).enable_secret_extraction = true;
            prepared.clients.insert(expected.clone(), config.clone());
            Ok(config)
        })
    }

    fn with_prepared<R>(
        &self,
        f: impl FnOnce(&mut Prepared) -> Result<R, CredentialError>,
    ) -> Result<R, CredentialError> {
        let Some(svid) = self.svid.borrow().clone() else {
            let why = self.problem.borrow().clone();
            let why = why.unwrap_or_else(|| "it was asked for just now".into());
            return Err(CredentialError::NoCertificate { identity: self.identity().clone(), why });
        };
        let bundle = self.bundle.borrow().clone();
        let mut slot = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let current =
            slot.as_ref().is_some_and(|p| Arc::ptr_eq(&p.svid, &svid) && Arc::ptr_eq(&p.bundle, &bundle));
        if !current {
            let mut server = server_config(&svid, &bundle, &[ALPN], ClientAuth::Required)?;
            Arc::make_mut(&mut server).enable_secret_extraction = true;
            *slot = Some(Prepared { svid, bundle, server, clients: HashMap::new() });
        }
        f(slot.as_mut().expect("it was filled just above when it was empty"))
    }
}
