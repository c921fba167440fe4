//! A node's side: a session over mutual TLS, as mesh-node's subscriber has it.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use mesh_ir::config::{Delta, MeshConfig};
use mesh_ir::name::Identity;
use mesh_ir::resource::{Resource, ResourceKey};
use mesh_trust::{CertificateClient, Expect, Program, client_config, connect_tls};
use mesh_wire::NodeSession;
use mesh_wire::proto::configuration_client::ConfigurationClient;
use mesh_wire::proto::{NodeMessage, OperatorMessage};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tower::service_fn;

use crate::lab::{Lab, PATIENCE, trust_domain};

pub(crate) struct Node {
    pub(crate) session: NodeSession,
    pub(crate) config: MeshConfig,
    pub(crate) stream: Option<Stream>,
}

pub(crate) struct Stream {
    pub(crate) outgoing: mpsc::Sender<NodeMessage>,
    pub(crate) incoming: Streaming<OperatorMessage>,
}

pub(crate) fn node_identity() -> Identity {
    Program::MeshNode.identity(&trust_domain())
}

/// A TLS configuration of `identity`, which the cert-authority gives for the token.
pub(crate) async fn tls(lab: &Lab, token: &str, identity: &Identity) -> Arc<ClientConfig> {
    let client = CertificateClient::open(lab.trust(token), PATIENCE).await.unwrap();
    let svid = client.obtain(identity).await.unwrap();
    let bundle = client.bundle().borrow().clone();
    let operator = Expect::Exactly(Program::MeshOperator.identity(&trust_domain()));
    client_config(Some(&svid), &bundle, operator, &[b"h2"]).unwrap()
}

pub(crate) async fn subscribe(lab: &Lab, config: Arc<ClientConfig>) -> Result<Stream, Status> {
    let address = lab.address;
    let dial = service_fn(move |_| {
        let config = config.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            let (stream, _) = connect_tls(tcp, address, config).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The smallest windows, so that who does not read is felt at once.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(1024).connect_timeout(PATIENCE);
    let channel: Channel = endpoint
        .connect_with_connector(dial)
        .await
        .map_err(|error| Status::unavailable(format!("{error:?}")))?;
    let (outgoing, messages) = mpsc::channel(4);
    let response = ConfigurationClient::new(channel).subscribe(ReceiverStream::new(messages)).await?;
    Ok(Stream { outgoing, incoming: response.into_inner() })
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            session: NodeSession::new(name.parse().unwrap(), "0.1.0-test"),
            config: MeshConfig::default(),
            stream: None,
        }
    }

    pub(crate) async fn connect(&mut self, lab: &Lab, config: Arc<ClientConfig>) {
        self.session.connect();
        self.stream = Some(subscribe(lab, config).await.unwrap());
        self.say().await;
    }

    pub(crate) async fn say(&mut self) {
        while let Some(message) = self.session.poll_message() {
            self.stream.as_ref().unwrap().outgoing.send(message).await.unwrap();
        }
    }

    /// The next change, applied and acknowledged.
    pub(crate) async fn next(&mut self) -> Delta {
        self.next_with(|_| Ok(())).await
    }

    pub(crate) async fn next_with(&mut self, validate: fn(&Resource) -> Result<(), String>) -> Delta {
        loop {
            let incoming = &mut self.stream.as_mut().unwrap().incoming;
            let message = tokio::time::timeout(PATIENCE, incoming.message()).await.expect("no message came");
            let delta =
                self.session.handle_message(message.unwrap().expect("the stream ended"), validate).unwrap();
            if let Some(delta) = delta {
                self.config.apply(&delta);
                self.say().await;
                return delta;
            }
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.config.resources.contains_key(&key.parse::<ResourceKey>().unwrap())
    }
}

/// The keys that a change upserts.
pub(crate) fn keys(delta: &Delta) -> Vec<String> {
    delta.upserts.iter().map(|resource| resource.key().to_string()).collect()
}
