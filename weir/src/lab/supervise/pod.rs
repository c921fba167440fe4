//! The life of one pod on this machine, as a task of its own:
//!
//! ```text
//! network -> captured by the node -> init containers -> containers (started again as the restart policy says)
//!                         any state -- told to end --> SIGTERM, grace period, SIGKILL -> everything removed
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::capture;
use super::container_run::{self, ContainerEvent, Place};
use crate::lab::act::{cgroup, network};
use crate::lab::address::Subnets;
use crate::lab::container::{Plan, PodPlan, Restart};
use crate::lab::layout::{Layout, node_name};
use crate::lab::pod::{Phase, Pod};

/// How long to wait before mesh-node is asked again about a pod that it did not take in.
const CAPTURE_PAUSE: Duration = Duration::from_millis(500);

/// What every pod task needs of the lab.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) layout: Layout,
    pub(crate) plan: Subnets,
    /// The lab's cgroup.
    pub(crate) cgroup: PathBuf,
    /// Whether a mesh-node captures pods before they start.
    pub(crate) mesh: bool,
}

impl Machine {
    pub(crate) fn pods_cgroup(&self, node: u8) -> PathBuf {
        self.cgroup.join(node_name(node)).join("pods")
    }

    pub(crate) fn pod_cgroup(&self, node: u8, uid: &str) -> PathBuf {
        self.pods_cgroup(node).join(uid)
    }
}

/// What a pod task tells the supervisor.
#[derive(Debug)]
pub(crate) enum PodEvent {
    Phase(Phase),
    Ready(bool),
    Restarted(String),
    /// Why the pod does not run, or None when it does again.
    Trouble(Option<String>),
    /// Nothing is left of the pod.
    Gone,
}

/// The supervisor's hold on a pod task.
#[derive(Debug)]
pub(crate) struct Handle {
    end: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Tells the pod to end within the grace period.
    pub(crate) fn end(&self, grace: Duration) {
        self.end.send_replace(Some(grace));
    }

    /// Waits until nothing is left of a pod that was told to end.
    pub(crate) async fn gone(self) {
        let _ = self.task.await;
    }
}

/// Starts the pod's task. `containers` is what it runs, or why it cannot.
pub(crate) fn start(
    machine: Arc<Machine>,
    pod: Pod,
    containers: Result<PodPlan, String>,
    events: mpsc::Sender<(String, PodEvent)>,
) -> Handle {
    let (end, ended) = watch::channel(None);
    let task = tokio::spawn(async move {
        let task = Task { machine, pod, events, ended };
        task.run(containers).await;
    });
    Handle { end, task }
}

/// Waits until the pod is told to end, or nobody is left to tell it.
pub(crate) async fn told_to_end(ended: &mut watch::Receiver<Option<Duration>>) {
    let _ = ended.wait_for(Option::is_some).await;
}

struct Task {
    machine: Arc<Machine>,
    pod: Pod,
    events: mpsc::Sender<(String, PodEvent)>,
    ended: watch::Receiver<Option<Duration>>,
}

impl Task {
    async fn run(mut self, containers: Result<PodPlan, String>) {
        let lived = match containers {
            Ok(plan) => self.live(plan).await,
            Err(why) => Err(why),
        };
        if let Err(why) = lived {
            tracing::error!(pod = %self.pod.id(), why, "pod does not run");
            self.tell(PodEvent::Trouble(Some(why))).await;
        }
        // Whatever became of its containers, a pod stays until it is told to end.
        let mut ended = self.ended.clone();
        told_to_end(&mut ended).await;
        if let Err(error) = self.remove().await {
            tracing::error!(pod = %self.pod.id(), %error, "something of the pod is left behind");
        }
        self.tell(PodEvent::Gone).await;
    }

    async fn live(&mut self, plan: PodPlan) -> Result<(), String> {
        self.set_up().await.map_err(|error| format!("setting up its network: {error}"))?;
        if self.machine.mesh && !self.captured().await {
            return Ok(());
        }
        for init in plan.init {
            let restart = if plan.restart == Restart::Never { Restart::Never } else { Restart::OnFailure };
            let name = init.name.clone();
            if !self.run_containers(vec![init], restart, false).await {
                if self.ended.borrow().is_none() {
                    self.tell(PodEvent::Phase(Phase::Failed)).await;
                    return Err(format!("init container {name} failed"));
                }
                return Ok(());
            }
        }
        self.tell(PodEvent::Phase(Phase::Running)).await;
        let well = self.run_containers(plan.containers, plan.restart, true).await;
        if self.ended.borrow().is_none() {
            self.tell(PodEvent::Phase(if well { Phase::Succeeded } else { Phase::Failed })).await;
        }
        Ok(())
    }

