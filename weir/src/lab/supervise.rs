//! The supervisor: the process that stays while a lab lives. Its loop takes events in, lets [`Cluster`] decide, and puts
//! the decisions into effect; what is slow runs in tasks of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::pod::{Machine, PodEvent};
use self::program::ProgramEvent;
use self::sources::Sources;
use super::act::{cgroup, command, network, process};
use super::address::Dual;
use super::cluster::Cluster;
use super::cluster::view::ProgramView;
use super::container;
use super::control::{Answer, Progress, Request};
use super::decide::names::Names;
use super::layout::Layout;
use super::pod::Phase;
use super::teardown;

pub(crate) mod capture;
mod container_run;
mod control;
mod dns;
pub(crate) mod pod;
pub(crate) mod program;
mod publish;
mod requests;
mod setup;
mod sources;
mod watch_files;

pub(crate) use setup::{Order, locked_root, remove_root_if_empty};

/// How many events of pods and programs may wait for the loop.
const EVENTS: usize = 256;
/// How long the pods of a lab that goes down may take to end.
const END_BOUND: Duration = Duration::from_secs(30);
/// A program that dies this often before the lab is ready will not become ready.
const HOPELESS_DEATHS: u32 = 3;
/// How often logs are looked at, and the size at which one is begun anew.
const LOG_LOOK: Duration = Duration::from_secs(20);
const MAX_LOG: u64 = 32 << 20;

/// Runs a lab from its beginning to its end. Nothing of it is left when this comes back.
pub(crate) async fn run(order: Order) -> anyhow::Result<()> {
    let layout = Layout::new(order.name.clone());
    let mut stop = Stop::new()?;
    let claim = setup::claim(&order, &layout).await?;
    let outcome = live(order, &layout, claim.plan, &mut stop).await;
    let (result, asked) = match outcome {
        Ok(asked) => (Ok(()), asked),
        Err(error) => (Err(error), None),
    };
    let removed = {
        let _alone = setup::locked_root()?;
        teardown::remove(&layout).await
    };
    setup::remove_root_if_empty()?;
    if let Some(answer) = asked {
        let said = match &removed {
            Ok(()) => Answer::Done(vec![format!("lab {} is down", layout.name())]),
            Err(error) => Answer::Refused(format!("lab {}: {error}", layout.name())),
        };
        answer.send_whole(said).await;
    }
    // The lock is what `weir lab down` waits for: it goes when this process does.
    std::mem::forget(claim);
    removed.context("taking the lab away")?;
    result
}

/// The signals that end a lab.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Builds the lab and keeps it until somebody asks for its end.
async fn live(
    order: Order,
    layout: &Layout,
    plan: super::address::Subnets,
    stop: &mut Stop,
) -> anyhow::Result<Option<control::Reply>> {
    let machine = setup::build(&order, layout, plan).await?;
    tell(&Progress::Step(format!("network: {} nodes in {} and {}", order.nodes, plan.all4(), plan.all6())))?;
    let mut supervisor = Supervisor::new(order, machine)?;
    let (names, names_seen) = watch::channel(Arc::new(Names::default()));
    supervisor.names = Some(names);
    dns::serve(&plan.host().both(), names_seen).await?;
    let requests = control::serve(&layout.control()).context("opening the control socket")?;
    let ended = supervisor.serve(requests, stop).await;
    supervisor.shut_down().await;
    ended
}

/// Both ends of a channel: one to hand out, one to listen at.
type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

struct Supervisor {
    order: Order,
    machine: Arc<Machine>,
    cluster: Cluster,
    sources: Sources,
    /// What every container and program starts from.
    environment: BTreeMap<String, String>,
    pods: BTreeMap<String, pod::Handle>,
    pod_events: Channel<(String, PodEvent)>,
    programs: BTreeMap<String, Running>,
    program_events: Channel<(String, ProgramEvent)>,
    /// Programs still to be started, last stage first; each stage waits for the one before it to be ready.
    stages: Vec<Vec<program::Program>>,
    names: Option<watch::Sender<Arc<Names>>>,
    nft: Vec<String>,
    balancers: Vec<Dual>,
    /// Whether `weir lab up` has been told that the lab is ready.
    announced: bool,
    shown_ready: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Running {
    handle: program::Handle,
    view: ProgramView,
}

impl Supervisor {
    fn new(order: Order, machine: Arc<Machine>) -> anyhow::Result<Self> {
        let mut cluster = Cluster::new(machine.plan, order.nodes);
        let sources = Sources::load(&order.files, &machine.layout, &mut cluster)?;
        let environment = setup::base_environment();
        let stages = match &order.binaries {
            Some(binaries) => setup::stages(&machine, binaries, order.nodes),
            None => Vec::new(),
        };
        Ok(Supervisor {
            order,
            machine,
            cluster,
            sources,
            environment,
            pods: BTreeMap::new(),
            pod_events: mpsc::channel(EVENTS),
            programs: BTreeMap::new(),
            program_events: mpsc::channel(EVENTS),
            stages,
            names: None,
            nft: Vec::new(),
            balancers: Vec::new(),
            announced: false,
            shown_ready: None,
        })
    }

