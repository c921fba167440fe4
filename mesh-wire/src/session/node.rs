//! The node's end of a session.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use mesh_ir::config::Delta;
use mesh_ir::name::NodeName;
use mesh_ir::resource::{Resource, ResourceKey};

use super::{ENTRY_OVERHEAD, MAX_CHANGE_BYTES, MAX_MESSAGE_BYTES, ProtocolError, Room, shorten};
use crate::convert::decode;
use crate::proto;

/// What a node holds, and its conversation about it. It outlives connections: `connect` begins the next one.
#[derive(Debug)]
pub struct NodeSession {
    node: NodeName,
    program_version: String,
    held: BTreeMap<ResourceKey, u64>,
    config_version: Option<u64>,
    session: u64,
    /// Of the last Update.
    sequence: u64,
    state: State,
    message_bytes: usize,
}

#[derive(Debug)]
enum State {
    Disconnected,
    /// The keys up to this one have been said.
    Greeting {
        after: Option<ResourceKey>,
    },
    Listening(Staged),
    /// These rejections are still to be said.
    Answering {
        rejected: BTreeMap<String, String>,
    },
}

/// The parts of a change that have come.
#[derive(Debug, Default)]
struct Staged {
    upserts: BTreeMap<ResourceKey, (u64, Arc<Resource>)>,
    removes: BTreeSet<ResourceKey>,
    rejected: BTreeMap<String, String>,
    bytes: usize,
}

impl NodeSession {
    pub fn new(node: NodeName, program_version: impl Into<String>) -> Self {
        Self {
            node,
            program_version: program_version.into(),
            held: BTreeMap::new(),
            config_version: None,
            session: 0,
            sequence: 0,
            state: State::Disconnected,
            message_bytes: MAX_MESSAGE_BYTES,
        }
    }

    pub fn with_message_bytes(self, message_bytes: usize) -> Self {
        Self { message_bytes, ..self }
    }

    /// Begins a session on a new connection. What an earlier one left half sent is forgotten.
    pub fn connect(&mut self) {
        self.session += 1;
        self.sequence = 0;
        self.state = State::Greeting { after: None };
    }

    pub fn disconnect(&mut self) {
        self.state = State::Disconnected;
    }

    /// The version of the configuration that was last applied as a whole; `None` before the first.
    pub fn config_version(&self) -> Option<u64> {
        self.config_version
    }

    /// Takes a message. `validate` says whether a resource can be served; one that cannot is refused alone.
    ///
    /// When a change is complete it is given out (an empty one too: then the node is up to date). It is to be applied
    /// before the next `poll_message`, which gives its Ack.
    pub fn handle_message(
        &mut self,
        message: proto::OperatorMessage,
        validate: impl Fn(&Resource) -> Result<(), String>,
    ) -> Result<Option<Delta>, ProtocolError> {
        if message.session != self.session || matches!(self.state, State::Disconnected) {
            return Ok(None);
        }
        let result = self.handle_current(message, validate);
        if result.is_err() {
            self.disconnect();
        }
        result
    }

    /// What is to be sent now, if anything.
    pub fn poll_message(&mut self) -> Option<proto::NodeMessage> {
        use proto::node_message::Message;
        let message = match &mut self.state {
            State::Disconnected | State::Listening(_) => return None,
            State::Greeting { after } => {
                let after = after.take();
                let (hello, last) = self.next_hello(after);
                self.state = match hello.complete {
                    true => State::Listening(Staged::default()),
                    false => State::Greeting { after: last },
                };
                Message::Hello(hello)
            }
            State::Answering { rejected } => {
                let ack = next_ack(self.message_bytes, self.sequence, rejected);
                if ack.complete {
                    self.state = State::Listening(Staged::default());
                }
                Message::Ack(ack)
            }
        };
        Some(proto::NodeMessage { session: self.session, message: Some(message) })
    }

