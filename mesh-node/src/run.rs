//! The node from start to end: what is made in which order, and who tells whom.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use mesh_ir::name::Uid;
use mesh_ir::resource::Transport;
use mesh_ir::view::MeshView;
use mesh_trust::{CertificateClient, Program};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::admin::{self, Shown};
use crate::announce;
use crate::capabilities;
use crate::capture::Capture;
use crate::cni;
use crate::datapath::{ConnectionMaps, Datapath, OwnAddresses};
use crate::files;
use crate::host::follow_addresses;
use crate::identity::Identities;
use crate::names;
use crate::netns::Netns;
use crate::pods;
use crate::proxy::{self, Command, Source};
use crate::settings::{AccessLogTo, Settings};
use crate::sockets::{datagrams, listener};
use crate::state::{LocalPod, State};
use crate::subscribe::subscribe;
use crate::telemetry::{AccessLog, Telemetry};

/// How long the bundle file may take to appear.
const BUNDLE_WAIT: Duration = Duration::from_secs(60);
/// How long collectors may take for the spans that are queued when the node ends. A program that is told to end gets 30 s from
/// Kubernetes; a new one cannot begin before.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. What is captured stays so: the kernel then refuses it.
pub async fn run(mut settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let trust = mesh_trust::Settings {
        authority: settings.ca.clone(),
        trust_domain: settings.trust_domain.clone(),
        bundle_file: settings.ca_bundle.clone(),
        token_file: settings.token_file.clone(),
    };
    if settings.announce {
        capabilities::check(capabilities::ANNOUNCE).context("--announce")?;
    }
    if settings.cgroup == Path::new("auto") {
        settings.cgroup = pods::root::find()?;
    }
    let datapath = Datapath::load(&settings.bpf, &settings.cgroup).context("the eBPF data path")?;
    let identities = Identities::new(CertificateClient::open(trust, BUNDLE_WAIT).await?);
    let identity = Program::MeshNode.identity(&settings.trust_domain);
    let node = Arc::new(LocalPod {
        uid: Uid::new(&format!("node:{}", settings.node))?,
        name: format!("node {}", settings.node),
        netns: Netns::current().context("this process's network namespace")?,
        slot: u32::MAX,
        addresses: own_addresses(&settings),
        credentials: identities.take(&identity),
        mode: watch::Sender::default(),
        identity,
    });
    let count = match settings.workers {
        0 => std::thread::available_parallelism()?.get(),
        count => count,
    };
    settings.workers = count;
    look_at_files(&settings)?;
    let state = Arc::new(State {
        view: ArcSwap::from_pointee(MeshView::at(settings.node.clone())),
        view_version: watch::Sender::new(0),
        own_addresses: ArcSwap::default(),
        pods: ArcSwap::default(),
        pods_problem: watch::Sender::default(),
        node,
        identities,
        breakers: proxy::breaker::Breakers::default(),
        retry_budgets: proxy::retry_budget::RetryBudgets::default(),
        expected: proxy::expected::Expected::default(),
        affinities: proxy::affinity::Affinities::new(settings.limits.max_affinities),
        telemetry: Telemetry::new(match settings.access_log {
            AccessLogTo::Stdout => AccessLog::to_stdout()?,
            AccessLogTo::Off => AccessLog::off(),
        }),
        settings,
    });
    let own = OwnAddresses::open(datapath.pins()).context("the eBPF maps")?;
    let mut workers = Vec::new();
    for index in 0..count {
        let maps = ConnectionMaps::open(datapath.pins()).context("the eBPF maps")?;
        workers.push(proxy::start(index, state.clone(), maps).context("a proxy thread")?);
    }
    let (told, sandboxes) = mpsc::channel(cni::QUEUE);
    let pods = match &state.settings.pods {
        Some(folder) => {
            pods::folder::watch(folder).with_context(|| format!("the folder of pods {}", folder.display()))?
        }
        None => {
            let cgroup = &state.settings.cgroup;
            let problem = state.pods_problem.clone();
            pods::cgroup::watch(cgroup, sandboxes, problem)
                .with_context(|| format!("the pods under {}", cgroup.display()))?
        }
    };
    let capture = Capture::new(state.clone(), datapath, workers.clone());
    // It answers before the plugin that asks is in place.
    let cni = cni::serve(state.clone(), capture.states(), told).context("the CNI plugin's socket")?;
    let (installing, cni_problem) = cni::install::keep(&state.settings.cni).context("the CNI plugin")?;
    let shown = Shown { state: state.clone(), pods: capture.states(), cni: cni_problem };
    let admin = admin::serve(shown)?;
    let host = follow_addresses(state.clone(), own).await.context("the node's addresses")?;
    let tasks = [
        tokio::spawn(host),
        tokio::spawn(capture.run(pods)),
        tokio::spawn(serve_gateways(state.clone(), workers.clone())),
        tokio::spawn(subscribe(state.clone())),
        tokio::spawn(names::follow(state.clone())),
        tokio::spawn(admin),
        tokio::spawn(cni),
        tokio::spawn(installing),
    ];
    let announcing = state.settings.announce.then(|| tokio::spawn(announce::announce(state.clone())));
    tracing::info!(node = %state.settings.node, workers = count, "running");
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        (ended, ..) = futures_util::future::select_all(tasks) => Some(ended),
    };
    if let Some(announcing) = announcing {
        announcing.abort();
        let _ = announcing.await;
        // Nobody listens behind the addresses any more; another node may have them now.
        if let Err(error) = announce::withdraw().await {
            tracing::error!(%error, "cannot take back the addresses that were announced");
        }
    }
    match ended {
        None => {
            export_rest(&workers).await;
            tracing::info!("ended by a signal; captured traffic is refused until a process runs again");
            Ok(())
        }
        Some(Ok(())) => anyhow::bail!("a part of the node ended, and the rest cannot go on without it"),
        Some(Err(error)) => Err(error).context("a part of the node failed"),
    }
}

