//! Gateways, and the certificates that their listeners show.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::tls::{ClientCertificate, ClientValidation};
use crate::name::{Hostname, ListenerName, NodeName, ObjectName};

use super::{ExternalAuth, Secret, Tracing, Transport};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    pub name: ObjectName,
    /// Where clients reach it, as far as known.
    pub addresses: Vec<IpAddr>,
    /// The node that answers for the addresses on the network that clients are on; `None` where something else does, a
    /// cloud's load balancer for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_by: Option<NodeName>,
    /// What it shows to backends that are spoken to in TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// How the requests that it takes are traced; `None` traces none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Arc<Tracing>>,
    /// The listeners that are valid, and those that are closed, in the order of the Gateway.
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: ListenerName,
    /// The port that clients dial.
    pub port: u16,
    /// The port that every node's proxy listens on for it. Listeners of one transport that share `port` share this one
    /// too, and no others do.
    pub target_port: u16,
    /// `None` serves every hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    pub protocol: ListenerProtocol,
    /// What clients must prove where TLS is ended here; `None` asks them for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_validation: Option<Arc<ClientValidation>>,
    /// What each request passes in this order, before its route is looked for (GEP-5224). Only where requests are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ExternalAuth>,
    /// It cannot be served, and its requests were to pass filters: they are refused, and no other listener takes them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ListenerProtocol {
    Http,
    /// TLS is ended here, with one of these certificates (keys of `Certificate` resources).
    Https {
        certificates: Vec<ObjectName>,
    },
    /// TLS is ended here as it is for `Https`, and what is inside goes on as a connection.
    Tls {
        certificates: Vec<ObjectName>,
    },
    /// TLS goes on to the backend as it is; only its ClientHello is read.
    TlsPassthrough,
    Tcp,
    Udp,
}

impl ListenerProtocol {
    /// Whether its clients begin with a ClientHello, whose server name chooses among the listeners of a port.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Https { .. } | Self::Tls { .. } | Self::TlsPassthrough)
    }

    /// By what its clients come.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            Self::Http | Self::Https { .. } | Self::Tls { .. } | Self::TlsPassthrough | Self::Tcp => {
                Transport::Tcp
            }
        }
    }

    /// What may be shown to a client; empty where TLS is not ended here.
    pub fn certificates(&self) -> &[ObjectName] {
        match self {
            Self::Https { certificates } | Self::Tls { certificates } => certificates,
            Self::Http | Self::TlsPassthrough | Self::Tcp | Self::Udp => &[],
        }
    }

    /// Whether it takes requests, and not connections as a whole.
    pub fn is_of_requests(&self) -> bool {
        matches!(self, Self::Http | Self::Https { .. })
    }
}

/// A certificate chain with its key, from a Secret of type kubernetes.io/tls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub name: ObjectName,
    /// PEM, leaf first.
    pub chain_pem: String,
    /// In PEM.
    pub key: Secret,
}
