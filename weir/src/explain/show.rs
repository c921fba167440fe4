//! The explanation as text.

use mesh_ir::resource::{CircuitBreaker, Mode, RetryBudget};

use super::answer::{
    Backend, Endpoint, Explanation, From, HandledAs, Health, Reached, Route, Rule, Timeouts, To,
};
use super::filter::percent;
use crate::text::columns;

pub(super) fn text(answer: &Explanation) -> String {
    let mut page = Page::default();
    page.line(&format!("{} {}", answer.request.method, answer.request.url));
    for (name, value) in &answer.request.headers {
        page.line(&format!("  {name}: {value}"));
    }
    page.line("");
    page.entry("from", &from(&answer.from));
    page.entry("to", &to(&answer.to, answer.handling.by));
    let handled = match answer.handling.by {
        HandledAs::LeftAlone => "not by the mesh: ",
        HandledAs::Refused => "refused: ",
        HandledAs::Http | HandledAs::Tcp | HandledAs::Udp => "",
    };
    page.entry("handled", &format!("{handled}{}", answer.handling.why));
    if answer.handling.by == HandledAs::Http || answer.route.is_some() {
        route(&mut page, answer.route.as_ref());
    }
    for aside in &answer.routes_aside {
        page.more(aside);
    }
    let of_requests = answer.handling.by == HandledAs::Http;
    if let Some(Route { rule: Some(_), .. }) = answer.route.as_ref().filter(|_| of_requests) {
        let redirects = answer.answer.as_ref().is_some_and(|answer| answer.location.is_some());
        if !(redirects && answer.filters.is_empty()) {
            page.entries("filters", &answer.filters);
        }
        page.entry("timeouts", &answer.timeouts.as_ref().map_or("none".into(), timeouts));
        if let Some(retries) = &answer.retries {
            page.entry("retries", retries);
        }
    }
    if let Some(reply) = &answer.answer {
        let location = reply.location.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        page.entry("answered", &format!("{}{location}: {}", reply.status, reply.reason));
    }
    for shown in &answer.backends {
        backend(&mut page, shown, answer.handling.by);
    }
    if !answer.warnings.is_empty() {
        page.line("");
        page.entries("PROBLEMS", &answer.warnings);
    }
    if !answer.limits.is_empty() {
        page.line("");
        page.line("Defaults that can refuse this traffic or cut it off, unless a node is set otherwise:");
        for limit in &answer.limits {
            page.line(&format!("  {limit}"));
        }
    }
    page.text
}

/// Entries of a word and what belongs to it, which stands in one column.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    const WIDTH: usize = 10;

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn entry(&mut self, word: &str, content: &str) {
        let width = Self::WIDTH;
        self.line(&format!("{word:width$}{content}"));
    }

    fn more(&mut self, content: &str) {
        self.entry("", content);
    }

    fn entries(&mut self, word: &str, contents: &[String]) {
        match contents.split_first() {
            None => self.entry(word, "none"),
            Some((first, rest)) => {
                self.entry(word, first);
                for content in rest {
                    self.more(content);
                }
            }
        }
    }
}

fn from(from: &From) -> String {
    match from {
        From::Outside => "outside the cluster".into(),
        From::Pod { name, node, meshed, identity, .. } => {
            let node = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            match identity {
                Some(identity) if *meshed => format!("pod {name}{node}, in the mesh as {identity}"),
                _ => format!("pod {name}{node}, not in the mesh"),
            }
        }
    }
}

fn to(to: &To, by: HandledAs) -> String {
    match to {
        To::Service { name, port, protocol, found } => {
            format!("Service {name} port {port} ({protocol}), found {found}")
        }
        To::HeadlessService { name, found } => format!("headless Service {name}, found {found}"),
        To::Workload { name, port, meshed } => {
            let meshed = if *meshed { "in the mesh" } else { "not in the mesh" };
            format!("pod {name} port {port}, {meshed}")
        }
        To::Gateway { name, port, listener, found } => {
            let listener = match listener {
                Some(listener) => format!(", listener {listener}"),
                None if by == HandledAs::Http => ", no listener serves this host".into(),
                None => String::new(),
            };
            format!("Gateway {name} port {port}{listener}, found {found}")
        }
        To::Elsewhere { what } => what.clone(),
    }
}

fn route(page: &mut Page, route: Option<&Route>) {
    let Some(Route { rule, passed_over }) = route else {
        return page.entry("route", "none is attached for this client: to the endpoints as they are");
    };
    match rule {
        Some(Rule { route, index, name, role, by }) => {
            let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            page.entry("route", &format!("{route} rules[{index}]{name}, by {by}"));
            page.more(role);
        }
        None => page.entry("route", "no rule takes it"),
    }
    for passed in passed_over {
        let same = rule.as_ref().is_some_and(|rule| rule.route == passed.route);
        let route = if same { String::new() } else { format!("{} ", passed.route) };
        page.more(&format!("{route}rules[{}] not: {}", passed.index, passed.because.join("; nor: ")));
    }
}

