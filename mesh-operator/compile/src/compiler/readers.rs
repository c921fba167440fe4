//! Which units looked up what. There are several look-ups for each Pod of the mesh, so each query and each unit is held
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Unit;
use crate::lookup::Query;

#[derive(Debug, Default)]
pub(super) struct Readers(BTreeMap<Arc<Query>, BTreeSet<Arc<Unit>>>);

impl Readers {
    /// The units that looked this up.
    pub(super) fn of(&self, query: &Query) -> impl Iterator<Item = &Arc<Unit>> {
        self.0.get(query).into_iter().flatten()
    }

    /// Takes note of what a unit looked up, in place of what it looked up before. Both are in order.
    pub(super) fn replace(
        &mut self,
        unit: &Arc<Unit>,
        before: &[Arc<Query>],
        now: Vec<Query>,
    ) -> Box<[Arc<Query>]> {
        for query in before.iter().filter(|query| now.binary_search(query).is_err()) {
            let Some(units) = self.0.get_mut(query) else { continue };
            units.remove(unit);
            if units.is_empty() {
                self.0.remove(query);
            }
        }
        let read = |query: Query| match before.binary_search_by(|known| (**known).cmp(&query)) {
            Ok(place) => before[place].clone(),
            Err(_) => {
                let query =
                    self.0.get_key_value(&query).map_or_else(|| Arc::new(query), |(known, _)| known.clone());
                self.0.entry(query.clone()).or_default().insert(unit.clone());
                query
            }
        };
        now.into_iter().map(read).collect()
    }
}
