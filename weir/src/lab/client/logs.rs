//! `weir lab logs`: the log files of pods and programs, read where they lie.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Context, bail};
use notify::{RecursiveMode, Watcher};

use super::print;
use crate::lab::Logs;
use crate::lab::layout::Layout;

pub(crate) fn logs(logs: &Logs) -> anyhow::Result<ExitCode> {
    let layout = logs.lab.layout();
    if !layout.state().exists() {
        bail!("lab {0} is not up: weir lab up --name {0} -f PATH", layout.name());
    }
    let files = find(&layout, logs.target.as_deref())?;
    let labelled = files.len() > 1;
    let mut positions: Vec<(PathBuf, u64)> = files.into_iter().map(|file| (file, 0)).collect();
    if !logs.follow {
        return show_new(&mut positions, labelled).map(|()| ExitCode::SUCCESS);
    }
    // The watch begins before the first reading, so that nothing falls between the two.
    let (send, receive) = mpsc::sync_channel(1);
    let mut watcher = notify::recommended_watcher(move |_| {
        let _ = send.try_send(());
    })?;
    for (file, _) in &positions {
        watcher
            .watch(file, RecursiveMode::NonRecursive)
            .with_context(|| format!("following {}", file.display()))?;
    }
    loop {
        show_new(&mut positions, labelled)?;
        if positions.iter().all(|(file, _)| !file.exists()) || receive.recv().is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn find(layout: &Layout, target: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
    // A pod's logs are those whose names begin with the pod's, one a container.
    let pod = target.and_then(|target| target.split_once('/'));
    let folder = if pod.is_some() { layout.pod_logs() } else { layout.logs() };
    let wanted = |name: &str| match (target, pod) {
        (None, _) => true,
        (Some(_), Some((namespace, pod))) => name.starts_with(&format!("{namespace}_{pod}_")),
        (Some(program), None) => name == format!("{program}.log"),
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!(
            "nothing is logged under {:?}: name NS/POD or a program, as weir lab get shows them",
            target.unwrap_or("")
        );
    }
    Ok(files)
}

fn show_new(positions: &mut [(PathBuf, u64)], labelled: bool) -> anyhow::Result<()> {
    for (file, position) in positions {
        let text = read_from(file, position).with_context(|| format!("reading {}", file.display()))?;
        if text.is_empty() {
            continue;
        }
        let label = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let shown =
            if labelled { text.lines().map(|line| format!("{label}: {line}\n")).collect() } else { text };
        print(&shown)?;
    }
    Ok(())
}

fn read_from(path: &Path, position: &mut u64) -> std::io::Result<String> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    // A log that is shorter than what was read of it has been begun anew.
    if file.metadata()?.len() < *position {
        *position = 0;
    }
    file.seek(SeekFrom::Start(*position))?;
    let mut bytes = Vec::new();
    *position += file.read_to_end(&mut bytes)? as u64;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
