//! Circuit breakers: limits on what this node has open towards a Service, counted over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mesh_ir::name::ObjectName;
use mesh_ir::resource::CircuitBreaker;
use mesh_ir::view::MeshView;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limited::Limited;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Open {
    #[error("circuit breaker: maxRequests are under way and maxPendingRequests wait already")]
    Requests,
    #[error("circuit breaker: maxConnections are open already")]
    Connections,
}

#[derive(Debug)]
pub struct Breakers(Limited<CircuitBreaker, Breaker>);

#[derive(Debug)]
struct Breaker {
    limits: CircuitBreaker,
    requests: Option<Arc<Semaphore>>,
    connections: Option<Arc<Semaphore>>,
    pending: AtomicU32,
}

/// Counts towards the limit until it is dropped. Without a limit it counts nothing.
#[derive(Debug)]
pub struct Permit {
    _held: Option<OwnedSemaphorePermit>,
}

impl Default for Breakers {
    fn default() -> Self {
        Self(Limited::new(|service| service.circuit_breaker.as_ref(), Breaker::new))
    }
}

impl Breakers {
    /// Lets a request through at once, after waiting among the pending ones, or not at all.
    pub async fn request(&self, view: &MeshView, service: &ObjectName) -> Result<Permit, Open> {
        let Some(breaker) = self.0.of(view, service) else { return Ok(Permit { _held: None }) };
        let Some(requests) = &breaker.requests else { return Ok(Permit { _held: None }) };
        if let Ok(permit) = requests.clone().try_acquire_owned() {
            return Ok(Permit { _held: Some(permit) });
        }
        let _pending = Pending::enter(&breaker).ok_or(Open::Requests)?;
        let permit = requests.clone().acquire_owned().await;
        // The semaphore is never closed.
        Ok(Permit { _held: Some(permit.map_err(|_| Open::Requests)?) })
    }

    pub fn connection(&self, view: &MeshView, service: &ObjectName) -> Result<Permit, Open> {
        let Some(breaker) = self.0.of(view, service) else { return Ok(Permit { _held: None }) };
        let Some(connections) = &breaker.connections else { return Ok(Permit { _held: None }) };
        let permit = connections.clone().try_acquire_owned().map_err(|_| Open::Connections)?;
        Ok(Permit { _held: Some(permit) })
    }
}

impl Breaker {
    fn new(limits: &CircuitBreaker) -> Self {
        let semaphore = |limit: Option<u32>| limit.map(|limit| Arc::new(Semaphore::new(limit as usize)));
        Self {
            requests: semaphore(limits.max_requests),
            connections: semaphore(limits.max_connections),
            limits: limits.clone(),
            pending: AtomicU32::new(0),
        }
    }
}

/// A place among the requests that wait.
struct Pending<'b>(&'b Breaker);

impl<'b> Pending<'b> {
    fn enter(breaker: &'b Breaker) -> Option<Self> {
        let limit = breaker.limits.max_pending_requests.unwrap_or(u32::MAX);
        let entered = breaker.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pending| {
            (pending < limit).then(|| pending + 1)
        });
        // Made only when it was entered: dropping it leaves.
        entered.is_ok().then(|| Self(breaker))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use mesh_ir::config::Delta;
    use mesh_ir::resource::{Resource, Service};

    fn view(name: &ObjectName, limits: CircuitBreaker) -> MeshView {
        let service = Service {
            name: name.clone(),
            addresses: vec![],
            ports: vec![],
            udp_ports: vec![],
            session_affinity: None,
            internal_traffic_policy: mesh_ir::resource::TrafficPolicy::Cluster,
            circuit_breaker: Some(limits),
            retry_budget: None,
        };
        let upserts = vec![Arc::new(Resource::Service(service))];
        MeshView::default().apply(&Delta { upserts, removes: vec![] })
    }

    #[tokio::test]
    async fn breaker_lets_through_holds_back_and_refuses_by_its_limits() {
        let name: ObjectName = "shop/cart".parse().unwrap();
        let limits = CircuitBreaker {
            max_requests: Some(2),
            max_pending_requests: Some(1),
            ..CircuitBreaker::default()
        };
        let view = view(&name, limits);
        let breakers = Breakers::default();
        let first = breakers.request(&view, &name).await.unwrap();
        let _second = breakers.request(&view, &name).await.unwrap();
        let mut third = Box::pin(breakers.request(&view, &name));
        assert!((&mut third).now_or_never().is_none(), "one may wait");
        for _ in 0..3 {
            assert_eq!(breakers.request(&view, &name).await.unwrap_err(), Open::Requests);
        }
        drop(first);
        let third = third.await.unwrap();
        let mut fourth = Box::pin(breakers.request(&view, &name));
        assert!((&mut fourth).now_or_never().is_none(), "the place among the waiting is free again");
        drop(third);
        fourth.await.unwrap();
    }
}
