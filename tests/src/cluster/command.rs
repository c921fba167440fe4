//! Commands whose words are wanted.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::error::Error;

/// What it prints.
///
/// # Errors
/// It cannot be run, or fails; then what it said.
pub fn said(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(Error::io(name(command)))?;
    read(command, &output)
}

/// What it prints when it is told this.
///
/// # Errors
/// As [`said`].
pub fn said_to(command: &mut Command, input: &str) -> Result<String, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io(name(command)))?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        // Beside it, because it may print before it has read all. One that ends early says why itself.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    read(command, &output.map_err(Error::io(name(command)))?)
}

fn read(command: &Command, output: &Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command { command: name(command), status: output.status.to_string(), said })
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