/// Has the workers send the spans that are queued for collectors.
async fn export_rest(workers: &[mpsc::Sender<Command>]) {
    let sent = async {
        let (done, mut all_done) = mpsc::channel(1);
        for worker in workers {
            let _ = worker.send(Command::EndExports(done.clone())).await;
        }
        drop(done);
        all_done.recv().await
    };
    if timeout(LAST_EXPORT, sent).await.is_err() {
        let limit = LAST_EXPORT.as_secs();
        tracing::warn!(
            "not all spans could be sent within {limit} s; those that are left are lost with this process"
        );
    }
}

/// Raises the limit of open files, and says where it is lower than the connections that this process is to serve.
fn look_at_files(settings: &Settings) -> anyhow::Result<()> {
    let files = files::raise_limit().context("the limit of open files")?;
    let connections = settings.workers.saturating_mul(settings.limits.max_connections);
    let needed = connections.saturating_mul(2).saturating_add(settings.limits.max_udp_sessions);
    if files < u64::try_from(needed).unwrap_or(u64::MAX) {
        tracing::warn!(
            files,
            "this process may open so many files, of which each connection takes two and each UDP session one: it cannot \
             serve the {connections} of --max-connections and those of --max-udp-sessions; raise the hard limit of open \
             files (LimitNOFILE of the container runtime's service)"
        );
    }
    Ok(())
}

/// Opens and closes the ports that the Gateways need.
async fn serve_gateways(state: Arc<State>, workers: Vec<mpsc::Sender<Command>>) {
    let mut versions = state.view_version.subscribe();
    let mut open = BTreeSet::new();
    loop {
        versions.borrow_and_update();
        let wanted: BTreeSet<(Transport, u16)> =
            state.view.load().gateway_ports().map(|port| (port.transport(), port.target_port)).collect();
        for (transport, port) in open.difference(&wanted) {
            for worker in &workers {
                let stop = match transport {
                    Transport::Tcp => Command::Stop(Source::Gateway(*port)),
                    Transport::Udp => Command::StopDatagrams(*port),
                };
                let _ = worker.send(stop).await;
            }
        }
        open.retain(|port| wanted.contains(port));
        for (transport, port) in &wanted {
            if open.contains(&(*transport, *port)) {
                continue;
            }
            let made: io::Result<Vec<Command>> =
                workers.iter().map(|_| gateway_port(*transport, *port)).collect();
            match made {
                Ok(commands) => {
                    for (worker, command) in workers.iter().zip(commands) {
                        let _ = worker.send(command).await;
                    }
                    open.insert((*transport, *port));
                }
                // Tried again with the next configuration.
                Err(error) => {
                    tracing::error!(port, transport = transport.name(), %error, "cannot listen for a Gateway");
                }
            }
        }
        if versions.changed().await.is_err() {
            return;
        }
    }
}

/// What has a worker serve a port of Gateways.
fn gateway_port(transport: Transport, port: u16) -> io::Result<Command> {
    Ok(match transport {
        Transport::Tcp => {
            let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
            Command::Serve(Source::Gateway(port), vec![listener(address)?])
        }
        Transport::Udp => Command::ServeDatagrams(port, datagrams::receiver(port)?),
    })
}

/// The addresses that Gateways dial from. Of a family that `--node-ip` is not of, any address of the node serves.
fn own_addresses(settings: &Settings) -> Vec<std::net::IpAddr> {
    let other = if settings.node_ip.is_ipv6() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    vec![settings.node_ip, other]
}
