//! The operator's own certificate: awaited as long as the cert-authority takes, then kept fresh.

use std::time::Duration;

use mesh_trust::{CertificateClient, OpenError, Program, Renewing, Settings};
use tokio::sync::watch;

/// How long one attempt waits for the bundle file before what is missing is looked at again.
const BUNDLE_WAIT: Duration = Duration::from_secs(2);

/// How soon it is tried again to watch the bundle file's folder, which nothing can tell to be there.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Whether nodes can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Not yet, for this reason.
    Waiting(String),
    Up,
}

/// Waits for the operator's first certificate. Why there is none yet is said once for each reason.
pub(crate) async fn certificate(settings: Settings, serving: &watch::Sender<Serving>) -> Renewing {
    let identity = Program::MeshOperator.identity(&settings.trust_domain);
    let client = open(settings, serving).await;
    let renewing = client.renewing(identity);
    let mut problems = renewing.problem();
    let mut svids = renewing.svid();
    loop {
        tokio::select! {
            _ = svids.wait_for(Option::is_some) => break,
            // The sender lives as long as `renewing`.
            Ok(()) = problems.changed() => {
                if let Some(problem) = &*problems.borrow_and_update() {
                    wait(serving, problem.to_string());
                }
            }
        }
    }
    renewing
}

async fn open(settings: Settings, serving: &watch::Sender<Serving>) -> CertificateClient {
    loop {
        match CertificateClient::open(settings.clone(), BUNDLE_WAIT).await {
            Ok(client) => return client,
            Err(error) => {
                wait(serving, error.to_string());
                if matches!(error, OpenError::Watch { .. }) {
                    tokio::time::sleep(WATCH_RETRY).await;
                }
            }
        }
    }
}

fn wait(serving: &watch::Sender<Serving>, problem: String) {
    let waiting = Serving::Waiting(problem);
    serving.send_if_modified(|before| {
        if *before == waiting {
            return false;
        }
        if let Serving::Waiting(problem) = &waiting {
            tracing::warn!(problem, "no certificate to serve nodes with yet; trying again");
        }
        *before = waiting.clone();
        true
    });
}
