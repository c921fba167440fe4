//! The commands that a person types: each checks what it was given, asks the lab's supervisor, and prints.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, bail};

use super::control::{Answer, MAX_LINE, Request};
use super::layout::Layout;
use crate::text::print;

pub(crate) mod down;
pub(crate) mod edit;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod up;

pub(crate) fn require_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a lab makes network namespaces and cgroups, which takes root: run it with sudo");
    }
    Ok(())
}

/// Asks the lab's supervisor. None when no supervisor lives.
fn ask(layout: &Layout, request: &Request) -> anyhow::Result<Option<Answer>> {
    let Ok(mut stream) = UnixStream::connect(layout.control()) else { return Ok(None) };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("asking the lab's supervisor")?;
    let mut answer = String::new();
    BufReader::new(stream)
        .take(MAX_LINE)
        .read_line(&mut answer)
        .context("reading the supervisor's answer")?;
    if answer.is_empty() {
        bail!("lab {} ended before it answered", layout.name());
    }
    Ok(Some(serde_json::from_str(&answer).context("reading the supervisor's answer")?))
}

/// Asks the supervisor of a lab that has to be up.
fn ask_living(layout: &Layout, request: &Request) -> anyhow::Result<Answer> {
    match ask(layout, request)? {
        Some(Answer::Refused(why)) => bail!("{why}"),
        Some(answer) => Ok(answer),
        None => bail!("lab {0} is not up: weir lab up --name {0} -f PATH", layout.name()),
    }
}
