//! A mesh that is not there, as manifests: its Pods are said to run on nodes that nobody has.

use std::fmt::Write;

use crate::case::changing::Objects;

const SERVICES: usize = 10_000;
const PODS: usize = 100_000;
const ROUTES: usize = 5000;
const PER_NAMESPACE: usize = 20;
const PODS_A_NODE: usize = 50;
/// What a file holds, which mesh-operator reads whole when one of them changes.
const A_FILE: usize = 500;
/// So many EndpointSlices have a file each, to be changed.
const CHANGING: usize = 1000;

/// What comes of it, at least: Services, Workloads and Routes.
pub(super) const RESOURCES: usize = SERVICES + PODS + ROUTES;

pub(super) fn put(objects: &Objects) -> anyhow::Result<()> {
    let namespaces = SERVICES.div_ceil(PER_NAMESPACE);
    put_all(objects, "namespaces", 0..namespaces, namespace)?;
    put_all(objects, "services", 0..SERVICES, service)?;
    put_all(objects, "pods", 0..PODS, pod)?;
    put_all(objects, "slices", CHANGING..SERVICES, |text, index| slice(text, index, true))?;
    for index in 0..CHANGING {
        put_slice(objects, index, true)?;
    }
    put_all(objects, "routes", 0..ROUTES, route)
}

/// Has an endpoint become unready, or ready again.
pub(super) fn change(objects: &Objects, number: usize) -> anyhow::Result<()> {
    put_slice(objects, number % CHANGING, number / CHANGING % 2 == 1)
}

fn put_slice(objects: &Objects, index: usize, ready: bool) -> anyhow::Result<()> {
    let mut text = String::new();
    slice(&mut text, index, ready)?;
    objects.put(&format!("bench-slice-{index}.yaml"), &text)
}

fn put_all(
    objects: &Objects,
    kind: &str,
    indices: std::ops::Range<usize>,
    write: impl Fn(&mut String, usize) -> std::fmt::Result,
) -> anyhow::Result<()> {
    let indices: Vec<usize> = indices.collect();
    for (number, some) in indices.chunks(A_FILE).enumerate() {
        let mut text = String::new();
        for index in some {
            write(&mut text, *index)?;
        }
        objects.put(&format!("bench-{kind}-{number}.yaml"), &text)?;
    }
    Ok(())
}

fn address(first: u32, index: usize) -> std::net::Ipv4Addr {
    (first + u32::try_from(index).unwrap_or(u32::MAX - first)).into()
}

/// 11.0.0.0 on, where the lab has nothing.
fn pod_address(index: usize) -> std::net::Ipv4Addr {
    address(0x0b00_0001, index)
}

fn namespace(text: &mut String, index: usize) -> std::fmt::Result {
    write!(
        text,
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: made-up-{index}, labels: {{weir.dev/mesh: enabled}}}}\n"
    )
}

fn namespace_of(service: usize) -> usize {
    service / PER_NAMESPACE
}

fn service(text: &mut String, index: usize) -> std::fmt::Result {
    let (namespace, address) = (namespace_of(index), address(0x0c00_0001, index));
    write!(
        text,
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: service-{index}, namespace: made-up-{namespace}}}\nspec:\n  \
         type: ClusterIP\n  clusterIP: {address}\n  clusterIPs: [{address}]\n  selector: {{app: service-{index}}}\n  \
         ports: [{{name: http, port: 80, protocol: TCP, targetPort: 8080}}]\n"
    )
}

fn pod(text: &mut String, index: usize) -> std::fmt::Result {
    let (service, node, address) = (index % SERVICES, index / PODS_A_NODE, pod_address(index));
    let namespace = namespace_of(service);
    write!(
        text,
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: service-{service}-6d4cf56db6-{index}\n  namespace: made-up-{namespace}\n  \
         uid: 5e6a5d5c-0b6e-4f0c-9d2e-{index:012x}\n  labels: {{app: service-{service}, version: v1}}\nspec:\n  \
         nodeName: far-{node}\n  serviceAccountName: service-{service}\n  containers: [{{name: app, image: app}}]\n\
         status:\n  phase: Running\n  podIP: {address}\n  podIPs: [{{ip: {address}}}]\n"
    )
}

fn slice(text: &mut String, service: usize, ready: bool) -> std::fmt::Result {
    let namespace = namespace_of(service);
    write!(
        text,
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: service-{service}-x7k2p\n  \
         namespace: made-up-{namespace}\n  labels: {{kubernetes.io/service-name: service-{service}}}\naddressType: IPv4\n\
         ports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n"
    )?;
    for pod in (service..PODS).step_by(SERVICES) {
        // The first of them comes and goes.
        let ready = ready || pod != service;
        let (node, address) = (pod / PODS_A_NODE, pod_address(pod));
        writeln!(
            text,
            "- {{addresses: [{address}], conditions: {{ready: {ready}, serving: {ready}, terminating: false}}, nodeName: far-{node}, \
             targetRef: {{kind: Pod, name: service-{service}-6d4cf56db6-{pod}, namespace: made-up-{namespace}, \
             uid: 5e6a5d5c-0b6e-4f0c-9d2e-{pod:012x}}}}}"
        )?;
    }
    Ok(())
}

fn route(text: &mut String, index: usize) -> std::fmt::Result {
    let service = index * 2;
    let (namespace, next) = (namespace_of(service), service + 1);
    write!(
        text,
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{name: route-{index}, namespace: made-up-{namespace}}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, name: service-{service}, port: 80}}]\n  rules:\n  \
         - matches: [{{path: {{type: PathPrefix, value: /route/{index}}}}}]\n    backendRefs:\n    \
         - {{name: service-{service}, port: 80, weight: 90}}\n    - {{name: service-{next}, port: 80, weight: 10}}\n"
    )
}
