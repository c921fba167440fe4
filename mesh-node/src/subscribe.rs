//! The configuration's way in: a session with the mesh-operator that is taken up again whenever it breaks. What the
//! node has it keeps serving meanwhile.

use std::sync::Arc;
use std::time::Duration;

use mesh_ir::resource::Resource;
use mesh_trust::{Expect, Program};
use mesh_wire::NodeSession;
use mesh_wire::proto::configuration_client::ConfigurationClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::proxy::gateway;
use crate::state::State;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Messages of ours that the transport has not taken yet.
const OUTGOING: usize = 8;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connect(#[from] mesh_trust::ConnectError),
    #[error(transparent)]
    Credentials(#[from] mesh_trust::TlsError),
    #[error("the operator ended the stream: {0}")]
    Status(#[from] Box<tonic::Status>),
    #[error("the operator closed the stream")]
    Closed,
    #[error(transparent)]
    Protocol(#[from] mesh_wire::ProtocolError),
}

/// Runs for as long as the node does.
pub async fn subscribe(state: Arc<State>) {
    let mut session = NodeSession::new(state.settings.node.clone(), env!("CARGO_PKG_VERSION"));
    let mut retry = FIRST_RETRY;
    let mut away = false;
    loop {
        let before = *state.view_version.borrow();
        let ended = follow(&state, &mut session, &mut away).await;
        session.disconnect();
        let Err(error) = ended;
        if *state.view_version.borrow() != before {
            retry = FIRST_RETRY;
        }
        if std::mem::replace(&mut away, true) {
            tracing::debug!(%error, retry_in_ms = retry.as_millis(), "still no configuration session");
        } else {
            tracing::warn!(operator = %state.settings.operator, %error,
                "no configuration session; serving what is known until there is one again");
        }
        let jitter = 0.5 + fastrand::f64() / 2.0;
        tokio::time::sleep(retry.mul_f64(jitter)).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// `away` is whether it has been said that there is no session.
async fn follow(
    state: &State,
    session: &mut NodeSession,
    away: &mut bool,
) -> Result<std::convert::Infallible, SessionError> {
    let operator = Program::MeshOperator.identity(&state.settings.trust_domain);
    let configs = state.node.credentials.grpc_client(Expect::Exactly(operator)).await?;
    let channel = mesh_trust::connect(state.settings.operator.clone(), configs).await?;
    let mut client =
        ConfigurationClient::new(channel).max_decoding_message_size(mesh_wire::MAX_MESSAGE_BYTES * 2);
    session.connect();
    let (sender, outgoing) = mpsc::channel(OUTGOING);
    // The greeting may be longer than the channel: it is said while the stream opens and takes it.
    let greeting = say(session, &sender);
    let (subscribed, greeted) = tokio::join!(client.subscribe(ReceiverStream::new(outgoing)), greeting);
    let mut incoming = subscribed.map_err(Box::new)?.into_inner();
    greeted?;
    tracing::info!(operator = %state.settings.operator, "configuration session begun");
    *away = false;
    loop {
        let message = incoming.message().await.map_err(Box::new)?.ok_or(SessionError::Closed)?;
        if let Some(delta) = session.handle_message(message, validate)? {
            tracing::info!(
                changed = delta.upserts.len(),
                removed = delta.removes.len(),
                "configuration applied"
            );
            state.change_view(|view| view.apply(&delta));
        }
        say(session, &sender).await?;
    }
}

async fn say(
    session: &mut NodeSession,
    sender: &mpsc::Sender<mesh_wire::proto::NodeMessage>,
) -> Result<(), SessionError> {
    while let Some(message) = session.poll_message() {
        sender.send(message).await.map_err(|_| SessionError::Closed)?;
    }
    Ok(())
}

/// Whether this node can serve a resource. One that it cannot keeps its earlier version.
fn validate(resource: &Resource) -> Result<(), String> {
    match resource {
        Resource::Certificate(certificate) => {
            gateway::certified_key(certificate).map(|_| ()).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}
