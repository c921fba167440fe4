//! The CNI's side of the plugin, by its specification 1.1: an action in the environment, a network configuration on
//! standard input, a result or an error on standard output. It is always chained behind the plugin that made the
//! pod's network, whose result it passes on as it came.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::wire::{self, Answer, Pod, Request};

mod config;

use config::{Config, VERSIONS, Version};

/// A longer input is no network configuration.
pub const MAX_INPUT: u64 = 4 * 1024 * 1024;
/// How much longer than mesh-node may wait the plugin waits for its answer.
const GRACE: Duration = Duration::from_secs(5);
/// How long mesh-node may take to hear what needs no waiting.
const HEAR: Duration = Duration::from_secs(5);

/// Error codes of the specification.
mod code {
    pub(super) const INCOMPATIBLE_VERSION: u32 = 1;
    pub(super) const UNKNOWN_CONTAINER: u32 = 3;
    pub(super) const INVALID_ENVIRONMENT: u32 = 4;
    pub(super) const IO: u32 = 5;
    pub(super) const DECODING: u32 = 6;
    pub(super) const INVALID_CONFIGURATION: u32 = 7;
    pub(super) const TRY_AGAIN_LATER: u32 = 11;
    /// The plugin's own, as all from 100 on are: the pod should be captured and is not.
    pub(super) const NOT_CAPTURED: u32 = 100;
}

/// The variables that the runtime sets.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub command: Option<String>,
    pub container: Option<String>,
    pub netns: Option<String>,
    pub args: Option<String>,
}

impl Environment {
    pub fn from_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            command: variable("CNI_COMMAND"),
            container: variable("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS"),
            args: variable("CNI_ARGS"),
        }
    }

    /// Of CNI_ARGS, which is `KEY=VALUE;KEY=VALUE`.
    fn argument(&self, key: &str) -> Option<&str> {
        let pairs = self.args.as_deref()?.split(';').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| value).next()
    }
}

/// What the program writes, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub succeeded: bool,
    pub output: String,
    /// For the runtime's log.
    pub log: Vec<String>,
}

#[derive(Debug)]
struct Failure {
    code: u32,
    msg: &'static str,
    details: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorResult<'a> {
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    details: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionResult<'a> {
    cni_version: &'a str,
    supported_versions: &'a [&'a str],
}

/// Carries the action out.
pub fn run(environment: &Environment, input: io::Result<&str>) -> Outcome {
    let mut log = Vec::new();
    let version = input.as_ref().ok().and_then(|input| Version::of(input).ok());
    match act(environment, input, &mut log) {
        Ok(output) => Outcome { succeeded: true, output, log },
        Err(Failure { code, msg, details }) => {
            let cni_version = version.as_ref().map_or(VERSIONS[VERSIONS.len() - 1], Version::as_str);
            let output = json(&ErrorResult { cni_version, code, msg, details: &details });
            Outcome { succeeded: false, output, log }
        }
    }
}

fn act(environment: &Environment, input: io::Result<&str>, log: &mut Vec<String>) -> Result<String, Failure> {
    let input = input.map_err(|error| Failure {
        code: code::DECODING,
        msg: "the network configuration cannot be read from standard input",
        details: error.to_string(),
    })?;
    let version = Version::of(input)?;
    let command = environment.command.as_deref();
    if command == Some("VERSION") {
        let (cni_version, supported_versions) = (version.as_str(), VERSIONS);
        return Ok(json(&VersionResult { cni_version, supported_versions }));
    }
    version.supported()?;
    let config = Config::of(input)?;
    match command {
        Some("ADD") => add(environment, &config, log),
        Some("CHECK") => check(environment, &config).map(|()| String::new()),
        Some("DEL") => {
            // The specification wants a pod's going to succeed whatever is missing; and mesh-node also sees it go.
            if let Some(sandbox) = environment.container.clone() {
                tell(&config, &Request::Del { sandbox }, log);
            }
            Ok(String::new())
        }
        Some("GC") => {
            if let Some(sandboxes) = config.sandboxes() {
                tell(&config, &Request::Gc { sandboxes }, log);
            }
            Ok(String::new())
        }
        // A runtime that is told that a plugin is not ready calls the whole node unready, and its pods lose their
        // traffic. While mesh-node is away only new pods have to wait, and for those `ADD` says it.
        Some("STATUS") => Ok(String::new()),
        other => Err(invalid_environment(match other {
            Some(command) => {
                format!("CNI_COMMAND is {command:?}; it is ADD, DEL, CHECK, GC, STATUS or VERSION")
            }
            None => {
                "CNI_COMMAND is not set; this is a CNI plugin, which a container runtime starts".to_owned()
            }
        })),
    }
}

