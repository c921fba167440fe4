//! Which of the operator's replicas writes: the one that holds a Lease (coordination.k8s.io).
//!
//! ```text
//!            acquired                    8 s without renewal, or another holds it
//!   waiting ──────────> leading ──────────────────────────────────────────────────> waiting
//!                          └── ending: the Lease is given back, and a successor takes it at its next attempt
//! ```
//!
//! A holder stops 4 s before others may take the Lease over, so that no two write at once, as long as clocks run at
//! about the same speed. What they show does not matter: each replica measures by its own how long a Lease stays as
//! it is.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use mesh_compile::MANAGER;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster;

pub(crate) const LEASE: &str = "weir-operator";
/// With [`RETRY`], in which others see a renewal, no more than 15 s pass before another replica leads.
const DURATION: Duration = Duration::from_secs(12);
const RENEW_DEADLINE: Duration = Duration::from_secs(8);
const RETRY: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// One replica's part in the election.
pub(super) struct Candidate {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    /// The Lease as it was seen last, and since when it has been so.
    seen: Option<(Lease, Instant)>,
    said: Option<String>,
}

impl Candidate {
    /// `identity` is no other replica's.
    pub(super) fn new(client: Client, namespace: &str, identity: String) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, namespace: namespace.into(), identity, seen: None, said: None }
    }

    /// Takes part until `ending`; `leading` is true while this replica may write.
    pub(super) async fn run(mut self, leading: watch::Sender<bool>, mut ending: watch::Receiver<bool>) {
        let mut renewed: Option<Instant> = None;
        loop {
            let deadline = renewed.map(|renewed| renewed + RENEW_DEADLINE);
            let asked = Instant::now();
            let attempt = async {
                match tokio::time::timeout(REQUEST_TIMEOUT, self.acquire()).await {
                    Ok(result) => result,
                    Err(_) => Err(format!("no answer in {REQUEST_TIMEOUT:?}")),
                }
            };
            let outcome = tokio::select! {
                outcome = attempt => outcome,
                () = until(deadline) => Err(format!("it was not renewed for {RENEW_DEADLINE:?}")),
                _ = ending.wait_for(|ending| *ending) => break,
            };
            match &outcome {
                // It counts from when it was asked for: the API server's answer may have taken long.
                Ok(true) => renewed = Some(asked),
                Ok(false) => renewed = None,
                Err(_) if renewed.is_some_and(|renewed| renewed.elapsed() >= RENEW_DEADLINE) => {
                    renewed = None
                }
                Err(_) => {}
            }
            self.say(&outcome);
            set(&leading, renewed.is_some(), &self.identity);
            let pause = self.pause();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = until(renewed.map(|renewed| renewed + RENEW_DEADLINE)) => {}
                _ = ending.wait_for(|ending| *ending) => break,
            }
        }
        leading.send_replace(false);
        if renewed.is_some() {
            _ = tokio::time::timeout(REQUEST_TIMEOUT, self.release()).await;
        }
    }

    /// Takes the Lease or renews it; false where another replica has it.
    async fn acquire(&mut self) -> Result<bool, String> {
        let problem = |error: kube::Error| cluster::problem(&error);
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.leases.get_opt(LEASE).await.map_err(problem)? else {
            let labels = [("app.kubernetes.io/managed-by".into(), MANAGER.into())];
            let metadata =
                ObjectMeta { name: Some(LEASE.into()), labels: Some(labels.into()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.held(now.clone(), now, 0)) };
            return match self.leases.create(&PostParams::default(), &lease).await {
                Ok(lease) => Ok(self.see(lease)),
                Err(error) if cluster::is(&error, 409) => Ok(false),
                Err(error) => Err(problem(error)),
            };
        };
        let ours = self.see(lease.clone());
        if !ours && !self.is_free(&lease) {
            return Ok(false);
        }
        let before = lease.spec.take().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default();
        lease.spec = Some(match before.acquire_time {
            Some(acquired) if ours => self.held(acquired, now, transitions),
            _ => self.held(now.clone(), now, transitions.saturating_add(1)),
        });
        // The resourceVersion in it makes this fail if another replica was faster.
        match self.leases.replace(LEASE, &PostParams::default(), &lease).await {
            Ok(lease) => Ok(self.see(lease)),
            Err(error) if cluster::is(&error, 409) => Ok(false),
            Err(error) => Err(problem(error)),
        }
    }

    async fn release(&mut self) {
        let Some((mut lease, _)) = self.seen.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match self.leases.replace(LEASE, &PostParams::default(), &lease).await {
            Ok(_) => tracing::info!(lease = LEASE, "gave the lease back"),
            Err(error) => {
                let problem = cluster::problem(&error);
                tracing::warn!(
                    lease = LEASE,
                    problem,
                    "cannot give the lease back; it runs out in {DURATION:?}"
                );
            }
        }
    }

    fn held(&self, acquired: MicroTime, now: MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(acquired),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Takes note of the Lease as it is now; says whether we hold it.
    fn see(&mut self, lease: Lease) -> bool {
        let ours = holder(&lease) == Some(self.identity.as_str());
        if self.seen.as_ref().is_none_or(|(seen, _)| seen.spec != lease.spec) {
            self.seen = Some((lease, Instant::now()));
        } else if let Some((seen, _)) = &mut self.seen {
            *seen = lease;
        }
        ours
    }

    fn is_free(&self, lease: &Lease) -> bool {
        let lasts = duration(lease);
        holder(lease).is_none() || self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() >= lasts)
    }

    /// How long to wait before the next attempt: no longer than the Lease lasts.
    fn pause(&self) -> Duration {
        let retry = RETRY.mul_f64(0.8 + 0.2 * fastrand::f64());
        let Some((lease, since)) = &self.seen else { return retry };
        let left = duration(lease).saturating_sub(since.elapsed());
        if left.is_zero() { retry } else { retry.min(left) }
    }

    fn say(&mut self, outcome: &Result<bool, String>) {
        let problem = outcome.as_ref().err().cloned();
        if problem == self.said {
            return;
        }
        match &problem {
            Some(problem) => {
                let namespace = &self.namespace;
                tracing::warn!(lease = LEASE, namespace, problem, "cannot ask for the lease; trying again");
            }
            None => tracing::info!(lease = LEASE, "can ask for the lease again"),
        }
        self.said = problem;
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(1);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn set(leading: &watch::Sender<bool>, now: bool, identity: &str) {
    leading.send_if_modified(|before| {
        if *before == now {
            return false;
        }
        match now {
            true => tracing::info!(identity, "leading: this replica writes to the cluster"),
            false => tracing::warn!(identity, "no longer leading: this replica stops writing"),
        }
        *before = now;
        true
    });
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
