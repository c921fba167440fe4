//! Both ends of the session in memory, over connections that are cut, duplicate, reorder and deliver late.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mesh_ir::config::{Delta, MeshConfig};
use mesh_ir::resource::{CircuitBreaker, Resource, ResourceKey, Service, TrafficPolicy};
use mesh_wire::{EncodedConfig, NodeSession, OperatorSession, ProtocolError, proto};
use proptest::prelude::*;
use prost::Message;

/// A Service that the nodes of these tests refuse.
const BAD: u32 = 666;

fn service(slot: usize, value: u32) -> Resource {
    let breaker = CircuitBreaker { max_requests: Some(value), ..Default::default() };
    Resource::Service(Service {
        name: format!("shop/service-{slot}").parse().unwrap(),
        addresses: vec![],
        ports: vec![],
        udp_ports: vec![],
        session_affinity: None,
        internal_traffic_policy: TrafficPolicy::Cluster,
        circuit_breaker: Some(breaker),
        retry_budget: None,
    })
}

fn validate(resource: &Resource) -> Result<(), String> {
    match resource {
        Resource::Service(Service { circuit_breaker: Some(breaker), .. })
            if breaker.max_requests == Some(BAD) =>
        {
            Err("circuit_breaker: this node cannot serve it".into())
        }
        _ => Ok(()),
    }
}

fn good(config: &MeshConfig) -> MeshConfig {
    let good = config.resources.iter().filter(|(_, resource)| validate(resource).is_ok());
    MeshConfig { resources: good.map(|(key, resource)| (key.clone(), resource.clone())).collect() }
}

/// A node, an operator, and the connection between them.
struct World {
    config: MeshConfig,
    encoded: Arc<EncodedConfig>,
    /// Every configuration there was, by version.
    published: BTreeMap<u64, MeshConfig>,
    node: NodeSession,
    /// What the node applied.
    applied: MeshConfig,
    operator: OperatorSession,
    up: VecDeque<proto::NodeMessage>,
    down: VecDeque<proto::OperatorMessage>,
    /// What was under way when connections were cut.
    late_up: Vec<proto::NodeMessage>,
    late_down: Vec<proto::OperatorMessage>,
    message_bytes: usize,
}

impl World {
    fn new(message_bytes: usize) -> Self {
        let node = NodeSession::new("node-1".parse().unwrap(), "0.1.0").with_message_bytes(message_bytes);
        let mut world = Self {
            config: MeshConfig::default(),
            encoded: Arc::default(),
            published: BTreeMap::new(),
            node,
            applied: MeshConfig::default(),
            operator: OperatorSession::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            late_up: Vec::new(),
            late_down: Vec::new(),
            message_bytes,
        };
        world.publish();
        world.reconnect();
        world
    }

    fn set(&mut self, slot: usize, value: Option<u32>) {
        let key = service(slot, 0).key();
        match value {
            Some(value) => _ = self.config.resources.insert(key, Arc::new(service(slot, value))),
            None => _ = self.config.resources.remove(&key),
        }
    }

    fn publish(&mut self) {
        self.encoded = Arc::new(self.encoded.next(&self.config));
        self.published.insert(self.encoded.version(), self.config.clone());
        self.operator.handle_config(self.encoded.clone());
    }

    fn reconnect(&mut self) {
        self.late_up.extend(self.up.drain(..));
        self.late_down.extend(self.down.drain(..));
        self.node.disconnect();
        self.node.connect();
        self.operator = OperatorSession::new().with_message_bytes(self.message_bytes);
        self.operator.handle_config(self.encoded.clone());
    }

    fn give_node(&mut self, message: proto::OperatorMessage) {
        // Through bytes, as over the network.
        let message = proto::OperatorMessage::decode(&message.encode_to_vec()[..]).unwrap();
        match self.node.handle_message(message, validate) {
            Ok(None) => {}
            Ok(Some(delta)) => self.apply(delta),
            Err(_) => self.reconnect(),
        }
    }

    /// What the node holds after each change is, whole and never in part, a configuration that there was.
    fn apply(&mut self, delta: Delta) {
        self.applied.apply(&delta);
        let expected = &self.published[&self.node.config_version().unwrap()];
        for (key, resource) in &good(expected).resources {
            assert_eq!(self.applied.resources.get(key), Some(resource), "{key}");
        }
        for (key, resource) in &self.applied.resources {
            assert!(expected.resources.contains_key(key), "{key} is gone");
            assert_eq!(validate(resource), Ok(()), "{key}");
        }
    }

    fn give_operator(&mut self, message: proto::NodeMessage) {
        let message = proto::NodeMessage::decode(&message.encode_to_vec()[..]).unwrap();
        if self.operator.handle_message(message).is_err() {
            self.reconnect();
        }
    }

