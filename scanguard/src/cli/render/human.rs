//! Numbers and times as people read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary prefix: `48.0 MiB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The two largest parts of a duration: `2d 3h`, `4m 10s`, `7s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(parts.len() - 1);
    let shown =
        parts[first..].iter().take(2).enumerate().filter(|(position, (number, _))| *position == 0 || *number > 0);
    let shown: Vec<String> = shown.map(|(_, (number, unit))| format!("{number}{unit}")).collect();
    shown.join(" ")
}

/// How long before one RFC 3339 time another one was; the later time itself when they cannot be compared.
pub(super) fn ago(then: &str, now: &str) -> String {
    match (humantime::parse_rfc3339(then), humantime::parse_rfc3339(now)) {
        (Ok(then_time), Ok(now)) => format!("{} ago", duration(now.duration_since(then_time).unwrap_or_default())),
        _ => then.to_owned(),
    }
}

/// How long ago an RFC 3339 time was; none where it is no time, or not over.
pub(super) fn since(then: &str, now: std::time::SystemTime) -> Option<String> {
    let then = humantime::parse_rfc3339(then).ok()?;
    Some(duration(now.duration_since(then).ok()?))
}

/// An RFC 3339 time as people write it, to the second: `2026-03-01 12:00:00 UTC`.
pub(super) fn moment(time: &str) -> String {
    match humantime::parse_rfc3339(time) {
        Ok(time) => humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC"),
        Err(_) => time.to_owned(),
    }
}

/// One and many of a noun: `1 entry`, `3 entries`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1024, 50_331_648].map(bytes), ["0 B", "1023 B", "1.0 KiB", "48.0 MiB"]);
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        let rows = [(0, "0s"), (59, "59s"), (60, "1m"), (250, "4m 10s"), (7261, "2h 1m"), (180_000, "2d 2h")];
        for (seconds, expected) in rows {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(ago("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:07.500Z"), "7s ago");
        assert_eq!(ago("2026-01-01T00:00:09Z", "2026-01-01T00:00:07Z"), "0s ago");
        assert_eq!(moment("2026-01-01T00:00:07.123Z"), "2026-01-01 00:00:07 UTC");
        assert_eq!(moment("soon"), "soon");
        assert_eq!(
            counted(1, "entry", "entries") + ", " + &counted(1_000, "entry", "entries"),
            "1 entry, 1,000 entries"
        );
    }
}