fn add(environment: &Environment, config: &Config<'_>, log: &mut Vec<String>) -> Result<String, Failure> {
    let result = config.previous_result()?.to_owned();
    let Some(pod) = pod(environment)? else { return Ok(result) };
    if config.exclude_namespaces.contains(&pod.namespace) {
        return Ok(result);
    }
    let required = |value: &Option<String>, name| {
        value.clone().ok_or_else(|| invalid_environment(format!("{name} is not set")))
    };
    let sandbox = required(&environment.container, "CNI_CONTAINERID")?;
    let path = required(&environment.netns, "CNI_NETNS")?;
    let netns = File::open(&path).map_err(|error| Failure {
        code: if error.kind() == io::ErrorKind::NotFound { code::UNKNOWN_CONTAINER } else { code::IO },
        msg: "the pod's network namespace cannot be opened",
        details: format!("{path}: {error}"),
    })?;
    let wait = Duration::from_secs(config.timeout_seconds);
    let wait_ms = config.timeout_seconds.saturating_mul(1000);
    let request = Request::Add { pod: pod.clone(), sandbox, wait_ms };
    let why = match wire::ask(config.socket, &request, Some(netns.as_fd()), wait + GRACE) {
        Ok(Answer::Captured | Answer::LeftAlone) => return Ok(result),
        Ok(Answer::Refused { why }) => why,
        Ok(Answer::Done) => "mesh-node gave an answer to another question".to_owned(),
        Err(error) => unreachable(config.socket, &error),
    };
    let details = format!("pod {}/{}: {why}", pod.namespace, pod.name);
    if config.required {
        return Err(Failure {
            code: code::TRY_AGAIN_LATER,
            msg: "the pod waits to be captured by the mesh",
            details,
        });
    }
    log.push(format!("{details}; it starts all the same, as \"required\" is false"));
    Ok(result)
}

fn check(environment: &Environment, config: &Config<'_>) -> Result<(), Failure> {
    let Some(pod) = pod(environment)? else { return Ok(()) };
    if config.exclude_namespaces.contains(&pod.namespace) {
        return Ok(());
    }
    match wire::ask(config.socket, &Request::Check { pod }, None, HEAR) {
        Ok(Answer::Refused { why }) => Err(Failure {
            code: code::NOT_CAPTURED,
            msg: "the pod is not captured by the mesh",
            details: why,
        }),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure {
            code: code::TRY_AGAIN_LATER,
            msg: "mesh-node cannot be asked",
            details: unreachable(config.socket, &error),
        }),
    }
}

fn tell(config: &Config<'_>, request: &Request, log: &mut Vec<String>) {
    if let Err(error) = wire::ask(config.socket, request, None, HEAR) {
        log.push(unreachable(config.socket, &error));
    }
}

/// `None` for a container that is no pod's, which the mesh has nothing to do with.
fn pod(environment: &Environment) -> Result<Option<Pod>, Failure> {
    let argument = |key| environment.argument(key).map(str::to_owned);
    let Some(namespace) = argument("K8S_POD_NAMESPACE") else { return Ok(None) };
    let missing = |key: &str| {
        invalid_environment(format!(
            "CNI_ARGS has K8S_POD_NAMESPACE and no {key}; this plugin needs a runtime that gives both, such as containerd 1.6 or CRI-O 1.24"
        ))
    };
    let name = argument("K8S_POD_NAME").ok_or_else(|| missing("K8S_POD_NAME"))?;
    let uid = argument("K8S_POD_UID").ok_or_else(|| missing("K8S_POD_UID"))?;
    Ok(Some(Pod { namespace, name, uid }))
}

fn unreachable(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("mesh-node did not answer in time at {socket}")
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no mesh-node answers at {socket} ({error}); it may be starting. If Weir was taken off this node by hand, remove the plugin {:?} from the node's network configuration",
            crate::PLUGIN
        ),
        _ => format!("mesh-node cannot be asked at {socket}: {error}"),
    }
}

fn invalid_environment(details: String) -> Failure {
    Failure { code: code::INVALID_ENVIRONMENT, msg: "invalid environment variables", details }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers alone are always JSON")
}
