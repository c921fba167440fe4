//! Which pods are captured: those that are on this node and that the configuration says are in the mesh.
//!
//! ```text
//!            its namespace is here, and it is meshed
//! unknown ─────────────────────────────────────────▶ captured ──▶ released, when its namespace is gone
//!    └────▶ left alone (not in the mesh) ◀───────────────┘         or it leaves the mesh
//! ```
//! The configuration names a pod once it is scheduled, before it has addresses; those its namespace says then.
//! A captured pod whose workload vanishes from the configuration stays captured until its namespace goes: between
//! the two nothing of it must pass in clear.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use mesh_bpf_abi::{INBOUND_PORT, OUTBOUND_PORT};
use mesh_ir::name::Uid;
use mesh_ir::resource::Workload;
use tokio::sync::{mpsc, watch};

use crate::datapath::{Datapath, DatapathError};
use crate::netns::Netns;
use crate::pods::{Pods, addresses, routing};
use crate::proxy::{Command, Source};
use crate::sockets::{self, listener};
use crate::state::{LocalPod, State};

/// What is known of a pod on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    NotMeshed,
    /// Captured, and its certificate is here.
    Captured,
}

/// What is known of each pod, and of which network namespace of it: a pod whose sandbox is made anew gets another one.
pub type PodStates = BTreeMap<Uid, Known>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub state: PodState,
    /// The namespace's cookie.
    pub netns: u64,
}

/// Why it is not known yet whether a pod is captured.
pub fn why_unknown(state: &State, uid: &Uid) -> String {
    if *state.view_version.borrow() == 0 {
        return "no configuration has come from the mesh-operator yet".to_owned();
    }
    match state.view.load().workload_by_uid(uid) {
        None => "the mesh-operator has not told this node of it".to_owned(),
        Some(workload) => match workload.identity(&state.settings.trust_domain) {
            Some(identity) => {
                format!("{} waits to be captured, or for its certificate of {identity}", workload.name)
            }
            None => format!("{} is not found on this node", workload.name),
        },
    }
}

