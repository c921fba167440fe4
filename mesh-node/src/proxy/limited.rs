//! What is counted of Services that have limits of one kind, over all workers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use mesh_ir::name::ObjectName;
use mesh_ir::view::{MeshView, ServiceView};

/// `L` are the limits, `C` is what is counted against them.
#[derive(Debug)]
pub(super) struct Limited<L, C> {
    /// A Service's limits.
    limits: fn(&ServiceView) -> Option<&L>,
    /// Begins to count.
    begin: fn(&L) -> C,
    counted: RwLock<HashMap<ObjectName, Counted<L, C>>>,
}

#[derive(Debug)]
struct Counted<L, C> {
    limits: L,
    count: Arc<C>,
}

impl<L: Clone + PartialEq, C> Limited<L, C> {
    pub(super) fn new(limits: fn(&ServiceView) -> Option<&L>, begin: fn(&L) -> C) -> Self {
        Self { limits, begin, counted: RwLock::default() }
    }

    /// What is counted of a Service that has limits; nothing is locked for one that has none. When the limits change, it
    /// begins to count anew: what was counted before is not held against the new ones.
    pub(super) fn of(&self, view: &MeshView, service: &ObjectName) -> Option<Arc<C>> {
        let limits = (self.limits)(view.service(service)?)?;
        {
            let counted = self.counted.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = counted.get(service).filter(|found| found.limits == *limits) {
                return Some(found.count.clone());
            }
        }
        let mut counted = self.counted.write().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|name, found| {
            let limits = view.service(name).and_then(|service| (self.limits)(service));
            limits.is_some_and(|limits| *limits == found.limits)
        });
        let begin = || Counted { limits: limits.clone(), count: Arc::new((self.begin)(limits)) };
        Some(counted.entry(service.clone()).or_insert_with(begin).count.clone())
    }
}
