//! Serves the configuration to the nodes: gRPC over mutual TLS, one session a node, none of which waits for another.

use std::sync::Arc;
use std::time::Duration;

use mesh_ir::name::Identity;
use mesh_trust::{AcceptLimits, Peer, serve_incoming};
use mesh_wire::proto::configuration_server::{Configuration, ConfigurationServer};
use mesh_wire::proto::{NodeMessage, OperatorMessage};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::compile::Revision;
use crate::metrics::Metrics;
use nodes::Nodes;
use session::Subscription;

pub(crate) mod nodes;
mod session;

/// More nodes than any cluster has.
const MAX_SESSIONS: usize = 10_000;

/// A node needs one.
const STREAMS_PER_CONNECTION: u32 = 4;

const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sessions may take to end once the operator is told to.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What every session reads.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    /// Who may subscribe.
    pub(crate) node_identity: Identity,
    pub(crate) revisions: watch::Receiver<Option<Revision>>,
    pub(crate) nodes: Nodes,
    pub(crate) metrics: Arc<Metrics>,
    /// A node that has something to say or to take and does neither for so long is cut off.
    pub(crate) stall_timeout: Duration,
    /// True once the operator is ending.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Serves until the operator is ending.
pub(crate) async fn serve(
    publisher: Publisher,
    listener: TcpListener,
    configs: watch::Receiver<Arc<ServerConfig>>,
) -> Result<(), tonic::transport::Error> {
    let mut ending = publisher.ending.clone();
    let mut until = ending.clone();
    let limits = AcceptLimits { connections: MAX_SESSIONS, ..AcceptLimits::default() };
    let service = Service { publisher, places: Arc::new(Semaphore::new(MAX_SESSIONS)) };
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .add_service(ConfigurationServer::new(service))
        .serve_with_incoming_shutdown(serve_incoming(listener, configs, limits), async move {
            // An error means that the sender is gone, and the operator with it.
            _ = until.wait_for(|ending| *ending).await;
        });
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        _ = ending.wait_for(|ending| *ending) => {}
    }
    tokio::time::timeout(DRAIN_TIMEOUT, serving).await.unwrap_or_else(|_| {
        tracing::warn!("ended with sessions open");
        Ok(())
    })
}

struct Service {
    publisher: Publisher,
    places: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Configuration for Service {
    type SubscribeStream = ReceiverStream<Result<OperatorMessage, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let refuse = |peer: Option<&Peer>, status: Status| {
            self.publisher.metrics.sessions_refused.inc();
            let address = peer.map(|peer| tracing::field::display(peer.address));
            tracing::warn!(peer = address, reason = status.message(), "refused a subscription");
            status
        };
        let node_identity = &self.publisher.node_identity;
        let Some(peer) = peer.filter(|peer| peer.identity.as_ref() == Some(node_identity)) else {
            let peer = request.extensions().get::<Peer>();
            let who =
                peer.and_then(|peer| peer.identity.as_ref()).map_or("nobody".into(), ToString::to_string);
            let reason =
                format!("only {node_identity} may subscribe to the configuration, and this is {who}");
            return Err(refuse(peer, Status::permission_denied(reason)));
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let reason = format!("{MAX_SESSIONS} nodes are connected already");
            return Err(refuse(Some(&peer), Status::resource_exhausted(reason)));
        };
        // One message waits for the connection; the next is made when it has gone.
        let (sender, receiver) = mpsc::channel(1);
        let subscription =
            Subscription::new(self.publisher.clone(), peer.address, request.into_inner(), sender);
        tokio::spawn(async move {
            subscription.run().await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