    /// Waits until the node's mesh-node has the pod, asking again for as long as it takes; false when the pod is told to
    /// end before. No container runs uncaptured.
    async fn captured(&self) -> bool {
        let admin = self.machine.layout.node_admin(self.pod.node);
        let mut ended = self.ended.clone();
        loop {
            let asked = tokio::select! {
                asked = capture::wait(&admin, &self.pod.uid) => asked,
                () = told_to_end(&mut ended) => return false,
            };
            let Err(why) = asked else { return true };
            let why = format!("{} did not take it in: {why}", self.pod.node_name());
            tracing::warn!(pod = %self.pod.id(), why, "pod waits");
            self.tell(PodEvent::Trouble(Some(why))).await;
            tokio::select! {
                () = tokio::time::sleep(CAPTURE_PAUSE) => {}
                () = told_to_end(&mut ended) => return false,
            }
        }
    }

    /// Runs the containers until each has ended for good; says whether all ended well. Readiness is told only for
    /// a pod's own containers: the pod is Ready while all of them are.
    async fn run_containers(&self, plans: Vec<Plan>, restart: Restart, serving: bool) -> bool {
        let (send, mut receive) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        let mut ready: BTreeMap<String, bool> = plans.iter().map(|plan| (plan.name.clone(), false)).collect();
        for plan in plans {
            let place = Place::new(&self.machine, &self.pod, &plan);
            tasks.spawn(container_run::run(place, plan, restart, send.clone(), self.ended.clone()));
        }
        drop(send);
        let mut was_ready = false;
        while let Some((name, event)) = receive.recv().await {
            match event {
                ContainerEvent::Ready(now) => {
                    ready.insert(name, now);
                    let all = ready.values().all(|ready| *ready);
                    if serving && all != was_ready {
                        was_ready = all;
                        self.tell(PodEvent::Ready(all)).await;
                    }
                }
                ContainerEvent::Restarted => self.tell(PodEvent::Restarted(name)).await,
                ContainerEvent::Trouble(why) => {
                    self.tell(PodEvent::Trouble(why.map(|why| format!("container {name}: {why}")))).await;
                }
            }
        }
        let mut well = true;
        while let Some(ended) = tasks.join_next().await {
            well &= ended.unwrap_or(false);
        }
        if serving && was_ready {
            self.tell(PodEvent::Ready(false)).await;
        }
        well
    }

    async fn set_up(&self) -> std::io::Result<()> {
        let Machine { layout, plan, .. } = &*self.machine;
        let pod = &self.pod;
        std::fs::create_dir_all(self.machine.pod_cgroup(pod.node, &pod.uid))?;
        let etc = layout.pod_etc(pod.node, &pod.uid);
        std::fs::create_dir_all(&etc)?;
        std::fs::write(etc.join("hostname"), format!("{}\n", pod.name))?;
        let hosts = format!(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {}\n{} {}\n",
            pod.address.v4, pod.name, pod.address.v6, pod.name
        );
        std::fs::write(etc.join("hosts"), hosts)?;
        let resolver = format!(
            "search {}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
            pod.namespace,
            plan.host().v4
        );
        std::fs::write(etc.join("resolv.conf"), resolver)?;
        network::make_pod(layout, *plan, pod.node, &pod.uid, pod.address).await
    }

    async fn remove(&self) -> std::io::Result<()> {
        let Machine { layout, .. } = &*self.machine;
        let pod = &self.pod;
        let group = self.machine.pod_cgroup(pod.node, &pod.uid);
        cgroup::kill(&group, Duration::from_secs(10)).await?;
        network::remove_pod(layout, pod.node, &pod.uid, pod.address).await?;
        cgroup::remove(&group)?;
        match std::fs::remove_dir_all(layout.pod_etc(pod.node, &pod.uid)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    async fn tell(&self, event: PodEvent) {
        // The supervisor has ended, so there is nobody left to tell.
        let _ = self.events.send((self.pod.uid.clone(), event)).await;
    }
}
