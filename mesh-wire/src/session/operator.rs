//! The operator's end of a session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mesh_ir::name::NodeName;
use mesh_ir::resource::ResourceKey;

use super::{MAX_KEY, MAX_KNOWN, MAX_MESSAGE_BYTES, ProtocolError, Room, shorten};
use crate::encoded::EncodedConfig;
use crate::proto;

/// The conversation with one connected node.
#[derive(Debug)]
pub struct OperatorSession {
    node: Option<NodeName>,
    program_version: String,
    session: Option<u64>,
    /// Of the last Update.
    sequence: u64,
    latest: Option<Arc<EncodedConfig>>,
    held: Held,
    rejected: BTreeMap<ResourceKey, String>,
    state: State,
    sent: u64,
    message_bytes: usize,
}

/// What the node holds, rejections aside.
#[derive(Debug)]
enum Held {
    /// As it said in its Hello.
    Known { versions: BTreeMap<ResourceKey, u64>, unreadable: Vec<String> },
    /// This, which it has acknowledged.
    Config(Arc<EncodedConfig>),
}

#[derive(Debug)]
enum State {
    Greeting,
    Ready,
    Sending { target: Arc<EncodedConfig>, steps: VecDeque<Step> },
    Awaiting { target: Arc<EncodedConfig>, rejected: BTreeMap<ResourceKey, String> },
}

#[derive(Debug)]
enum Step {
    Upsert(ResourceKey),
    Remove(String),
}

impl Default for OperatorSession {
    fn default() -> Self {
        Self::new()
    }
}

impl OperatorSession {
    pub fn new() -> Self {
        Self {
            node: None,
            program_version: String::new(),
            session: None,
            sequence: 0,
            latest: None,
            held: Held::Known { versions: BTreeMap::new(), unreadable: Vec::new() },
            rejected: BTreeMap::new(),
            state: State::Greeting,
            sent: 0,
            message_bytes: MAX_MESSAGE_BYTES,
        }
    }

    pub fn with_message_bytes(self, message_bytes: usize) -> Self {
        Self { message_bytes, ..self }
    }

    /// The name that the node gave in its Hello.
    pub fn node(&self) -> Option<&NodeName> {
        self.node.as_ref()
    }

    pub fn program_version(&self) -> &str {
        &self.program_version
    }

    /// Whether the node has acknowledged the newest configuration.
    pub fn acknowledged(&self) -> bool {
        let latest = self.latest.as_ref().map(|latest| latest.version());
        latest.is_some() && self.acknowledged_version() == latest
    }

    /// The version of the configuration that the node acknowledged last in this session.
    pub fn acknowledged_version(&self) -> Option<u64> {
        match &self.held {
            Held::Known { .. } => None,
            Held::Config(config) => Some(config.version()),
        }
    }

    /// Whether the node has something to say or to take. It waits for nothing while it is up to date.
    pub fn waits(&self) -> bool {
        !matches!(self.state, State::Ready)
    }

    /// What the node refused of the acknowledged configuration, and why.
    pub fn rejected(&self) -> &BTreeMap<ResourceKey, String> {
        &self.rejected
    }

