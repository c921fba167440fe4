//! What a container of the lab runs with: its command line, its environment and its probes, read from the pod's spec.
//! Pure; [`super::supervise::pod`] runs it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, EnvVar, ObjectFieldSelector, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_compile::read::read;

use super::manifest::images::{self, Images};
use super::pod::Pod;

/// A container that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) startup: Option<Check>,
    pub(crate) readiness: Option<Check>,
    pub(crate) liveness: Option<Check>,
    pub(crate) pre_stop: Option<PreStop>,
}

/// A probe with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) action: Action,
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Http { port: u16, path: String, headers: Vec<(String, String)> },
    Tcp { port: u16 },
    Exec(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PreStop {
    Sleep(Duration),
    Exec(Vec<String>),
}

/// When a container that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// Everything that a pod runs.
#[derive(Clone, Debug)]
pub(crate) struct PodPlan {
    pub(crate) init: Vec<Plan>,
    pub(crate) containers: Vec<Plan>,
    pub(crate) restart: Restart,
}

/// Plans a pod. `base` is the environment that every container starts from.
///
/// # Errors
/// Which container cannot run, and why.
pub(crate) fn plan(
    pod: &Pod,
    host_ip: &str,
    images: &Images,
    base: &BTreeMap<String, String>,
) -> Result<PodPlan, String> {
    let spec: PodSpec = read(&pod.spec).map_err(|error| error.to_string())?;
    let one = |container: &Container| {
        container_plan(pod, host_ip, container, images, base).map_err(|why| {
            format!("container {} of Pod {}/{} {why}", container.name, pod.namespace, pod.name)
        })
    };
    let restart = match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    Ok(PodPlan {
        init: spec.init_containers.iter().flatten().map(one).collect::<Result<_, _>>()?,
        containers: spec.containers.iter().map(one).collect::<Result<_, _>>()?,
        restart,
    })
}

fn container_plan(
    pod: &Pod,
    host_ip: &str,
    container: &Container,
    images: &Images,
    base: &BTreeMap<String, String>,
) -> Result<Plan, String> {
    let command = images::command(container, images)?;
    let mut environment = base.clone();
    environment.insert("HOSTNAME".to_owned(), pod.name.clone());
    if container.env_from.as_ref().is_some_and(|from| !from.is_empty()) {
        return Err("has envFrom, which the lab does not read: use env with values".to_owned());
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(variable, pod, host_ip)? {
            let value = expand(&value, &environment);
            environment.insert(variable.name.clone(), value);
        }
    }
    let command = command.iter().map(|word| expand(word, &environment)).collect();
    let check = |probe: &Option<Probe>| probe.as_ref().map(|probe| check(probe, pod)).transpose();
    let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let pre_stop = pre_stop.and_then(|handler| match (&handler.sleep, &handler.exec) {
        (Some(sleep), _) => {
            Some(PreStop::Sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))))
        }
        (None, Some(exec)) => Some(PreStop::Exec(exec.command.clone().unwrap_or_default())),
        (None, None) => None,
    });
    Ok(Plan {
        name: container.name.clone(),
        command,
        workdir: container.working_dir.clone(),
        environment,
        startup: check(&container.startup_probe)?,
        readiness: check(&container.readiness_probe)?,
        liveness: check(&container.liveness_probe)?,
        pre_stop,
    })
}

fn value_of(variable: &EnvVar, pod: &Pod, host_ip: &str) -> Result<Option<String>, String> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(variable.value.clone().unwrap_or_default()));
    };
    match &source.field_ref {
        Some(reference) => field(reference, pod, host_ip).map(Some).ok_or_else(|| {
            format!("env {}: the lab does not know fieldPath {:?}", variable.name, reference.field_path)
        }),
        None => {
            let references = [
                source.config_map_key_ref.as_ref().map(|r| r.optional),
                source.secret_key_ref.as_ref().map(|r| r.optional),
            ];
            let optional = references.into_iter().flatten().all(|optional| optional == Some(true));
            if optional && source.resource_field_ref.is_none() {
                return Ok(None);
            }
            Err(format!("env {}: the lab reads value and valueFrom.fieldRef only", variable.name))
        }
    }
}

fn field(reference: &ObjectFieldSelector, pod: &Pod, host_ip: &str) -> Option<String> {
    let keyed = |prefix: &str| reference.field_path.strip_prefix(prefix)?.strip_suffix("']");
    if let Some(key) = keyed("metadata.labels['") {
        return Some(pod.label(key).unwrap_or_default().to_owned());
    }
    if let Some(key) = keyed("metadata.annotations['") {
        return Some(pod.metadata["annotations"][key].as_str().unwrap_or_default().to_owned());
    }
    Some(match reference.field_path.as_str() {
        "metadata.name" => pod.name.clone(),
        "metadata.namespace" => pod.namespace.clone(),
        "metadata.uid" => pod.uid.clone(),
        "spec.nodeName" => pod.node_name(),
        "spec.serviceAccountName" => pod.service_account().to_owned(),
        "status.podIP" => pod.address.v4.to_string(),
        "status.podIPs" => format!("{},{}", pod.address.v4, pod.address.v6),
        "status.hostIP" => host_ip.to_owned(),
        _ => return None,
    })
}

/// Replaces `$(NAME)` by the variable's value; `$$` is a dollar, and an unknown name stays as it is written.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((value, after)) = reference(rest, environment) {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

fn reference<'a, 'b>(text: &'a str, environment: &'b BTreeMap<String, String>) -> Option<(&'b str, &'a str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    environment.get(name).map(|value| (value.as_str(), after))
}

fn check(probe: &Probe, pod: &Pod) -> Result<Check, String> {
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
    };
    let count = |value: Option<i32>, default: u32| {
        value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1)
    };
    let port = |port: &IntOrString| {
        let value = serde_json::to_value(port).unwrap_or_default();
        pod.port(&value, "TCP")
            .ok_or_else(|| format!("has a probe of port {value}, which no container declares"))
    };
    let action = if let Some(get) = &probe.http_get {
        // Without a certificate to trust, a probe by HTTPS shows no more than that somebody answers.
        if get.scheme.as_deref() == Some("HTTPS") {
            Action::Tcp { port: port(&get.port)? }
        } else {
            let headers = get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone()));
            let path = get.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
            Action::Http { port: port(&get.port)?, path, headers: headers.collect() }
        }
    } else if let Some(tcp) = &probe.tcp_socket {
        Action::Tcp { port: port(&tcp.port)? }
    } else if let Some(grpc) = &probe.grpc {
        Action::Tcp { port: port(&IntOrString::Int(grpc.port))? }
    } else if let Some(exec) = &probe.exec {
        Action::Exec(exec.command.clone().unwrap_or_default())
    } else {
        return Err("has a probe that names no httpGet, tcpSocket, grpc or exec".to_owned());
    };
    Ok(Check {
        action,
        initial_delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
        timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
        successes: count(probe.success_threshold, 1),
        failures: count(probe.failure_threshold, 3),
    })
}

#[cfg(test)]
mod tests;