    /// Whether there was anything to do.
    fn step(&mut self) -> bool {
        let (up, down) = (self.node.poll_message(), self.operator.poll_message());
        self.up.extend(up);
        self.down.extend(down);
        let (up, down) = (self.up.pop_front(), self.down.pop_front());
        let busy = up.is_some() || down.is_some();
        if let Some(message) = up {
            self.give_operator(message);
        }
        if let Some(message) = down {
            self.give_node(message);
        }
        busy
    }

    fn settle(&mut self) {
        let most = 10_000;
        assert!((0..most).any(|_| !self.step()), "still talking after {most} steps");
    }

    fn check_converged(&self) {
        assert!(self.operator.acknowledged());
        assert_eq!(self.node.config_version(), Some(self.encoded.version()));
        assert_eq!(good(&self.config).resources, {
            let mut applied = self.applied.clone();
            for (key, resource) in &self.config.resources {
                if validate(resource).is_err() {
                    applied.resources.remove(key);
                }
            }
            applied.resources
        });
        let bad = self.config.resources.iter().filter(|(_, r)| validate(r).is_err()).map(|(key, _)| key);
        assert_eq!(self.operator.rejected().keys().collect::<Vec<_>>(), bad.collect::<Vec<_>>());
        for (key, message) in self.operator.rejected() {
            assert_eq!(*message, format!("{key}: circuit_breaker: this node cannot serve it"));
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Set(usize, Option<u32>),
    Publish,
    PollNode,
    PollOperator,
    DeliverUp,
    DeliverDown,
    Cut,
    LateUp(prop::sample::Index),
    LateDown(prop::sample::Index),
    DuplicateUp,
    DuplicateDown,
    SwapDown,
}

fn event() -> impl Strategy<Value = Event> {
    let value = prop_oneof![2 => Just(None), 5 => (0u32..50).prop_map(Some), 2 => Just(Some(BAD))];
    prop_oneof![
        8 => (0usize..12, value).prop_map(|(slot, value)| Event::Set(slot, value)),
        3 => Just(Event::Publish),
        6 => Just(Event::PollNode),
        6 => Just(Event::PollOperator),
        8 => Just(Event::DeliverUp),
        8 => Just(Event::DeliverDown),
        1 => Just(Event::Cut),
        1 => any::<prop::sample::Index>().prop_map(Event::LateUp),
        1 => any::<prop::sample::Index>().prop_map(Event::LateDown),
        1 => Just(Event::DuplicateUp),
        1 => Just(Event::DuplicateDown),
        1 => Just(Event::SwapDown),
    ]
}

fn perform(world: &mut World, event: Event) {
    match event {
        Event::Set(slot, value) => world.set(slot, value),
        Event::Publish => world.publish(),
        Event::PollNode => world.up.extend(world.node.poll_message()),
        Event::PollOperator => world.down.extend(world.operator.poll_message()),
        Event::DeliverUp => {
            if let Some(message) = world.up.pop_front() {
                world.give_operator(message);
            }
        }
        Event::DeliverDown => {
            if let Some(message) = world.down.pop_front() {
                world.give_node(message);
            }
        }
        Event::Cut => world.reconnect(),
        Event::LateUp(index) if !world.late_up.is_empty() => {
            world.give_operator(index.get(&world.late_up).clone());
        }
        Event::LateDown(index) if !world.late_down.is_empty() => {
            world.give_node(index.get(&world.late_down).clone());
        }
        Event::LateUp(_) | Event::LateDown(_) => {}
        Event::DuplicateUp => world.up.extend(world.up.front().cloned()),
        Event::DuplicateDown => world.down.extend(world.down.front().cloned()),
        Event::SwapDown if world.down.len() > 1 => world.down.swap(0, 1),
        Event::SwapDown => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..Default::default() })]

    #[test]
    fn protocol_converges_whatever_the_connection_does(
        // Some messages hold one entry, some a whole change.
        message_bytes in prop_oneof![Just(1usize), Just(200), Just(1 << 20)],
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let mut world = World::new(message_bytes);
        for event in events {
            perform(&mut world, event);
        }
        world.publish();
        world.settle();
        world.check_converged();
    }

    #[test]
    fn protocol_survives_any_message(
        update in (any::<u64>(), proptest::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..3), any::<bool>()),
        session in 0u64..3,
        rejected in proptest::collection::vec(any::<(String, String)>(), 0..3),
    ) {
        let mut world = World::new(200);
        world.set(1, Some(1));
        world.publish();
        world.settle();
        let (sequence, upserts, complete) = update;
        let upserts = upserts.into_iter().map(|(key, body)| proto::Upsert { key, version: 1, body: body.into() });
        let update = proto::Update { sequence: sequence % 4, upserts: upserts.collect(), complete, ..Default::default() };
        let message = Some(proto::operator_message::Message::Update(update));
        let mut node = NodeSession::new("node-1".parse().unwrap(), "0.1.0");
        node.connect();
        while node.poll_message().is_some() {}
        _ = node.handle_message(proto::OperatorMessage { session, message }, validate);
        while node.poll_message().is_some() {}
        let rejected = rejected.into_iter().map(|(key, message)| proto::Rejection { key, message }).collect();
        let ack = proto::Ack { sequence: sequence % 4, rejected, complete };
        let message = Some(proto::node_message::Message::Ack(ack));
        _ = world.operator.handle_message(proto::NodeMessage { session, message });
        prop_assert!(world.operator.rejected().is_empty());
    }
}