#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error("its network namespace: {0}")]
    Netns(io::Error),
    #[error("the routing in its network namespace: {0}")]
    Routing(io::Error),
    #[error("the addresses in its network namespace: {0}")]
    Addresses(io::Error),
    #[error("a listener at {address} in its network namespace: {source}")]
    Listener { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

#[derive(Debug)]
pub struct Capture {
    state: Arc<State>,
    datapath: Datapath,
    workers: Vec<mpsc::Sender<Command>>,
    captured: BTreeMap<Uid, Arc<LocalPod>>,
    states: watch::Sender<PodStates>,
}

impl Capture {
    pub fn new(state: Arc<State>, datapath: Datapath, workers: Vec<mpsc::Sender<Command>>) -> Self {
        Self { state, datapath, workers, captured: BTreeMap::new(), states: watch::Sender::default() }
    }

    pub fn states(&self) -> watch::Receiver<PodStates> {
        self.states.subscribe()
    }

    /// Runs for as long as the node does.
    pub async fn run(mut self, mut pods: mpsc::Receiver<Pods>) {
        let mut versions = self.state.view_version.subscribe();
        let mut present = match pods.recv().await {
            Some(first) => first,
            None => return,
        };
        self.forget_others(&present);
        loop {
            versions.borrow_and_update();
            self.reconcile(&present).await;
            tokio::select! {
                next = pods.recv() => match next {
                    Some(next) => present = next,
                    None => return,
                },
                _ = versions.changed() => {}
            }
        }
    }

    fn forget_others(&mut self, present: &Pods) {
        let cookies: BTreeSet<u64> = present.values().map(Netns::cookie).collect();
        let uids = present.keys().cloned().collect();
        if let Err(error) = self.datapath.forget_others(&uids, &cookies) {
            tracing::error!(%error, "cannot remove what an earlier process left");
        }
    }

    async fn reconcile(&mut self, present: &Pods) {
        if *self.state.view_version.borrow() == 0 {
            // What an earlier process left in the maps is truer than no configuration: without it the traffic of the
            // pods that it captured would pass in clear.
            return;
        }
        let view = self.state.view.load_full();
        if let Err(error) = self.datapath.planned.hold(&view) {
            tracing::error!(%error, "the maps of mesh addresses are not up to date");
        }
        // A pod whose sandbox was made anew has its UID and another namespace: what stood in the old one goes first.
        let is_gone = |pod: &LocalPod| present.get(&pod.uid) != Some(&pod.netns);
        let gone: Vec<Uid> =
            self.captured.values().filter(|pod| is_gone(pod)).map(|pod| pod.uid.clone()).collect();
        for uid in gone {
            self.release(&uid).await;
        }
        self.states.send_if_modified(|states| {
            let before = states.len();
            states.retain(|uid, _| present.contains_key(uid));
            states.len() != before
        });
        for (uid, netns) in present {
            let Some(workload) = view.workload_by_uid(uid) else { continue };
            match (workload.meshed, self.captured.contains_key(uid)) {
                (true, false) => {
                    if let Err(error) = self.capture(workload, netns).await {
                        tracing::error!(pod = %workload.name, %uid, %error, "cannot capture a pod; its traffic is not in the mesh");
                    }
                }
                (false, captured) => {
                    if captured {
                        self.release(uid).await;
                    }
                    set(&self.states, uid, PodState::NotMeshed, netns);
                }
                (true, true) => {
                    if let Some(pod) = self.captured.get(uid) {
                        let new = workload.mode;
                        pod.mode.send_if_modified(|mode| std::mem::replace(mode, new) != new);
                        if let Some(moved) = moved(pod, workload) {
                            self.move_to(moved).await;
                        }
                    }
                }
            }
        }
        self.state.telemetry.captured_pods.set(self.captured.len() as i64);
    }

    async fn capture(&mut self, workload: &Workload, netns: &Netns) -> Result<(), CaptureError> {
        routing::prepare(netns).await.map_err(CaptureError::Routing)?;
        let trust_domain = &self.state.settings.trust_domain;
        let Some(identity) = workload.identity(trust_domain) else { return Ok(()) };
        let addresses = if workload.addresses.is_empty() {
            addresses::read(netns).await.map_err(CaptureError::Addresses)?
        } else {
            workload.addresses.clone()
        };
        if addresses.is_empty() {
            tracing::debug!(pod = %workload.name, "it has no network yet; its addresses are awaited");
            return Ok(());
        }
        let slot = self.datapath.take_slot(&workload.uid)?;
        let pod = Arc::new(LocalPod {
            uid: workload.uid.clone(),
            name: workload.name.to_string(),
            netns: netns.clone(),
            slot,
            addresses,
            credentials: self.state.identities.take(&identity),
            mode: watch::Sender::new(workload.mode),
            identity,
        });
        if let Err(error) = self.attach(&pod).await {
            self.detach(&pod).await;
            return Err(error);
        }
        self.captured.insert(pod.uid.clone(), pod.clone());
        tracing::info!(pod = %pod.name, uid = %pod.uid, identity = %pod.identity, "captured");
        let (states, state) = (self.states.clone(), self.state.clone());
        tokio::spawn(async move {
            pod.credentials.ready().await;
            // Meanwhile it may have been released, or captured anew in another namespace.
            if state.pods.load().get(&pod.uid).is_some_and(|held| held.netns == pod.netns) {
                set(&states, &pod.uid, PodState::Captured, &pod.netns);
            }
        });
        Ok(())
    }

    /// What stands is replaced piece by piece, so that new connections are captured throughout; those that are open end.
    async fn move_to(&mut self, pod: LocalPod) {
        let pod = Arc::new(pod);
        tracing::warn!(pod = %pod.name, addresses = ?pod.addresses, "the pod's addresses are other ones than it was captured with");
        match self.attach(&pod).await {
            Ok(()) => {
                self.captured.insert(pod.uid.clone(), pod);
            }
            Err(error) => tracing::error!(pod = %pod.name, %error, "cannot capture a pod's new addresses"),
        }
    }

    async fn attach(&mut self, pod: &Arc<LocalPod>) -> Result<(), CaptureError> {
        let ipv6 = pod.address(true).is_some();
        let families: &[bool] = if ipv6 { &[false, true] } else { &[false] };
        let mut inbound: Vec<Vec<TcpListener>> = Vec::new();
        let mut outbound: Vec<Vec<TcpListener>> = Vec::new();
        for _ in &self.workers {
            inbound.push(listeners(pod, families, INBOUND_PORT)?);
            outbound.push(listeners(pod, families, OUTBOUND_PORT)?);
        }
        let mut first = inbound.first().map(|listeners| listeners.iter()).into_iter().flatten();
        if let Some(v4) = first.next() {
            let pair = (v4, first.next());
            self.datapath.capture(&pod.uid, &pod.netns, pod.slot, &pod.addresses, pair)?;
        }
        self.state.pods.rcu(|pods| pods.with(pod.clone()));
        for (worker, (inbound, outbound)) in self.workers.iter().zip(inbound.into_iter().zip(outbound)) {
            // A worker that has ended takes the whole process with it.
            let _ = worker.send(Command::Serve(Source::Inbound(pod.clone()), inbound)).await;
            let _ = worker.send(Command::Serve(Source::Outbound(pod.clone()), outbound)).await;
        }
        Ok(())
    }

    async fn release(&mut self, uid: &Uid) {
        if let Some(pod) = self.captured.remove(uid) {
            self.detach(&pod).await;
            tracing::info!(pod = %pod.name, uid = %pod.uid, "released");
        }
        self.states.send_if_modified(|states| states.remove(uid).is_some());
    }

    async fn detach(&mut self, pod: &Arc<LocalPod>) {
        self.state.pods.rcu(|pods| pods.without(&pod.uid));
        if let Err(error) = self.datapath.release(&pod.uid, pod.netns.cookie(), pod.slot) {
            tracing::error!(pod = %pod.name, %error, "cannot release a pod whole");
        }
        for worker in &self.workers {
            let _ = worker.send(Command::Stop(Source::Outbound(pod.clone()))).await;
            let _ = worker.send(Command::Stop(Source::Inbound(pod.clone()))).await;
        }
    }
}

/// The pod with the addresses that the configuration gives it, where those are others than it was captured with.
fn moved(pod: &LocalPod, workload: &Workload) -> Option<LocalPod> {
    let first = |v6: bool| workload.addresses.iter().copied().find(|address| address.is_ipv6() == v6);
    let same = [false, true].iter().all(|v6| pod.address(*v6) == first(*v6));
    (!same && !workload.addresses.is_empty()).then(|| LocalPod {
        uid: pod.uid.clone(),
        name: pod.name.clone(),
        netns: pod.netns.clone(),
        slot: pod.slot,
        addresses: workload.addresses.clone(),
        identity: pod.identity.clone(),
        credentials: pod.credentials.clone(),
        mode: watch::Sender::new(workload.mode),
    })
}

fn set(states: &watch::Sender<PodStates>, uid: &Uid, state: PodState, netns: &Netns) {
    let known = Known { state, netns: netns.cookie() };
    states.send_if_modified(|states| states.insert(uid.clone(), known) != Some(known));
}

/// One listener a family, in the pod's namespace, on its loopback.
fn listeners(pod: &LocalPod, families: &[bool], port: u16) -> Result<Vec<TcpListener>, CaptureError> {
    let make = |v6: &bool| {
        let ip: IpAddr = sockets::loopback(*v6);
        let address = SocketAddr::new(ip, port);
        let made = pod.netns.enter(|| listener(address)).map_err(CaptureError::Netns)?;
        made.map_err(|source| CaptureError::Listener { address, source })
    };
    families.iter().map(make).collect()
}
