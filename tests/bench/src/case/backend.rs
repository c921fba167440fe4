//! Backends, started where a case wants them.

use std::net::SocketAddr;

use anyhow::Context;

use crate::machine::Machine;
use crate::place::{Place, Running};
use crate::stage::Stage;

/// The backend of this program ([`crate::serve`]), answering with so many bytes.
pub(crate) fn start(
    stage: &Stage,
    machine: &Machine,
    place: &Place,
    listen: SocketAddr,
    bytes: usize,
) -> anyhow::Result<Running> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = place.command(machine.backend(), own);
    command.args(["serve", "http", "--listen", &listen.to_string(), "--bytes", &bytes.to_string()]);
    let running = stage.start(place, "backend", command)?;
    place.wait_for("the backend", listen)?;
    Ok(running)
}
