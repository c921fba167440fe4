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
