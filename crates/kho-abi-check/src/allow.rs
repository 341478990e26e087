//! The allow-list: what may pass for a while, with a reason.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

/// A day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date(toml::value::Date);

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
        Self(toml::value::Date {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: small(month),
            day: small(day),
        })
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.parse::<toml::value::Datetime>().ok();
        let day = read
            .filter(|read| read.time.is_none())
            .and_then(|read| read.date);
        day.map(Self)
            .ok_or_else(|| format!("{text:?} is no date: expected one as 2027-01-31"))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<toml::Spanned<Raw>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) rule: String,
    pub(crate) component: String,
    pub(crate) reason: String,
    expires: String,
}

/// An entry of the allow-list.
#[derive(Debug)]
pub(crate) struct Allow {
    pub(crate) raw: Raw,
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
        let expires = raw.expires.parse().map_err(at)?;
        Ok(Allow { raw, expires, line })
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
        let date = |text: &str| text.parse::<Date>();
        assert_eq!(date("2027-01-31").unwrap().to_string(), "2027-01-31");
        assert!(date("2028-02-29").is_ok());
        let bad = "2027-02-29 2027-13-01 2027-1-1 soon 2027-01-01-01 2027-01-01T00:00:00 00:00:00";
        for bad in bad.split(' ').chain(["", "2027-01-01 ", "2027-01-01Z"]) {
            assert!(date(bad).is_err(), "{bad}");
        }
        assert!(date("2027-01-31") < date("2027-02-01"));
    }
}
