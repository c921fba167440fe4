//! The certificates that listeners show, and clients of applications: from a reference to a Secret, through grants, to a chain and key that a node
//! can show.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::Certificate;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::api::generated::gateway::GatewayListenersTlsCertificateRefs as CertificateRef;
use crate::grant;
use crate::lookup::Lookup;
use crate::object::Kind;

/// Why a reference gives no certificate: the reason of a ResolvedRefs condition, and a message.
pub(crate) type Refusal = (&'static str, String);

/// Resolves a reference of an object of `kind`.
pub(crate) fn resolve(
    snapshot: &Lookup<'_>,
    (kind, owner): (Kind, &ObjectName),
    reference: &CertificateRef,
) -> Result<Certificate, Refusal> {
    let invalid = |message: String| ("InvalidCertificateRef", message);
    let group = reference.group.as_deref().unwrap_or_default();
    let named = reference.kind.as_deref().unwrap_or("Secret");
    if !(group.is_empty() && named == "Secret") {
        let of = if group.is_empty() { String::new() } else { format!(" of group {group}") };
        return Err(invalid(format!("{named} {}{of} is not supported; name a Secret", reference.name)));
    }
    let from = &owner.namespace;
    let namespace = reference.namespace.as_deref().unwrap_or(from.as_str());
    let name = ObjectName::new(namespace, &reference.name).map_err(|error| invalid(error.to_string()))?;
    // Asked first, so that the answer tells nothing about Secrets of a namespace that granted nothing.
    if !grant::permits(snapshot, kind, from.as_str(), Kind::Secret, &name) {
        let message = format!(
            "Secret {name} is in another namespace, and no ReferenceGrant there allows {} of {from} to use it",
            kind.plural()
        );
        return Err(("RefNotPermitted", message));
    }
    let secret =
        snapshot.secrets.get(&name).ok_or_else(|| invalid(format!("Secret {name} does not exist")))?;
    read(&name, secret).map_err(|problem| invalid(format!("Secret {name}: {problem}")))
}

fn read(name: &ObjectName, secret: &Secret) -> Result<Certificate, String> {
    let r#type = secret.type_.as_deref().unwrap_or("Opaque");
    if r#type != "kubernetes.io/tls" {
        return Err(format!("its type is {type}; it must be kubernetes.io/tls"));
    }
    let text = |key: &str| {
        let bytes =
            secret.data.as_ref().and_then(|data| data.get(key)).ok_or_else(|| format!("it has no {key}"))?;
        std::str::from_utf8(&bytes.0).map_err(|_| format!("{key} is not PEM"))
    };
    let (chain_pem, key_pem) = (text("tls.crt")?, text("tls.key")?);
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| String::from("tls.crt is not a list of certificates in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| String::from("tls.key is not a private key in PEM"))?;
    // What the node's proxy will do with them; it also tells whether the two belong together.
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            String::from("tls.key is not the key of the certificate in tls.crt")
        }
        error => format!("tls.crt and tls.key cannot be used: {error}"),
    })?;
    Ok(Certificate { name: name.clone(), chain_pem: chain_pem.to_owned(), key: key_pem.to_owned().into() })
}

/// Certificates in the order of their Secrets' names, each once.
pub(crate) fn unique(mut certificates: Vec<Arc<Certificate>>) -> Vec<Arc<Certificate>> {
    certificates.sort_by(|a, b| a.name.cmp(&b.name));
    certificates.dedup_by(|a, b| a.name == b.name);
    certificates
}
