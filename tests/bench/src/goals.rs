//! The goals: bounds on figures of the report, as data.

use crate::report::Report;

/// A bound on a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    words: &'static str,
    case: &'static str,
    figure: Figure,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    /// A ratio of CPU time in a contest, `weir/envoy`.
    Ratio(&'static str, &'static str),
    /// A figure of the case itself.
    Own(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    goal: &'static Goal,
    figure: Option<f64>,
}

use Bound::{AtLeast, AtMost};
use Figure::{Own, Ratio};

const fn goal(words: &'static str, case: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { words, case, figure, bound }
}

const GOALS: &[Goal] = &[
    goal(
        "Gateway, HTTP/1.1, 64 connections, CPU beside Envoy",
        "gateway-http",
        Ratio("64 connections", "weir/envoy"),
        AtMost(0.36),
    ),
    goal(
        "Gateway, HTTP/1.1, 8 connections, CPU beside Envoy",
        "gateway-http",
        Ratio("8 connections", "weir/envoy"),
        AtMost(0.36),
    ),
    goal(
        "Gateway, HTTP/1.1, 64 connections, CPU beside nginx",
        "gateway-http",
        Ratio("64 connections", "weir/nginx"),
        AtMost(1.10),
    ),
    goal(
        "Gateway, HTTP/1.1, 8 connections, CPU beside nginx",
        "gateway-http",
        Ratio("8 connections", "weir/nginx"),
        AtMost(1.10),
    ),
    goal(
        "Gateway, 1,000 routes beside one",
        "gateway-http",
        Ratio("64 connections", "weir-1000-routes/weir"),
        AtMost(1.05),
    ),
    goal(
        "Gateway HTTPS, mutual TLS to a pod, CPU beside Envoys",
        "gateway-https",
        Ratio("64 connections", "weir/two-envoys"),
        AtMost(0.40),
    ),
    goal(
        "mesh, two nodes, HTTP/1.1, CPU beside two Envoys",
        "mesh-http",
        Ratio("64 connections", "weir/two-envoys"),
        AtMost(0.40),
    ),
    goal(
        "mesh, same node, beside our own two nodes",
        "mesh-http",
        Ratio("64 connections", "weir-same-node/weir"),
        AtMost(0.60),
    ),
    goal(
        "mesh, gRPC unary, CPU beside two Envoys",
        "mesh-grpc",
        Ratio("unary", "weir/two-envoys"),
        AtMost(0.50),
    ),
    goal(
        "mesh, gRPC streaming, CPU beside two Envoys",
        "mesh-grpc",
        Ratio("streaming", "weir/two-envoys"),
        AtMost(0.50),
    ),
    goal(
        "L4 mutual TLS, sending, CPU a GB beside two Envoys",
        "l4-mtls",
        Ratio("up", "weir/two-envoys"),
        AtMost(0.70),
    ),
    goal(
        "L4 mutual TLS, receiving, CPU a GB beside two Envoys",
        "l4-mtls",
        Ratio("down", "weir/two-envoys"),
        AtMost(0.70),
    ),
    goal(
        "L4 same node, sending, CPU a GB beside one Envoy",
        "l4-plain",
        Ratio("up", "weir/envoy"),
        AtMost(0.40),
    ),
    goal(
        "L4 same node, receiving, CPU a GB beside one Envoy",
        "l4-plain",
        Ratio("down", "weir/envoy"),
        AtMost(0.40),
    ),
    goal("full handshakes a CPU second over Envoy's", "handshakes", Own("full over envoy"), AtLeast(1.3)),
    goal(
        "resumed handshakes a CPU second over Envoy's",
        "handshakes",
        Own("resumed over envoy"),
        AtLeast(1.3),
    ),
    goal(
        "resumed handshakes a CPU second over our full ones",
        "handshakes",
        Own("resumed over full"),
        AtLeast(2.5),
    ),
    goal(
        "new connections in the mesh a CPU second over Envoys'",
        "handshakes",
        Own("mesh over two-envoys"),
        AtLeast(1.3),
    ),
    goal("latency added at 1,000 requests a second, p50, ms", "latency", Own("added p50, ms"), AtMost(0.12)),
    goal("latency added at 1,000 requests a second, p99, ms", "latency", Own("added p99, ms"), AtMost(0.25)),
    goal("latency added, p50, beside two Envoys", "latency", Own("added p50 over the Envoys'"), AtMost(1.0)),
    goal("latency added, p99, beside two Envoys", "latency", Own("added p99 over the Envoys'"), AtMost(1.0)),
    goal("outside the mesh, BPF time a connect, µs", "outside", Own("µs a connect"), AtMost(1.0)),
    goal("outside the mesh, runs of BPF programs a packet", "outside", Own("runs a packet"), AtMost(0.001)),
    goal("two workers over one, by CPU time", "scale", Own("two workers over one"), AtLeast(1.8)),
    goal("node RSS with 20 pods at rest, MB", "memory", Own("RSS with 20 pods, MB"), AtMost(20.0)),
    goal("an idle L4 connection, KB of a node", "memory", Own("KB an idle L4 connection"), AtMost(8.0)),
    goal(
        "an idle HTTP/1.1 connection, KB of a node",
        "memory",
        Own("KB an idle HTTP/1.1 connection"),
        AtMost(8.0),
    ),
    goal("idle connections held", "memory", Own("idle connections held"), AtLeast(10_000.0)),
    goal(
        "soak, RSS at the end over that at the beginning",
        "soak",
        Own("RSS at the end over that at the beginning"),
        AtMost(1.05),
    ),
    goal(
        "10,000 Services, memory of a node for them, MB",
        "configuration",
        Own("RSS of a node more than without, MB"),
        AtMost(200.0),
    ),
    goal(
        "10,000 Services, first full load of a node, s",
        "configuration",
        Own("first full load of a node, s"),
        AtMost(3.0),
    ),
    goal(
        "10,000 Services, compile of an endpoint's change, ms",
        "configuration",
        Own("compile of an endpoint's change, ms"),
        AtMost(1.0),
    ),
    goal(
        "10,000 Services, compile of a weight's change, ms",
        "configuration",
        Own("compile of a weight's change, ms"),
        AtMost(1.0),
    ),
    goal(
        "the same, endpoint, over that at 100 Services",
        "configuration",
        Own("compile of an endpoint's change over that at 100 Services"),
        AtMost(2.0),
    ),
    goal(
        "the same, weight, over that at 100 Services",
        "configuration",
        Own("compile of a weight's change over that at 100 Services"),
        AtMost(2.0),
    ),
    goal(
        "10,000 Services, a change to one node, KB",
        "configuration",
        Own("KB of a change to a node"),
        AtMost(10.0),
    ),
    goal(
        "10,000 Services, a change live in the proxy, p99, ms",
        "configuration",
        Own("live, p99, ms"),
        AtMost(50.0),
    ),
    goal(
        "10,000 Services, RSS of mesh-operator, MB",
        "configuration",
        Own("RSS of mesh-operator, MB"),
        AtMost(600.0),
    ),
    goal(
        "mesh-operator under 1,000 endpoint changes a second, processors",
        "configuration",
        Own("processors of mesh-operator under changes of endpoints"),
        AtMost(1.0),
    ),
    goal(
        "changes a second that it was under",
        "configuration",
        Own("changes of endpoints a second"),
        AtLeast(950.0),
    ),
    goal(
        "slow reader, HTTP/1.1, KB of a node",
        "slow-reader",
        Own("KB an HTTP/1.1 answer that is not read"),
        AtMost(512.0),
    ),
    goal(
        "slow reader, HTTP/1.1, KB more 3 s later",
        "slow-reader",
        Own("KB more later, HTTP/1.1"),
        AtMost(16.0),
    ),
    goal(
        "slow reader, L4, KB of a node",
        "slow-reader",
        Own("KB an L4 connection that is not read"),
        AtMost(512.0),
    ),
    goal("slow reader, L4, KB more 3 s later", "slow-reader", Own("KB more later, L4"), AtMost(16.0)),
    goal(
        "heads of 10 MB answered 431, share",
        "large",
        Own("share of heads of 10 MB answered 431"),
        AtLeast(1.0),
    ),
    goal(
        "MB that a node holds more after 10 MB messages, 16 at once",
        "large",
        Own("MB that a node holds more afterwards"),
        AtMost(32.0),
    ),
    goal(
        "5,000 connections at once, answered",
        "burst",
        Own("of 5,000 connections answered"),
        AtLeast(5000.0),
    ),
    goal(
        "early answers that arrive, share",
        "early-answer",
        Own("share of early answers that arrived"),
        AtLeast(1.0),
    ),
    goal(
        "50 quiet pods beside a hot one, p99 over without",
        "noisy",
        Own("p99 of the quiet beside a hot pod, over without"),
        AtMost(2.0),
    ),
    goal(
        "a change every 10 ms, p99 over without",
        "changes",
        Own("p99 under changes over without"),
        AtMost(2.0),
    ),
];

