//! The access log: JSON lines on standard output, written by a thread of its own.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

/// Lines that may wait for the reader of standard output.
const BACKLOG: usize = 8192;

#[derive(Debug)]
pub struct AccessLog {
    lines: Option<SyncSender<Vec<u8>>>,
    dropped: Counter,
}

impl AccessLog {
    pub fn to_stdout() -> io::Result<Self> {
        let (lines, received) = sync_channel(BACKLOG);
        thread::Builder::new().name("access-log".into()).spawn(move || write_lines(&received))?;
        Ok(Self { lines: Some(lines), dropped: Counter::default() })
    }

    pub fn off() -> Self {
        Self { lines: None, dropped: Counter::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    pub(super) fn write(&self, line: &impl Serialize) {
        let Some(lines) = &self.lines else { return };
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if lines.try_send(text).is_err() {
            self.dropped.inc();
        }
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>) {
    let mut out = BufWriter::new(io::stdout().lock());
    while let Ok(line) = lines.recv() {
        let mut result = out.write_all(&line);
        // What has come meanwhile goes out in the same write.
        while let Ok(line) = lines.try_recv() {
            result = result.and_then(|()| out.write_all(&line));
        }
        if result.and_then(|()| out.flush()).is_err() {
            // Nobody reads it any more; the senders count what is dropped.
            return;
        }
    }
}
