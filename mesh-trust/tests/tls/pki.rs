//! Certificates good and bad, for the tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ir::name::TrustDomain;
use mesh_trust::{Bundle, Svid, SvidError};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A certificate with its key and the chain above it, without the root.
pub(crate) struct Entity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: KeyPair,
    above: Vec<CertificateDer<'static>>,
}

/// What a certificate says; begins as a good leaf.
pub(crate) struct Template {
    pub(crate) uris: Vec<&'static str>,
    pub(crate) ca: IsCa,
    pub(crate) usages: Vec<KeyUsagePurpose>,
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

pub(crate) fn leaf(uri: &'static str) -> Template {
    Template {
        uris: vec![uri],
        ca: IsCa::ExplicitNoCa,
        usages: vec![KeyUsagePurpose::DigitalSignature],
        from: SystemTime::now() - HOUR,
        until: SystemTime::now() + HOUR,
    }
}

pub(crate) fn authority() -> Template {
    Template {
        ca: IsCa::Ca(BasicConstraints::Unconstrained),
        usages: vec![KeyUsagePurpose::KeyCertSign],
        ..leaf("spiffe://cluster.local")
    }
}

impl Template {
    fn params(&self, name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names =
            self.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.is_ca = self.ca;
        params.key_usages = self.usages.clone();
        params.not_before = self.from.into();
        params.not_after = self.until.into();
        params
    }

    pub(crate) fn self_signed(&self) -> Entity {
        let key = KeyPair::generate().unwrap();
        let certificate = self.params("self").self_signed(&key).unwrap().into();
        Entity { certificate, key, above: Vec::new() }
    }

    /// Signed by `root`, which is not sent along.
    pub(crate) fn under_root(&self, root: &Entity) -> Entity {
        self.signed(root, Vec::new())
    }

    /// Signed by `issuer`, which is sent along.
    pub(crate) fn under(&self, issuer: &Entity) -> Entity {
        let mut above = vec![issuer.certificate.clone()];
        above.extend(issuer.above.iter().cloned());
        self.signed(issuer, above)
    }

    fn signed(&self, issuer: &Entity, above: Vec<CertificateDer<'static>>) -> Entity {
        let key = KeyPair::generate().unwrap();
        let by = Issuer::from_ca_cert_der(&issuer.certificate, &issuer.key).unwrap();
        let certificate = self.params("signed").signed_by(&key, &by).unwrap().into();
        Entity { certificate, key, above }
    }
}

impl Entity {
    pub(crate) fn svid(&self) -> Result<Svid, SvidError> {
        let mut chain = vec![self.certificate.clone()];
        chain.extend(self.above.iter().cloned());
        Svid::new(chain, Zeroizing::new(self.key.serialize_der()), SystemTime::now())
    }

    pub(crate) fn chain(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        (&self.certificate, &self.above)
    }

    pub(crate) fn bundle(&self) -> Arc<Bundle> {
        let trust_domain = TrustDomain::new("cluster.local").unwrap();
        Arc::new(Bundle::from_der(trust_domain, vec![self.certificate.clone()]).unwrap())
    }
}
