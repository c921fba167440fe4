//! The cases.

use crate::report::Outcome;
use crate::stage::Scene;

mod backend;
mod changes;
mod changing;
mod configuration;
mod gateway_http;
mod gateway_https;
mod handshakes;
mod held;
mod l4;
mod latency;
mod memory;
mod mesh_grpc;
mod mesh_http;
mod noisy;
mod outside;
mod pods;
mod rude;
mod scale;
mod secure;
mod slow_reader;
mod soak;

/// Something that is set up, put under load, and measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Scene<'_>) -> anyhow::Result<Outcome>,
}

pub(crate) const ALL: &[Case] = &[
    gateway_http::CASE,
    gateway_https::CASE,
    mesh_http::CASE,
    mesh_grpc::CASE,
    l4::MTLS,
    l4::PLAIN,
    handshakes::CASE,
    latency::CASE,
    outside::CASE,
    scale::CASE,
    memory::CASE,
    configuration::CASE,
    slow_reader::CASE,
    rude::LARGE,
    rude::BURST,
    rude::EARLY,
    noisy::CASE,
    changes::CASE,
    soak::CASE,
];

/// The cases of these names; all of them without a name.
pub(crate) fn named(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        let known = || ALL.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().find(|case| case.name == name);
        found.ok_or_else(|| anyhow::anyhow!("there is no case {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}
