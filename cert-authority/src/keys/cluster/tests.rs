use mesh_trust::verify_chain;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;

use super::*;
use crate::issue::{RequestedKey, issue};

/// A store whose API server is never asked.
fn store() -> Cluster {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let trust_domain = TrustDomain::new("cluster.local").unwrap();
    Cluster::start(Client::try_from(config).unwrap(), "weir-system", trust_domain)
}

/// A person's own authority, which knows nothing of SPIFFE.
struct Own {
    certificate: CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Own {
    fn new(name: &str, constraints: BasicConstraints, above: Option<&Self>) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(constraints);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = match above {
            Some(above) => params.signed_by(&key, &above.issuer).unwrap().der().clone(),
            None => params.self_signed(&key).unwrap().der().clone(),
        };
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn certificate_pem(&self) -> String {
        pem::encode(&Pem::new("CERTIFICATE", self.certificate.to_vec()))
    }

    fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

fn data<const N: usize>(entries: [(&str, String); N]) -> Data {
    entries.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()
}

/// Whether a leaf of these keys is believed by their bundle.
fn check(keys: &Keys) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let key = RequestedKey::read(request.der()).unwrap();
    let identity = "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap();
    let life = Validity::starting(SystemTime::now(), Duration::from_secs(3600));
    let leaf = issue(&keys.signer, &identity, &key, random_serial(), life).unwrap();
    let believed = verify_chain(&leaf, &keys.chain, &keys.bundle, KeyUsage::server_auth(), UnixTime::now());
    assert_eq!(believed.unwrap(), identity);
}

#[tokio::test]
async fn cluster_secret_made_or_given_signs_what_its_bundle_believes() {
    let store = store();
    let now = SystemTime::now();
    let made = store.make(now).unwrap();
    let keys = store.read(made.data.unwrap(), now).unwrap();
    check(&keys);
    assert_eq!((keys.chain.len(), keys.bundle.roots().len()), (1, 1));

    let root = Own::new("root", BasicConstraints::Unconstrained, None);
    let next = Own::new("next", BasicConstraints::Unconstrained, None);
    let both = root.certificate_pem() + &next.certificate_pem();
    let opaque = data([("ca.crt", both), ("ca.key", root.key_pem())]);
    let keys = store.read(opaque.clone(), now).unwrap();
    check(&keys);
    assert_eq!((keys.chain.len(), keys.bundle.roots().len()), (1, 2));
    let again = store.read(opaque, now).unwrap();
    assert!(Arc::ptr_eq(&again.signer, &keys.signer), "the intermediate is kept");

    let below = Own::new("below", BasicConstraints::Constrained(1), Some(&root));
    let tls = |signer: &Own| {
        data([
            ("tls.crt", signer.certificate_pem()),
            ("tls.key", signer.key_pem()),
            ("ca.crt", root.certificate_pem()),
        ])
    };
    let keys = store.read(tls(&below), now).unwrap();
    check(&keys);
    assert_eq!((keys.chain.len(), keys.bundle.roots()), (2, &[root.certificate.clone()][..]));

    let last = Own::new("last", BasicConstraints::Constrained(0), Some(&root));
    let keys = store.read(tls(&last), now).unwrap();
    check(&keys);
    assert_eq!(
        (keys.chain.len(), &keys.signer.certificate),
        (1, &last.certificate),
        "it signs leaves itself"
    );

    let mut alone = tls(&below);
    alone.remove("ca.crt");
    let keys = store.read(alone, now).unwrap();
    check(&keys);
    assert_eq!((keys.chain.len(), keys.bundle.roots()), (1, &[below.certificate.clone()][..]));
}

#[tokio::test]
async fn cluster_intermediate_is_made_anew_at_half_of_its_life() {
    let store = store();
    let now = SystemTime::now();
    let secret = store.make(now).unwrap().data.unwrap();
    let first = store.read(secret.clone(), now).unwrap();
    let later = store.read(secret.clone(), now + INTERMEDIATE_LIFE / 2 + DAY).unwrap();
    assert_ne!(later.signer.certificate, first.signer.certificate);
    assert_eq!(later.bundle, first.bundle);
    let error = store.read(secret, now + ROOT_LIFE + DAY).unwrap_err().to_string();
    assert!(error.contains("Secret weir-system/weir-ca") && error.contains("has expired"), "{error}");
}

#[tokio::test]
async fn cluster_secret_that_cannot_be_used_is_named_with_what_to_do() {
    let store = store();
    let now = SystemTime::now();
    let root = Own::new("root", BasicConstraints::Unconstrained, None);
    let other = Own::new("other", BasicConstraints::Unconstrained, None);
    let check = |data: Data, words: &str| {
        let error = store.read(data, now).unwrap_err().to_string();
        assert!(error.contains("Secret weir-system/weir-ca") && error.contains(words), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    };
    check(Data::new(), "neither `ca.crt` and `ca.key` nor");
    check(data([("ca.crt", root.certificate_pem())]), "neither `ca.crt` and `ca.key` nor");
    check(data([("ca.crt", root.certificate_pem()), ("ca.key", "x".into())]), "no private key");
    check(data([("ca.crt", "x".into()), ("ca.key", root.key_pem())]), "no certificate");
    check(data([("ca.crt", root.certificate_pem()), ("ca.key", other.key_pem())]), "not its certificate's");
    let made = store.make(now).unwrap().data.unwrap();
    let elsewhere = Cluster { trust_domain: TrustDomain::new("other.test").unwrap(), ..self::store() };
    let error = elsewhere.read(made, now).unwrap_err().to_string();
    assert!(error.contains("--trust-domain"), "{error}");
}
