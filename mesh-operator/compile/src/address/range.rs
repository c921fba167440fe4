//! Ranges of addresses, as an AddressPool writes them.

use std::net::IpAddr;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// From the first to the last, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) family: Family,
    pub(super) first: u128,
    pub(super) last: u128,
}

impl Family {
    pub(super) fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// As a Service's `ipFamilies` has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(super) fn address(self, number: u128) -> IpAddr {
        match self {
            // Numbers of this family come from addresses of it.
            Self::V4 => IpAddr::V4((number as u32).into()),
            Self::V6 => IpAddr::V6(number.into()),
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl Range {
    pub(super) fn contains(&self, address: &IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&number(address))
    }

    pub(super) fn size(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// How many addresses are in both.
    pub(super) fn overlap(&self, other: &Range) -> u128 {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        if self.family != other.family || first > last {
            return 0;
        }
        (last - first).saturating_add(1)
    }
}

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is neither an address, a CIDR nor FIRST-LAST");
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
        let (first, last) = if let Some((first, last)) = text.split_once('-') {
            (address(first)?, address(last)?)
        } else if let Some((network, length)) = text.split_once('/') {
            let network = address(network)?;
            let family = Family::of(&network);
            let length: u32 = length.trim().parse().map_err(|_| wrong())?;
            let host_bits = family.bits().checked_sub(length).ok_or_else(wrong)?;
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or_default();
            if number(&network) & !mask != 0 {
                let network = family.address(number(&network) & mask);
                return Err(format!(
                    "{text} has bits set beyond its length; its network is {network}/{length}"
                ));
            }
            (network, family.address(number(&network) | (!mask & (u128::MAX >> (128 - family.bits())))))
        } else {
            (address(text)?, address(text)?)
        };
        if Family::of(&first) != Family::of(&last) {
            return Err(format!("{text} is a range from one address family to another"));
        }
        if first > last {
            return Err(format!("{text} ends before it begins"));
        }
        Ok(Self { family: Family::of(&first), first: number(&first), last: number(&last) })
    }
}

/// The same addresses in ranges that are sorted and apart.
pub(super) fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort();
    let mut apart: Vec<Range> = Vec::new();
    for range in ranges {
        match apart.last_mut() {
            Some(last) if last.family == range.family && range.first <= last.last => {
                last.last = last.last.max(range.last);
            }
            _ => apart.push(range),
        }
    }
    apart
}

fn number(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(*address).into(),
        IpAddr::V6(address) => (*address).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_every_form() {
        for (text, first, last) in [
            ("10.0.0.16/28", "10.0.0.16", "10.0.0.31"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("10.0.0.7/32", "10.0.0.7", "10.0.0.7"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.7"),
            ("10.0.0.5-10.0.0.9", "10.0.0.5", "10.0.0.9"),
            ("10.0.0.5 - 10.0.0.9", "10.0.0.5", "10.0.0.9"),
            ("fd00::/64", "fd00::", "fd00::ffff:ffff:ffff:ffff"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fd00::1-fd00::2", "fd00::1", "fd00::2"),
        ] {
            let range: Range = text.parse().unwrap();
            let shown =
                (range.family.address(range.first).to_string(), range.family.address(range.last).to_string());
            assert_eq!(shown, (first.into(), last.into()), "{text}");
        }
    }

    #[test]
    fn ranges_that_are_none_say_why() {
        for (text, part) in [
            ("", "neither"),
            ("10.0.0.1/33", "neither"),
            ("10.0.0.1/x", "neither"),
            ("10.0.0.1/24", "its network is 10.0.0.0/24"),
            ("10.0.0.1-fd00::1", "one address family to another"),
            ("10.0.0.9-10.0.0.1", "ends before it begins"),
            ("1-2-3", "neither"),
        ] {
            let problem = text.parse::<Range>().unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn ranges_that_overlap_become_one() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Range>>();
        let union = union(parse(&["10.0.0.8-10.0.0.20", "10.0.0.0/28", "fd00::1", "10.0.1.0/30"]));
        assert_eq!(union, parse(&["10.0.0.0-10.0.0.20", "10.0.1.0/30", "fd00::1"]));
    }
}
