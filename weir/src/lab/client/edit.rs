//! `weir lab apply` and `weir lab delete`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{ask_living, print};
use crate::lab::control::{Answer, File, Request};
use crate::lab::layout::Layout;
use crate::lab::manifest::files;

pub(crate) fn apply(layout: &Layout, paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    show(&ask_living(layout, &Request::Apply { files: read(paths)? })?)
}

pub(crate) fn delete(layout: &Layout, paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    show(&ask_living(layout, &Request::Delete { files: read(paths)? })?)
}

fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let listed =
        if paths == [Path::new("-")] { vec![PathBuf::from("/dev/stdin")] } else { files::list(paths)? };
    let file = |path: PathBuf| Ok(File { text: files::text(&path)?, path });
    listed.into_iter().map(file).collect()
}

fn show(answer: &Answer) -> anyhow::Result<ExitCode> {
    if let Answer::Done(lines) = answer {
        print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}
