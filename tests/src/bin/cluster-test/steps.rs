//! The steps, in their order.

use anyhow::ensure;
use weir_tests::steps::Step;

use crate::stage::Stage;

mod churn;
mod cni;
mod control_plane;
mod install;
mod kinds;
mod mesh_node;
mod ports;
mod programs;
mod routes;
mod uninstall;
mod wire;

static ALL: [Step<Stage>; 17] = [
    Step { id: "install", name: "the chart is installed", run: install::install },
    Step { id: "wire", name: "the frames between the nodes", run: wire::frames },
    Step { id: "gateway", name: "a Gateway's address answers the LAN", run: routes::gateway },
    Step {
        id: "canary",
        name: "1,000 requests split 90/10, a header picks the version",
        run: routes::canary,
    },
    Step { id: "kinds", name: "pods of every kind, and their probes, in Strict", run: kinds::kinds },
    Step { id: "strict", name: "a pod outside of the mesh: Permissive, then Strict", run: routes::strict },
    Step {
        id: "port",
        name: "only the application's port is open between nodes",
        run: ports::only_the_applications,
    },
    Step { id: "operator", name: "the leading mesh-operator is killed", run: programs::operator },
    Step { id: "ca", name: "the cert-authority is killed", run: programs::authority },
    Step { id: "node", name: "a mesh-node is killed, for 5 s again and again", run: mesh_node::killed },
    Step { id: "api", name: "the API server is away for 60 s", run: control_plane::away },
    Step { id: "rollout", name: "every mesh-node is rolled out anew", run: mesh_node::rolled_out },
    Step { id: "churn", name: "200 pods come and go", run: churn::churn },
    Step { id: "cni", name: "pods that dial with their first instruction", run: cni::none_starts_outside },
    Step { id: "cni-wait", name: "pods wait for a mesh-node", run: cni::pods_wait },
    Step { id: "cni-off", name: "the CNI plugin goes and comes", run: cni::is_taken_off },
    Step { id: "uninstall", name: "the chart is uninstalled", run: uninstall::uninstall },
];

/// What does not depend on the way that Services are made by kube-proxy is left out of the short run.
const SHORT: [&str; 7] = ["install", "wire", "gateway", "canary", "kinds", "strict", "uninstall"];

/// Those to be run, as flags and environment say.
pub(crate) fn chosen(short: bool) -> anyhow::Result<Vec<&'static Step<Stage>>> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|id| !id.is_empty()).collect();
    for id in &only {
        ensure!(ALL.iter().any(|step| step.id == *id), "ONLY: there is no step {id}");
    }
    let keep = std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0");
    let wanted = |step: &&Step<Stage>| {
        let named = only.is_empty() || only.contains(&step.id);
        named && (!short || SHORT.contains(&step.id)) && !(keep && step.id == "uninstall")
    };
    Ok(ALL.iter().filter(wanted).collect())
}
