//! The gRPC service: authenticate, bound, attest, sign, log.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_health::{Health, Port, PortError};
use mesh_trust::api::certificate_authority_server::CertificateAuthorityServer;
use mesh_trust::{AcceptLimits, serve_incoming};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;

use crate::attest::Attestor;
use crate::issue::MAX_SVID_LIFE;
use crate::keys::Store;

mod bounds;
mod own;
mod report;
mod service;

use own::{Own, OwnError};
use report::Report;
use service::Service;

/// No life of an SVID is shorter: half of it must leave time to renew.
pub const MIN_SVID_LIFE: Duration = Duration::from_secs(10);

/// A request to sign is a few hundred bytes.
const MAX_MESSAGE: usize = 64 * 1024;
const REQUESTS_PER_CONNECTION: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take to finish once the authority is told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What an authority is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    /// From [`MIN_SVID_LIFE`] to [`MAX_SVID_LIFE`].
    pub svid_life: Duration,
    /// Where health and metrics are served in clear.
    pub metrics: Option<SocketAddr>,
}

/// The authority cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("an SVID may live from {MIN_SVID_LIFE:?} to {MAX_SVID_LIFE:?}, not {0:?}")]
    SvidLife(Duration),
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Metrics(#[from] PortError),
    #[error("the server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// An authority that listens. Nothing is answered until it [runs](Self::run).
#[derive(Debug)]
pub struct Authority<S, A> {
    settings: Settings,
    attestor: A,
    own: Own<S>,
    listener: TcpListener,
    report: Arc<Report>,
    reporting: JoinSet<()>,
}

impl<S: Store, A: Attestor> Authority<S, A> {
    /// Takes the keys of `store`, publishes the bundle and listens. That takes as long as the store cannot be reached;
    /// health is served meanwhile.
    pub async fn start(settings: Settings, store: S, attestor: A) -> Result<Self, ServeError> {
        if !(MIN_SVID_LIFE..=MAX_SVID_LIFE).contains(&settings.svid_life) {
            return Err(ServeError::SvidLife(settings.svid_life));
        }
        let report = Arc::new(Report::new());
        let mut reporting = JoinSet::new();
        if let Some(address) = settings.metrics {
            reporting.spawn(Port::listen(address)?.serve(report.clone() as Arc<dyn Health>));
        }
        let own = Own::start(store, settings.svid_life, report.clone()).await?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(|source| ServeError::Listen { address: settings.listen, source })?;
        Ok(Self { settings, attestor, own, listener, report, reporting })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` completes; requests under way are finished then, within a bound.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { settings, attestor, own, listener, report, reporting: _reporting } = self;
        let service = Service::new(attestor, own.keys(), settings.svid_life, report);
        let service = CertificateAuthorityServer::new(service).max_decoding_message_size(MAX_MESSAGE);
        let incoming = serve_incoming(listener, own.server_configs(), AcceptLimits::default());
        let (ending, mut ended) = watch::channel(false);
        let serving = Server::builder()
            .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
            .timeout(REQUEST_TIMEOUT)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async move {
                // The sender outlives the server, so this cannot fail.
                let _ = ended.wait_for(|ended| *ended).await;
            });
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return Ok(served?),
            never = own.keep_fresh() => match never {},
            () = end => {}
        }
        ending.send_replace(true);
        match tokio::time::timeout(DRAIN_TIMEOUT, serving).await {
            Ok(served) => Ok(served?),
            Err(_) => {
                tracing::warn!("ended with requests under way");
                Ok(())
            }
        }
    }
}

type Keys = watch::Receiver<Arc<crate::keys::Keys>>;
