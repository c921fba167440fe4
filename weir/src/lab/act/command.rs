//! The commands of the machine that the lab needs, `ip` and `nft`: run with a script on their standard input, what
//! they complain about kept for the error.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::netns;

/// Runs the lines as one `ip -batch` in the machine's own network namespace.
pub(crate) async fn ip(script: String) -> io::Result<()> {
    tokio::task::spawn_blocking(move || ip_here(&script))
        .await
        .unwrap_or_else(|_| Err(io::Error::other("ip: the thread panicked")))
}

/// Runs the lines as one `ip -batch` in the network namespace bound at `netns`.
pub(crate) async fn ip_in(netns: &Path, script: String) -> io::Result<()> {
    netns::within(netns, move || ip_here(&script)).await
}

/// Runs the lines as one `ip -batch` in the calling thread's network namespace.
pub(crate) fn ip_here(script: &str) -> io::Result<()> {
    feed(Command::new("ip").args(["-batch", "-"]), script)
}

/// Applies an nftables script, all of it or none, in the network namespace bound at `netns`.
pub(crate) async fn nft_in(netns: &Path, script: String) -> io::Result<()> {
    netns::within(netns, move || feed(Command::new("nft").args(["-f", "-"]), &script)).await
}

/// What `ip` prints for these arguments.
pub(crate) fn ip_output(arguments: &[&str]) -> io::Result<Vec<u8>> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(complaint("ip", &output.stderr));
    }
    Ok(output.stdout)
}

fn feed(command: &mut Command, script: &str) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::other(format!("{program}: {e}")))?;
    let fed = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(complaint(&program, &output.stderr));
    }
    // A command that succeeded without reading everything would have skipped part of the script.
    fed.unwrap_or(Ok(()))
}

fn complaint(program: &str, stderr: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(stderr);
    io::Error::other(format!("{program}: {}", text.trim()))
}
