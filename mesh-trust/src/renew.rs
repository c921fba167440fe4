//! Keeps an SVID fresh.
//!
//! ```text
//!            obtained                       half-life (± jitter)
//! waiting ──────────────▶ holding ─────────────────────────▶ renewing
//!    │ ▲                     ▲           obtained               │ ▲
//!    └─┘ failed: back off    └──────────────────────────────────┘─┘ failed: back off, the current one stays
//! ```

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ir::name::Identity;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use crate::bundle::Bundle;
use crate::client::CertificateClient;
use crate::svid::Svid;
use crate::task::Task;
use crate::tls::{ClientAuth, Expect, TlsError, client_config, server_config};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// A renewal is up to this share of the certificate's life earlier than half-life, so that workloads that started
/// together do not ask together.
const JITTER: f64 = 0.1;

/// The longest sleep before the wall clock is looked at again: the timer stands still while a machine is suspended and
/// does not see the clock being set, and certificates expire by the wall clock.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// An SVID that is renewed at half-life until this is dropped.
#[derive(Debug)]
pub struct Renewing {
    identity: Identity,
    svid: watch::Receiver<Option<Arc<Svid>>>,
    problem: watch::Receiver<Option<Arc<str>>>,
    bundle: watch::Receiver<Arc<Bundle>>,
    _task: Task,
}

impl Renewing {
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The current SVID, `None` until the first is there. An SVID stays here after it has expired.
    pub fn svid(&self) -> watch::Receiver<Option<Arc<Svid>>> {
        self.svid.clone()
    }

    /// Why the last attempt to get an SVID failed; `None` while all is well.
    pub fn problem(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.problem.clone()
    }

    /// Waits for the first SVID, as long as it takes; bound it with a timeout and see [`Self::problem`] then.
    pub async fn ready(&self) -> Arc<Svid> {
        first(&mut self.svid.clone()).await
    }

    /// Server configurations of this SVID, a new one whenever it or the bundle changes. Waits for the first SVID.
    pub async fn server_configs(
        &self,
        alpn: &'static [&'static [u8]],
        client_auth: ClientAuth,
    ) -> Result<watch::Receiver<Arc<ServerConfig>>, TlsError> {
        self.configs(move |svid, bundle| server_config(svid, bundle, alpn, client_auth)).await
    }

    /// Client configurations of this SVID and one expectation, a new one whenever the SVID or the bundle changes. Waits
    /// for the first SVID.
    pub async fn client_configs(
        &self,
        expect: Expect,
        alpn: &'static [&'static [u8]],
    ) -> Result<watch::Receiver<Arc<ClientConfig>>, TlsError> {
        self.configs(move |svid, bundle| client_config(Some(svid), bundle, expect.clone(), alpn)).await
    }

    async fn configs<C: Send + Sync + 'static>(
        &self,
        make: impl Fn(&Svid, &Arc<Bundle>) -> Result<Arc<C>, TlsError> + Send + Sync + 'static,
    ) -> Result<watch::Receiver<Arc<C>>, TlsError> {
        let (mut svids, mut bundles) = (self.svid.clone(), self.bundle.clone());
        let svid = first(&mut svids).await;
        let bundle = bundles.borrow_and_update().clone();
        let (sender, configs) = watch::channel(make(&svid, &bundle)?);
        // Ends with the last receiver of the configurations, or with the renewal.
        tokio::spawn(async move {
            loop {
                let changed = tokio::select! {
                    changed = svids.changed() => changed,
                    changed = bundles.changed() => changed,
                    () = sender.closed() => return,
                };
                if changed.is_err() {
                    return;
                }
                let svid = svids.borrow_and_update().clone();
                let bundle = bundles.borrow_and_update().clone();
                let Some(svid) = svid else { continue };
                match make(&svid, &bundle) {
                    Ok(config) => {
                        sender.send_replace(config);
                    }
                    Err(error) => tracing::error!(identity = %svid.identity(), %error, "keeping the old one"),
                }
            }
        });
        Ok(configs)
    }
}

async fn first(svids: &mut watch::Receiver<Option<Arc<Svid>>>) -> Arc<Svid> {
    let found = svids.wait_for(Option::is_some).await.ok().and_then(|svid| svid.clone());
    match found {
        Some(svid) => svid,
        // The sender ends with the `Renewing` that is being awaited, or with the runtime.
        None => std::future::pending().await,
    }
}

pub(crate) fn renew(client: CertificateClient, identity: Identity) -> Renewing {
    let (svid_sender, svid) = watch::channel(None);
    let (problem_sender, problem) = watch::channel(None);
    let bundle = client.bundle();
    let task = Task::spawn(run(client, identity.clone(), svid_sender, problem_sender));
    Renewing { identity, svid, problem, bundle, _task: task }
}

async fn run(
    client: CertificateClient,
    identity: Identity,
    svids: watch::Sender<Option<Arc<Svid>>>,
    problems: watch::Sender<Option<Arc<str>>>,
) {
    loop {
        let svid = obtain(&client, &identity, &problems).await;
        let due = renewal_time(&svid, fastrand::f64());
        tracing::info!(%identity, expires = unix(svid.expires()), renewal = unix(due), "have a certificate");
        svids.send_replace(Some(Arc::new(svid)));
        while let Ok(left) = due.duration_since(SystemTime::now()) {
            tokio::time::sleep(left.min(CLOCK_CHECK)).await;
        }
        if let Err(error) = client.reread_bundle().await {
            tracing::warn!(%error, "keeping the trust bundle as it was");
        }
    }
}

async fn obtain(
    client: &CertificateClient,
    identity: &Identity,
    problems: &watch::Sender<Option<Arc<str>>>,
) -> Svid {
    let mut attempt = 0;
    loop {
        match client.obtain(identity).await {
            Ok(svid) => {
                problems.send_if_modified(|problem| problem.take().is_some());
                return svid;
            }
            Err(error) => {
                let pause = retry_pause(attempt, fastrand::f64());
                let problem: Arc<str> = error.to_string().into();
                // An authority that is away for an hour is one line a reason, not one a retry.
                if problems.borrow().as_ref() != Some(&problem) {
                    tracing::warn!(%identity, %error, "no certificate; asking again until there is one");
                    problems.send_replace(Some(problem));
                }
                tokio::time::sleep(pause).await;
                attempt += 1;
            }
        }
    }
}

/// Half-life less up to [`JITTER`] of the life; `random` in 0..1.
fn renewal_time(svid: &Svid, random: f64) -> SystemTime {
    let half_life = svid.half_life();
    let life = 2 * svid.expires().duration_since(half_life).unwrap_or_default();
    half_life - life.mul_f64(JITTER * random)
}

/// Doubles from [`FIRST_RETRY`] to [`LAST_RETRY`], then between half and all of that; `random` in 0..1.
fn retry_pause(attempt: u32, random: f64) -> Duration {
    let full = FIRST_RETRY.saturating_mul(1 << attempt.min(16)).min(LAST_RETRY);
    full.mul_f64(0.5 + random / 2.0)
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renew_pauses_grow_to_their_bound() {
        let full: Vec<u128> = (0..10).map(|attempt| retry_pause(attempt, 1.0).as_millis()).collect();
        assert_eq!(full, [200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000, 15000]);
        assert_eq!(retry_pause(0, 0.0), Duration::from_millis(100));
        assert_eq!(retry_pause(u32::MAX, 1.0), LAST_RETRY);
    }
}
