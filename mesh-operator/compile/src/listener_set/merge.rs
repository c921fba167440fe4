//! The listeners of a Gateway and of its ListenerSets as one list: the Gateway's go first, then those of the oldest
//! ListenerSet, then by name. A listener that is not distinct from one that goes before it loses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_ir::name::{Hostname, ObjectName};
use mesh_ir::resource::Transport;

use super::{Candidate, ListenerSet};
use crate::gateway::Gateway;
use crate::listener::{self, Listener, Refusal};
use crate::lookup::Lookup;
use crate::policy::created;

/// All listeners of a Gateway come to the nodes as one resource of bounded size, which what others add must not exceed: no
/// ListenerSet can take the rest of its Gateway down.
const MAX_BYTES: usize = 1 << 20;
/// What a listener takes at least, its longest names aside.
const MIN_BYTES: usize = 512;
/// An EndpointSlice of the Gateway's Service holds no more ports.
const MAX_PORTS: usize = 100;

/// The ListenerSets of a Gateway in their order, judged. The Gateway's own listeners change only in whether they are closed, and
/// in what they say of hostnames that overlap.
pub(crate) fn merge(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    gateway: &mut Gateway,
) -> Vec<Arc<ListenerSet>> {
    let mut candidates: Vec<(&ObjectName, &Arc<Candidate>)> = snapshot.listener_sets_of(name).collect();
    if candidates.is_empty() && !gateway.listeners.iter().any(Listener::is_to_be_closed) {
        return Vec::new();
    }
    candidates.sort_by_cached_key(|(set, candidate)| (created(&candidate.object.metadata), set.to_string()));
    let mut taken = Taken::new(name);
    gateway.listeners.iter().filter(|l| l.accepted.is_ok()).for_each(|l| taken.add(l, Holder::Gateway));
    let judge = |(set, candidate): (&ObjectName, &Arc<Candidate>)| {
        let mut set = ListenerSet::judge(snapshot, set, candidate, gateway);
        taken.judge(&mut set.listeners);
        listener::find_overlaps(&mut set.listeners);
        set
    };
    let mut sets: Vec<ListenerSet> = candidates.into_iter().map(judge).collect();
    gateway.listeners.iter_mut().for_each(|listener| taken.close(listener, Holder::Gateway));
    let of_sets = sets.iter_mut().flat_map(|set| &mut set.listeners);
    of_sets.for_each(|listener| taken.close(listener, Holder::ListenerSet));
    let others = sets.iter_mut().flat_map(|set| &mut set.listeners);
    find_overlaps(gateway.listeners.iter_mut().chain(others).collect());
    sets.into_iter().map(Arc::new).collect()
}

/// What the listeners so far have taken of a Gateway.
struct Taken<'a> {
    gateway: &'a ObjectName,
    ports: BTreeMap<(Transport, u16), Port>,
    bytes: usize,
}

#[derive(Default)]
struct Port {
    protocols: BTreeMap<String, Holder>,
    hostnames: BTreeMap<(Option<Hostname>, String), Holder>,
}

/// Who has it. Of the other ListenerSets, which may be anybody's, nothing is told.
#[derive(Clone, Copy)]
enum Holder {
    Gateway,
    ListenerSet,
}

impl<'a> Taken<'a> {
    fn new(gateway: &'a ObjectName) -> Self {
        Self { gateway, ports: BTreeMap::new(), bytes: 0 }
    }

    fn add(&mut self, listener: &Listener, holder: Holder) {
        self.bytes += bytes(listener);
        let port = self.ports.entry((listener.transport(), listener.port)).or_default();
        port.protocols.entry(listener.protocol.clone()).or_insert(holder);
        port.hostnames.entry((listener.hostname.clone(), listener.protocol.clone())).or_insert(holder);
    }

    /// Judges the listeners of the next ListenerSet, and takes for them what they want.
    fn judge(&mut self, listeners: &mut [Listener]) {
        for listener in listeners.iter_mut().filter(|listener| listener.accepted.is_ok()) {
            listener.conflict = self.conflict(listener);
        }
        let mut ports: BTreeSet<(Transport, u16)> = self.ports.keys().copied().collect();
        let mut room = MAX_BYTES.saturating_sub(self.bytes);
        for listener in listeners.iter_mut().filter(|listener| listener.is_accepted()) {
            let port = (listener.transport(), listener.port);
            if !ports.contains(&port) && ports.len() == MAX_PORTS {
                let message = format!("Gateway {} has {MAX_PORTS} ports, and can have no more", self.gateway);
                listener.accepted = Err(("PortUnavailable", message));
                continue;
            }
            match room.checked_sub(bytes(listener)) {
                Some(left) => room = left,
                None => {
                    let message = format!("Gateway {} has no room for more listeners", self.gateway);
                    listener.accepted = Err(("TooManyListeners", message));
                    continue;
                }
            }
            ports.insert(port);
        }
        // Those of one ListenerSet that are not distinct are in each other's way, and still go before those of the next.
        listeners.iter().filter(|l| l.is_accepted()).for_each(|l| self.add(l, Holder::ListenerSet));
        listener::find_conflicts(listeners);
    }

