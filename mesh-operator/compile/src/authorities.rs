//! The certificates of authorities that sign others: from references to ConfigMaps, Secrets and ClusterTrustBundles (GEP-5075),
//! through grants, to PEM that a node can verify with.

use mesh_ir::name::ObjectName;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::api::config_map::AUTHORITIES_KEY;
use crate::grant;
use crate::lookup::Lookup;
use crate::object::Kind;

/// The most text that one object may bring. All authorities of the public web take less.
const MAX_BYTES: usize = 512 << 10;

/// Names what may hold certificates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    /// That of whoever refers to it, where none is given.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
}

/// What references come to, the good ones and the others.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    /// Empty where no reference is good.
    pub(crate) pem: String,
    pub(crate) problems: Vec<(Wrong, String)>,
}

/// In which way a reference is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Kind,
    NotPermitted,
    Unusable,
}

/// Resolves the references of an object of the Gateway API's `kind`, whose field they are.
pub(crate) fn gather<'a>(
    snapshot: &Lookup<'_>,
    (kind, namespace): (&str, &str),
    field: &str,
    references: impl Iterator<Item = Reference<'a>>,
) -> Authorities {
    let mut authorities = Authorities::default();
    for (i, reference) in references.enumerate() {
        match one(snapshot, kind, namespace, reference) {
            Ok(pem) => {
                authorities.pem += &pem;
                if !pem.ends_with('\n') {
                    authorities.pem.push('\n');
                }
            }
            Err((wrong, problem)) => authorities.problems.push((wrong, format!("{field}[{i}]: {problem}"))),
        }
    }
    authorities
}

fn one(
    snapshot: &Lookup<'_>,
    from_kind: &str,
    from_namespace: &str,
    reference: Reference<'_>,
) -> Result<String, (Wrong, String)> {
    let Reference { group, kind, namespace, name } = reference;
    let unusable = |problem: String| (Wrong::Unusable, problem);
    if (group, kind) == (Kind::ClusterTrustBundle.group(), Kind::ClusterTrustBundle.as_str()) {
        return trust_bundle(snapshot, namespace, name).map_err(unusable);
    }
    if !(group.is_empty() && matches!(kind, "ConfigMap" | "Secret")) {
        let of = if group.is_empty() { String::new() } else { format!(" of group {group}") };
        return Err((
            Wrong::Kind,
            format!(
                "{kind} {name}{of} is not supported; name a ConfigMap or a Secret, or a ClusterTrustBundle of group {}",
                Kind::ClusterTrustBundle.group()
            ),
        ));
    }
    let name = ObjectName::new(namespace.unwrap_or(from_namespace), name);
    let name = name.map_err(|error| unusable(error.to_string()))?;
    // Asked first, so that the answer tells nothing about objects of a namespace that granted nothing.
    if !grant::permits(snapshot, from_kind, from_namespace, kind, &name) {
        let message = format!(
            "{kind} {name} is in another namespace, and no ReferenceGrant there allows {from_kind}s of \
             {from_namespace} to use it"
        );
        return Err((Wrong::NotPermitted, message));
    }
    let text = match kind {
        "ConfigMap" => snapshot.config_maps.get(&name).and_then(|map| map.authorities.as_deref()),
        _ => snapshot.secrets.get(&name).and_then(|secret| {
            let bytes = secret.data.as_ref()?.get(AUTHORITIES_KEY)?;
            std::str::from_utf8(&bytes.0).ok()
        }),
    };
    // Of other ConfigMaps, and of Secrets of other types, nothing is known.
    let of_type = if kind == "Secret" { " of type kubernetes.io/tls" } else { "" };
    let text =
        text.ok_or_else(|| unusable(format!("there is no {kind} {name}{of_type} with {AUTHORITIES_KEY}")))?;
    check(text).map_err(|problem| unusable(format!("{kind} {name}: {AUTHORITIES_KEY} {problem}")))?;
    Ok(text.to_owned())
}

/// It is everybody's to read, and needs no grant.
fn trust_bundle(snapshot: &Lookup<'_>, namespace: Option<&str>, name: &str) -> Result<String, String> {
    if namespace.is_some() {
        return Err(format!("ClusterTrustBundle {name} is of no namespace: remove namespace"));
    }
    let bundle = snapshot.cluster_trust_bundles.get(name).ok_or_else(|| {
        format!(
            "there is no ClusterTrustBundle {name}; where the API server does not serve this kind of certificates.k8s.io \
             there can be none: name a ConfigMap then"
        )
    })?;
    check(&bundle.certificates)
        .map_err(|problem| format!("ClusterTrustBundle {name}: spec.trustBundle {problem}"))?;
    Ok((*bundle.certificates).to_owned())
}

/// Whether nodes can verify with these certificates.
fn check(pem: &str) -> Result<(), String> {
    if pem.len() > MAX_BYTES {
        return Err(format!("has {} bytes; at most {MAX_BYTES} are read", pem.len()));
    }
    let mut store = RootCertStore::empty();
    for (i, der) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let der = der.map_err(|_| String::from("is not a list of certificates in PEM"))?;
        store
            .add(der)
            .map_err(|error| format!("holds a certificate, number {}, that is none: {error}", i + 1))?;
    }
    match store.is_empty() {
        true => Err("holds no certificate in PEM".into()),
        false => Ok(()),
    }
}
