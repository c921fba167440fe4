//! A cluster to ask: the client of its API server that the user's kubeconfig makes, and a pod asked through it.
//!
//! What is asked, and what the answers mean, is for the commands.

use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Limited};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;

use crate::admin::Answer;
use crate::health::{Health, MAX_ANSWER};

/// Objects in one answer of the API server.
const PAGE: u32 = 500;
/// Where each of Weir's programs tells its health.
const HEALTH_PORT: u16 = 15014;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a command asks is answered at once, or in pages.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Which cluster is asked.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClusterFlags {
    /// The kubeconfig file, in place of what KUBECONFIG names or ~/.kube/config.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context, in place of its current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// There is no way to reach an API server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("cannot use the kubeconfig {}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error(
        "there is no cluster to ask: {0}; give its kubeconfig with --kubeconfig PATH or KUBECONFIG, and --context NAME if it has several"
    )]
    None(String),
    #[error("cannot make a client of the API server: {0}")]
    Client(String),
}

/// Why a pod could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// The API server's own answer: it may not be asked, or cannot reach the pod.
    #[error("{message}")]
    Refused { code: u16, message: String },
    #[error("{0}")]
    Exchange(String),
}

impl ClusterFlags {
    /// A client of it. Nothing is asked yet.
    pub(crate) async fn client(&self) -> Result<Client, ClusterError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // A pod's 503 through the API server is an answer.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| ClusterError::Client(problem(&error)))
    }

    async fn config(&self) -> Result<Config, ClusterError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let unusable = |problem: String| ClusterError::File { path: path.clone(), problem };
            let file = Kubeconfig::read_from(path).map_err(|error| unusable(chain(&error)))?;
            return Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(|error| unusable(chain(&error)));
        }
        if self.context.is_some() {
            return Config::from_kubeconfig(&options)
                .await
                .map_err(|error| ClusterError::None(chain(&error)));
        }
        Config::infer().await.map_err(|error| ClusterError::None(error.to_string()))
    }
}

/// All of them, page by page.
pub(crate) async fn list<K>(api: &Api<K>, params: ListParams) -> kube::Result<Vec<K>>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut all = Vec::new();
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Asks a pod of Weir how it is; each answer may take `bound`.
pub(crate) async fn ask_health(
    client: &Client,
    pod: (&str, &str),
    bound: Duration,
) -> Result<Health, PodError> {
    Health::ask(|path| ask_pod(client, pod, HEALTH_PORT, path, bound, MAX_ANSWER)).await
}

/// Asks a pod, as the API server's proxy of pods does it: whatever the pod answers, if it is reached. The answer may
/// take `bound` and have `max` bytes.
async fn ask_pod(
    client: &Client,
    pod: (&str, &str),
    port: u16,
    path: &str,
    bound: Duration,
    max: usize,
) -> Result<Answer, PodError> {
    let (namespace, name) = pod;
    let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
    let request = http::Request::get(uri)
        .body(kube::client::Body::empty())
        .map_err(|error| PodError::Exchange(error.to_string()))?;
    let asking = async {
        let answer = client.send(request).await.map_err(|error| PodError::Exchange(problem(&error)))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), max).collect().await;
        let body = body.map_err(|error| PodError::Exchange(chain(error.as_ref())))?.to_bytes();
        Ok(Answer { status, body })
    };
    let answer = tokio::time::timeout(bound, asking).await;
    let answer =
        answer.map_err(|_| PodError::Exchange(format!("no answer within {} ms", bound.as_millis())))??;
    match refusal(&answer) {
        Some(message) => Err(PodError::Refused { code: answer.status, message }),
        None => Ok(answer),
    }
}

/// The API server's own refusal: no program of the mesh answers with a Status.
fn refusal(answer: &Answer) -> Option<String> {
    if answer.status < 400 {
        return None;
    }
    let status: Status = serde_json::from_slice(&answer.body).ok()?;
    (!status.message.is_empty()).then_some(status.message)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned().into() }
    }

    #[test]
    fn a_pods_answer_is_told_from_the_api_servers_refusal() {
        let forbidden = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" is forbidden","reason":"Forbidden","code":403}"#;
        assert_eq!(refusal(&answer(403, forbidden)).as_deref(), Some("pods \"x\" is forbidden"));
        assert_eq!(refusal(&answer(503, "waiting for the configuration\n")), None);
        assert_eq!(refusal(&answer(503, "{}")), None);
        assert_eq!(refusal(&answer(200, forbidden)), None);
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_read_is_named() {
        let flags =
            ClusterFlags { kubeconfig: Some("/nonexistent/kubeconfig".into()), ..ClusterFlags::default() };
        let error = flags.client().await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("cannot use the kubeconfig /nonexistent/kubeconfig: "), "{error}");
    }
}
