//! One connection between an operator and a node, as two state machines.
//!
//! ```text
//!   NodeSession                                                   OperatorSession
//!
//!   Disconnected <── disconnect(), a protocol error               (one is made for each connection)
//!        │ connect()
//!        v
//!   Greeting ───────── Hello: what I hold, in parts ────────────> Greeting
//!        │ last part polled                                          │ last part handled
//!        v                                                           v
//!   Listening <─────── Update 1..n: what differs, in parts ────── Ready ──> Sending
//!        │ last part handled: the delta is given out at once         ^         │ last part polled
//!        v                                                           │         v
//!   Answering ──────── Ack: what I refused, in parts ───────────────┴───── Awaiting
//!        │ last part polled
//!        v
//!   Listening
//! ```
//!
//! At most one change is under way. What changes meanwhile is not queued: when the Ack is there, the operator
//! compares the newest configuration with the acknowledged one. The first change of a session is sent even when
//! nothing differs, for the node to know that it is up to date.
//!
//! A message of another session is dropped. One out of order ends the session with a `ProtocolError`: the
//! connection is to be closed, and the node's next Hello says what it holds.

mod node;
mod operator;

pub use node::NodeSession;
pub use operator::OperatorSession;

/// No message of several entries is larger than this, unless a session is told otherwise; an entry that alone is larger
/// has a message to itself.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The most that a node stages of one change.
const MAX_CHANGE_BYTES: usize = 512 << 20;

/// The most resources that a node may say it holds.
const MAX_KNOWN: usize = 2_000_000;

/// The longest key that anything is remembered of: a kind, and a namespace and a name of 253 bytes.
const MAX_KEY: usize = 600;

/// What is kept of a rejection's message, in characters.
const MAX_REJECTION: usize = 512;

/// What the fields around an entry's strings and bytes take in a message at most.
const ENTRY_OVERHEAD: usize = 32;

/// The peer did not keep to the protocol; the connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("message {received} came where {expected} was due")]
    OutOfOrder { expected: u64, received: u64 },
    #[error("{0}")]
    Unexpected(&'static str),
    #[error("the message is empty or of a kind that this version does not know")]
    Unknown,
    #[error("the hello is malformed: {0}")]
    Hello(String),
    #[error("a change of more than {MAX_CHANGE_BYTES} bytes")]
    ChangeTooLarge,
    #[error("a node that says it holds more than {MAX_KNOWN} resources")]
    TooManyKnown,
}

/// Fills one message.
#[derive(Debug)]
struct Room {
    used: usize,
    limit: usize,
}

impl Room {
    fn new(limit: usize) -> Self {
        Self { used: 0, limit }
    }

    /// Whether an entry of so many bytes still fits; the first one always does.
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = bytes + ENTRY_OVERHEAD;
        let fits = self.used == 0 || self.used + bytes <= self.limit;
        if fits {
            self.used += bytes;
        }
        fits
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_REJECTION).collect()
}
