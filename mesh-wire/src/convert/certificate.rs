use mesh_ir::resource::Certificate;

use super::{Malformed, name};
use crate::proto;

impl From<&Certificate> for proto::Certificate {
    fn from(certificate: &Certificate) -> Self {
        let Certificate { name, chain_pem, key } = certificate;
        Self { name: name.to_string(), chain_pem: chain_pem.clone(), key_pem: key.expose().into() }
    }
}

impl TryFrom<proto::Certificate> for Certificate {
    type Error = Malformed;
    fn try_from(certificate: proto::Certificate) -> Result<Self, Malformed> {
        Ok(Self {
            name: name("name", &certificate.name)?,
            chain_pem: certificate.chain_pem,
            key: certificate.key_pem.into(),
        })
    }
}
