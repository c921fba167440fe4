//! What asking the Kubernetes API takes in this program: its client, its errors in words, and watches that outlast them.

use std::error::Error;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::runtime::watcher;
use kube::{Client, Config};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The API cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no cluster is known, neither from KUBECONFIG nor from inside of one: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("cannot make a client of the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

/// A client of the cluster that KUBECONFIG names, or that this program runs in.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Client::try_from(config)?)
}

/// An error of the API in words for a person, without the dump of its fields.
pub(crate) fn problem(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} ({})", status.message, status.reason);
    }
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The events of a watch; its errors are logged once each and it goes on by itself.
pub(crate) fn followed<K: Send>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
    kind: &'static str,
) -> impl Stream<Item = watcher::Event<K>> + Send {
    let mut said = None;
    events.filter_map(move |event| {
        let event = match event {
            Ok(event) => {
                if matches!(event, watcher::Event::InitDone | watcher::Event::Apply(_)) {
                    said = None;
                }
                Some(event)
            }
            Err(error) => {
                let mut innermost: &dyn Error = &error;
                while let Some(source) = innermost.source() {
                    innermost = source;
                }
                let problem = innermost.to_string();
                if said.as_ref() != Some(&problem) {
                    tracing::warn!(kind, problem, "a watch broke; taking it up again");
                    said = Some(problem);
                }
                None
            }
        };
        std::future::ready(event)
    })
}
