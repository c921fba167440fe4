//! Choosing: a backend by weight, an endpoint by load. Randomness and load come from the caller.

use crate::resource::Backend;

/// The backend that `roll` (uniform over all `u64`) falls on, in proportion to the weights; `None` when no weight
/// is above zero.
pub fn by_weight(backends: &[Backend], roll: u64) -> Option<&Backend> {
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut left = ((u128::from(roll) * u128::from(total)) >> 64) as u64;
    backends.iter().find(|backend| {
        let weight = u64::from(backend.weight);
        let hit = left < weight;
        left = left.saturating_sub(weight);
        hit
    })
}

/// The power of two choices: of two endpoints drawn at random the one with less load. Returns its place.
pub fn by_load(
    count: usize,
    mut roll: impl FnMut(usize) -> usize,
    load: impl Fn(usize) -> f64,
) -> Option<usize> {
    match count {
        0 => None,
        1 => Some(0),
        _ => {
            let first = roll(count);
            let second = (first + 1 + roll(count - 1)) % count;
            Some(if load(second) < load(first) { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::BackendTarget;

    fn backend(weight: u32) -> Backend {
        Backend {
            weight,
            target: BackendTarget::Invalid { reason: String::new() },
            filters: Vec::new(),
            session: None,
        }
    }

    #[test]
    fn weights_divide_the_whole_range_of_rolls() {
        let backends = [backend(90), backend(0), backend(10)];
        let steps = 1000;
        let mut hits = [0; 3];
        for step in 0..steps {
            let roll = (u64::MAX / steps) * step + u64::MAX / steps / 2;
            let hit = by_weight(&backends, roll).unwrap();
            hits[backends.iter().position(|b| std::ptr::eq(b, hit)).unwrap()] += 1;
        }
        assert_eq!(hits, [900, 0, 100]);
        assert_eq!(by_weight(&backends, u64::MAX).unwrap().weight, 10);
        assert!(by_weight(&[backend(0)], 1).is_none());
        assert!(by_weight(&[], 1).is_none());
    }

    #[test]
    fn two_choices_are_distinct_and_the_lighter_one_wins() {
        for first in 0..4 {
            for second in 0..3 {
                let mut rolls = [first, second].into_iter();
                let chosen = by_load(4, |_| rolls.next().unwrap(), |i| if i == first { 2.0 } else { 1.0 });
                assert_ne!(chosen, Some(first));
            }
        }
        assert_eq!(by_load(0, |_| 0, |_| 0.0), None);
        assert_eq!(by_load(1, |_| unreachable!(), |_| 0.0), Some(0));
    }
}
