//! Gateways' addresses that this node answers for on the network that clients are on. Which ones they are is the
//! configuration's to say (`Gateway::announced_by`); here they are made the node's own, so that its kernel answers ARP and
//! NDP for them, and neighbours that knew another node for them are told. What comes in at them is not looked at here.
//!
//! An IPv4 address goes on `lo`: the kernel answers ARP for any address of the machine. It answers NDP only for those of
//! the interface that is asked, so an IPv6 address goes on the interface of its network, deprecated, so that the node does
//! not choose it as the source of its own connections.
//!
//! Each address is marked as ours (IFA_PROTO, Linux 5.18; IPv4 by a label too): those of an earlier process are known by it,
//! and others are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_ir::view::MeshView;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::State;

mod kernel;
mod neighbours;
mod packet;

use kernel::Kernel;

/// When neighbours are told: an announcement may be lost, and no one acknowledges it.
const TELL_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];
/// What the kernel refused is tried again: an interface may have come up meanwhile.
const RETRY: Duration = Duration::from_secs(5);
/// How long taking back the addresses may take when the node ends.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(2);

/// Announces what the configuration says, until it is dropped or cancelled.
pub async fn announce(state: Arc<State>) {
    let (wanted, addresses) = watch::channel(None);
    let follow = async {
        let mut versions = state.view_version.subscribe();
        loop {
            // Before the first configuration nothing is known: what an earlier process announced stays until then.
            if *versions.borrow_and_update() > 0 {
                let now = addresses_of(&state.view.load(), &state.settings.node);
                wanted.send_if_modified(|before| before.replace(now.clone()).as_ref() != Some(&now));
            }
            if versions.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = follow => {}
        () = hold(addresses, state.settings.node_ip) => {}
    }
}

/// Makes the node's announced addresses those of `wanted`, and keeps them so until its sender is dropped. `node_ip` is on
/// the interface that serves an address which no interface's network holds.
pub async fn hold(mut wanted: watch::Receiver<Option<BTreeSet<IpAddr>>>, node_ip: IpAddr) {
    let mut rounds: BTreeMap<IpAddr, Round> = BTreeMap::new();
    let mut said = Vec::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        let mut problems = Vec::new();
        if let Some(now) = &now
            && let Err(error) = take(now, node_ip, &mut rounds, &mut problems).await
        {
            problems.push(error.to_string());
        }
        let retry = (!problems.is_empty()).then(|| Instant::now() + RETRY);
        if problems != said {
            for problem in &problems {
                tracing::error!(problem, "cannot announce an address of a Gateway; trying on");
            }
            said = problems;
        }
        // Telling the neighbours goes on between changes.
        loop {
            let due = rounds.values().filter_map(Round::due).chain(retry).min();
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = is_due => {
                    tell(&mut rounds, Instant::now());
                    if retry.is_some_and(|retry| retry <= Instant::now()) {
                        break;
                    }
                }
            }
        }
    }
}

/// Removes every address that a mesh-node announced in this network namespace.
pub async fn withdraw() -> io::Result<()> {
    let removing = async {
        let kernel = Kernel::open()?;
        for held in kernel.ours().await? {
            kernel.remove(held).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(WITHDRAW_TIMEOUT, removing).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer over netlink")),
    }
}

fn addresses_of(view: &MeshView, node: &mesh_ir::name::NodeName) -> BTreeSet<IpAddr> {
    let ours = view.gateways().filter(|gateway| gateway.announced_by.as_ref() == Some(node));
    ours.flat_map(|gateway| gateway.addresses.iter().copied()).collect()
}

/// How far the telling of one address is.
#[derive(Debug)]
struct Round {
    link: kernel::Link,
    address: IpAddr,
    taken: Instant,
    told: usize,
}

impl Round {
    fn due(&self) -> Option<Instant> {
        Some(self.taken + *TELL_AFTER.get(self.told)?)
    }
}

async fn take(
    wanted: &BTreeSet<IpAddr>,
    node_ip: IpAddr,
    rounds: &mut BTreeMap<IpAddr, Round>,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let kernel = Kernel::open()?;
    let mut held = BTreeSet::new();
    for ours in kernel.ours().await? {
        if wanted.contains(&ours.address) {
            held.insert(ours.address);
        } else {
            tracing::info!(address = %ours.address, "no longer announced by this node");
            rounds.remove(&ours.address);
            kernel.remove(ours).await?;
        }
    }
    rounds.retain(|address, _| held.contains(address));
    for address in wanted {
        match take_one(&kernel, *address, node_ip, held.contains(address)).await {
            // One that an earlier process left is told too: another node may have had it in between.
            Ok(link) => {
                rounds.entry(*address).or_insert_with(|| Round {
                    link,
                    address: *address,
                    taken: Instant::now(),
                    told: 0,
                });
            }
            Err(error) => problems.push(format!("{address}: {error}")),
        }
    }
    Ok(())
}

async fn take_one(kernel: &Kernel, address: IpAddr, node_ip: IpAddr, held: bool) -> io::Result<kernel::Link> {
    let link = kernel.link_for(address, node_ip).await?;
    if !held {
        kernel.add(address, &link).await?;
        tracing::info!(%address, interface = link.name, "announced by this node");
    }
    Ok(link)
}

fn tell(rounds: &mut BTreeMap<IpAddr, Round>, now: Instant) {
    for round in rounds.values_mut().filter(|round| round.due().is_some_and(|due| due <= now)) {
        round.told += 1;
        if let Err(error) = neighbours::tell(round.address, &round.link) {
            let interface = &round.link.name;
            tracing::warn!(address = %round.address, interface, %error, "cannot tell the neighbours of an address");
        }
    }
}
