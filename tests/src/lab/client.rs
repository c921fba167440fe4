//! What the sample's clients print: `bookinfo get` and `bookinfo load`.

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::error::Error;

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Answer {
    Http(Response),
    /// There was no HTTP answer; what the client said, which begins with the kind of failure after the URL.
    None(String),
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case; of a repeated header, the last.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// The report of `bookinfo load`.
#[derive(Clone, Debug, Deserialize)]
pub struct Load {
    pub requests: u64,
    /// Requests without a whole HTTP answer.
    pub errors: u64,
    pub error_kinds: BTreeMap<String, u64>,
    pub status: BTreeMap<String, u64>,
    headers: BTreeMap<String, BTreeMap<String, u64>>,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub longest_gap: Gap,
}

/// The longest time without an answer below 500.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Gap {
    pub ms: f64,
    /// In seconds since 1970; none where it lasted to the end.
    pub ended: Option<f64>,
}

/// A `bookinfo load` that runs.
#[derive(Debug)]
pub struct Loading {
    child: Child,
}

impl Answer {
    /// Of a command that is `bookinfo get`.
    ///
    /// # Errors
    /// It cannot be run, or prints something else.
    pub fn of(command: &mut Command) -> Result<Self, Error> {
        Self::read(&command.output().map_err(Error::io("running bookinfo get"))?)
    }

    pub(crate) fn read(output: &Output) -> Result<Self, Error> {
        if !output.status.success() {
            return Ok(Self::None(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let wrong = || Error::unreadable("what bookinfo get printed", &text);
        let (head, body) = text.split_once("\n\n").ok_or_else(wrong)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(wrong)?;
        let header = |line: &str| {
            line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(header).collect();
        Ok(Self::Http(Response { status, headers, body: body.to_owned() }))
    }

    /// The status; 0 where there was no answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Http(response) => response.status,
            Self::None(_) => 0,
        }
    }

    /// The response.
    ///
    /// # Errors
    /// What the client said where there was none.
    pub fn response(self) -> Result<Response, Error> {
        match self {
            Self::Http(response) => Ok(response),
            Self::None(why) => Err(Error::unreadable("an answer", why)),
        }
    }
}

impl Response {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Which version of which service answered.
    pub fn version(&self) -> &str {
        self.header("x-bookinfo-version")
    }
}

impl Load {
    pub fn with_status(&self, status: u16) -> u64 {
        self.status.get(&status.to_string()).copied().unwrap_or_default()
    }

    /// How many answers came from this version, such as `reviews-v1`.
    pub fn from_version(&self, version: &str) -> u64 {
        let versions = self.headers.get("x-bookinfo-version");
        versions.and_then(|versions| versions.get(version)).copied().unwrap_or_default()
    }

    /// How many answers came from this pod.
    pub fn from_pod(&self, pod: &str) -> u64 {
        let pods = self.headers.get("x-bookinfo-pod");
        pods.and_then(|pods| pods.get(pod)).copied().unwrap_or_default()
    }

    /// How many answers came from each pod.
    pub fn pods(&self) -> BTreeMap<String, u64> {
        self.headers.get("x-bookinfo-pod").cloned().unwrap_or_default()
    }

    pub fn is_all_200(&self) -> bool {
        self.errors == 0 && self.requests > 0 && self.with_status(200) == self.requests
    }
}

impl Loading {
    pub(crate) fn start(mut command: Command) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(Error::io("running bookinfo load"))?;
        Ok(Self { child })
    }

    /// Ends it early; requests in flight are finished, and the report stands.
    pub fn finish(self) -> Result<Load, Error> {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // One that has just ended by itself needs no signal.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        self.report()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It printed no report; what it said.
    pub fn report(self) -> Result<Load, Error> {
        let output = self.child.wait_with_output().map_err(Error::io("waiting for bookinfo load"))?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            Error::unreadable("what bookinfo load printed", format!("{error}; it said: {}", said.trim()))
        })
    }
}