    /// Closes a listener that is not served and whose hosts others would take past its filters. It is in the way of none that is
    /// accepted, and a ListenerSet's needs room as those do.
    fn close(&mut self, listener: &mut Listener, holder: Holder) {
        if !listener.is_to_be_closed() {
            return;
        }
        let fits = match holder {
            Holder::Gateway => true,
            Holder::ListenerSet => self.bytes + bytes(listener) <= MAX_BYTES,
        };
        // One that is accepted has been judged and counted.
        listener.is_closed = listener.is_accepted() || fits && self.conflict(listener).is_none();
        if listener.is_closed && !listener.is_accepted() {
            self.bytes += bytes(listener);
        }
    }

    fn conflict(&self, listener: &Listener) -> Option<Refusal> {
        let port = self.ports.get(&(listener.transport(), listener.port))?;
        let shares = |protocol: &str| listener::share_ports(&listener.protocol, protocol);
        let protocol = port.protocols.iter().find(|(protocol, _)| !shares(protocol));
        let protocol = protocol.map(|(protocol, holder)| {
            let (number, own, holder) = (listener.port, &listener.protocol, self.shown(*holder));
            format!("port {number} is for {own} here and for {protocol} in {holder}, which goes first")
        });
        let mut same = port
            .hostnames
            .range((listener.hostname.clone(), String::new())..)
            .take_while(|((hostname, _), _)| *hostname == listener.hostname);
        let same = same.find(|((_, protocol), _)| shares(protocol)).map(|(_, holder)| holder);
        let hostname = same.map(|holder| {
            let (shown, holder) = (listener.shown_hostname(), self.shown(*holder));
            format!("port {} and {shown} are those of {holder} too, which goes first", listener.port)
        });
        match (protocol, hostname) {
            (Some(protocol), Some(hostname)) => Some(("ListenerConflict", format!("{protocol}; {hostname}"))),
            (Some(protocol), None) => Some(("ProtocolConflict", protocol)),
            (None, Some(hostname)) => Some(("HostnameConflict", hostname)),
            (None, None) => None,
        }
    }

    fn shown(&self, holder: Holder) -> String {
        match holder {
            Holder::Gateway => format!("Gateway {}", self.gateway),
            Holder::ListenerSet => format!("another ListenerSet of Gateway {}", self.gateway),
        }
    }
}

/// About what a listener takes in its Gateway's resource.
fn bytes(listener: &Listener) -> usize {
    let certificates =
        listener.certificates.iter().map(|c| c.name.namespace.as_str().len() + c.name.name.len() + 4);
    let hostname = listener.hostname.as_ref().map_or(0, |hostname| hostname.to_string().len());
    (64 + listener.name.to_string().len() + hostname + certificates.sum::<usize>()).max(MIN_BYTES)
}

/// TLS listeners whose hostname overlaps with that of another object's listener must be told so. Nothing is told of which.
fn find_overlaps(listeners: Vec<&mut Listener>) {
    let concerned = |listener: &Listener| listener.is_tls() && listener.is_accepted();
    let mut ports: BTreeMap<u16, Hostnames> = BTreeMap::new();
    for listener in listeners.iter().filter(|listener| concerned(listener)) {
        ports.entry(listener.port).or_default().add(listener.hostname.as_ref());
    }
    for listener in listeners.into_iter().filter(|l| concerned(l) && l.overlap.is_none()) {
        if ports[&listener.port].overlap(listener.hostname.as_ref()) {
            let message = "Its hostname overlaps with that of another object's listener of the Gateway";
            listener.overlap = Some(message.into());
        }
    }
}

/// The hostnames of listeners that are distinct.
#[derive(Default)]
struct Hostnames {
    count: usize,
    every: bool,
    wildcards: BTreeSet<String>,
    /// What wildcards would have to be for one of the hostnames to be among theirs.
    above: BTreeSet<String>,
}

impl Hostnames {
    fn add(&mut self, hostname: Option<&Hostname>) {
        self.count += 1;
        match hostname {
            None => self.every = true,
            Some(hostname) => {
                self.above.extend(above(hostname).map(str::to_owned));
                if let Hostname::Wildcard(suffix) = hostname {
                    self.wildcards.insert(suffix.to_string());
                }
            }
        }
    }

    fn overlap(&self, hostname: Option<&Hostname>) -> bool {
        let Some(hostname) = hostname else { return self.count > 1 };
        let is_above = matches!(hostname, Hostname::Wildcard(suffix) if self.above.contains(&**suffix));
        self.every || is_above || above(hostname).any(|suffix| self.wildcards.contains(suffix))
    }
}

/// `.b.c` and `.c`, for `a.b.c` as for `*.a.b.c` in which case `.a.b.c` is the hostname's own.
fn above(hostname: &Hostname) -> impl Iterator<Item = &str> {
    let (text, first) = match hostname {
        Hostname::Exact(name) => (&**name, 0),
        Hostname::Wildcard(suffix) => (&**suffix, 1),
    };
    text.char_indices().filter(move |(at, c)| *c == '.' && *at >= first).map(|(at, _)| &text[at..])
}

#[cfg(test)]
mod tests;