    /// How many upserts and removes were sent in this session.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn handle_config(&mut self, config: Arc<EncodedConfig>) {
        self.latest = Some(config);
    }

    pub fn handle_message(&mut self, message: proto::NodeMessage) -> Result<(), ProtocolError> {
        use proto::node_message::Message;
        let current = *self.session.get_or_insert(message.session);
        if message.session < current {
            return Ok(());
        }
        if message.session > current {
            return Err(ProtocolError::Unexpected("the node began another session on this connection"));
        }
        match message.message.ok_or(ProtocolError::Unknown)? {
            Message::Hello(hello) => self.handle_hello(hello),
            Message::Ack(ack) => self.handle_ack(ack),
        }
    }

    /// What is to be sent now, if anything.
    pub fn poll_message(&mut self) -> Option<proto::OperatorMessage> {
        if matches!(self.state, State::Ready) {
            self.begin_change();
        }
        let State::Sending { target, steps } = &mut self.state else { return None };
        self.sequence += 1;
        let before = steps.len();
        let update = next_update(self.message_bytes, self.sequence, target, steps);
        self.sent += (before - steps.len()) as u64;
        if update.complete {
            self.state = State::Awaiting { target: target.clone(), rejected: BTreeMap::new() };
        }
        let message = Some(proto::operator_message::Message::Update(update));
        Some(proto::OperatorMessage { session: self.session?, message })
    }

    fn begin_change(&mut self) {
        let Some(latest) = &self.latest else { return };
        if self.acknowledged() {
            return;
        }
        let steps = self.held.steps_to(latest);
        self.state = State::Sending { target: latest.clone(), steps };
    }

    fn handle_hello(&mut self, hello: proto::Hello) -> Result<(), ProtocolError> {
        let (State::Greeting, Held::Known { versions, unreadable }) = (&self.state, &mut self.held) else {
            return Err(ProtocolError::Unexpected("a hello came in the middle of a session"));
        };
        let node = hello.node.parse::<NodeName>().map_err(|error| ProtocolError::Hello(error.to_string()))?;
        if self.node.get_or_insert_with(|| node.clone()) != &node {
            return Err(ProtocolError::Hello("its parts name different nodes".into()));
        }
        self.program_version = hello.program_version.chars().take(64).collect();
        for proto::Known { key, version } in hello.known {
            match key.parse::<ResourceKey>() {
                Ok(key) => _ = versions.insert(key, version),
                Err(_) if key.len() > MAX_KEY => {
                    return Err(ProtocolError::Hello("a key is too long".into()));
                }
                Err(_) => unreadable.push(key),
            }
            if versions.len() + unreadable.len() > MAX_KNOWN {
                return Err(ProtocolError::TooManyKnown);
            }
        }
        if hello.complete {
            self.state = State::Ready;
        }
        Ok(())
    }

    fn handle_ack(&mut self, ack: proto::Ack) -> Result<(), ProtocolError> {
        let State::Awaiting { target, rejected } = &mut self.state else {
            return Err(ProtocolError::Unexpected("an acknowledgement came when none was due"));
        };
        if ack.sequence != self.sequence {
            return Err(ProtocolError::OutOfOrder { expected: self.sequence, received: ack.sequence });
        }
        for proto::Rejection { key, message } in ack.rejected {
            // A key that was not sent is no news, and would have no bound.
            if let Ok(key) = key.parse::<ResourceKey>()
                && target.get(&key).is_some()
            {
                rejected.insert(key, shorten(&message));
            }
        }
        if ack.complete {
            // What this change did not touch is as it was.
            self.rejected.retain(|key, _| {
                let version = target.get(key).map(|encoded| encoded.version);
                version.is_some() && version == self.held.version(key)
            });
            self.rejected.append(rejected);
            self.held = Held::Config(target.clone());
            self.state = State::Ready;
        }
        Ok(())
    }
}

impl Held {
    fn version(&self, key: &ResourceKey) -> Option<u64> {
        match self {
            Self::Known { versions, .. } => versions.get(key).copied(),
            Self::Config(config) => config.get(key).map(|encoded| encoded.version),
        }
    }

    /// What makes this into `target`: upserts first, in the order of the keys, then removes.
    fn steps_to(&self, target: &EncodedConfig) -> VecDeque<Step> {
        let (versions, unreadable) = match self {
            Self::Config(config) => {
                let (upserts, removes): (Vec<_>, Vec<_>) =
                    config.changes_to(target).partition(|(_, is_there)| *is_there);
                let upserts = upserts.into_iter().map(|(key, _)| Step::Upsert(key.clone()));
                return upserts
                    .chain(removes.into_iter().map(|(key, _)| Step::Remove(key.to_string())))
                    .collect();
            }
            Self::Known { versions, unreadable } => (versions, unreadable),
        };
        let mut steps: VecDeque<_> = target
            .iter()
            .filter(|(key, encoded)| versions.get(key) != Some(&encoded.version))
            .map(|(key, _)| Step::Upsert(key.clone()))
            .collect();
        let gone = versions.keys().filter(|key| target.get(key).is_none());
        steps.extend(gone.map(|key| Step::Remove(key.to_string())));
        steps.extend(unreadable.iter().cloned().map(Step::Remove));
        steps
    }
}

fn next_update(
    limit: usize,
    sequence: u64,
    target: &EncodedConfig,
    steps: &mut VecDeque<Step>,
) -> proto::Update {
    let mut update = proto::Update { sequence, config_version: target.version(), ..Default::default() };
    let mut room = Room::new(limit);
    while let Some(step) = steps.pop_front() {
        match step {
            Step::Upsert(key) => {
                let Some(encoded) = target.get(&key) else { continue };
                let text = key.to_string();
                if !room.take(text.len() + encoded.body.len()) {
                    steps.push_front(Step::Upsert(key));
                    break;
                }
                let (version, body) = (encoded.version, encoded.body.clone());
                update.upserts.push(proto::Upsert { key: text, version, body });
            }
            Step::Remove(key) => {
                if !room.take(key.len()) {
                    steps.push_front(Step::Remove(key));
                    break;
                }
                update.removes.push(key);
            }
        }
    }
    update.complete = steps.is_empty();
    update
}
