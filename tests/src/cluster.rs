//! The Kubernetes that `make cluster` started: asked and changed with kubectl, as a person does it, and its nodes, which are
//! looked at from inside. It contains no part of the mesh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::Error;

pub mod command;
pub mod footprint;
pub mod log;
pub mod node;
pub mod pod;
pub mod watch;

use self::node::Node;
use self::pod::Pod;
use self::watch::Watch;

/// Where a cluster is that was not told another place.
const FOLDER: &str = "/run/weir-cluster";

#[derive(Clone, Debug)]
pub struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    /// The one that runs.
    ///
    /// # Errors
    /// None does.
    pub fn running() -> Result<Self, Error> {
        let folder = std::env::var_os("WEIR_CLUSTER").map_or_else(|| FOLDER.into(), PathBuf::from);
        let cluster = Self { folder };
        if cluster.kubeconfig().is_file() {
            return Ok(cluster);
        }
        Err(Error::unreadable("the cluster", "none runs; start one with `make cluster`"))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("pki/admin.conf")
    }

    /// A program that is told which cluster it is about.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        command
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// It fails; what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        command::said(self.command("kubectl").args(arguments))
    }

    /// # Errors
    /// kubectl fails, or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, Error> {
        let text = self.kubectl(&[arguments, &["--output=json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| Error::unreadable(arguments.join(" "), error))
    }

    /// # Errors
    /// kubectl refuses one of the manifests.
    pub fn apply(&self, manifests: &str) -> Result<(), Error> {
        let mut command = self.command("kubectl");
        command::said_to(command.args(["apply", "--filename=-"]), manifests).map(drop)
    }

    /// # Errors
    /// There is no such file, or kubectl refuses one of its manifests.
    pub fn apply_file(&self, file: &Path) -> Result<(), Error> {
        self.kubectl(&["apply", "--filename", &file.display().to_string()]).map(drop)
    }

    /// `kubectl wait`, at most so many seconds.
    ///
    /// # Errors
    /// It does not come true within that time.
    pub fn wait(&self, namespace: &str, what: &[&str], seconds: u32) -> Result<(), Error> {
        let timeout = format!("--timeout={seconds}s");
        self.kubectl(&[&["--namespace", namespace, "wait", &timeout], what].concat()).map(drop)
    }

    /// # Errors
    /// kubectl fails.
    pub fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>, Error> {
        let list = self.json(&["--namespace", namespace, "get", "pods", "--selector", selector])?;
        Pod::list(&list)
    }

    /// # Errors
    /// There is no such pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        Pod::read(&self.json(&["--namespace", namespace, "get", "pod", name])?)
    }

    /// The one pod of these labels that is not about to end.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn only_pod(&self, namespace: &str, selector: &str) -> Result<Pod, Error> {
        let mut pods = self.pods(namespace, selector)?;
        pods.retain(|pod| !pod.ending);
        match (pods.pop(), pods.len()) {
            (Some(pod), 0) => Ok(pod),
            (_, more) => {
                let what = format!("pods {selector} in {namespace}");
                Err(Error::unreadable(what, format!("there are {}, one is wanted", more + 1)))
            }
        }
    }

    /// Begins `kubectl get … --watch`.
    ///
    /// # Errors
    /// kubectl cannot be run.
    pub fn watch(&self, arguments: &[&str]) -> Result<Watch, Error> {
        let mut command = self.command("kubectl");
        command.args(arguments).arg("--watch");
        Watch::start(command)
    }

    /// By their names.
    ///
    /// # Errors
    /// The cluster's folder cannot be read.
    pub fn nodes(&self) -> Result<BTreeMap<String, Node>, Error> {
        Node::all(&self.folder)
    }
}
