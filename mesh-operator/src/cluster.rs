//! The connection to the API server, and what to say when it fails.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use kube::{Client, Config};

/// A connection that stays silent for so long is dead: every watch is ended by the API server before.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// There is no way to reach an API server.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot make a client of the Kubernetes API server: {0}; set KUBECONFIG, or run in a Pod with a service account"
)]
pub struct ClientError(String);

/// A Kubernetes API server, and who we are to it.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) client: Client,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

impl From<Client> for ApiServer {
    fn from(client: Client) -> Self {
        Self { client }
    }
}

impl ApiServer {
    /// The one that `KUBECONFIG` names, or else the one whose Pod this is. Nothing is asked of it yet.
    pub async fn infer() -> Result<Self, ClientError> {
        let mut config = Config::infer().await.map_err(|error| ClientError(chain(&error)))?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        let client = Client::try_from(config).map_err(|error| ClientError(problem(&error)))?;
        Ok(Self { client })
    }
}

/// What went wrong, as the API server or the system says it.
pub(crate) fn problem(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("the API server answered {} {}", status.code, status.reason)
        }
        kube::Error::Api(status) => status.message.clone(),
        kube::Error::Service(error) => format!("cannot reach the API server: {}", chain(error.as_ref())),
        error => chain(error),
    }
}

/// Whether the API server refused for this reason.
pub(crate) fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// An error and its sources.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        // Some errors repeat their source.
        if !text.ends_with(&message) {
            text += &format!(": {message}");
        }
        source = error.source();
    }
    text
}
