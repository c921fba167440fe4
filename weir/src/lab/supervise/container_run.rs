//! The life of one container: started, probed, started again with a growing pause, and ended when its pod is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::sync::{mpsc, watch};

use super::pod::{Machine, told_to_end};
use crate::lab::act::enter::Enter;
use crate::lab::act::probe::{self, HttpGet};
use crate::lab::act::{cgroup, process};
use crate::lab::container::{Action, Check, Plan, PreStop, Restart};
use crate::lab::pod::Pod;

/// The pause before a container is started again: the first and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A container that ran this long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) enum ContainerEvent {
    Ready(bool),
    Restarted,
    Trouble(Option<String>),
}

/// Tells the pod's task of one container.
struct Teller {
    name: String,
    events: mpsc::Sender<(String, ContainerEvent)>,
}

impl Teller {
    async fn tell(&self, event: ContainerEvent) {
        // The pod's task has ended, so there is nobody left to tell.
        let _ = self.events.send((self.name.clone(), event)).await;
    }
}

/// Where a container runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    enter: Enter,
    /// The cgroup of this container within the pod's, so that what it leaves behind ends with it.
    cgroup: PathBuf,
    node_netns: PathBuf,
    address: std::net::Ipv4Addr,
    log: PathBuf,
}

impl Place {
    pub(crate) fn new(machine: &Machine, pod: &Pod, plan: &Plan) -> Self {
        let cgroup = machine.pod_cgroup(pod.node, &pod.uid).join(&plan.name);
        Place {
            enter: Enter {
                netns: Some(machine.layout.pod_netns(pod.node, &pod.uid)),
                cgroup: Some(cgroup.clone()),
                hostname: Some(pod.name.clone()),
                etc: Some(machine.layout.pod_etc(pod.node, &pod.uid)),
                workdir: plan.workdir.as_ref().map(PathBuf::from),
                command: plan.command.clone(),
            },
            cgroup,
            node_netns: machine.layout.node_netns_path(pod.node),
            address: pod.address.v4,
            log: machine.layout.container_log(&pod.namespace, &pod.name, &plan.name),
        }
    }

    fn running(&self, command: &[String]) -> Enter {
        Enter { command: command.to_vec(), ..self.enter.clone() }
    }
}

/// Runs the container until it has ended for good; says whether it ended well.
pub(crate) async fn run(
    place: Place,
    plan: Plan,
    restart: Restart,
    events: mpsc::Sender<(String, ContainerEvent)>,
    mut ended: watch::Receiver<Option<Duration>>,
) -> bool {
    let tell = Teller { name: plan.name.clone(), events };
    let mut pause = PAUSES.0;
    loop {
        let started = Instant::now();
        let outcome = once(&place, &plan, &tell, &mut ended).await;
        tell.tell(ContainerEvent::Ready(false)).await;
        if let Err(error) = clear(&place).await {
            tracing::error!(%error, container = plan.name, "its processes cannot be ended");
        }
        let why = match outcome {
            Outcome::PodEnded => return true,
            Outcome::Exited(true) if restart != Restart::Always => return true,
            Outcome::Exited(false) if restart == Restart::Never => return false,
            Outcome::Exited(true) => "it ended by itself".to_owned(),
            Outcome::Exited(false) => "it ended with an error; see its log".to_owned(),
            Outcome::Unhealthy(why) => format!("its liveness probe failed: {why}"),
            Outcome::NotStarted(why) => why,
        };
        tell.tell(ContainerEvent::Trouble(Some(why))).await;
        if started.elapsed() > STEADY {
            pause = PAUSES.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told_to_end(&mut ended) => return true,
        }
        pause = (pause * 2).min(PAUSES.1);
        tell.tell(ContainerEvent::Restarted).await;
    }
}

enum Outcome {
    Exited(bool),
    Unhealthy(String),
    NotStarted(String),
    PodEnded,
}

async fn once(
    place: &Place,
    plan: &Plan,
    tell: &Teller,
    ended: &mut watch::Receiver<Option<Duration>>,
) -> Outcome {
    let mut child = match start(place, plan) {
        Ok(child) => child,
        Err(error) => return Outcome::NotStarted(format!("cannot be started: {error}")),
    };
    let finished = tokio::select! {
        status = child.wait() => Some(Outcome::Exited(status.is_ok_and(|status| status.success()))),
        why = watch_over(place, plan, tell) => Some(Outcome::Unhealthy(why)),
        () = told_to_end(ended) => None,
    };
    match finished {
        Some(Outcome::Unhealthy(why)) => {
            let _ = process::terminate(&mut child, Duration::from_secs(30)).await;
            Outcome::Unhealthy(why)
        }
        Some(outcome) => outcome,
        None => {
            let grace = ended.borrow().unwrap_or_default();
            stop(place, plan, &mut child, grace).await;
            Outcome::PodEnded
        }
    }
}

