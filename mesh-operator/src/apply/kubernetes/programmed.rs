//! When a Gateway may say that it is programmed: when the nodes have acknowledged it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mesh_compile::ObjectId;
use mesh_wire::EncodedConfig;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::publish::nodes::Acknowledged;

/// How long the nodes may take before a Gateway's status names those that it waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A node that acknowledged a configuration older than so many is behind.
const REMEMBERED: usize = 4096;
/// More names than these are only counted.
const NAMED: usize = 8;

/// The configurations of late, and the Gateways that the nodes have.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Versions of configurations, the oldest first.
    versions: VecDeque<u64>,
    /// How many came before the first of those.
    forgotten: u64,
    gateways: BTreeMap<ObjectId, State>,
}

#[derive(Debug)]
struct State {
    /// Of the Gateway's resource.
    version: u64,
    /// The number of the first configuration that had it so.
    since: u64,
    asked: Instant,
    confirmed: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Programmed,
    /// Its status stays as it is until then, or until a node says more.
    Wait(Instant),
    /// Not programmed, for this reason.
    Pending(String),
}

impl Gate {
    /// Takes note of the configuration that is given to the nodes.
    pub(super) fn published(&mut self, version: u64) {
        if self.versions.back() == Some(&version) {
            return;
        }
        self.versions.push_back(version);
        if self.versions.len() > REMEMBERED {
            self.versions.pop_front();
            self.forgotten += 1;
        }
    }

    /// Forgets all Gateways but these.
    pub(super) fn retain(&mut self, is_there: impl Fn(&ObjectId) -> bool) {
        self.gateways.retain(|id, _| is_there(id));
    }

    /// What a Gateway may say that would be programmed as far as the configuration goes.
    pub(super) fn check(
        &mut self,
        id: &ObjectId,
        config: &EncodedConfig,
        nodes: &[Acknowledged],
        was_programmed: bool,
        now: Instant,
    ) -> Verdict {
        let key = format!("Gateway {}/{}", id.namespace.as_deref().unwrap_or_default(), id.name);
        let version = key.parse().ok().and_then(|key| config.get(&key)).map(|encoded| encoded.version);
        let Some(version) = version else {
            return Verdict::Pending("It takes more room than can be sent to the nodes".into());
        };
        let newest = self.forgotten + self.versions.len() as u64 - 1;
        let state = self.gateways.entry(id.clone()).or_insert(State {
            version,
            since: newest,
            asked: now,
            confirmed: false,
        });
        if state.version != version {
            *state = State { version, since: newest, asked: now, confirmed: false };
        }
        if let Some((node, problem)) = nodes.iter().find_map(|n| Some((&n.node, n.rejected.get(&key)?))) {
            return Verdict::Pending(format!("Node {node} cannot serve it: {problem}"));
        }
        if state.confirmed {
            return Verdict::Programmed;
        }
        let number = |version: u64| {
            let place = self.versions.iter().rposition(|known| *known == version)?;
            Some(self.forgotten + place as u64)
        };
        let has_it = |node: &Acknowledged| node.version.and_then(number).is_some_and(|n| n >= state.since);
        let behind: Vec<&str> = nodes.iter().filter(|n| !has_it(n)).map(|n| n.node.as_str()).collect();
        if behind.is_empty() && !nodes.is_empty() {
            state.confirmed = true;
            return Verdict::Programmed;
        }
        let until = state.asked + PATIENCE;
        if now < until {
            return Verdict::Wait(until);
        }
        match nodes.is_empty() {
            // The nodes go on serving what they have while no operator is there, and come back to one that is.
            true if was_programmed => Verdict::Programmed,
            true => Verdict::Pending("No node is connected to the operator".into()),
            false => Verdict::Pending(format!("These nodes have not acknowledged it: {}", names(&behind))),
        }
    }
}

/// Makes a Gateway's or ListenerSet's status say that it is not programmed yet.
pub(super) fn set_pending(status: &mut Value, message: &str) {
    let listeners = status["listeners"].as_array_mut().into_iter().flatten();
    let mut lists: Vec<&mut Value> = listeners.map(|listener| &mut listener["conditions"]).collect();
    let pending = |conditions: &mut Value| {
        for condition in conditions.as_array_mut().into_iter().flatten() {
            if condition["type"] == "Programmed" && condition["status"] == "True" {
                condition["status"] = json!("False");
                condition["reason"] = json!("Pending");
                condition["message"] = json!(message);
            }
        }
    };
    lists.drain(..).for_each(pending);
    pending(&mut status["conditions"]);
}

