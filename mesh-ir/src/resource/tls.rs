//! TLS between Gateways and those on their two sides: how applications are spoken to (BackendTLSPolicy, GEP-1897, and XBackend,
//! GEP-4894), what a
//! Gateway shows them, and what its own clients must prove (GEP-91).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::{Hostname, ObjectName};

/// How the applications behind a Service's port are spoken to where a policy asks for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackendTls {
    Client(Arc<TlsClient>),
    /// What asks for it cannot be followed: nothing is sent, least of all in clear.
    Invalid {
        /// What is wrong, for `weir explain` and the access log.
        reason: Arc<str>,
    },
}

/// What a TLS client of an application asks for and verifies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsClient {
    pub asked_by: AskedBy,
    /// The name in the ClientHello. The server's certificate must be for it where `subject_alt_names` is empty.
    pub server_name: Hostname,
    /// Of these the server's certificate must have at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    pub trust: Trust,
    #[serde(default, skip_serializing_if = "Shown::is_gateways")]
    pub shown: Shown,
}

/// The object that asks for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AskedBy {
    BackendTlsPolicy(ObjectName),
    XBackend(ObjectName),
}

impl fmt::Display for AskedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackendTlsPolicy(name) => write!(f, "BackendTLSPolicy {name}"),
            Self::XBackend(name) => write!(f, "XBackend {name}"),
        }
    }
}

/// What a server that asks for a certificate is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shown {
    /// What the Gateway shows, by which the client came.
    #[default]
    Gateways,
    Nothing,
    /// The key of a `Certificate` resource.
    Certificate(ObjectName),
}

impl Shown {
    fn is_gateways(&self) -> bool {
        *self == Self::Gateways
    }
}

/// A name in a certificate (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubjectAltName {
    Hostname(Hostname),
    Uri(String),
}

/// Who may have signed a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trust {
    /// The authorities that the public web trusts.
    System,
    /// These certificates, in PEM.
    Authorities(String),
}

/// What a Gateway shows to a backend that asks for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientCertificate {
    /// The key of a `Certificate` resource.
    Shown(ObjectName),
    /// The Gateway names one that it may not use, or that is none: its backends are not spoken to in TLS without.
    Unresolved,
}

/// What the clients of a Gateway's port must prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidation {
    /// Who may have signed a client's certificate: certificates, in PEM.
    pub authorities: String,
    /// Lets in clients without a certificate, or with one that is not good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure: bool,
}
