//! The dice of weighted choices. Independent throws stray: of a thousand requests at 90 to 10, one run in six hundred would be
//! off by three in a hundred. Each rule has a sequence of its own that fills the range evenly instead (steps of the
//! golden ratio, from a random start), so that a split is right after few requests already. Its own, because one
//! that rules shared would lean where one rule's choice causes the requests of another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use mesh_ir::view::PreparedRule;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// Beyond so many rules all sequences begin anew.
const MAX_RULES: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Rolls(RefCell<HashMap<u64, u64>>);

impl Rolls {
    /// The next number for a rule; over many calls uniform over all `u64`.
    pub(super) fn next(&self, rule: &PreparedRule) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&rule.route, rule.index).hash(&mut hasher);
        let mut sequences = self.0.borrow_mut();
        if sequences.len() >= MAX_RULES {
            sequences.clear();
        }
        let roll = sequences.entry(hasher.finish()).or_insert_with(|| fastrand::u64(..));
        *roll = roll.wrapping_add(STEP);
        *roll
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_ir::resource::{RouteKey, RouteKind};

    fn rule(index: usize) -> PreparedRule {
        let route = RouteKey { kind: RouteKind::Http, name: "shop/split".parse().unwrap() };
        PreparedRule { route, index, rule: mesh_ir::resource::Rule::default() }
    }

    #[test]
    fn rolls_split_evenly_though_one_choice_causes_another() {
        let rolls = Rolls::default();
        let tenth = u64::MAX / 10;
        let mut minor = 0;
        for _ in 0..1000 {
            if rolls.next(&rule(0)) < tenth {
                minor += 1;
                // As a canary that calls another split Service.
                rolls.next(&rule(1));
            }
        }
        assert!((97..=103).contains(&minor), "{minor} of 1000 at one in ten");
    }
}
