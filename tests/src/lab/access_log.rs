//! mesh-node's access log: the JSON lines on its standard output, which a lab keeps in one file with its other log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::Error;

/// How many lines of a log are shown where something went wrong.
const SHOWN: usize = 8;

/// Places in the logs of nodes.
#[derive(Clone, Debug)]
pub struct Mark {
    offsets: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    Request(Request),
    /// A copy that was sent to a mirror.
    Mirror(Request),
    /// A call to a collector of spans.
    Export(Request),
    Connection(Connection),
    Session(Session),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// When its head had arrived.
    pub time: String,
    /// `namespace/name` of the pod, or `gateway NAMESPACE/NAME`.
    pub source: String,
    pub source_identity: Option<String>,
    pub path: String,
    pub status: u16,
    pub route: Option<String>,
    pub rule: Option<usize>,
    /// `namespace/name:port` of the Service.
    pub destination: Option<String>,
    pub endpoint: Option<String>,
    pub security: String,
    pub peer_identity: Option<String>,
    pub reason: Option<String>,
}

/// What one client of a UDP port and its backend sent each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub time: String,
    pub client: String,
    pub local: String,
    pub peer: String,
    pub service: Option<String>,
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// When it began.
    pub time: String,
    /// `open` or `close`.
    pub event: Option<String>,
    pub direction: String,
    pub pod: String,
    pub peer: String,
    pub local: Option<String>,
    pub service: Option<String>,
    pub security: String,
    pub peer_identity: Option<String>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub error: Option<String>,
}

impl Mark {
    /// The beginning of every log.
    pub fn beginning() -> Self {
        Self { offsets: BTreeMap::new() }
    }

    pub(super) fn of(&self, node: &str) -> u64 {
        self.offsets.get(node).copied().unwrap_or_default()
    }
}

impl From<BTreeMap<String, u64>> for Mark {
    fn from(offsets: BTreeMap<String, u64>) -> Self {
        Self { offsets }
    }
}

impl Line {
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Request(request) => Some(request),
            _ => None,
        }
    }

    pub fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Connection(connection) => Some(connection),
            _ => None,
        }
    }

    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }

    /// When what it tells of began: a connection's line is written when it ends.
    ///
    /// # Errors
    /// The time is not one.
    pub fn begun(&self) -> Result<OffsetDateTime, Error> {
        match self {
            Self::Request(request) | Self::Mirror(request) | Self::Export(request) => request.begun(),
            Self::Connection(connection) => parse(&connection.time),
            Self::Session(session) => parse(&session.time),
        }
    }
}

impl Request {
    /// # Errors
    /// The time is not one.
    pub fn begun(&self) -> Result<OffsetDateTime, Error> {
        parse(&self.time)
    }
}

fn parse(time: &str) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::parse(time, &Rfc3339).map_err(|error| Error::unreadable("a time in an access log", error))
}

/// The lines from this place on; a last line that is being written is left for later.
pub(super) fn read(log: &Path, offset: u64) -> Result<Vec<Line>, Error> {
    let what = || format!("reading {}", log.display());
    let mut file = File::open(log).map_err(Error::io(what()))?;
    file.seek(SeekFrom::Start(offset)).map_err(Error::io(what()))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io(what()))?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = Vec::new();
    for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"kind\":")) {
        lines.push(
            serde_json::from_slice(line)
                .map_err(|error| Error::unreadable(String::from_utf8_lossy(line).into_owned(), error))?,
        );
    }
    Ok(lines)
}

/// The last lines of each log that are warnings or errors.
pub(super) fn complaints(logs: &Path) -> String {
    let mut text = String::new();
    let mut files: Vec<_> =
        fs::read_dir(logs).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let Ok(log) = fs::read_to_string(&file) else { continue };
        let bad = |line: &&str| {
            line.contains("\"level\":\"ERROR\"")
                || line.contains("\"level\":\"WARN\"")
                || line.contains("panicked")
        };
        let lines: Vec<&str> = log.lines().filter(bad).collect();
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
            text.push_str(&format!("  {}: {line}\n", file.file_name().unwrap_or_default().display()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn log_lines_are_read_from_a_mark_on_and_the_rest_left_out() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let old = "{\"level\":\"INFO\",\"message\":\"up\"}\n";
        let line = concat!(
            r#"{"kind":"connection","time":"2026-01-01T00:00:00Z","event":"open","direction":"inbound","#,
            r#""pod":"a/b","peer":"10.0.0.1:5","security":"mutual_tls","bytesSent":1,"bytesReceived":2}"#
        );
        write!(log, "{old}{line}\n{{\"level\":\"INFO\"}}\n{{\"kind\":\"conn").unwrap();
        let lines = read(log.path(), old.len() as u64).unwrap();
        let [Line::Connection(connection)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((connection.pod.as_str(), connection.event.as_deref()), ("a/b", Some("open")));
    }
}
