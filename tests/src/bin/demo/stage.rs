//! What the steps share: the lab, and the capture of the link between its nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use weir_tests::lab::Lab;
use weir_tests::lab::view::{Pod, View};
use weir_tests::link::capture::Capture;

/// Where requests inside the mesh are made.
pub(crate) const PRODUCTPAGE: &str = "bookinfo/deploy/productpage-v1";
pub(crate) const REVIEWS: &str = "http://reviews:9080/reviews/0";
/// The link of each node to the others.
const LINK: &str = "eth0";

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    /// Where the report goes.
    pub(crate) folder: PathBuf,
    /// Runs from the beginning, so that it holds whole connections.
    pub(crate) capture: Option<Capture>,
}

impl Stage {
    pub(crate) fn set(lab: Lab, folder: &Path) -> anyhow::Result<Self> {
        let mut stage = Self { lab, folder: folder.to_owned(), capture: None };
        stage.capture = Some(stage.capture_link()?);
        Ok(stage)
    }

    /// Begins to capture on the link of the first node; with two nodes, that is the link between them.
    pub(crate) fn capture_link(&self) -> anyhow::Result<Capture> {
        let view = self.lab.view()?;
        let node = view.nodes.first().context("the lab has no node")?;
        Ok(Capture::start(&Path::new("/run/netns").join(&node.netns), LINK)?)
    }

    pub(crate) fn productpage(&self) -> anyhow::Result<Pod> {
        Ok(self.lab.pod("bookinfo", "productpage-v1")?)
    }

    /// A Service of the sample whose one pod is on another node than this one: its URL and that pod.
    pub(crate) fn across(&self, node: &str) -> anyhow::Result<(String, Pod)> {
        for (service, path) in [
            ("reviews-v2", "reviews/0"),
            ("reviews-v3", "reviews/0"),
            ("reviews-v1", "reviews/0"),
            ("details", "details/0"),
            ("ratings", "ratings/0"),
        ] {
            let deployment =
                if service.contains("-v") { service.to_owned() } else { format!("{service}-v1") };
            let pod = self.lab.pod("bookinfo", &deployment)?;
            if pod.node != node {
                return Ok((format!("http://{service}.bookinfo:9080/{path}"), pod));
            }
        }
        anyhow::bail!("every pod of the sample is on {node}")
    }
}

/// The addresses of the sample's pods.
pub(crate) fn addresses(view: &View) -> BTreeSet<IpAddr> {
    let pods = view.pods.iter().filter(|pod| pod.namespace == "bookinfo");
    pods.flat_map(|pod| pod.addresses.iter().copied()).collect()
}
