//! The allow-list: what may pass for a while, with a reason.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

/// A day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date {
    year: i64,
    month: u8,
    day: u8,
}

impl Date {
    /// Today, in UTC, as the system has it.
    #[must_use]
    pub fn today() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let days = now.map_or(0, |since| since.as_secs() / 86_400);
        Self::of_days(i64::try_from(days).unwrap_or(i64::MAX / 2))
    }

    /// The day that is `days` after the first of January 1970.
    fn of_days(days: i64) -> Self {
        // Years that begin in March have their leap day at the end; 400 of them repeat.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let small = |number: i64| u8::try_from(number).unwrap_or(u8::MAX);
        Self {
            year,
            month: small(month),
            day: small(day),
        }
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no date: expected one as 2027-01-31");
        let mut parts = text.split('-');
        let mut part = |len: usize| {
            let digits = parts.next().filter(|digits| digits.len() == len)?;
            digits.parse::<u16>().ok()
        };
        let (year, month, day) = (part(4), part(2), part(2));
        let (Some(year), Some(month), Some(day), None) = (year, month, day, parts.next()) else {
            return Err(bad());
        };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 => 28 + u16::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=12).contains(&month) || !(1..=last).contains(&day) {
            return Err(bad());
        }
        let small = |number: u16| u8::try_from(number).map_err(|_| bad());
        Ok(Self {
            year: i64::from(year),
            month: small(month)?,
            day: small(day)?,
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<toml::Spanned<Raw>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    rule: String,
    component: String,
    reason: String,
    expires: String,
}

/// An entry of the allow-list.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pub(crate) rule: String,
    pub(crate) component: String,
    pub(crate) reason: String,
    pub(crate) expires: Date,
    pub(crate) line: usize,
}

/// Reads an allow-list.
pub(crate) fn parse(text: &str) -> Result<Vec<Allow>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let entry = |raw: toml::Spanned<Raw>| {
        let before = text.get(..raw.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let raw = raw.into_inner();
        let at = |error: String| format!("line {line}: {error}");
        if crate::rules::find(&raw.rule).is_none() {
            return Err(at(format!("there is no rule `{}`", raw.rule)));
        }
        if raw.reason.trim().is_empty() {
            return Err(at("an entry needs a reason".to_owned()));
        }
        Ok(Allow {
            expires: raw.expires.parse().map_err(at)?,
            rule: raw.rule,
            component: raw.component,
            reason: raw.reason,
            line,
        })
    };
    file.allow.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        let check = |days, text: &str| assert_eq!(Date::of_days(days).to_string(), text);
        check(0, "1970-01-01");
        check(59, "1970-03-01");
        check(11_016, "2000-02-29");
        check(11_017, "2000-03-01");
        check(20_818, "2026-12-31");
        check(20_819, "2027-01-01");
    }

    #[test]
    fn dates_are_read_and_refused() {
        assert_eq!(
            "2027-01-31".parse::<Date>().unwrap().to_string(),
            "2027-01-31"
        );
        assert!("2028-02-29".parse::<Date>().is_ok());
        for bad in [
            "2027-02-29",
            "2027-13-01",
            "2027-1-1",
            "soon",
            "2027-01-01-01",
            "",
        ] {
            assert!(bad.parse::<Date>().is_err(), "{bad}");
        }
        assert!("2027-01-31".parse::<Date>().unwrap() < "2027-02-01".parse().unwrap());
    }
}
