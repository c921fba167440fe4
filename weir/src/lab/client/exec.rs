//! `weir lab exec`: this process becomes the command inside the pod, so that its input, output, signals and exit status are the
//! command's own.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{anyhow, bail};

use super::ask_living;
use crate::lab::Exec;
use crate::lab::control::{Answer, Request};

pub(crate) fn exec(exec: &Exec) -> anyhow::Result<ExitCode> {
    let request = Request::Exec { target: exec.target.clone(), container: exec.container.clone() };
    let Answer::Place { mut enter, environment } = ask_living(&exec.lab.layout(), &request)? else {
        bail!("the lab's supervisor is of another version of weir");
    };
    if let Some(cgroup) = &enter.cgroup {
        std::fs::create_dir_all(cgroup)?;
    }
    enter.command = exec.command.clone();
    // Entering means becoming this program once more with the pod's environment, as only a fresh process with one
    // thread can change its namespaces.
    let mut command = Command::new("/proc/self/exe");
    command.args(enter.arguments()).env_clear().envs(environment);
    if let Some(terminal) = std::env::var_os("TERM") {
        command.env("TERM", terminal);
    }
    Err(anyhow!("cannot enter the pod: {}", command.exec()))
}
