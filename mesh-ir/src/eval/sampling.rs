//! Which requests of a Gateway are traced.

use crate::resource::{Fraction, Tracing};

/// Whether a request is sampled. `by_client` is what its client says of it, where it takes part in tracing; `roll` is a number
/// by chance, uniform over all `u32`.
pub fn is_sampled(tracing: &Tracing, by_client: Option<bool>, roll: u32) -> bool {
    match (by_client, tracing.parent_based) {
        (Some(sampled), Some(fraction)) => sampled && is_within(fraction, roll),
        (None, _) | (_, None) => is_within(tracing.sampling, roll),
    }
}

fn is_within(fraction: Fraction, roll: u32) -> bool {
    let scaled = u64::from(roll) * u64::from(fraction.denominator);
    scaled < u64::from(fraction.numerator) << u32::BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Collector;

    const NONE: Fraction = Fraction { numerator: 0, denominator: 100 };
    const HALF: Fraction = Fraction { numerator: 1, denominator: 2 };
    const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };
    const ROLLS: [u32; 4] = [0, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX];

    fn tracing(sampling: Fraction, parent_based: Option<Fraction>) -> Tracing {
        Tracing {
            policy: "shop/traces".parse().unwrap(),
            collector: Collector {
                service: "shop/collector".parse().unwrap(),
                port: 4317,
                headers: Vec::new(),
            },
            sampling,
            parent_based,
            service_name: "front".into(),
            span_name: None,
            attributes: Vec::new(),
        }
    }

    #[track_caller]
    fn check(tracing: &Tracing, by_client: Option<bool>, expected: [bool; 4]) {
        assert_eq!(ROLLS.map(|roll| is_sampled(tracing, by_client, roll)), expected);
    }

    #[test]
    fn sampling_keeps_its_fraction() {
        check(&tracing(NONE, None), None, [false; 4]);
        check(&tracing(HALF, None), None, [true, true, false, false]);
        check(&tracing(ALL, None), None, [true; 4]);
        let tiny = Fraction { numerator: 1, denominator: i32::MAX as u32 };
        check(&tracing(tiny, None), None, [true, false, false, false]);
    }

    #[test]
    fn sampling_follows_the_client_where_it_is_to() {
        let follows = tracing(NONE, Some(HALF));
        check(&follows, Some(true), [true, true, false, false]);
        check(&follows, Some(false), [false; 4]);
        check(&follows, None, [false; 4]);
        let alone = tracing(ALL, None);
        check(&alone, Some(false), [true; 4]);
    }
}
