//! How a setting's text is read and shown: durations, sizes, numbers, switches, choices and lists.
//! Both directions stand here so that what is shown can be written back.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Problem;

/// A value before its setting is known: text, or the items of a list in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// From the environment, a flag, or a scalar in the file.
    Text(String),
    /// From a list in the file.
    List(Vec<String>),
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Units of durations, longest first.
const UNITS: [(&str, u128); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of sizes, largest first.
const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Raw {
    /// One text, trimmed; an empty one is a problem.
    pub(super) fn text(&self) -> Result<&str, Problem> {
        let Self::Text(text) = self else {
            return Err(Problem::new("is a list", "give a single value"));
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(Problem::new(
                "is empty",
                "give a value, or leave the setting out",
            ));
        }
        Ok(text)
    }

    /// The items, trimmed; a text is split at its commas.
    pub(super) fn list(&self) -> Vec<&str> {
        let items: Vec<&str> = match self {
            Self::Text(text) => text.split(',').collect(),
            Self::List(items) => items.iter().map(String::as_str).collect(),
        };
        items
            .into_iter()
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect()
    }

    /// The URLs, trimmed. A text is split only at commas before another URL, because a password may
    /// have commas, too.
    pub(super) fn urls(&self) -> Vec<&str> {
        let Self::Text(text) = self else {
            return self.list();
        };
        let begins = |(at, _): &(usize, &str)| {
            let rest = text[at + 1..].trim_start();
            rest.starts_with("http://") || rest.starts_with("https://")
        };
        let ends = text.match_indices(',').filter(begins).map(|(at, _)| at);
        let mut urls = Vec::new();
        let mut start = 0;
        for end in ends.chain([text.len()]) {
            urls.push(text[start..end].trim_matches(|c: char| c == ',' || c.is_whitespace()));
            start = end + 1;
        }
        urls.retain(|url| !url.is_empty());
        urls
    }

    /// `on` or `off`; TOML's `true` and `false` mean the same.
    pub(super) fn switch(&self) -> Result<bool, Problem> {
        self.choice(&[
            ("on", true),
            ("off", false),
            ("true", true),
            ("false", false),
        ])
    }

    /// One of the named values.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Problem> {
        let text = self.text()?;
        choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Problem::new(
                    format!("does not know `{text}`"),
                    format!("use one of {}", names.join(", ")),
                )
            })
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, range: RangeInclusive<u32>) -> Result<u32, Problem> {
        let text = self.text()?;
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                Problem::new(
                    format!("`{text}` is not a whole number in range"),
                    format!("use {} to {}", range.start(), range.end()),
                )
            })
    }

    /// A number of bytes within `range`: `65536`, `64KiB`, `4MiB`.
    pub(super) fn size(&self, range: RangeInclusive<usize>) -> Result<usize, Problem> {
        let text = self.text()?;
        parse_size(text)
            .filter(|size| range.contains(size))
            .ok_or_else(|| {
                Problem::new(
                    format!("`{text}` is not a size in range"),
                    format!(
                        "use {} to {}, in bytes or as 64KiB, 4MiB",
                        show_size(*range.start()),
                        show_size(*range.end())
                    ),
                )
            })
    }

    /// A duration within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Problem> {
        duration(self.text()?, &range)
    }

    /// A duration within `range`, or `off`.
    pub(super) fn duration_or_off(
        &self,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, Problem> {
        if self.text()? == "off" {
            return Ok(None);
        }
        self.duration(range).map(Some).map_err(|problem| Problem {
            remedy: format!("{}, or off", problem.remedy),
            ..problem
        })
    }

    /// Distinct durations of whole seconds, longest first; `off` or an empty list is none.
    pub(super) fn warnings(&self) -> Result<Vec<Duration>, Problem> {
        let items = self.list();
        if items == ["off"] {
            return Ok(Vec::new());
        }
        let mut durations = Vec::with_capacity(items.len());
        for item in items {
            let warning = duration(item, &(SECOND..=DAY))?;
            if warning.subsec_nanos() != 0 {
                return Err(Problem::new(
                    format!("`{item}` is not a number of whole seconds"),
                    "events carry the warning in seconds: round it",
                ));
            }
            if durations.contains(&warning) {
                return Err(Problem::new(
                    format!("`{item}` is there twice"),
                    "name it once",
                ));
            }
            durations.push(warning);
        }
        durations.sort_unstable_by(|a, b| b.cmp(a));
        Ok(durations)
    }
}

fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Problem> {
    let Some(duration) = parse_duration(text) else {
        return Err(Problem::new(
            format!("`{text}` is not a duration"),
            "write it as 500ms, 30s, 5m, 2h, 7d or 1h30m",
        ));
    };
    if !range.contains(&duration) {
        return Err(Problem::new(
            format!("{text} is out of range"),
            format!(
                "use {} to {}",
                show_duration(*range.start()),
                show_duration(*range.end())
            ),
        ));
    }
    Ok(duration)
}

/// Reads `500ms`, `30s`, `5m`, `2h`, `7d` and sequences of them, longest unit first (`1h30m`).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u128 = 0;
    let mut last_unit = u128::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let (_, millis) = UNITS
            .into_iter()
            .find(|(unit, _)| *unit == &rest[..letters])?;
        if millis >= last_unit {
            return None;
        }
        last_unit = millis;
        total = total.checked_add(u128::from(number) * millis)?;
        rest = &rest[letters..];
    }
    if last_unit == u128::MAX {
        return None;
    }
    u64::try_from(total).ok().map(Duration::from_millis)
}

/// Writes a duration as [`parse_duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut shown = String::new();
    for (unit, millis) in UNITS {
        if rest >= millis {
            shown.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    shown
}

/// Writes a duration, or `off`.
pub(super) fn show_duration_or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_owned(), show_duration)
}

/// Writes durations as a list, or `off`.
pub(super) fn show_warnings(durations: &[Duration]) -> String {
    if durations.is_empty() {
        return "off".to_owned();
    }
    durations
        .iter()
        .map(|d| show_duration(*d))
        .collect::<Vec<_>>()
        .join(",")
}

/// Writes a switch.
pub(super) fn show_switch(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, factor) = SIZES
        .into_iter()
        .find_map(|(unit, factor)| {
            text.strip_suffix(unit)
                .map(|number| (number.trim_end(), factor))
        })
        .unwrap_or((text, 1));
    let number: u64 = number.parse().ok()?;
    usize::try_from(number.checked_mul(factor)?).ok()
}

/// Writes a size in its largest whole unit.
pub(super) fn show_size(size: usize) -> String {
    let size = size as u64;
    SIZES
        .into_iter()
        .find(|(_, factor)| size >= *factor && size.is_multiple_of(*factor))
        .map_or_else(
            || size.to_string(),
            |(unit, factor)| format!("{}{unit}", size / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_what_they_show() {
        for (text, millis, shown) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("7d", 604_800_000, "7d"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("0s", 0, "0s"),
            ("1s500ms", 1_500, "1s500ms"),
        ] {
            let duration = parse_duration(text);
            assert_eq!(duration, Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(
                duration.map(show_duration).as_deref(),
                Some(shown),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 m",
            "-5m",
            "1.5h",
            "5min",
            "5M",
            "30m1h",
            "5m5m",
            "99999999999999999999d",
            "é",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_read_back_what_they_show() {
        for (text, size, shown) in [
            ("4MiB", 4 << 20, "4MiB"),
            ("65536", 65_536, "64KiB"),
            ("1000", 1_000, "1000"),
            ("2 GiB", 2 << 30, "2GiB"),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
            assert_eq!(show_size(size), shown, "{text}");
        }
        for text in ["", "MiB", "4MB", "-1", "1.5MiB", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn warnings_are_distinct_whole_seconds_longest_first() {
        let text = |text: &str| Raw::Text(text.to_owned());
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(text("1m, 5m").warnings(), Ok(vec![minutes(5), minutes(1)]));
        assert_eq!(
            Raw::List(vec!["5m".to_owned()]).warnings(),
            Ok(vec![minutes(5)])
        );
        assert_eq!(text("off").warnings(), Ok(Vec::new()));
        assert_eq!(text("").warnings(), Ok(Vec::new()));
        for bad in ["500ms", "1s500ms", "5m,5m", "60s,1m", "x", "0s", "2d"] {
            assert!(text(bad).warnings().is_err(), "{bad}");
        }
    }
}