pub(crate) fn judge(report: &Report) -> Vec<Verdict> {
    GOALS.iter().map(|goal| Verdict { goal, figure: goal.figure(report) }).collect()
}

/// One line a goal.
pub(crate) fn lines(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let [word, figure, bound, words] = verdict.words();
        text.push_str(&format!("{word:12}  {figure:>9}  {bound:>8}  {words}\n"));
    }
    text
}

impl Goal {
    fn figure(&self, report: &Report) -> Option<f64> {
        let outcome = &report.cases.get(self.case)?.outcome;
        match self.figure {
            Ratio(contest, pair) => outcome.standing(contest)?.ratios.get(pair).copied(),
            Own(name) => outcome.figures.get(name).copied(),
        }
    }
}

impl Verdict {
    /// Whether it is met, the figure, its bound, and what it is.
    pub(crate) fn words(&self) -> [String; 4] {
        let (word, figure) = match self.figure {
            None => ("not measured", "-".to_owned()),
            Some(figure) if self.is_missed() => ("MISSED", format!("{figure:.3}")),
            Some(figure) => ("met", format!("{figure:.3}")),
        };
        let bound = match self.goal.bound {
            AtMost(bound) => format!("≤ {bound}"),
            AtLeast(bound) => format!("≥ {bound}"),
        };
        [word.to_owned(), figure, bound, self.goal.words.to_owned()]
    }

    pub(crate) fn is_missed(&self) -> bool {
        match (self.figure, self.goal.bound) {
            (None, _) => false,
            (Some(figure), AtMost(bound)) => figure.is_nan() || figure > bound,
            (Some(figure), AtLeast(bound)) => figure.is_nan() || figure < bound,
        }
    }
}
