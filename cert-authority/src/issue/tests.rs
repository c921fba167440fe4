use mesh_trust::{Bundle, verify_chain};
use proptest::prelude::*;
use rcgen::{CustomExtension, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls_pki_types::UnixTime;
use webpki::KeyUsage;
use x509_parser::prelude::X509Certificate;

use super::*;

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const HOUR: Duration = Duration::from_secs(3600);

struct Chain {
    root: Signer,
    intermediate: Signer,
}

fn chain() -> Chain {
    let trust_domain = TrustDomain::new("cluster.local").unwrap();
    let life = Validity::starting(SystemTime::now(), 24 * HOUR);
    let key = KeyPair::generate().unwrap();
    let certificate = root(&trust_domain, &key, [1; 16], life).unwrap();
    let root = Signer::new(certificate, key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = intermediate(&root, &trust_domain, &key, [2; 16], life).unwrap();
    Chain { root, intermediate: Signer::new(certificate, key).unwrap() }
}

fn csr(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

#[test]
fn issue_makes_svids_that_both_ends_believe() {
    let chain = chain();
    let now = SystemTime::now();
    let requested =
        RequestedKey::read(&csr(&CertificateParams::default(), &KeyPair::generate().unwrap())).unwrap();
    let leaf = issue(
        &chain.intermediate,
        &CART.parse().unwrap(),
        &requested,
        [0xff; 16],
        Validity::starting(now, HOUR),
    )
    .unwrap();
    let trust_domain = TrustDomain::new("cluster.local").unwrap();
    let bundle = Bundle::from_der(trust_domain, vec![chain.root.certificate.clone()]).unwrap();
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        let intermediates = [chain.intermediate.certificate.clone()];
        let identity = verify_chain(&leaf, &intermediates, &bundle, usage, UnixTime::now()).unwrap();
        assert_eq!(identity.to_string(), CART);
    }
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);
    assert_eq!(leaf.validity().not_after.timestamp(), seconds(now + HOUR));
    assert_eq!(leaf.validity().not_before.timestamp(), seconds(now - BACKDATING));
    assert_eq!(leaf.raw_serial()[0], 0x7f, "a serial number is positive");
}

#[test]
fn issue_never_makes_a_certificate_of_more_than_a_day() {
    let chain = chain();
    let now = SystemTime::now();
    let requested =
        RequestedKey::read(&csr(&CertificateParams::default(), &KeyPair::generate().unwrap())).unwrap();
    let validity = Validity::starting(now, 365 * 24 * HOUR);
    let leaf = issue(&chain.intermediate, &CART.parse().unwrap(), &requested, [1; 16], validity).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert_eq!(leaf.validity().not_after.timestamp(), seconds(now + MAX_SVID_LIFE));
}

#[test]
fn requests_of_other_keys_or_of_no_sense_are_refused() {
    let read = |csr: &[u8]| RequestedKey::read(csr).expect_err("a bad request");
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        assert_eq!(read(&csr(&CertificateParams::default(), &key)), CsrError::KeyKind);
    }
    assert!(matches!(read(b""), CsrError::Malformed(_)));
    assert!(matches!(read(b"not DER"), CsrError::Malformed(_)));
    assert_eq!(read(&vec![0x30; MAX_CSR + 1]), CsrError::TooLarge(MAX_CSR + 1));
    let good = csr(&CertificateParams::default(), &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let longer = [&good[..], &[0]].concat();
    assert!(matches!(read(&longer), CsrError::Malformed(_)));
    for length in 0..good.len() {
        RequestedKey::read(&good[..length]).expect_err("a cut request");
    }
    // Some bytes of the wrapping may change without harm; no change may get another key in.
    let key = RequestedKey::read(&good).unwrap();
    for index in 0..good.len() {
        let mut changed = good.clone();
        changed[index] ^= 1;
        if let Ok(other) = RequestedKey::read(&changed) {
            assert_eq!(other, key, "byte {index} changed");
            assert!(!(3..137).contains(&index), "byte {index} is signed");
        }
    }
}

fn names() -> impl Strategy<Value = SanType> {
    prop_oneof![
        "[a-z]{1,12}\\.[a-z]{2,5}".prop_map(|name| SanType::DnsName(name.try_into().unwrap())),
        "spiffe://[a-z]{1,9}/ns/[a-z]{1,9}/sa/[a-z]{1,9}".prop_map(|id| SanType::URI(id.try_into().unwrap())),
        any::<[u8; 4]>().prop_map(|address| SanType::IpAddress(address.into())),
    ]
}

fn asked() -> impl Strategy<Value = CertificateParams> {
    let usages = prop::sample::subsequence(
        vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::KeyAgreement,
        ],
        0..=4,
    );
    let extended = prop::sample::subsequence(
        vec![
            ExtendedKeyUsagePurpose::Any,
            ExtendedKeyUsagePurpose::CodeSigning,
            ExtendedKeyUsagePurpose::ServerAuth,
        ],
        0..=3,
    );
    let extension = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    (prop::collection::vec(names(), 0..4), "[ -~]{0,40}", any::<bool>(), usages, extended, extension)
        .prop_map(|(names, common_name, ca, usages, extended, extension)| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names;
            params.distinguished_name.push(DnType::CommonName, common_name);
            if ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params.key_usages = usages;
            params.extended_key_usages = extended;
            params.custom_extensions.extend(extension.map(|content| {
                let octets = [&[0x04, content.len() as u8][..], &content].concat();
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], octets)
            }));
            params
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a request asks for, what is signed is byte for byte what a request that asks for nothing gets.
    #[test]
    fn issue_copies_nothing_of_a_request_but_its_key(asked in asked()) {
        let chain = chain();
        let key = KeyPair::generate().unwrap();
        let validity = Validity::starting(SystemTime::now(), HOUR);
        let signed = |params: &CertificateParams| {
            let requested = RequestedKey::read(&csr(params, &key)).unwrap();
            let leaf =
                issue(&chain.intermediate, &CART.parse().unwrap(), &requested, [7; 16], validity).unwrap();
            let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
            parsed.tbs_certificate.as_ref().to_vec()
        };
        prop_assert_eq!(signed(&asked), signed(&CertificateParams::default()));
    }

    #[test]
    fn requests_of_any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(RequestedKey::read(&bytes).is_err());
    }
}
