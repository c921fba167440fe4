use std::sync::Arc;

use mesh_ir::resource::{ClientValidation, Gateway, Listener, ListenerProtocol, Tracing};

use super::{
    Malformed, Within, address_bytes, addresses, list, messages, name, names, optional, port, texts,
};
use crate::proto;

impl From<&Gateway> for proto::Gateway {
    fn from(gateway: &Gateway) -> Self {
        let Gateway { name, addresses, announced_by, client_certificate, tracing, listeners } = gateway;
        Self {
            name: name.to_string(),
            addresses: address_bytes(addresses),
            announced_by: announced_by.as_ref().map(ToString::to_string),
            client_certificate: client_certificate.as_ref().map(Into::into),
            tracing: tracing.as_deref().map(Into::into),
            listeners: messages(listeners),
        }
    }
}

impl TryFrom<proto::Gateway> for Gateway {
    type Error = Malformed;
    fn try_from(gateway: proto::Gateway) -> Result<Self, Malformed> {
        let tracing: Option<Tracing> = optional("tracing", gateway.tracing)?;
        Ok(Self {
            name: name("name", &gateway.name)?,
            addresses: addresses("addresses", gateway.addresses)?,
            announced_by: gateway.announced_by.map(|node| name("announced_by", &node)).transpose()?,
            client_certificate: optional("client_certificate", gateway.client_certificate)?,
            tracing: tracing.map(Arc::new),
            listeners: list("listeners", gateway.listeners)?,
        })
    }
}

impl From<&Listener> for proto::Listener {
    fn from(listener: &Listener) -> Self {
        let Listener { name, port, target_port, hostname, protocol, client_validation, filters, closed } =
            listener;
        use proto::listener::Protocol as P;
        let protocol = match protocol {
            ListenerProtocol::Http => P::Http(proto::HttpListener {}),
            ListenerProtocol::Https { certificates } => {
                P::Https(proto::HttpsListener { certificates: texts(certificates) })
            }
            ListenerProtocol::Tls { certificates } => {
                P::Tls(proto::TlsListener { certificates: texts(certificates) })
            }
            ListenerProtocol::TlsPassthrough => P::TlsPassthrough(proto::TlsPassthroughListener {}),
            ListenerProtocol::Tcp => P::Tcp(proto::TcpListener {}),
            ListenerProtocol::Udp => P::Udp(proto::UdpListener {}),
        };
        Self {
            name: name.to_string(),
            port: (*port).into(),
            target_port: (*target_port).into(),
            hostname: hostname.as_ref().map(ToString::to_string),
            protocol: Some(protocol),
            client_validation: client_validation.as_deref().map(Into::into),
            filters: messages(filters),
            closed: *closed,
        }
    }
}

impl TryFrom<proto::Listener> for Listener {
    type Error = Malformed;
    fn try_from(listener: proto::Listener) -> Result<Self, Malformed> {
        use proto::listener::Protocol as P;
        let protocol = match listener.protocol {
            None => return Err(Malformed::unknown("the protocol").within("protocol")),
            Some(P::Http(proto::HttpListener {})) => ListenerProtocol::Http,
            Some(P::Https(https)) => ListenerProtocol::Https {
                certificates: names("certificates", https.certificates).within("https")?,
            },
            Some(P::Tls(tls)) => {
                ListenerProtocol::Tls { certificates: names("certificates", tls.certificates).within("tls")? }
            }
            Some(P::TlsPassthrough(proto::TlsPassthroughListener {})) => ListenerProtocol::TlsPassthrough,
            Some(P::Tcp(proto::TcpListener {})) => ListenerProtocol::Tcp,
            Some(P::Udp(proto::UdpListener {})) => ListenerProtocol::Udp,
        };
        let validation: Option<ClientValidation> = optional("client_validation", listener.client_validation)?;
        Ok(Self {
            name: name("name", &listener.name)?,
            port: port("port", listener.port)?,
            target_port: port("target_port", listener.target_port)?,
            hostname: listener.hostname.map(|hostname| name("hostname", &hostname)).transpose()?,
            protocol,
            client_validation: validation.map(Arc::new),
            filters: list("filters", listener.filters)?,
            closed: listener.closed,
        })
    }
}
