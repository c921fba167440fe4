//! What the steps share: the cluster, its nodes, and the pods that make requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use weir_tests::cluster::Cluster;
use weir_tests::cluster::footprint::Footprint;
use weir_tests::cluster::node::Node;
use weir_tests::cluster::pod::Pod;
use weir_tests::lab::client::Answer;
use weir_tests::link::capture::Capture;

/// The namespace of the pods that make requests and answer them: a caller and an answerer on each node.
pub(crate) const DRILL: &str = "drill";
/// Where Weir is installed.
pub(crate) const WEIR: &str = "weir-system";

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Where the report goes.
    pub(crate) folder: PathBuf,
    /// Each node as it was without the mesh, where the cluster has been seen so.
    pub(crate) bare: BTreeMap<String, Footprint>,
    drill: BTreeMap<String, Pod>,
}

impl Stage {
    pub(crate) fn set(cluster: Cluster, folder: &Path) -> anyhow::Result<Self> {
        let nodes = cluster.nodes()?;
        anyhow::ensure!(nodes.len() == 2, "this is for a cluster of two nodes, and it has {}", nodes.len());
        let mut stage =
            Self { cluster, nodes, folder: folder.to_owned(), bare: BTreeMap::new(), drill: BTreeMap::new() };
        // They are there already where only some steps are run.
        stage.find_drill()?;
        Ok(stage)
    }

    pub(crate) fn find_drill(&mut self) -> anyhow::Result<()> {
        let pods = self.cluster.pods(DRILL, "")?;
        self.drill = pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect();
        Ok(())
    }

    /// A pod of the drill's, and its node.
    pub(crate) fn drill(&self, name: &str) -> anyhow::Result<(&Node, &Pod)> {
        let pod = self.drill.get(name).with_context(|| format!("there is no pod {DRILL}/{name}"))?;
        Ok((self.node(&pod.node)?, pod))
    }

    pub(crate) fn node(&self, name: &str) -> anyhow::Result<&Node> {
        self.nodes.get(name).with_context(|| format!("there is no node {name}"))
    }

    pub(crate) fn sample(file: &str) -> PathBuf {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/bookinfo/manifests")).join(file)
    }

    /// A script of tests/cluster.
    pub(crate) fn script(name: &str) -> PathBuf {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/cluster")).join(name)
    }

    /// Begins to capture on the cable of the first node; with two nodes, all that they send each other goes through it.
    pub(crate) fn capture_lan(&self) -> anyhow::Result<Capture> {
        Ok(Capture::start(Path::new("/proc/self/ns/net"), "weir-n1")?)
    }

    /// The addresses of the pods of these namespaces.
    pub(crate) fn addresses(&self, namespaces: &[&str]) -> anyhow::Result<BTreeSet<IpAddr>> {
        let mut addresses = BTreeSet::new();
        for namespace in namespaces {
            addresses.extend(self.cluster.pods(namespace, "")?.iter().filter_map(|pod| pod.address));
        }
        Ok(addresses)
    }

    /// Brings up what is described, and waits until the pods of the namespace are ready.
    pub(crate) fn bring_up(&self, manifests: &str, namespace: &str) -> anyhow::Result<()> {
        self.cluster.apply(manifests)?;
        Ok(self.cluster.wait(namespace, &["--for=condition=Ready", "pod", "--all"], 90)?)
    }

    /// Waits until the mesh has every pod of the namespace.
    pub(crate) fn await_captured(&self, namespace: &str) -> anyhow::Result<()> {
        for pod in self.cluster.pods(namespace, "")? {
            let captured = self.node(&pod.node)?.captured(&pod, 30)?;
            anyhow::ensure!(captured, "{} is not captured after 30 s", pod.full_name());
        }
        Ok(())
    }

    /// `bookinfo get` on this machine, which is a client of the nodes' LAN like any other.
    pub(crate) fn get_from_here(&self, url: &str) -> anyhow::Result<Answer> {
        let own = std::env::current_exe()?;
        let mut command = Command::new(own.with_file_name("bookinfo"));
        Ok(Answer::of(command.args(["get", "--timeout", "5", url]))?)
    }
}