    async fn serve(
        &mut self,
        mut requests: mpsc::Receiver<control::Asked>,
        stop: &mut Stop,
    ) -> anyhow::Result<Option<control::Reply>> {
        // The objects are in place before a program looks for them.
        self.put_into_effect().await?;
        self.next_stage()?;
        self.reconcile().await?;
        let deadline = Instant::now() + self.order.ready_timeout;
        let mut logs = tokio::time::interval(LOG_LOOK);
        loop {
            tokio::select! {
                Some((uid, event)) = self.pod_events.1.recv() => {
                    self.pod_event(&uid, event);
                    while let Ok((uid, event)) = self.pod_events.1.try_recv() {
                        self.pod_event(&uid, event);
                    }
                    self.reconcile().await?;
                }
                Some((name, event)) = self.program_events.1.recv() => {
                    self.program_event(&name, event)?;
                    self.reconcile().await?;
                }
                () = self.sources.changed() => {
                    self.sources.look(&self.machine.layout, &mut self.cluster);
                    self.reconcile().await?;
                }
                Some((request, answer)) = requests.recv() => match request {
                    Request::Down => return Ok(Some(answer)),
                    request => {
                        let said = self.request(request);
                        self.reconcile().await?;
                        answer.send(said);
                    }
                },
                () = tokio::time::sleep_until(deadline), if !self.announced => bail!(self.why_not_ready()),
                () = stop.wait() => return Ok(None),
                _ = logs.tick() => setup::bound_logs(&self.machine.layout, MAX_LOG),
            }
            self.announce()?;
        }
    }

    /// Decides, and puts what was decided into effect.
    async fn reconcile(&mut self) -> anyhow::Result<()> {
        // Pods wait for the programs that capture them.
        if !self.stages.is_empty()
            || self.programs.values().any(|running| !running.view.ready) && !self.announced
        {
            return self.put_into_effect().await;
        }
        let (started, ended) = self.cluster.step(&setup::now());
        self.put_into_effect().await?;
        let images = self.cluster.store.images();
        for uid in started {
            let Some(pod) = self.cluster.pods.get(&uid).cloned() else { continue };
            let host_ip = self.machine.plan.node(pod.node).v4.to_string();
            let containers = container::plan(&pod, &host_ip, &images, &self.environment);
            let handle = pod::start(self.machine.clone(), pod, containers, self.pod_events.0.clone());
            self.pods.insert(uid, handle);
        }
        for uid in ended {
            if let (Some(handle), Some(pod)) = (self.pods.get(&uid), self.cluster.pods.get(&uid)) {
                handle.end(Duration::from_secs(pod.grace_seconds()));
            }
        }
        Ok(())
    }

    async fn put_into_effect(&mut self) -> anyhow::Result<()> {
        let layout = &self.machine.layout;
        let image = self.cluster.image(&setup::now());
        publish::write(layout, &image.changes).context("writing objects")?;
        let gone =
            |old: &[Dual], new: &[Dual]| old.iter().filter(|d| !new.contains(d)).copied().collect::<Vec<_>>();
        let (add, remove) =
            (gone(&image.balancers, &self.balancers), gone(&self.balancers, &image.balancers));
        if !add.is_empty() || !remove.is_empty() {
            network::change_balancers(layout, &add, &remove)
                .await
                .context("setting load balancer addresses")?;
            self.balancers = image.balancers;
        }
        for (index, script) in image.nft.iter().enumerate() {
            if self.nft.get(index) != Some(script) {
                let node = u8::try_from(index + 1).context("nodes are counted in a byte")?;
                command::nft_in(&layout.node_netns_path(node), script.clone())
                    .await
                    .with_context(|| format!("setting the Services of node-{node}"))?;
            }
        }
        self.nft = image.nft;
        if let Some(names) = &self.names {
            names.send_if_modified(|now| {
                let changed = **now != image.names;
                if changed {
                    *now = Arc::new(image.names);
                }
                changed
            });
        }
        Ok(())
    }

    fn pod_event(&mut self, uid: &str, event: PodEvent) {
        if matches!(event, PodEvent::Gone) {
            self.pods.remove(uid);
            self.cluster.pods.remove(uid);
            return;
        }
        let Some(pod) = self.cluster.pods.get_mut(uid) else { return };
        match event {
            PodEvent::Phase(phase) => pod.phase = phase,
            PodEvent::Ready(ready) => pod.ready = ready,
            PodEvent::Restarted(container) => *pod.restarts.entry(container).or_default() += 1,
            PodEvent::Trouble(why) => pod.message = why,
            PodEvent::Gone => unreachable!("handled above"),
        }
    }

