//! A pod outside the mesh that talks to another one: what the mesh's eBPF programs cost it, a connection and a packet.

use super::Case;
use super::l4::drive;
use super::pods::{BYTES, Pods};
use crate::load::bytes::How;
use crate::meter::bpf::{Counting, Runs, runs};
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "outside",
    about: "from pod to pod outside the mesh: time in eBPF programs, by the kernel's statistics",
    run,
};

const PACKET_BYTES: f64 = 1500.0;

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let to = pods.pod("plain", "server", BYTES)?;
    let _counting = Counting::begin()?;
    // Whatever ran on both nodes meanwhile is counted, the destination's side too.
    let measured = |how: How| -> anyhow::Result<(f64, Runs)> {
        let all = || -> anyhow::Result<Runs> {
            let mut sum = Runs::default();
            for node in ["node-1", "node-2"] {
                let runs = runs(&pods.stage.lab.state().join(node).join("bpf"))?;
                sum.count += runs.count;
                sum.nanoseconds += runs.nanoseconds;
            }
            Ok(sum)
        };
        let before = all()?;
        let load = drive(&pods, "plain", to, how)(scene.pace.turn())?;
        Ok((load.done, all()? - before))
    };
    let (connections, of_connections) = measured(How::Connections)?;
    let (gigabytes, of_bytes) = measured(How::Up)?;
    anyhow::ensure!(
        of_connections.count > 0,
        "no program ran for {connections} connections: what is read is wrong"
    );
    let figures = [
        ("µs a connect", of_connections.nanoseconds as f64 / 1000.0 / connections),
        ("runs a connect", of_connections.count as f64 / connections),
        ("runs a packet", of_bytes.count as f64 / (gigabytes * 1e9 / PACKET_BYTES)),
    ];
    Ok(Outcome::of_figures(figures))
}
