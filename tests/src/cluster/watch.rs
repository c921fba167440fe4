//! `kubectl get --watch`: each line is awaited, not asked for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Lines that nobody has awaited yet.
const WAITING: usize = 1024;

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    pub(super) fn start(mut command: Command) -> Result<Self, Error> {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(Error::io("running kubectl"))?;
        let (sender, lines) = mpsc::sync_channel(WAITING);
        let stdout = child.stdout.take();
        thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The first line from here on that is wanted.
    ///
    /// # Errors
    /// None comes within that time, or the watch ends before.
    pub fn until(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, Error> {
        let end = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return Ok(line),
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(Error::Timeout { what: what.to_owned(), within });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::unreadable(what, "kubectl ended"));
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
