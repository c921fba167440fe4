//! The nodes, which are namespaces of this machine: their commands, their processes, and programs run in their pods without
//! the API server's help.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::pod::Pod;
use crate::error::Error;
use crate::lab::admin;
use crate::lab::client::{Answer, Load, Loading};

static EXECS: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    /// A process in its place.
    init: u32,
    disk: PathBuf,
}

impl Node {
    pub(super) fn all(cluster: &Path) -> Result<BTreeMap<String, Self>, Error> {
        let what = || format!("reading {}", cluster.display());
        let mut nodes = BTreeMap::new();
        for entry in fs::read_dir(cluster).map_err(Error::io(what()))? {
            let path = entry.map_err(Error::io(what()))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = file.strip_suffix(".init") else { continue };
            let init = fs::read_to_string(&path).map_err(Error::io(what()))?;
            let init =
                init.trim().parse().map_err(|error| Error::unreadable(path.display().to_string(), error))?;
            let node = Self { name: name.to_owned(), init, disk: cluster.join(name).join("disk") };
            nodes.insert(name.to_owned(), node);
        }
        Ok(nodes)
    }

    /// The node's network namespace.
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(format!("weir-{}", self.name))
    }

    /// Where the node's own folder of this path is on this machine.
    pub fn on_disk(&self, path: &str) -> PathBuf {
        self.disk.join(path.trim_start_matches('/'))
    }

    /// A command as on the node.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--uts", "--net", "--", program]);
        command.stdin(Stdio::null());
        command
    }

    /// What it prints, run as on the node.
    ///
    /// # Errors
    /// It fails.
    pub fn said(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        super::command::said(self.command(program).args(arguments))
    }

    /// The processes of this name among those of the node's pods.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn processes(&self, name: &str) -> Result<Vec<u32>, Error> {
        self.processes_where(|process| {
            // One that has ended, and that nobody has taken notice of yet, has no command line.
            let runs = fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty());
            runs && fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == name)
        })
    }

    /// The first process of each of the pod's containers, where they run.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn processes_of(&self, pod: &Pod) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        for container in pod.containers.values().filter(|container| !container.id.is_empty()) {
            let mut all = self.processes_where(|process| {
                let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
                groups.contains(&container.id)
            })?;
            all.sort_unstable();
            found.extend(all.first());
        }
        Ok(found)
    }

    /// Waits until mesh-node has captured the pod and holds its certificate; at most so many seconds, up to 60.
    ///
    /// # Errors
    /// No mesh-node answers.
    pub fn captured(&self, pod: &Pod, seconds: u32) -> Result<bool, Error> {
        let socket = self.on_disk("/run/weir/admin.sock");
        let answer = admin::get(&socket, &format!("/pods/{}?wait={seconds}", pod.uid))?;
        Ok(answer.contains("true"))
    }

    /// The processes of all of the node's pods.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn all_processes(&self) -> Result<Vec<u32>, Error> {
        self.processes_where(|_| true)
    }

    fn processes_where(&self, wanted: impl Fn(&Path) -> bool) -> Result<Vec<u32>, Error> {
        // From the root on: the nodes of labs have such names too, further down.
        let cgroup = format!(":/{}/", self.name);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").map_err(Error::io("listing the processes"))? {
            let path = entry.map_err(Error::io("listing the processes"))?.path();
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let Some(number) = number else { continue };
            // One that ends meanwhile is none.
            let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
            if groups.contains(&cgroup) && wanted(&path) {
                found.push(number);
            }
        }
        Ok(found)
    }

    /// A program in the first container of one of the node's pods. Not by kubectl, whose connection would need the API
    /// server to go on.
    ///
    /// # Errors
    /// The pod has no container, or is on another node.
    pub fn in_pod(&self, pod: &Pod, arguments: &[&str]) -> Result<Command, Error> {
        let container = pod.containers.values().next().filter(|container| !container.id.is_empty());
        let container = match container {
            Some(container) if pod.node == self.name => container,
            _ => {
                let why = format!("it has no container on {}", self.name);
                return Err(Error::unreadable(pod.full_name(), why));
            }
        };
        let id = format!("test-{}-{}", std::process::id(), EXECS.fetch_add(1, Ordering::Relaxed));
        let mut command = self.command("ctr");
        command.args(["--namespace=k8s.io", "tasks", "exec", "--exec-id", &id, &container.id]);
        command.args(arguments);
        Ok(command)
    }

    /// `bookinfo get` in one of the node's pods.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn get(&self, pod: &Pod, arguments: &[&str]) -> Result<Answer, Error> {
        Answer::of(&mut self.in_pod(pod, &[&["bookinfo", "get"], arguments].concat())?)
    }

    /// `bookinfo load` in one of the node's pods.
    ///
    /// # Errors
    /// It cannot be run, or prints no report.
    pub fn load(&self, pod: &Pod, arguments: &[&str]) -> Result<Load, Error> {
        self.start_load(pod, arguments)?.report()
    }

    /// Begins `bookinfo load` in one of the node's pods.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start_load(&self, pod: &Pod, arguments: &[&str]) -> Result<Loading, Error> {
        Loading::start(self.in_pod(pod, &[&["bookinfo", "load"], arguments].concat())?)
    }
}
