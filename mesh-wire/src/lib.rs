//! The mesh's configuration on its way from the operator to the nodes: its protobuf, the conversions between that
//! and `mesh-ir`, and the session that sends only what differs.
//!
//! There is no I/O here and no clock. A session is a plain struct that is given messages (`handle_*`) and asked for
//! them (`poll_*`); the programs carry them over gRPC, and the tests over whatever loses and reorders them.

mod convert;
mod encoded;
pub mod proto;
mod session;

pub use convert::{Malformed, decode, encode};
pub use encoded::{Encoded, EncodedConfig, MAX_RESOURCE_BYTES, Oversized};
pub use session::{MAX_MESSAGE_BYTES, NodeSession, OperatorSession, ProtocolError};