    fn next_hello(&self, after: Option<ResourceKey>) -> (proto::Hello, Option<ResourceKey>) {
        let limit = self.message_bytes;
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.held.range((from, Bound::Unbounded)).peekable();
        let (mut known, mut last, mut room) = (Vec::new(), None, Room::new(limit));
        while let Some((key, version)) = rest.peek() {
            let text = key.to_string();
            if !room.take(text.len()) {
                break;
            }
            known.push(proto::Known { key: text, version: **version });
            last = rest.next().map(|(key, _)| key.clone());
        }
        let hello = proto::Hello {
            node: self.node.to_string(),
            program_version: self.program_version.clone(),
            known,
            complete: rest.peek().is_none(),
        };
        (hello, last)
    }

    fn handle_current(
        &mut self,
        message: proto::OperatorMessage,
        validate: impl Fn(&Resource) -> Result<(), String>,
    ) -> Result<Option<Delta>, ProtocolError> {
        let Some(proto::operator_message::Message::Update(update)) = message.message else {
            return Err(ProtocolError::Unknown);
        };
        let State::Listening(staged) = &mut self.state else {
            return Err(ProtocolError::Unexpected("an update came before the last one was acknowledged"));
        };
        let expected = self.sequence + 1;
        if update.sequence != expected {
            return Err(ProtocolError::OutOfOrder { expected, received: update.sequence });
        }
        self.sequence = expected;
        for upsert in update.upserts {
            staged.charge(upsert.key.len() + upsert.body.len())?;
            staged.upsert(upsert, &validate);
        }
        for key in update.removes {
            staged.charge(key.len())?;
            staged.remove(key);
        }
        if !update.complete {
            return Ok(None);
        }
        let Staged { upserts, removes, rejected, .. } = std::mem::take(staged);
        self.state = State::Answering { rejected };
        self.config_version = Some(update.config_version);
        Ok(Some(self.apply(upserts, removes)))
    }

    fn apply(
        &mut self,
        upserts: BTreeMap<ResourceKey, (u64, Arc<Resource>)>,
        removes: BTreeSet<ResourceKey>,
    ) -> Delta {
        let mut delta = Delta::default();
        for (key, (version, resource)) in upserts {
            // A resource that went back to what it was after a refused edit is held already.
            if self.held.insert(key, version) != Some(version) {
                delta.upserts.push(resource);
            }
        }
        for key in removes {
            if self.held.remove(&key).is_some() {
                delta.removes.push(key);
            }
        }
        delta
    }
}

impl Staged {
    fn charge(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.bytes += bytes + ENTRY_OVERHEAD;
        if self.bytes > MAX_CHANGE_BYTES { Err(ProtocolError::ChangeTooLarge) } else { Ok(()) }
    }

    fn upsert(&mut self, upsert: proto::Upsert, validate: impl Fn(&Resource) -> Result<(), String>) {
        let key = match upsert.key.parse::<ResourceKey>() {
            Ok(key) => key,
            Err(error) => {
                self.rejected.insert(upsert.key, shorten(&error.to_string()));
                return;
            }
        };
        let resource = decode(&key, &upsert.body)
            .map_err(|malformed| malformed.to_string())
            .and_then(|resource| validate(&resource).map(|()| resource));
        self.removes.remove(&key);
        match resource {
            Ok(resource) => {
                self.rejected.remove(&upsert.key);
                // The same key, whose names are the resource's own.
                self.upserts.insert(resource.key(), (upsert.version, Arc::new(resource)));
            }
            Err(problem) => {
                self.rejected.insert(upsert.key, shorten(&format!("{key}: {problem}")));
                self.upserts.remove(&key);
            }
        }
    }

    fn remove(&mut self, text: String) {
        self.rejected.remove(&text);
        // A key that cannot be read is of a kind that this node never held.
        if let Ok(key) = text.parse::<ResourceKey>() {
            self.upserts.remove(&key);
            self.removes.insert(key);
        }
    }
}

fn next_ack(limit: usize, sequence: u64, rest: &mut BTreeMap<String, String>) -> proto::Ack {
    let (mut rejected, mut room) = (Vec::new(), Room::new(limit));
    while let Some(entry) = rest.first_entry() {
        if !room.take(entry.key().len() + entry.get().len()) {
            break;
        }
        let (key, message) = entry.remove_entry();
        rejected.push(proto::Rejection { key, message });
    }
    proto::Ack { sequence, rejected, complete: rest.is_empty() }
}
