//! The external hostnames of XBackends: this node asks the resolvers of `--resolv-conf` for them, ahead of any request, and
//! asks again when the answers run out. Which addresses may be dialled is for `mesh_ir::eval::external`; when to ask, and
//! what becomes of an answer, is in [`known`], without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mesh_ir::eval::external::{self, Refused};
use mesh_ir::name::{Hostname, Namespace, ObjectName};
use mesh_ir::view::{MeshView, PortView};
use tokio::time::timeout;

use crate::state::State;

mod known;
mod resolver;

use known::{Answer, Known};
use resolver::Resolver;

/// Look-ups under way at once.
const MAX_LOOKUPS: usize = 32;
/// For how long traffic waits for the first answer about a hostname. A resolver gets as long by default (resolv.conf(5)).
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Runs for as long as the node does.
pub(crate) async fn follow(state: Arc<State>) {
    let mut versions = state.view_version.subscribe();
    let mut known = Known::default();
    let mut resolver = Resolver::new(state.settings.resolv_conf.clone());
    let mut lookups = FuturesUnordered::new();
    let mut left_out = BTreeMap::new();
    loop {
        versions.borrow_and_update();
        let view = state.view.load_full();
        let wanted = view.external().map(|(service, hostname)| (&service.namespace, hostname));
        let before = mem::replace(&mut left_out, known.want(wanted, Instant::now()));
        complain(&before, &left_out);
        enter(&state, &view, &known);
        while lookups.len() < MAX_LOOKUPS {
            let Some(hostname) = known.due(Instant::now()) else { break };
            let answer = resolver.look_up(&hostname);
            lookups.push(async move { (hostname, answer.await) });
        }
        let next = known.next().filter(|_| lookups.len() < MAX_LOOKUPS);
        let wait = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            Some((hostname, answer)) = lookups.next() => take(&state, &mut known, hostname, answer),
            () = wait => {}
        }
    }
}

/// Says of which namespaces more names are left out than before.
fn complain(before: &BTreeMap<Namespace, usize>, left_out: &BTreeMap<Namespace, usize>) {
    for (namespace, count) in
        left_out.iter().filter(|(namespace, count)| before.get(*namespace) < Some(count))
    {
        tracing::error!(
            %namespace,
            left_out = count,
            "the XBackends of this namespace have too many external hostnames, and the last by name are not resolved: a node \
             resolves {} of a namespace, and {} of all, which it shares out evenly; remove some",
            known::MAX_OF_NAMESPACE,
            known::MAX_NAMES
        );
    }
}

/// The view in which a Service's hostname, of which one before awaits an answer, has it, or at last that in which there still is
/// none: what comes in beside the first look-up need not be refused.
pub(crate) async fn first_answer(state: &State, service: &ObjectName, port: u16) -> Arc<MeshView> {
    let mut versions = state.view_version.subscribe();
    let awaits = |view: &MeshView| view.service_port(service, port).is_some_and(PortView::awaits_answer);
    let answered = versions.wait_for(|_| !awaits(&state.view.load()));
    // The view itself says what came of it.
    let _ = timeout(FIRST_ANSWER, answered).await;
    state.view.load_full()
}

/// Takes note of an answer, as far as it may be used.
fn take(state: &State, known: &mut Known, hostname: Hostname, answer: Answer) {
    let mut refused = Vec::new();
    let answer = match answer {
        Answer::Found { addresses, valid_for } => {
            let addresses = usable(state, addresses, &mut refused);
            Answer::Found { addresses, valid_for }
        }
        other => other,
    };
    let result = match &answer {
        Answer::Found { addresses, .. } if addresses.is_empty() => "refused",
        Answer::Found { .. } => "found",
        Answer::Absent { .. } => "absent",
        Answer::Failed { .. } => "failed",
    };
    state.telemetry.looked_up(result);
    let problem = match &answer {
        Answer::Found { .. } => refused
            .iter()
            .map(|(address, why)| format!("{address} is not dialled: {why}"))
            .reduce(|all, one| format!("{all}; {one}")),
        Answer::Absent { .. } => Some("there is no such name, or it has no address".to_owned()),
        Answer::Failed { problem } => Some(problem.clone()),
    };
    // Said once, until it changes: it is asked again and again.
    let addresses = known.answered(&hostname, answer, Instant::now());
    if known.is_news(&hostname, &problem) {
        match problem {
            Some(problem) => {
                tracing::warn!(%hostname, problem, used = addresses, "an external hostname is not as wanted");
            }
            None => tracing::info!(%hostname, addresses, "an external hostname is resolved"),
        }
    }
}

/// Those that may be dialled. Of a family that the node itself has no address of none can be.
fn usable(
    state: &State,
    addresses: BTreeSet<IpAddr>,
    refused: &mut Vec<(IpAddr, Refused)>,
) -> BTreeSet<IpAddr> {
    let (view, own) = (state.view.load(), state.own_addresses.load());
    let has = |v6: bool| own.iter().any(|address| address.is_ipv6() == v6);
    let admitted = |address: &IpAddr| match external::admit(&view, &own, *address) {
        Ok(()) => true,
        Err(why) => {
            refused.push((*address, why));
            false
        }
    };
    addresses.into_iter().filter(|address| has(address.is_ipv6())).filter(admitted).collect()
}

/// Brings what is known into the node's view.
fn enter(state: &State, view: &MeshView, known: &Known) {
    let mut unresolved = BTreeSet::new();
    let mut changes: Vec<(&ObjectName, &Hostname, &BTreeSet<IpAddr>)> = Vec::new();
    for (service, hostname) in view.external() {
        let addresses = known.addresses(hostname);
        if addresses.is_none_or(BTreeSet::is_empty) {
            unresolved.insert(hostname);
        }
        if let Some(addresses) = addresses
            && view.resolved(service).as_ref() != Some(addresses)
        {
            changes.push((service, hostname, addresses));
        }
    }
    state.telemetry.names_unresolved(unresolved.len());
    if !changes.is_empty() {
        state.change_view(|view| {
            changes.iter().fold(view.clone(), |view, (service, hostname, addresses)| {
                view.resolve(service, hostname, addresses)
            })
        });
    }
}
