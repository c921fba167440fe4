//! `weir lab up`: checks everything that can be checked before anything is made, starts the supervisor, and shows how it
//! gets on until the lab is ready or has failed.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{get, print};
use crate::lab::Up;
use crate::lab::act::cgroup;
use crate::lab::cluster::view::View;
use crate::lab::control::Progress;
use crate::lab::layout::Layout;
use crate::lab::manifest::files::{self, Content};
use crate::lab::manifest::images::{self, Images};
use crate::lab::programs::{self, Binaries};
use crate::lab::supervise::{self, Order};

pub(crate) fn up(up: Up) -> anyhow::Result<ExitCode> {
    let up = Up { files: up.files.iter().map(std::path::absolute).collect::<Result<_, _>>()?, ..up };
    check(&up)?;
    let layout = up.lab.layout();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = spawn(&up)?;
        let out = child.stdout.take().context("the supervisor has no standard output")?;
        let mut lines = BufReader::new(out).lines();
        let shown = tokio::select! {
            shown = show(&mut lines, &layout) => shown,
            _ = interrupt.recv() => stop(&mut child, &mut lines).await,
            _ = terminate.recv() => stop(&mut child, &mut lines).await,
        };
        if shown.is_err() {
            // The supervisor tears down before it ends, so when it has ended nothing is left.
            child.wait().await?;
        }
        shown.map(|()| ExitCode::SUCCESS)
    })
}

/// The background process of `up`; it speaks to `up` by lines of [`Progress`] on its standard output.
pub(crate) fn supervise(up: Up) -> anyhow::Result<ExitCode> {
    // Away from the terminal: its Ctrl-C is for `up`, which passes it on.
    nix::unistd::setsid().context("leaving the terminal's session")?;
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let order = Order {
        name: up.lab.name.clone(),
        nodes: up.nodes,
        binaries: binaries(&up)?,
        ready_timeout: Duration::from_secs(up.ready_timeout),
        files: up.files,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(supervise::run(order));
    if let Err(error) = &outcome {
        supervise::tell_failure(error);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn check(up: &Up) -> anyhow::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let needed = [("ip", "iproute2"), ("nft", "nftables")];
    let missing: Vec<&str> =
        needed.iter().filter(|(name, _)| !found(&name)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        bail!("a lab needs the commands ip and nft: apt-get install {}", missing.join(" "));
    }
    cgroup::mount_point()?;
    binaries(up)?;
    let mut objects = Vec::new();
    let mut found_images = Images::new();
    for (file, content) in files::read_all(&files::list(&up.files)?)? {
        match content {
            Content::Objects(read) => objects.push((file, read)),
            Content::Images(read) => found_images.extend(read),
        }
    }
    for (file, objects) in &objects {
        images::check(objects, &found_images, &file.display().to_string())?;
    }
    Ok(())
}

fn binaries(up: &Up) -> anyhow::Result<Option<Binaries>> {
    if up.no_mesh {
        return Ok(None);
    }
    let found = programs::find(&std::env::var("PATH").unwrap_or_default(), &up.node_flags);
    found.map(Some).map_err(anyhow::Error::msg)
}

fn spawn(up: &Up) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["lab", "supervise", "--name", up.lab.name.as_str()]);
    command.args(["--nodes", &up.nodes.to_string(), "--ready-timeout", &up.ready_timeout.to_string()]);
    if up.no_mesh {
        command.arg("--no-mesh");
    }
    for flag in &up.node_flags {
        command.arg(format!("--node-flag={flag}"));
    }
    for file in &up.files {
        command.arg("-f").arg(file);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().context("starting the lab's supervisor")
}

async fn show(lines: &mut Lines<BufReader<ChildStdout>>, layout: &Layout) -> anyhow::Result<()> {
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("reading the supervisor's progress")? {
            Progress::Step(step) => print(&format!("{step}\n"))?,
            Progress::Ready(view) => return print(&summary(&view, layout)),
            Progress::Failed(why) => {
                bail!("lab {} is not up, and nothing of it is left: {why}", layout.name())
            }
        }
    }
    bail!(
        "the lab's supervisor ended without a word: weir lab down --name {} removes what is left",
        layout.name()
    )
}

/// Ends the supervisor, which takes everything away again.
async fn stop(child: &mut Child, lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<()> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("ending the lab's supervisor")?;
    }
    while lines.next_line().await?.is_some() {}
    bail!("interrupted; nothing of the lab is left")
}

fn summary(view: &View, layout: &Layout) -> String {
    let name = layout.name();
    let flag = if name.as_str() == "lab" { String::new() } else { format!(" --name {name}") };
    let mut text = format!("\n{}lab {name} is up. Next:\n", get::tables(view));
    if let Some(pod) = view.pods.first() {
        text.push_str(&format!("  weir lab exec{flag} {}/{} -- COMMAND\n", pod.namespace, pod.name));
    }
    text.push_str(&format!("  weir lab get{flag}\n  weir lab down{flag}\n"));
    text
}