    fn program_event(&mut self, name: &str, event: ProgramEvent) -> anyhow::Result<()> {
        let Some(running) = self.programs.get_mut(name) else { return Ok(()) };
        match event {
            ProgramEvent::Started(pid) => running.view.pid = Some(pid),
            ProgramEvent::Ready => {
                running.view.ready = true;
                self.cluster.set_problem(name, None);
                if !self.announced {
                    tell(&Progress::Step(format!("{name} is ready")))?;
                    if self.programs.values().all(|running| running.view.ready) {
                        self.next_stage()?;
                    }
                }
            }
            ProgramEvent::Died(why) => {
                running.view = ProgramView {
                    ready: false,
                    pid: None,
                    restarts: running.view.restarts + 1,
                    name: name.to_owned(),
                };
                let log = self.machine.layout.program_log(name);
                if !self.announced && running.view.restarts >= HOPELESS_DEATHS {
                    bail!("{name} {why}; the end of its log:\n{}", process::tail(&log, 20));
                }
                self.cluster.set_problem(name, Some(format!("{why}; see weir lab logs {name}")));
            }
        }
        Ok(())
    }

    fn next_stage(&mut self) -> anyhow::Result<()> {
        for program in self.stages.pop().unwrap_or_default() {
            let name = program.name.clone();
            let handle = program::start(program, self.environment.clone(), self.program_events.0.clone());
            let view = ProgramView { name: name.clone(), ready: false, restarts: 0, pid: None };
            self.programs.insert(name, Running { handle, view });
        }
        Ok(())
    }

    /// Tells `weir lab up` how far the lab is, until it is ready.
    fn announce(&mut self) -> anyhow::Result<()> {
        let waiting_for_programs = !self.stages.is_empty() || self.programs.values().any(|r| !r.view.ready);
        if self.announced || waiting_for_programs {
            return Ok(());
        }
        let all = self.cluster.pods.values().filter(|pod| !pod.is_terminating()).count();
        let ready = all - self.cluster.unready().len();
        if self.shown_ready != Some((ready, all)) {
            self.shown_ready = Some((ready, all));
            tell(&Progress::Step(format!("pods ready {ready}/{all}")))?;
        }
        if let Some(pod) = self.cluster.pods.values().find(|pod| pod.phase == Phase::Failed) {
            bail!(self.about_pod(pod));
        }
        if ready == all {
            self.announced = true;
            let view = self.view();
            tell(&Progress::Ready(Box::new(view)))?;
            setup::detach_output()?;
        }
        Ok(())
    }

    fn why_not_ready(&self) -> String {
        let waited = self.order.ready_timeout.as_secs();
        if let Some((name, _)) = self.programs.iter().find(|(_, running)| !running.view.ready) {
            let log = process::tail(&self.machine.layout.program_log(name), 20);
            return format!("{name} is not ready after {waited} s; the end of its log:\n{log}");
        }
        match self.cluster.unready().first() {
            Some(pod) => format!("after {waited} s: {}", self.about_pod(pod)),
            None => format!("not ready after {waited} s"),
        }
    }

    fn about_pod(&self, pod: &super::pod::Pod) -> String {
        let why = pod.message.as_deref().unwrap_or("it has not become ready");
        let mut text = format!("Pod {}/{} on {}: {why}", pod.namespace, pod.name, pod.node_name());
        for container in pod.spec["containers"].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            let log = process::tail(&self.machine.layout.container_log(&pod.namespace, &pod.name, name), 20);
            if !log.is_empty() {
                text.push_str(&format!("\nthe end of the log of container {name}:\n{log}"));
            }
        }
        text
    }

    /// Ends the pods at once, and then the programs, the nodes' first, so that each can take its leave of the next. No
    /// task of a pod or program is left that could make anything anew while the rest is removed.
    async fn shut_down(&mut self) {
        // What they have to say from now on goes nowhere, instead of filling channels that nobody empties.
        self.pod_events.1.close();
        self.program_events.1.close();
        let pods: Vec<pod::Handle> = std::mem::take(&mut self.pods).into_values().collect();
        for pod in &pods {
            pod.end(Duration::ZERO);
        }
        let gone = async {
            // Those that have been granted a longer end before do not get it now.
            for node in 1..=self.order.nodes {
                if let Err(error) = cgroup::kill(&self.machine.pods_cgroup(node), END_BOUND).await {
                    tracing::error!(%error, "pods cannot be killed");
                }
            }
            for pod in pods {
                pod.gone().await;
            }
        };
        if tokio::time::timeout(END_BOUND, gone).await.is_err() {
            tracing::error!("a pod has not ended in time");
        }
        let mut programs: Vec<Running> = std::mem::take(&mut self.programs).into_values().collect();
        programs.sort_by_key(|running| !running.view.name.starts_with("mesh-node"));
        for running in programs {
            running.handle.stop().await;
        }
    }
}

/// Writes a line of progress for `weir lab up`. If nobody reads it, nobody wants the lab.
fn tell(progress: &Progress) -> anyhow::Result<()> {
    use std::io::Write;
    let mut line = serde_json::to_vec(progress)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(|error| anyhow!("weir lab up is gone: {error}"))
}

/// Tells `weir lab up` that there will be no lab.
pub(crate) fn tell_failure(error: &anyhow::Error) {
    tracing::error!(error = format!("{error:#}"), "the lab has ended with an error");
    // Where nobody listens any more, the log has it.
    let _ = tell(&Progress::Failed(format!("{error:#}")));
}
