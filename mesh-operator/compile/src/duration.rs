//! Durations of the Gateway API (GEP-2257): one to four of hours, minutes, seconds and milliseconds, each with at
//! most five digits, as in `1h30m` or `500ms`.

use std::time::Duration;

/// `None` where the text is not of that form.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut milliseconds: u64 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) || parts == 4 {
            return None;
        }
        let (number, unit) = rest.split_at(digits);
        let (unit, length) = match unit.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b'h', ..] => (3_600_000, 1),
            [b'm', ..] => (60_000, 1),
            [b's', ..] => (1_000, 1),
            _ => return None,
        };
        milliseconds += number.parse::<u64>().ok()? * unit;
        rest = &rest[digits + length..];
        parts += 1;
    }
    (parts > 0).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_reads_gep_2257_and_nothing_else() {
        for (text, expected) in [
            ("1h", Some(3_600_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("1m1ms", Some(60_001)),
            ("0s", Some(0)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("1", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1d", None),
            ("1s2s3s4s5s", None),
            ("s", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), expected, "{text}");
        }
    }
}
