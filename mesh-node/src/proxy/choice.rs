//! Which endpoint of a Service a client gets: the one that it has, where a route persists its session or the Service has session
//! affinity, else by load.

use std::net::IpAddr;
use std::time::Instant;

use mesh_ir::eval::balance::by_load;
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::name::Uid;
use mesh_ir::view::{Endpoint, PortView};

use super::Worker;
use super::affinity::Key;

/// For whom an endpoint is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'u> {
    /// What session affinity knows it by: a pod's own address, or the peer of a Gateway's connection. `None` for one
    /// that cannot be told from others.
    pub(super) address: Option<IpAddr>,
    pub(super) origin: Origin,
    /// The endpoint that it had, where a route persists sessions.
    pub(super) persistent: Option<&'u Uid>,
}

/// Chooses anew around an endpoint that could not be reached, for the client's session too.
pub(super) fn endpoint<'p>(
    worker: &Worker,
    port: &'p PortView,
    client: Client<'_>,
    failed: Option<&Uid>,
    now: Instant,
) -> Option<&'p Endpoint> {
    let endpoints = port.endpoints(client.origin);
    let place = |uid: &Uid| endpoints.binary_search_by(|endpoint| endpoint.workload().uid.cmp(uid)).ok();
    let avoided = failed.and_then(place);
    if let Some(at) = client.persistent.and_then(place).filter(|at| Some(*at) != avoided) {
        return endpoints.get(at);
    }
    let loads = worker.loads(port.transport);
    let lightest = || lightest(endpoints.len(), avoided, |at| loads.of(&endpoints[at], now));
    let at = match (port.session_affinity, client.address) {
        (Some(timeout), Some(client)) => {
            let key = Key { client, service: port.service.clone(), port: (port.transport, port.port) };
            worker.state.affinities.stick(key, timeout, now, |kept| {
                let kept = kept.and_then(place).filter(|at| Some(*at) != avoided);
                let at = kept.or_else(lightest)?;
                Some((at, endpoints[at].workload().uid.clone()))
            })?
        }
        _ => lightest()?,
    };
    endpoints.get(at)
}

fn lightest(count: usize, avoided: Option<usize>, load: impl Fn(usize) -> f64) -> Option<usize> {
    let below = |end| fastrand::usize(..end);
    match avoided {
        Some(avoided) if count > 1 => {
            let others = |at: usize| if at < avoided { at } else { at + 1 };
            by_load(count - 1, below, |at| load(others(at))).map(others)
        }
        _ => by_load(count, below, load),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_goes_around_what_failed_while_there_is_another() {
        for avoided in 0..3 {
            let chosen: std::collections::BTreeSet<_> =
                (0..200).filter_map(|_| lightest(3, Some(avoided), |_| 1.0)).collect();
            assert_eq!(chosen.len(), 2);
            assert!(!chosen.contains(&avoided));
        }
        assert_eq!(lightest(1, Some(0), |_| 1.0), Some(0));
        assert_eq!(lightest(0, None, |_| 1.0), None);
    }
}
