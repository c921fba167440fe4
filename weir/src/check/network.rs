//! What else has a hand in the pods' traffic: the CNI, kube-proxy, other meshes.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_yaml_ng::Value;

use super::finding::{Area, Finding, Level};
use super::observed::Observed;
use super::pods::is_labelled;

pub(super) const KUBE_PROXY: &str = "kube-system/kube-proxy";
pub(super) const CILIUM_CONFIG: &str = "cilium-config";
/// The definitions of policies that CNIs enforce and Weir does not read.
pub(super) const CNI_POLICIES: &[(&str, &str)] = &[
    ("cilium.io/v2", "ciliumnetworkpolicies"),
    ("cilium.io/v2", "ciliumclusterwidenetworkpolicies"),
    ("crd.projectcalico.org/v1", "networkpolicies"),
    ("crd.projectcalico.org/v1", "globalnetworkpolicies"),
    ("policy.networking.k8s.io/v1alpha1", "adminnetworkpolicies"),
    ("policy.networking.k8s.io/v1alpha1", "baselineadminnetworkpolicies"),
];

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(why) = observed.daemon_sets.known() {
        findings.push(Finding::unseen(Area::Network, "daemonsets (which CNI and meshes there are)", why));
    }
    findings.extend(cilium(observed));
    findings.extend(calico(observed));
    findings.extend(cni_policies(observed));
    findings.extend(kube_proxy(observed));
    findings.extend(other_meshes(observed));
    if findings.iter().all(|finding| finding.level == Level::Ok) {
        findings.push(Finding::ok(Area::Network, "no CNI or other mesh that is known to clash"));
    }
    findings
}

fn daemon_set<'o>(observed: &'o Observed, name: &str) -> Option<(&'o DaemonSet, String)> {
    let set = observed.daemon_sets.all().iter().find(|set| set.metadata.name.as_deref() == Some(name))?;
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    Some((set, format!("DaemonSet {namespace}/{name}")))
}

/// The value of a key of a ConfigMap, if both are there.
fn setting<'o>(map: &'o ConfigMap, key: &str) -> Option<&'o str> {
    map.data.as_ref()?.get(key).map(String::as_str)
}

/// Cilium's socket load balancing attaches to connect() as Weir does, above it in the cgroups' hierarchy.
fn cilium(observed: &Observed) -> Option<Finding> {
    let (set, object) = daemon_set(observed, "cilium")?;
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{namespace}/{CILIUM_CONFIG}");
    let map = match observed.config_map(&name)?.known() {
        Ok(Some(map)) => map,
        Ok(None) => return Some(unread(&object, &format!("there is no ConfigMap {name}"))),
        Err(why) => return Some(unread(&object, why)),
    };
    let is = |key: &str, values: &[&str]| setting(map, key).is_some_and(|value| values.contains(&value));
    let everywhere =
        is("bpf-lb-sock", &["true"]) || is("kube-proxy-replacement", &["true", "strict", "partial"]);
    let host_only = is("bpf-lb-sock-hostns-only", &["true"]);
    (everywhere && !host_only).then(|| {
        Finding::error(
            Area::Network,
            format!("ConfigMap {name}"),
            "Cilium's socket load balancing is on in pods, where it takes the connections to Services as Weir does",
            "limit it to the hosts: Helm value socketLB.hostNamespaceOnly=true (bpf-lb-sock-hostns-only), then restart cilium",
        )
    })
}

fn unread(object: &str, why: &str) -> Finding {
    Finding::warning(
        Area::Network,
        object,
        format!("Cilium is here, and its settings cannot be looked at: {why}"),
        "make sure that its socket load balancing is off in pods: Helm value socketLB.hostNamespaceOnly=true",
    )
}

fn calico(observed: &Observed) -> Option<Finding> {
    let (set, object) = daemon_set(observed, "calico-node")?;
    let containers = set.spec.as_ref()?.template.spec.as_ref()?.containers.iter();
    let by_env = containers.flat_map(|container| container.env.iter().flatten()).any(|variable| {
        variable.name == "FELIX_BPFENABLED" && variable.value.as_deref().is_some_and(is_true)
    });
    let by_object = match observed.felix.known() {
        Ok(felix) => felix.as_ref().is_some_and(|felix| felix["spec"]["bpfEnabled"] == true),
        Err(why) => {
            return Some(Finding::warning(
                Area::Network,
                "FelixConfiguration default",
                format!("it cannot be looked at: {why}"),
                "make sure that Calico's eBPF data plane is off (bpfEnabled: false)",
            ));
        }
    };
    (by_env || by_object).then(|| {
        Finding::error(
            Area::Network,
            object,
            "Calico's eBPF data plane is on, which takes the connections to Services at connect() as Weir does",
            "use Calico's iptables or nftables data plane (FelixConfiguration default: bpfEnabled: false)",
        )
    })
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value == "1"
}