fn timeouts(timeouts: &Timeouts) -> String {
    let request = timeouts.request.as_ref().map(|time| format!("{time} for the request"));
    let attempt = timeouts.backend_request.as_ref().map(|time| format!("{time} for an attempt at a backend"));
    let both: Vec<String> = request.into_iter().chain(attempt).collect();
    if both.is_empty() { "none".into() } else { format!("{}; then 504", both.join(", ")) }
}

fn backend(page: &mut Page, backend: &Backend, by: HandledAs) {
    page.line("");
    let weight = backend.weight.map(|weight| format!(" (weight {weight})")).unwrap_or_default();
    page.entry(&percent(backend.percent), &format!("{}{weight}", backend.target));
    if let Some(reason) = &backend.invalid {
        let outcome = match by {
            HandledAs::Http => "answered 500",
            HandledAs::Udp => "dropped",
            _ => "refused",
        };
        return page.more(&format!("{outcome}: {reason}"));
    }
    for filter in &backend.filters {
        page.more(filter);
    }
    if let Some(breaker) = &backend.circuit_breaker {
        page.more(&format!("circuit breaker on each node: {}", breaker_words(breaker)));
    }
    if let Some(budget) = backend.retry_budget.as_ref().filter(|_| by == HandledAs::Http) {
        page.more(&format!("retry budget on each node: {}", budget_words(budget)));
    }
    if let Some(seconds) = backend.session_affinity {
        page.more(&format!(
            "session affinity: a client's address keeps its endpoint for {seconds} s after its last use"
        ));
    }
    if let Some(tls) = &backend.tls {
        page.more(&format!("its applications are spoken to {tls}"));
    }
    let rows: Vec<Vec<String>> = backend.endpoints.iter().map(|shown| endpoint(shown, by)).collect();
    if rows.is_empty() {
        page.more("no endpoints");
    }
    for line in columns(&rows) {
        page.more(&line);
    }
}

fn breaker_words(breaker: &CircuitBreaker) -> String {
    let requests = match (breaker.max_requests, breaker.max_pending_requests) {
        (None, _) => None,
        (Some(most), None) => Some(format!("requests {most} at once, any more wait")),
        (Some(most), Some(waiting)) => {
            Some(format!("requests {most} at once and {waiting} waiting, then 503"))
        }
    };
    let connections =
        breaker.max_connections.map(|most| format!("connections other than HTTP {most} at once, then reset"));
    let parts: Vec<String> = requests.into_iter().chain(connections).collect();
    if parts.is_empty() { "no limit on requests or connections".into() } else { parts.join("; ") }
}

fn budget_words(budget: &RetryBudget) -> String {
    let RetryBudget { percent, interval, min_retries, min_interval } = budget;
    format!(
        "{percent} % of the requests of {} ms, and {min_retries} retries within {} ms in any case",
        interval.as_millis(),
        min_interval.as_millis()
    )
}

fn endpoint(endpoint: &Endpoint, by: HandledAs) -> Vec<String> {
    let address =
        endpoint.address.map_or("no address of the client's family".into(), |address| address.to_string());
    let health = match (endpoint.health, endpoint.used) {
        (None, _) => "dialled itself",
        (Some(Health::Ready), true) => "ready",
        (Some(Health::Ready), false) => "ready, not used",
        (Some(Health::Draining), true) => "draining, used",
        (Some(Health::Draining), false) => "draining",
        (Some(Health::Unready), _) => "not ready",
    };
    let reached = match &endpoint.reached {
        Reached::WithinNode { identity } => format!("within the node, is {identity}"),
        Reached::PodNetwork { identity } => {
            format!("over the node's pod network in clear, is {identity}")
        }
        Reached::MutualTls { identity } => format!("mutual TLS, expecting {identity}"),
        Reached::MutualTlsOrWithinNode { node, identity } => {
            format!("mutual TLS, or within {node} if it comes in there, expecting {identity}")
        }
        Reached::Plaintext => "in clear".into(),
    };
    let admits = match (endpoint.mode, &endpoint.refusal) {
        (None, _) if by == HandledAs::Udp => "by UDP",
        (None, _) => "outside the mesh",
        (Some(Mode::Permissive), None) => "admitted (permissive)",
        (Some(Mode::Strict), None) => "admitted (strict)",
        (Some(_), Some(_)) => "REFUSED (strict)",
    };
    vec![
        endpoint.workload.to_string(),
        address,
        endpoint.node.as_ref().map_or("no node".into(), ToString::to_string),
        health.into(),
        reached,
        match &endpoint.unused {
            Some(why) => format!("{admits}; not used: {why}"),
            None => admits.into(),
        },
    ]
}
