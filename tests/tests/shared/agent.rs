//! A process in a pod, in a node's network namespace or on the machine itself, that makes raw connections there.

use std::cell::RefCell;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use weir_tests::lab::Lab;

const PROGRAM: &str = include_str!("agent.py");
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    child: RefCell<Child>,
    orders: RefCell<ChildStdin>,
    answers: RefCell<BufReader<ChildStdout>>,
}

/// An open connection, by its number at the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held(u64);

/// What came, and how the stream stood then.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) data: Vec<u8>,
    /// `eof`, `open` where it had not ended, or begins with `reset`, `alert`, `truncated` or `failed`.
    pub(crate) end: String,
}

/// What a TLS client shows.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) alpn: &'static str,
    /// Files with the certificate's chain and its key, in PEM.
    pub(crate) certificate: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    data: Option<String>,
    end: Option<String>,
    failed: Option<String>,
}

impl Agent {
    pub(crate) fn in_pod(lab: &Lab, target: &str) -> Self {
        let mut command = Command::new(lab.program("weir"));
        command.args(["lab", "exec", "--name", lab.name(), target, "--"]);
        Self::start(command)
    }

    pub(crate) fn in_netns(name: &str) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]);
        Self::start(command)
    }

    pub(crate) fn on_the_machine() -> Self {
        Self::start(Command::new("env"))
    }

    fn start(mut command: Command) -> Self {
        command.args(["python3", "-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child: RefCell::new(child),
            orders: RefCell::new(orders),
            answers: RefCell::new(BufReader::new(answers)),
        }
    }

    pub(crate) fn open(&self, host: &str, port: u16, tls: Option<&Tls>) -> Result<Held, String> {
        let tls = tls.map(|tls| {
            let (certificate, key) = tls.certificate.clone().unzip();
            json!({"alpn": tls.alpn, "certificate": certificate, "key": key})
        });
        let order = json!({"order": "open", "host": host, "port": port, "tls": tls,
            "timeout": CONNECT_WITHIN.as_secs()});
        let answer = self.order(&order);
        answer.id.map(Held).ok_or_else(|| answer.failed.unwrap_or_default())
    }

    pub(crate) fn send(&self, held: Held, data: &[u8]) -> Result<(), String> {
        match self.order(&json!({"order": "send", "id": held.0, "data": hex(data)})).failed {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// What comes until the end of the stream or of this time.
    pub(crate) fn read(&self, held: Held, within: Duration) -> Received {
        Received::of(self.order(&json!({"order": "read", "id": held.0, "timeout": within.as_secs_f64()})))
    }

    pub(crate) fn close(&self, held: Held) {
        self.order(&json!({"order": "close", "id": held.0}));
    }

    /// Closes by a reset.
    pub(crate) fn reset(&self, held: Held) {
        self.order(&json!({"order": "close", "id": held.0, "reset": true}));
    }

    /// Sends this on a new connection, and gives what comes back until its end or the end of this time.
    pub(crate) fn exchange(&self, host: &str, port: u16, data: &[u8], within: Duration) -> Received {
        Received::of(self.order(&json!({"order": "exchange", "host": host, "port": port, "data": hex(data),
            "timeout": within.as_secs_f64()})))
    }

    fn order(&self, order: &Value) -> Answer {
        let mut orders = self.orders.borrow_mut();
        writeln!(orders, "{order}").unwrap();
        orders.flush().unwrap();
        let mut line = String::new();
        self.answers.borrow_mut().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the agent answered {line:?}: {error}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // It may have gone with its pod.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Received {
    fn of(answer: Answer) -> Self {
        let end = answer.end.unwrap_or_else(|| format!("failed: {}", answer.failed.unwrap_or_default()));
        Self { data: bytes(&answer.data.unwrap_or_default()), end }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// The status of the first HTTP/1 response; 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        let text = self.text();
        let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        status.unwrap_or(0)
    }

    pub(crate) fn body(&self) -> String {
        self.text().split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// The value of a header of the first response.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let mut fields = text.split("\r\n\r\n").next()?.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    }

    /// Whether the stream has ended, in whatever way.
    pub(crate) fn ended(&self) -> bool {
        self.end != "open"
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text().chars().take(300).collect();
        write!(formatter, "{shown:?} and then {}", self.end)
    }
}

fn hex(data: &[u8]) -> String {
    use std::fmt::Write as _;
    data.iter().fold(String::with_capacity(data.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