fn filled(resources: usize) -> World {
    let mut world = World::new(mesh_wire::MAX_MESSAGE_BYTES);
    for slot in 0..resources {
        world.set(slot, Some(1));
    }
    world.publish();
    world.settle();
    world
}

#[test]
fn protocol_resumes_with_only_what_differs() {
    let mut world = filled(200);
    assert_eq!(world.operator.sent(), 200);

    world.reconnect();
    world.settle();
    assert_eq!(world.operator.sent(), 0, "nothing changed");
    world.check_converged();

    world.node.disconnect();
    world.set(3, Some(2));
    world.set(4, None);
    world.set(1000, Some(1));
    // Another operator computes the same versions from nothing.
    world.encoded = Arc::default();
    world.publish();
    world.reconnect();
    world.settle();
    assert_eq!(world.operator.sent(), 3, "one changed, one gone, one new");
    world.check_converged();
    assert_eq!(world.applied, world.config);
}

#[test]
fn protocol_sends_one_resource_for_one_edit() {
    let mut world = filled(200);
    world.set(7, Some(2));
    world.publish();
    world.settle();
    assert_eq!(world.operator.sent(), 201);
    world.check_converged();
}

#[test]
fn protocol_rejects_a_bad_resource_alone_and_keeps_the_previous() {
    let mut world = filled(3);
    world.set(0, Some(BAD));
    world.set(1, Some(2));
    world.publish();
    world.settle();
    world.check_converged();
    assert_eq!(*world.applied.resources[&service(0, 0).key()], service(0, 1), "the previous one is kept");
    let sent = world.operator.sent();

    // It is not sent again for what changes elsewhere, and stays reported.
    world.set(1, Some(3));
    world.publish();
    world.settle();
    world.check_converged();
    assert_eq!(world.operator.sent(), sent + 1);

    // Corrected to what the node holds still.
    world.set(0, Some(1));
    world.publish();
    world.settle();
    world.check_converged();
    assert!(world.operator.rejected().is_empty());
    assert_eq!(world.applied, world.config);
}

#[test]
fn protocol_rejects_a_resource_of_a_newer_operator_alone() {
    let mut node = NodeSession::new("node-1".parse().unwrap(), "0.1.0");
    node.connect();
    let hello = node.poll_message().unwrap();
    let body = mesh_wire::encode(&service(0, 1));
    let newer = proto::Resource::default().encode_to_vec();
    let upsert = |key: &str, body: Vec<u8>| proto::Upsert { key: key.into(), version: 1, body: body.into() };
    let update = proto::Update {
        sequence: 1,
        upserts: vec![
            upsert("TLSRoute shop/new", newer.clone()),
            upsert("Service shop/newer", newer),
            upsert("Service shop/service-0", body.to_vec()),
        ],
        removes: vec!["UDPRoute shop/old".into()],
        complete: true,
        config_version: 9,
    };
    let message = Some(proto::operator_message::Message::Update(update));
    let delta = node.handle_message(proto::OperatorMessage { session: hello.session, message }, validate);
    let delta = delta.unwrap().unwrap();
    assert_eq!(delta.upserts, vec![Arc::new(service(0, 1))]);
    assert_eq!(delta.removes, Vec::<ResourceKey>::new());
    let Some(proto::node_message::Message::Ack(ack)) = node.poll_message().unwrap().message else { panic!() };
    let rejected: Vec<_> = ack.rejected.iter().map(|r| r.key.as_str()).collect();
    assert_eq!(rejected, ["Service shop/newer", "TLSRoute shop/new"]);
    assert!(ack.rejected.iter().all(|r| r.message.contains("this version")), "{ack:?}");
}

/// A node that does not answer costs one configuration, not one for each change.
#[test]
fn protocol_holds_at_most_one_change_for_a_node_that_does_not_answer() {
    let mut world = filled(10);
    let mut messages = 0;
    for value in 2..1000 {
        for slot in 0..10 {
            world.set(slot, Some(value % 600));
        }
        world.publish();
        messages +=
            std::iter::from_fn(|| world.operator.poll_message()).map(|m| world.down.push_back(m)).count();
    }
    assert_eq!(messages, 1);
    world.settle();
    world.check_converged();
    assert_eq!(world.operator.sent(), 10 + 10 + 10, "the first, the second, and the last configuration");
}

