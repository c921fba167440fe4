//! The two calls of the service.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mesh_ir::name::Identity;
use mesh_trust::api::certificate_authority_server::CertificateAuthority;
use mesh_trust::api::{BundleRequest, BundleResponse, SignRequest, SignResponse};
use mesh_trust::{Bundle, Peer};
use tonic::{Code, Request, Response, Status};

use crate::attest::{AttestError, Attestor, Caller, Refusal, entitle};
use crate::issue::{RequestedKey, Validity, issue};
use crate::keys::random_serial;
use crate::serve::Keys;
use crate::serve::bounds::Bounds;
use crate::serve::report::Report;

pub(super) struct Service<A> {
    attestor: A,
    keys: Keys,
    svid_life: Duration,
    bounds: Bounds,
    report: Arc<Report>,
}

impl<A: Attestor> Service<A> {
    pub(super) fn new(attestor: A, keys: Keys, svid_life: Duration, report: Arc<Report>) -> Self {
        Self { attestor, keys, svid_life, bounds: Bounds::default(), report }
    }

    async fn authenticate<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .ok_or_else(|| Status::unauthenticated("no `authorization: Bearer TOKEN` was sent"))?;
        self.attestor
            .authenticate(token)
            .await
            .map_err(|error| status(error.into()))
            .inspect_err(|refusal| self.report.refused(refusal.code()))
    }

    async fn try_sign(&self, caller: &Caller, request: &SignRequest) -> Result<SignResponse, Status> {
        let _under_way = self.bounds.enter(caller, Instant::now()).map_err(|excess| {
            Status::resource_exhausted(format!("{caller} asks for {excess}; wait and ask again"))
        })?;
        let identity: Identity = request
            .identity
            .parse()
            .map_err(|error| Status::invalid_argument(format!("identity: {error}")))?;
        let key = RequestedKey::read(&request.csr_der)
            .map_err(|error| Status::invalid_argument(format!("csr_der for {identity}: {error}")))?;
        let keys = self.keys.borrow().clone();
        entitle(&self.attestor, &keys.trust_domain, caller, &identity).await.map_err(status)?;

        let serial = random_serial();
        let validity = Validity::starting(SystemTime::now(), self.svid_life);
        let leaf = issue(&keys.signer, &identity, &key, serial, validity).map_err(|error| {
            tracing::error!(%caller, %identity, %error, "cannot sign");
            Status::internal(format!("cannot sign a certificate of {identity}"))
        })?;
        let expires = validity.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        tracing::info!(
            %caller,
            %identity,
            serial = leaf_serial(&leaf),
            expires = expires.as_secs(),
            "issued a certificate"
        );
        Ok(SignResponse {
            chain_der: std::iter::once(&leaf)
                .chain(&keys.chain)
                .map(|certificate| certificate.to_vec())
                .collect(),
            bundle_der: bundle_der(&keys.bundle),
            not_after: i64::try_from(expires.as_secs()).unwrap_or(i64::MAX),
        })
    }
}

#[tonic::async_trait]
impl<A: Attestor> CertificateAuthority for Service<A> {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let (peer, began) = (peer(&request), Instant::now());
        let caller = self.authenticate(&request).await.inspect_err(|refusal| {
            tracing::warn!(peer, reason = refusal.message(), "refused a caller");
        })?;
        let request = request.into_inner();
        match self.try_sign(&caller, &request).await {
            Ok(response) => {
                self.report.issued(began.elapsed());
                Ok(Response::new(response))
            }
            Err(refusal) => {
                // The caller's words are shown escaped and cut: they are not a name until they parse.
                let identity: String = request.identity.chars().take(256).collect();
                self.report.refused(refusal.code());
                tracing::warn!(%caller, ?identity, peer, reason = refusal.message(), "refused a certificate");
                Err(refusal)
            }
        }
    }

    async fn bundle(&self, request: Request<BundleRequest>) -> Result<Response<BundleResponse>, Status> {
        let caller = self.authenticate(&request).await.inspect_err(|refusal| {
            tracing::warn!(peer = peer(&request), reason = refusal.message(), "refused a caller");
        })?;
        tracing::debug!(%caller, "sent the bundle");
        Ok(Response::new(BundleResponse { bundle_der: bundle_der(&self.keys.borrow().bundle) }))
    }
}

fn status(refusal: Refusal) -> Status {
    let code = match &refusal {
        Refusal::Attest(AttestError::UnknownToken | AttestError::BadToken(_)) => Code::Unauthenticated,
        Refusal::Attest(AttestError::Unavailable(_)) => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    Status::new(code, refusal.to_string())
}

fn bundle_der(bundle: &Bundle) -> Vec<Vec<u8>> {
    bundle.roots().iter().map(|root| root.to_vec()).collect()
}

fn peer<T>(request: &Request<T>) -> String {
    request.extensions().get::<Peer>().map_or_else(String::new, |peer| peer.address.to_string())
}

fn leaf_serial(leaf: &[u8]) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(leaf).map_or_else(|_| String::new(), |(_, leaf)| leaf.raw_serial_as_string())
}