/// What a CNI enforces by policies of its own kinds is not enforced between pods that a node's proxy joins.
fn cni_policies(observed: &Observed) -> Vec<Finding> {
    if same_node(observed).is_some_and(|way| way != "direct") {
        return Vec::new();
    }
    let advice = "set the chart's value sameNode to network or encrypt, or use NetworkPolicies";
    let judged = observed.cni_policies.iter().filter_map(|(kind, present)| match present.known() {
        Ok(false) => None,
        Ok(true) => Some(Finding::warning(
            Area::Network,
            "",
            format!(
                "there are {kind}, which Weir does not read: they do not hold between meshed pods of one node"
            ),
            advice,
        )),
        Err(why) => Some(Finding::unseen(Area::Network, kind, why)),
    });
    judged.collect()
}

/// The operator's flag, where it is installed.
fn same_node(observed: &Observed) -> Option<&str> {
    let operator = observed
        .deployments
        .all()
        .iter()
        .find(|deployment| deployment.metadata.name.as_deref() == Some("mesh-operator"))?;
    let containers = operator.spec.as_ref()?.template.spec.as_ref()?.containers.iter();
    let mut flags = containers.flat_map(|container| container.args.iter().flatten());
    flags.find_map(|flag| flag.strip_prefix("--same-node="))
}

fn kube_proxy(observed: &Observed) -> Option<Finding> {
    let object = format!("ConfigMap {KUBE_PROXY}");
    let map = match observed.config_map(KUBE_PROXY)?.known() {
        Ok(Some(map)) => map,
        // Its settings are elsewhere, or something else does its work.
        Ok(None) => return None,
        Err(why) => return Some(Finding::unseen(Area::Network, &object, why)),
    };
    let text = setting(map, "config.conf").or_else(|| setting(map, "config"))?;
    let settings: Value = serde_yaml_ng::from_str(text).ok()?;
    match settings["mode"].as_str().unwrap_or_default() {
        "" | "iptables" => Some(Finding::ok(Area::Network, "kube-proxy in mode iptables")),
        "nftables" => Some(Finding::ok(Area::Network, "kube-proxy in mode nftables")),
        mode => Some(Finding::warning(
            Area::Network,
            object,
            format!("kube-proxy is in mode {mode}, with which Weir is not tested"),
            "prefer the mode nftables or iptables",
        )),
    }
}

fn other_meshes(observed: &Observed) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for namespace in observed.namespaces.all().iter().filter(|namespace| is_labelled(namespace)) {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        if let Some((mesh, mark)) = other_mesh(namespace) {
            findings.push(Finding::error(
                Area::Network,
                format!("Namespace {name}"),
                format!("it is in Weir's mesh and in {mesh}'s ({mark})"),
                format!(
                    "take it out of one: remove {mark}, or the label weir.dev/mesh, and restart its pods"
                ),
            ));
        }
        let pods = observed.pods.all().iter();
        let of_it = pods.filter(|pod| pod.metadata.namespace.as_deref() == Some(name));
        let with_sidecar: Vec<&str> =
            of_it.filter(|pod| has_sidecar(pod)).filter_map(|pod| pod.metadata.name.as_deref()).collect();
        if let Some(first) = with_sidecar.first() {
            findings.push(Finding::warning(
                Area::Network,
                format!("Namespace {name}"),
                format!(
                    "{} of its pods have another mesh's sidecar ({first} is one): both take their traffic",
                    with_sidecar.len()
                ),
                "restart them once their namespace is out of the other mesh",
            ));
        }
    }
    if findings.is_empty() && daemon_set(observed, "ztunnel").is_some() {
        findings.push(Finding::ok(
            Area::Network,
            "Istio's ambient mesh is here too; no namespace is in both meshes, and none may be",
        ));
    }
    findings
}

/// The other mesh that a namespace is in, and the mark that says so.
fn other_mesh(namespace: &Namespace) -> Option<(&'static str, String)> {
    let label = |key: &'static str| Some((key, namespace.metadata.labels.as_ref()?.get(key)?.as_str()));
    let annotation =
        |key: &'static str| Some((key, namespace.metadata.annotations.as_ref()?.get(key)?.as_str()));
    let istio = label("istio.io/dataplane-mode")
        .filter(|(_, value)| *value == "ambient")
        .or_else(|| label("istio-injection").filter(|(_, value)| *value == "enabled"))
        .or_else(|| label("istio.io/rev"));
    if let Some((key, value)) = istio {
        return Some(("Istio", format!("label {key}={value}")));
    }
    let (key, value) = annotation("linkerd.io/inject").filter(|(_, value)| *value != "disabled")?;
    Some(("Linkerd", format!("annotation {key}={value}")))
}

fn has_sidecar(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers.any(|container| matches!(container.name.as_str(), "istio-proxy" | "linkerd-proxy"))
}
