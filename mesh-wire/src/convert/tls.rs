use std::sync::Arc;

use mesh_ir::resource::{
    AskedBy, BackendTls, ClientCertificate, ClientValidation, Shown, SubjectAltName, TlsClient, Trust,
};

use super::{Malformed, list, messages, name, read};
use crate::proto;

impl From<&BackendTls> for proto::BackendTls {
    fn from(tls: &BackendTls) -> Self {
        use proto::backend_tls::Tls as P;
        let tls = match tls {
            BackendTls::Client(client) => P::Client((&**client).into()),
            BackendTls::Invalid { reason } => P::Invalid(proto::InvalidTarget { reason: (**reason).into() }),
        };
        Self { tls: Some(tls) }
    }
}

impl TryFrom<proto::BackendTls> for BackendTls {
    type Error = Malformed;
    fn try_from(message: proto::BackendTls) -> Result<Self, Malformed> {
        use proto::backend_tls::Tls as P;
        Ok(match message.tls {
            None => return Err(Malformed::unknown("what is to be done")),
            Some(P::Client(client)) => Self::Client(Arc::new(read("client", client)?)),
            Some(P::Invalid(invalid)) => Self::Invalid { reason: invalid.reason.into() },
        })
    }
}

impl From<&TlsClient> for proto::TlsClient {
    fn from(client: &TlsClient) -> Self {
        use proto::tls_client::{AskedBy as By, Trust as P};
        let TlsClient { asked_by, server_name, subject_alt_names, trust, shown } = client;
        let asked_by = match asked_by {
            AskedBy::BackendTlsPolicy(name) => By::Policy(name.to_string()),
            AskedBy::XBackend(name) => By::Backend(name.to_string()),
        };
        let trust = match trust {
            Trust::System => P::System(proto::SystemTrust {}),
            Trust::Authorities(pem) => P::AuthoritiesPem(pem.clone()),
        };
        Self {
            asked_by: Some(asked_by),
            server_name: server_name.to_string(),
            subject_alt_names: messages(subject_alt_names),
            trust: Some(trust),
            shown: match shown {
                Shown::Gateways => None,
                Shown::Nothing => Some(proto::ShownCertificate { name: None }),
                Shown::Certificate(name) => Some(proto::ShownCertificate { name: Some(name.to_string()) }),
            },
        }
    }
}

impl TryFrom<proto::TlsClient> for TlsClient {
    type Error = Malformed;
    fn try_from(client: proto::TlsClient) -> Result<Self, Malformed> {
        use proto::tls_client::{AskedBy as By, Trust as P};
        let asked_by = match client.asked_by {
            None => return Err(Malformed::unknown("who asks for it").within("asked_by")),
            Some(By::Policy(policy)) => AskedBy::BackendTlsPolicy(name("policy", &policy)?),
            Some(By::Backend(backend)) => AskedBy::XBackend(name("backend", &backend)?),
        };
        let shown = match client.shown {
            None => Shown::Gateways,
            Some(proto::ShownCertificate { name: None }) => Shown::Nothing,
            Some(proto::ShownCertificate { name: Some(shown) }) => Shown::Certificate(name("shown", &shown)?),
        };
        let trust = match client.trust {
            None => return Err(Malformed::unknown("whom to trust").within("trust")),
            Some(P::System(proto::SystemTrust {})) => Trust::System,
            Some(P::AuthoritiesPem(pem)) => Trust::Authorities(pem),
        };
        Ok(Self {
            asked_by,
            server_name: name("server_name", &client.server_name)?,
            subject_alt_names: list("subject_alt_names", client.subject_alt_names)?,
            trust,
            shown,
        })
    }
}

impl From<&SubjectAltName> for proto::SubjectAltName {
    fn from(name: &SubjectAltName) -> Self {
        use proto::subject_alt_name::Name as P;
        let name = match name {
            SubjectAltName::Hostname(hostname) => P::Hostname(hostname.to_string()),
            SubjectAltName::Uri(uri) => P::Uri(uri.clone()),
        };
        Self { name: Some(name) }
    }
}

impl TryFrom<proto::SubjectAltName> for SubjectAltName {
    type Error = Malformed;
    fn try_from(message: proto::SubjectAltName) -> Result<Self, Malformed> {
        use proto::subject_alt_name::Name as P;
        Ok(match message.name {
            None => return Err(Malformed::unknown("the name")),
            Some(P::Hostname(hostname)) => Self::Hostname(name("hostname", &hostname)?),
            Some(P::Uri(uri)) => Self::Uri(uri),
        })
    }
}

impl From<&ClientCertificate> for proto::ClientCertificate {
    fn from(certificate: &ClientCertificate) -> Self {
        let shown = match certificate {
            ClientCertificate::Shown(name) => Some(name.to_string()),
            ClientCertificate::Unresolved => None,
        };
        Self { shown }
    }
}

impl TryFrom<proto::ClientCertificate> for ClientCertificate {
    type Error = Malformed;
    fn try_from(certificate: proto::ClientCertificate) -> Result<Self, Malformed> {
        Ok(match certificate.shown {
            Some(shown) => Self::Shown(name("shown", &shown)?),
            None => Self::Unresolved,
        })
    }
}

impl From<&ClientValidation> for proto::ClientValidation {
    fn from(validation: &ClientValidation) -> Self {
        let ClientValidation { authorities, allow_insecure } = validation;
        Self { authorities_pem: authorities.clone(), allow_insecure: *allow_insecure }
    }
}

impl TryFrom<proto::ClientValidation> for ClientValidation {
    type Error = Malformed;
    fn try_from(validation: proto::ClientValidation) -> Result<Self, Malformed> {
        Ok(Self { authorities: validation.authorities_pem, allow_insecure: validation.allow_insecure })
    }
}
