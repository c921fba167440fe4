//! Where a process of a case runs: in which network namespace, on which processor. It ends with what holds it, and with this
//! process however that ends.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::wait;

use crate::machine::Core;
use crate::meter;

const LISTENING_WITHIN: Duration = Duration::from_secs(10);
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// A network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    netns: PathBuf,
}

/// A process that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Place {
    pub(crate) fn new(netns: impl Into<PathBuf>) -> Self {
        Self { netns: netns.into() }
    }

    /// A command that runs here, on this processor.
    pub(crate) fn command(&self, core: Core, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.display()));
        command.args(["setpriv", "--pdeathsig", "TERM", "taskset", "-c", &core.0.to_string()]);
        command.arg(program.as_ref()).stdin(Stdio::null());
        command
    }

    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(&self, mut command: Command, log: &Path) -> anyhow::Result<Running> {
        let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Running { child })
    }

    /// Waits until something listens there.
    pub(crate) fn wait_for(&self, what: &str, address: SocketAddr) -> anyhow::Result<()> {
        let probe = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
        wait::until(&format!("{what} to listen on {address}"), LISTENING_WITHIN, || {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", self.netns.display())).args(["bash", "-c", &probe]);
            let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
            Ok(status.is_ok_and(|status| status.success()).then_some(()))
        })?;
        Ok(())
    }
}

impl Running {
    /// It and the processes that it started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        meter::family(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A master told to terminate ends its workers; killed, it would leave them behind.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended =
            wait::until("a process to end", ENDED_WITHIN, || Ok(self.child.try_wait().ok().flatten()));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