#[test]
fn protocol_cuts_a_large_change_into_bounded_messages() {
    let mut world = World::new(mesh_wire::MAX_MESSAGE_BYTES);
    for slot in 0..40_000 {
        world.set(slot, Some(1));
    }
    world.publish();
    world.reconnect();
    while let Some(hello) = world.node.poll_message() {
        world.give_operator(hello);
    }
    let updates: Vec<_> = std::iter::from_fn(|| world.operator.poll_message()).collect();
    assert!(updates.len() > 1);
    for update in updates {
        assert!(update.encoded_len() <= mesh_wire::MAX_MESSAGE_BYTES, "{}", update.encoded_len());
        assert!(world.applied.resources.is_empty(), "nothing is applied before all of it is there");
        world.give_node(update);
    }
    assert_eq!(world.applied, world.config);

    world.settle();
    world.reconnect();
    let hellos: Vec<_> = std::iter::from_fn(|| world.node.poll_message()).collect();
    assert!(hellos.len() > 1);
    assert!(hellos.iter().all(|hello| hello.encoded_len() <= mesh_wire::MAX_MESSAGE_BYTES));
    world.up.extend(hellos);
    world.settle();
    assert_eq!(world.operator.sent(), 0);
}

#[test]
fn protocol_ends_the_session_on_a_stale_or_skipped_sequence() {
    let check = |sequence, error| {
        let mut node = NodeSession::new("node-1".parse().unwrap(), "0.1.0");
        node.connect();
        node.poll_message().unwrap();
        let mut handle = |sequence| {
            let update = proto::Update { sequence, ..Default::default() };
            let message = Some(proto::operator_message::Message::Update(update));
            node.handle_message(proto::OperatorMessage { session: 1, message }, validate)
        };
        assert_eq!(handle(1), Ok(None));
        assert_eq!(handle(sequence), Err(error));
        assert_eq!(handle(2), Ok(None), "the session is over: what comes is dropped");
        assert!(node.poll_message().is_none());
        node.connect();
        assert!(node.poll_message().is_some());
    };
    check(1, ProtocolError::OutOfOrder { expected: 2, received: 1 });
    check(3, ProtocolError::OutOfOrder { expected: 2, received: 3 });
}

#[test]
fn encoded_keeps_the_previous_of_a_resource_that_grew_too_large() {
    let certificate = |bytes: usize| {
        Resource::Certificate(mesh_ir::resource::Certificate {
            name: "shop/large".parse().unwrap(),
            chain_pem: "x".repeat(bytes),
            key: String::new().into(),
        })
    };
    let config = |bytes| MeshConfig::from_iter([certificate(bytes), service(0, 1)]);
    let first = EncodedConfig::new(&config(10));
    let second = first.next(&config(mesh_wire::MAX_RESOURCE_BYTES + 1));
    assert_eq!(second.version(), first.version());
    let oversized: Vec<_> = second.oversized().collect();
    let [oversized] = oversized[..] else { panic!("{oversized:?}") };
    assert!(oversized.to_string().starts_with("Certificate shop/large takes 209"), "{oversized}");
    let alone = EncodedConfig::new(&config(mesh_wire::MAX_RESOURCE_BYTES + 1));
    assert_eq!(alone.iter().count(), 1);
}

#[test]
fn protocol_sends_the_largest_resource_in_a_message_that_receivers_allow() {
    let largest = |bytes: usize| {
        Resource::Certificate(mesh_ir::resource::Certificate {
            name: format!("{}/{}", "n".repeat(253), "c".repeat(253)).parse().unwrap(),
            chain_pem: "x".repeat(bytes),
            key: String::new().into(),
        })
    };
    let overhead =
        mesh_wire::encode(&largest(mesh_wire::MAX_RESOURCE_BYTES)).len() - mesh_wire::MAX_RESOURCE_BYTES;
    let resource = largest(mesh_wire::MAX_RESOURCE_BYTES - overhead);
    let mut world = World::new(mesh_wire::MAX_MESSAGE_BYTES);
    world.config = MeshConfig::from_iter([resource, service(0, 1)]);
    world.publish();
    let hello = world.node.poll_message().unwrap();
    world.give_operator(hello);
    let updates: Vec<_> = std::iter::from_fn(|| world.operator.poll_message()).collect();
    let sizes: Vec<_> = updates.iter().map(|update| update.encoded_len()).collect();
    assert_eq!(sizes.len(), 2);
    assert!(
        sizes[1] > mesh_wire::MAX_RESOURCE_BYTES && sizes[1] <= 2 * mesh_wire::MAX_MESSAGE_BYTES,
        "{sizes:?}"
    );
    world.down.extend(updates);
    world.settle();
    assert_eq!(world.applied, world.config);
}
