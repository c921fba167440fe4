//! Session persistence (GEP-1619): a client goes back to the endpoint of a backend that it had before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    pub carrier: SessionCarrier,
    /// For how long a session lasts from its beginning, whether it is used or not; `None` is as long as its endpoint serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<Duration>,
}

/// What carries a session's token, from the response that begins it to the client's later requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionCarrier {
    Cookie {
        name: String,
        path: String,
        /// Whether a client keeps it past its own end, until the session times out.
        permanent: bool,
    },
    Header {
        /// In lower case.
        name: String,
    },
}