fn start(place: &Place, plan: &Plan) -> std::io::Result<Child> {
    std::fs::create_dir_all(&place.cgroup)?;
    process::spawn(&place.enter, &plan.environment, &place.log)
}

/// The pre-stop hook, SIGTERM, and what is left of the grace period.
async fn stop(place: &Place, plan: &Plan, child: &mut Child, grace: Duration) {
    let deadline = Instant::now() + grace;
    let hook = async {
        match &plan.pre_stop {
            Some(PreStop::Sleep(time)) => tokio::time::sleep(*time).await,
            Some(PreStop::Exec(command)) => {
                if let Ok(mut hook) = process::spawn(&place.running(command), &plan.environment, &place.log) {
                    let _ = hook.wait().await;
                }
            }
            None => {}
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(grace, hook) => {}
        _ = child.wait() => {}
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if let Err(error) = process::terminate(child, left).await {
        tracing::warn!(container = plan.name, %error, "cannot wait for the container's end");
    }
}

/// Kills what the container's own process has left running.
async fn clear(place: &Place) -> std::io::Result<()> {
    cgroup::kill(&place.cgroup, Duration::from_secs(10)).await?;
    cgroup::remove(&place.cgroup)
}

/// Tells of the container's readiness for as long as it runs; comes back only when it has to be killed.
async fn watch_over(place: &Place, plan: &Plan, tell: &Teller) -> String {
    if let Some(check) = &plan.startup
        && let Err(why) = until_started(place, plan, check).await
    {
        return why;
    }
    let readiness = async {
        match &plan.readiness {
            None => {
                tell.tell(ContainerEvent::Trouble(None)).await;
                tell.tell(ContainerEvent::Ready(true)).await;
                std::future::pending().await
            }
            Some(check) => follow_readiness(place, plan, check, tell).await,
        }
    };
    let liveness = async {
        match &plan.liveness {
            None => std::future::pending().await,
            Some(check) => until_dead(place, plan, check).await,
        }
    };
    tokio::select! {
        () = readiness => unreachable!("readiness is followed until the container ends"),
        why = liveness => why,
    }
}

async fn follow_readiness(place: &Place, plan: &Plan, check: &Check, tell: &Teller) {
    tokio::time::sleep(check.initial_delay).await;
    let (mut ready, mut streak) = (false, 0);
    // Until the container is ready for the first time it is asked more often than the period says, as a kubelet may.
    let mut eager = Duration::from_millis(50);
    loop {
        let result = probe_once(place, plan, check).await;
        let needed = if ready { check.failures } else { check.successes };
        streak = if result.is_ok() == ready { 0 } else { streak + 1 };
        if streak >= needed {
            ready = !ready;
            streak = 0;
            eager = check.period;
            tell.tell(ContainerEvent::Trouble(
                result.err().map(|why| format!("its readiness probe failed: {why}")),
            ))
            .await;
            tell.tell(ContainerEvent::Ready(ready)).await;
        } else if let (Err(why), false) = (result, ready) {
            tell.tell(ContainerEvent::Trouble(Some(format!("its readiness probe fails: {why}")))).await;
        }
        tokio::time::sleep(eager.min(check.period)).await;
        eager = (eager * 2).min(check.period);
    }
}

async fn until_started(place: &Place, plan: &Plan, check: &Check) -> Result<(), String> {
    tokio::time::sleep(check.initial_delay).await;
    let deadline = Instant::now() + check.period * check.failures;
    let mut eager = Duration::from_millis(50);
    loop {
        match probe_once(place, plan, check).await {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > deadline => return Err(why),
            Err(_) => tokio::time::sleep(eager.min(check.period)).await,
        }
        eager = (eager * 2).min(check.period);
    }
}

async fn until_dead(place: &Place, plan: &Plan, check: &Check) -> String {
    tokio::time::sleep(check.initial_delay).await;
    let mut failed = 0;
    loop {
        match probe_once(place, plan, check).await {
            Ok(()) => failed = 0,
            Err(why) => {
                failed += 1;
                if failed >= check.failures {
                    return why;
                }
            }
        }
        tokio::time::sleep(check.period).await;
    }
}

async fn probe_once(place: &Place, plan: &Plan, check: &Check) -> Result<(), String> {
    let at = |port| SocketAddr::new(place.address.into(), port);
    let run = async {
        match &check.action {
            Action::Tcp { port } => probe::tcp(&place.node_netns, at(*port), check.timeout).await,
            Action::Http { port, path, headers } => {
                let get = HttpGet { address: at(*port), path: path.clone(), headers: headers.clone() };
                probe::http(&place.node_netns, get, check.timeout).await
            }
            Action::Exec(command) => {
                let mut child = process::spawn(&place.running(command), &plan.environment, &place.log)?;
                let status = child.wait().await?;
                if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
            }
        }
    };
    match tokio::time::timeout(check.timeout * 2, run).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
