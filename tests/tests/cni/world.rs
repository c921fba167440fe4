//! One node without Kubernetes: the mesh's programs, a folder of manifests, a tree of cgroups as the kubelet makes it, and
//! pods.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::lab::binaries::Binaries;
use weir_tests::wait;

/// The address of the Service in namespace shop.
pub(crate) const SERVICE: &str = "10.254.200.1";
/// What the network's installer writes.
pub(crate) const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}"#;
const SOON: Duration = Duration::from_secs(30);

pub(crate) struct World {
    folder: TempDir,
    programs: PathBuf,
    cgroup: PathBuf,
    name: String,
    /// Where the cert-authority, the mesh-operator, and mesh-node's metrics are.
    ports: [String; 3],
    node: Option<Child>,
    /// Ended with the world: the other programs, and what runs in pods.
    others: Vec<Child>,
    pods: Cell<u32>,
}

/// A sandbox: its network namespace with an interface, and its cgroup.
pub(crate) struct Pod {
    pub(crate) namespace: &'static str,
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) netns: PathBuf,
    pub(crate) cgroup: PathBuf,
    pub(crate) address: String,
    pub(crate) bookinfo: PathBuf,
}

impl World {
    pub(crate) fn begin() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let programs = Binaries::find(None).unwrap().folder;
        let folder = tempfile::tempdir().unwrap();
        let name = format!("weir-cni-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().map(|line| line.split(' ')).find_map(|mut fields| {
            let (path, kind) = (fields.nth(1)?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        });
        let cgroup = root.expect("cgroup v2 is mounted").join(&name);
        fs::create_dir(&cgroup).unwrap();
        for below in ["objects", "tokens", "published", "state", "bpf", "run", "networks", "programs"] {
            fs::create_dir(folder.path().join(below)).unwrap();
        }
        for caller in ["mesh-operator", "node-1"] {
            fs::write(folder.path().join("tokens").join(caller), format!("{caller}-0123456789abcdef"))
                .unwrap();
        }
        fs::write(folder.path().join("networks/10-pods.conflist"), LIST).unwrap();
        let (ports, node, others, pods) = (free_addresses(), None, Vec::new(), Cell::new(0));
        let mut world = Self { folder, programs, cgroup, name, ports, node, others, pods };
        world.objects();
        world.start_programs();
        world.start_node(true);
        world
    }

    /// A new pod of namespace shop, which nobody knows yet.
    pub(crate) fn pod(&self, address: &str) -> Pod {
        let number = self.pods.replace(self.pods.get() + 1);
        let uid = format!("0f3e2d1c-89ab-4cde-8f01-{number:012x}");
        let name = format!("{}-{number}", self.name);
        run(&format!(
            "ip netns add {name} && ip -n {name} link add eth0 type veth peer name far && ip -n {name} link set far up && \
             ip -n {name} link set eth0 up && ip -n {name} addr add {address}/24 dev eth0"
        ));
        let cgroup = self.cgroup.join(format!("burstable/pod{uid}"));
        fs::create_dir_all(&cgroup).unwrap();
        let netns = Path::new("/run/netns").join(&name);
        let bookinfo = self.programs.join("bookinfo");
        Pod { namespace: "shop", uid, name, netns, cgroup, address: address.to_owned(), bookinfo }
    }

    /// What stands behind the Service: it runs and is captured like any other.
    pub(crate) fn backend(&mut self, pod: &Pod) {
        self.object("pod-backend", &manifest(pod, json!({"phase": "Running", "podIP": pod.address})));
        self.object(
            "slice",
            &json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 9080, "protocol": "TCP"}],
                "endpoints": [{"addresses": [pod.address], "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": pod.name, "namespace": "shop"}}]}),
        );
        self.add(pod).unwrap();
        self.others.push(pod.start(&["echo"]));
        let listens = || {
            let listening = format!("ip netns exec {} ss -Hltn sport = :9080", pod.name);
            let said = Command::new("sh").args(["-c", &listening]).output().unwrap().stdout;
            Ok((!said.is_empty()).then_some(()))
        };
        wait::until("the backend listens", SOON, listens).unwrap();
    }

    /// Tells the mesh of a pod as Kubernetes does before it starts.
    pub(crate) fn scheduled(&self, pod: &Pod) {
        self.object(&format!("pod-{}", pod.uid), &manifest(pod, json!({"phase": "Pending"})));
    }

    /// What the runtime does when the pod's network is made: its result, or the plugin's error.
    pub(crate) fn add(&self, pod: &Pod) -> Result<String, String> {
        self.plugin("ADD", pod)
    }

    pub(crate) fn del(&self, pod: &Pod) {
        self.plugin("DEL", pod).unwrap();
    }

    pub(crate) fn network(&self, name: &str) -> PathBuf {
        self.folder.path().join("networks").join(name)
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.path().join("programs")
    }

    /// What mesh-node says at /readyz.
    pub(crate) fn readiness(&self) -> String {
        let mut stream = TcpStream::connect(&self.ports[2]).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
        std::io::read_to_string(stream).unwrap()
    }

    pub(crate) fn end_node(&mut self) {
        if let Some(mut node) = self.node.take() {
            run(&format!("kill -TERM {}", node.id()));
            node.wait().unwrap();
        }
    }

    /// In namespaces of its own, so that it meets no process of another test's pods.
    pub(crate) fn uninstall(&self) {
        let path = |below: &str| self.path(below);
        let done = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--net"])
            .arg(self.programs.join("mesh-node"))
            .args(["uninstall", "--bpf", &path("bpf"), "--admin", &path("run/admin.sock")])
            .args(["--cni-socket", &path("run/cni.sock"), "--cni-networks", &path("networks")])
            .args(["--cni-programs", &path("programs")])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The plugin as the runtime would call it: what is installed, configured as it was configured.
    fn plugin(&self, command: &str, pod: &Pod) -> Result<String, String> {
        let list: Value =
            serde_json::from_slice(&fs::read(self.network("10-pods.conflist")).unwrap()).unwrap();
        let mut config = list["plugins"].as_array().unwrap().last().unwrap().clone();
        config["cniVersion"] = list["cniVersion"].clone();
        config["name"] = list["name"].clone();
        config["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.254.7.99/24"}]});
        let args =
            format!("K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}", pod.namespace, pod.name, pod.uid);
        let mut plugin = Command::new(self.programs().join(config["type"].as_str().unwrap()));
        plugin
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &pod.name)
            .env("CNI_ARGS", args);
        plugin.env("CNI_NETNS", &pod.netns).env("CNI_IFNAME", "eth0");
        let mut plugin = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        plugin.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        let output = plugin.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    fn objects(&self) {
        for (name, label) in [("shop", "enabled"), ("outside", "disabled")] {
            self.object(
                &format!("namespace-{name}"),
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"weir.dev/mesh": label}}}),
            );
        }
        self.object(
            "service",
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"clusterIP": SERVICE, "ports": [{"name": "http", "port": 80, "targetPort": 9080}]}}),
        );
    }

    /// Whole at once, like every file of the folder.
    fn object(&self, name: &str, object: &Value) {
        let staged = self.folder.path().join(format!("{name}.new"));
        // JSON is YAML.
        fs::write(&staged, object.to_string()).unwrap();
        fs::rename(&staged, self.folder.path().join("objects").join(format!("{name}.yaml"))).unwrap();
    }

    fn start_programs(&mut self) {
        let (objects, tokens, published) =
            (self.path("objects"), self.path("tokens"), self.path("published"));
        let (state, bundle, admin) =
            (self.path("state"), self.path("bundle.pem"), self.path("run/operator.sock"));
        let [authority, operator, _] = &self.ports;
        let flags = [
            "--state",
            &state,
            "--listen",
            authority,
            "--bundle-out",
            &bundle,
            "--lab-objects",
            &objects,
            "--lab-tokens",
            &tokens,
        ];
        let ca = self.program("cert-authority", &flags, None);
        let flags =
            ["--manifests", &objects, "--output", &published, "--listen", operator, "--admin", &admin];
        let publisher = self.program("mesh-operator", &flags, Some("tokens/mesh-operator"));
        self.others = vec![ca, publisher];
    }

    /// With or without the plugin in place.
    pub(crate) fn start_node(&mut self, plugin: bool) {
        let cgroup = self.cgroup.display().to_string();
        let (bpf, admin, socket) = (self.path("bpf"), self.path("run/admin.sock"), self.path("run/cni.sock"));
        let (networks, programs) = (self.path("networks"), self.path("programs"));
        let [_, operator, metrics] = &self.ports;
        let mut flags =
            vec!["--node", "node-1", "--node-ip", "127.0.0.1", "--operator", operator, "--pods-in-cgroup"];
        flags.extend([
            "--cgroup",
            &cgroup,
            "--bpf",
            &bpf,
            "--admin",
            &admin,
            "--metrics",
            metrics,
            "--workers",
            "1",
        ]);
        flags.extend(["--cni-socket", &socket, "--cni-networks", &networks, "--cni-programs", &programs]);
        flags.extend(["--cni-exclude", "kube-system", "--cni-timeout", "4000"]);
        flags.extend(plugin.then_some("--cni"));
        self.node = Some(self.program("mesh-node", &flags, Some("tokens/node-1")));
        let ready = || {
            let there = TcpStream::connect(&self.ports[2]).is_ok();
            Ok((there && self.readiness().contains("200 OK")).then_some(()))
        };
        wait::until("mesh-node is ready", SOON, ready).unwrap_or_else(|error| {
            let logs = ["cert-authority", "mesh-operator", "mesh-node"];
            let logs = logs.map(|name| fs::read_to_string(self.path(&format!("{name}.log"))).unwrap());
            panic!("{error}\n{}", logs.join("\n"));
        });
    }

    fn program(&self, name: &str, flags: &[&str], token: Option<&str>) -> Child {
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(self.programs.join(name));
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(token) = token {
            command.args(["--ca", &self.ports[0], "--ca-bundle", &self.path("bundle.pem")]);
            command.args(["--token-file", &self.path(token)]);
        }
        command.spawn().unwrap()
    }

    fn path(&self, below: &str) -> String {
        self.folder.path().join(below).display().to_string()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.node.iter_mut().chain(&mut self.others) {
            let _ = child.kill();
            let _ = child.wait();
        }
        // With the mount go the pins.
        let _ = nix::mount::umount(&self.folder.path().join("bpf"));
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        for number in 0..self.pods.get() {
            let _ = Command::new("ip").args(["netns", "delete", &format!("{}-{number}", self.name)]).status();
        }
        let gone = || {
            let left =
                format!("find {} -depth -type d -exec rmdir {{}} + 2>/dev/null", self.cgroup.display());
            let _ = Command::new("sh").args(["-c", &left]).status();
            Ok((!self.cgroup.exists()).then_some(()))
        };
        if let Err(error) = wait::until("the cgroups are gone", SOON, gone) {
            eprintln!("{error}");
        }
    }
}

impl Pod {
    /// Starts the sample's program as the pod's: in its cgroup and namespace from its first instruction on.
    fn start(&self, arguments: &[&str]) -> Child {
        self.command("exec", arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs it to its end, and gives what it says.
    pub(crate) fn first_words(&self, arguments: &[&str]) -> String {
        let output = self.command("exec timeout 10", arguments).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    fn command(&self, how: &str, arguments: &[&str]) -> Command {
        let container = self.cgroup.join("container");
        fs::create_dir_all(&container).unwrap();
        // The shell is in the cgroup and outside of the namespace, as a runtime's process is, until the program begins.
        let script = format!(
            "echo $$ > {}/cgroup.procs && {how} nsenter --net={} \"$@\"",
            container.display(),
            self.netns.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(&self.bookinfo).args(arguments);
        command
    }
}

fn manifest(pod: &Pod, status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "spec": {"nodeName": "node-1", "serviceAccountName": "default", "containers": [{"name": "main"}]},
        "status": status})
}

fn free_addresses<const COUNT: usize>() -> [String; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
