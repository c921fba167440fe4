//! What is to be there before Weir: the release of Kubernetes, the Gateway API, and the rights to install.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Area, Finding};
use super::observed::{Definition, Observed};

const MIN_KUBERNETES: (u32, u32) = (1, 30);
const MIN_GATEWAY_API: (u32, u32) = (1, 5);
/// What Weir cannot do without; the chart looks at the same.
const DEFINITIONS: &[&str] = &["gatewayclasses", "gateways", "httproutes", "referencegrants"];
const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// A build of the definitions from their main branch: whoever installs one knows what it is.
const UNRELEASED: &str = "v0.0.0-dev";
const INSTALL: &str = "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.7.0/standard-install.yaml";
const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let mut findings = vec![kubernetes(observed)];
    match observed.definitions.known() {
        Ok(definitions) => {
            findings.extend(gateway_api(definitions));
            findings.extend(own_definitions(observed, definitions));
        }
        Err(why) => findings.push(Finding::unseen(Area::Cluster, "CustomResourceDefinitions", why)),
    }
    findings.extend(pod_security(observed));
    findings.extend(permissions(observed));
    findings
}

/// The first two numbers of a version such as `v1.30.2-gke.100`, `6.1.0-13-amd64` or `1.30+`.
pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v').unwrap_or(version).split('.');
    let digits = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some((digits(numbers.next()?)?, digits(numbers.next()?)?))
}

fn kubernetes(observed: &Observed) -> Finding {
    let version = match observed.kubernetes.known() {
        Ok(version) => version,
        Err(why) => return Finding::unseen(Area::Cluster, "the release of Kubernetes", why),
    };
    match major_minor(version) {
        Some(found) if found >= MIN_KUBERNETES => Finding::ok(Area::Cluster, format!("Kubernetes {version}")),
        Some(_) => Finding::error(
            Area::Cluster,
            "",
            format!("Kubernetes {version} is too old: Weir needs v1.30 or newer"),
            "upgrade the cluster first",
        ),
        None => Finding::warning(
            Area::Cluster,
            "",
            format!("the API server's release is {version:?}, which cannot be compared"),
            "make sure that it is v1.30 or newer",
        ),
    }
}

fn gateway_api(definitions: &BTreeMap<String, Definition>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut versions, mut channels) = (BTreeSet::new(), BTreeSet::new());
    for plural in DEFINITIONS {
        let name = format!("{plural}.{GATEWAY_API}");
        let object = format!("CustomResourceDefinition {name}");
        let Some(definition) = definitions.get(&name) else {
            let message = "the Gateway API's definition is missing, and Weir installs none itself";
            findings.push(Finding::error(Area::Cluster, object, message, format!("install it: {INSTALL}")));
            continue;
        };
        let annotation = |key: &str| definition.annotations.get(&format!("{GATEWAY_API}/{key}"));
        let version = annotation("bundle-version").map_or("an unknown release", String::as_str);
        if version != UNRELEASED && major_minor(version).is_none_or(|found| found < MIN_GATEWAY_API) {
            let message = format!("it is of {version}, and Weir needs the Gateway API v1.5 or newer");
            let advice =
                format!("upgrade it, after a look at what other controllers in this cluster need: {INSTALL}");
            findings.push(Finding::error(Area::Cluster, object, message, advice));
            continue;
        }
        versions.insert(version);
        channels.insert(annotation("channel").map_or("an unknown channel", String::as_str));
    }
    let words = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(" and ");
    if versions.len() > 1 || channels.len() > 1 {
        findings.push(Finding::warning(
            Area::Cluster,
            "",
            format!(
                "the Gateway API's definitions are of several releases: {}, {}",
                words(&versions),
                words(&channels)
            ),
            format!("install all of one release: {INSTALL}"),
        ));
    } else if findings.is_empty() {
        let message = format!("Gateway API {}, channel {}", words(&versions), words(&channels));
        findings.push(Finding::ok(Area::Cluster, message));
    }
    findings
}

/// Weir's own kinds, once it is there.
fn own_definitions(observed: &Observed, definitions: &BTreeMap<String, Definition>) -> Vec<Finding> {
    if !observed.installed() {
        return Vec::new();
    }
    let missing = ["addresspools.weir.dev", "backendpolicies.weir.dev"].into_iter();
    let missing = missing.filter(|name| !definitions.contains_key(*name)).map(|name| {
        Finding::error(
            Area::Cluster,
            format!("CustomResourceDefinition {name}"),
            "the definition of one of Weir's own kinds is missing, so its objects are not seen",
            "run helm upgrade with the same release, which brings it back",
        )
    });
    missing.collect()
}

/// mesh-node is on the host's network and has capabilities that the stricter levels refuse.
fn pod_security(observed: &Observed) -> Option<Finding> {
    let namespace = observed
        .namespaces
        .all()
        .iter()
        .find(|namespace| namespace.metadata.name.as_ref() == Some(&observed.namespace))?;
    let level = namespace.metadata.labels.as_ref()?.get(ENFORCE_LABEL)?;
    (level != "privileged").then(|| {
        let name = &observed.namespace;
        Finding::error(
            Area::Cluster,
            format!("Namespace {name}"),
            format!("its Pod Security level is {level}, which refuses the pods of mesh-node"),
            format!("kubectl label namespace {name} {ENFORCE_LABEL}=privileged --overwrite"),
        )
    })
}

fn permissions(observed: &Observed) -> Option<Finding> {
    let mut refused = Vec::new();
    for permission in &observed.permissions {
        match permission.allowed.known() {
            Ok(true) => {}
            Ok(false) => refused.push(permission.what.as_str()),
            // Who may not ask about one may ask about none.
            Err(why) => {
                return Some(Finding::unseen(
                    Area::Cluster,
                    "selfsubjectaccessreviews (what you may do)",
                    why,
                ));
            }
        }
    }
    if !refused.is_empty() {
        return Some(Finding::error(
            Area::Cluster,
            "",
            format!("you may not do all that installing Weir takes: {}", refused.join(", ")),
            "install as a user with the ClusterRole cluster-admin, or ask an administrator",
        ));
    }
    (!observed.permissions.is_empty()).then(|| Finding::ok(Area::Cluster, "you may install Weir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_vendors_write_them() {
        assert_eq!(major_minor("v1.30.2-gke.1587003"), Some((1, 30)));
        assert_eq!(major_minor("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(major_minor("5.15-generic"), Some((5, 15)));
        assert_eq!(major_minor("v1.31+"), Some((1, 31)));
        assert_eq!(major_minor("unknown"), None);
        assert_eq!(major_minor(""), None);
    }
}