/// Whether a Gateway's or ListenerSet's status says that it is programmed.
pub(super) fn is_programmed(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Programmed" && condition["status"] == "True")
}

fn names(names: &[&str]) -> String {
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use mesh_compile::Kind;
    use mesh_ir::config::MeshConfig;
    use mesh_ir::resource::{Gateway, Resource};

    use super::*;

    fn config(port: u8) -> EncodedConfig {
        let gateway = Gateway {
            name: "shop/front".parse().unwrap(),
            addresses: vec![[10, 0, 0, port].into()],
            announced_by: None,
            client_certificate: None,
            tracing: None,
            listeners: Vec::new(),
        };
        EncodedConfig::new(&[Resource::Gateway(gateway)].into_iter().collect::<MeshConfig>())
    }

    fn node(name: &str, version: Option<u64>) -> Acknowledged {
        Acknowledged { node: name.into(), version, up_to_date: true, rejected: BTreeMap::new() }
    }

    #[test]
    fn gate_waits_for_all_nodes_then_names_those_that_are_behind() {
        let id = ObjectId { kind: Kind::Gateway, namespace: Some("shop".into()), name: "front".into() };
        let (mut gate, start) = (Gate::default(), Instant::now());
        let first = config(1);
        let v = first.version();
        gate.published(v);
        let late = start + PATIENCE;
        let check = |gate: &mut Gate, config: &EncodedConfig, nodes: &[Acknowledged], now| {
            gate.check(&id, config, nodes, false, now)
        };
        let one = [node("a", Some(v)), node("b", None)];
        assert_eq!(check(&mut gate, &first, &one, start), Verdict::Wait(late));
        let Verdict::Pending(message) = check(&mut gate, &first, &one, late) else { panic!() };
        assert_eq!(message, "These nodes have not acknowledged it: b");
        let all = [node("a", Some(v)), node("b", Some(v))];
        assert_eq!(check(&mut gate, &first, &all, late), Verdict::Programmed);
        // A node that joins later does not unsay it.
        let joined = [node("a", Some(v)), node("c", None)];
        assert_eq!(check(&mut gate, &first, &joined, late), Verdict::Programmed);

        // Another configuration with the same Gateway: what was acknowledged before does.
        gate.published(v + 1);
        let second = config(2);
        gate.published(second.version());
        assert_eq!(check(&mut gate, &second, &all, late), Verdict::Wait(late + PATIENCE));
        // A configuration that came after the one that has it.
        gate.published(v + 2);
        let newer = [node("a", Some(second.version())), node("b", Some(v + 2))];
        assert_eq!(check(&mut gate, &second, &newer, late), Verdict::Programmed);
    }

    #[test]
    fn gate_says_who_refuses_it_and_that_nobody_is_there() {
        let id = ObjectId { kind: Kind::Gateway, namespace: Some("shop".into()), name: "front".into() };
        let (mut gate, start) = (Gate::default(), Instant::now());
        let first = config(1);
        gate.published(first.version());
        let late = start + PATIENCE;
        assert_eq!(gate.check(&id, &first, &[], false, start), Verdict::Wait(late));
        let nobody = Verdict::Pending("No node is connected to the operator".into());
        assert_eq!(gate.check(&id, &first, &[], false, late), nobody);
        assert_eq!(gate.check(&id, &first, &[], true, late), Verdict::Programmed);
        let mut refusing = node("a", Some(first.version()));
        refusing.rejected.insert("Gateway shop/front".into(), "port in use".into());
        let refused = Verdict::Pending("Node a cannot serve it: port in use".into());
        assert_eq!(gate.check(&id, &first, &[refusing], false, late), refused);
    }

    #[test]
    fn pending_is_said_of_the_gateway_and_its_listeners() {
        let programmed =
            || json!({"type": "Programmed", "status": "True", "reason": "Programmed", "message": ""});
        let mut status = json!({"conditions": [programmed()], "listeners": [{"conditions": [programmed()]}, {"conditions": []}]});
        assert!(is_programmed(&status));
        set_pending(&mut status, "why");
        assert!(!is_programmed(&status));
        let expected =
            json!({"type": "Programmed", "status": "False", "reason": "Pending", "message": "why"});
        assert_eq!(status["conditions"][0], expected);
        assert_eq!(status["listeners"][0]["conditions"][0], expected);
    }
}
