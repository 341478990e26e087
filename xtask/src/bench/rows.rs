//! What is measured, in which unit, and what it is to reach.

use std::time::Duration;

use super::measured::{Measured, Work};

/// What a figure is given in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    MegaKeys,
    MegaEntries,
    GigaBytes,
    Micros,
    Millis,
    Seconds,
}

impl Unit {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::MegaKeys => "Mkeys/s",
            Self::MegaEntries => "Mentries/s",
            Self::GigaBytes => "GB/s",
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::Seconds => "s",
        }
    }

    /// Whether more is better.
    pub(super) const fn is_rate(self) -> bool {
        matches!(self, Self::MegaKeys | Self::MegaEntries | Self::GigaBytes)
    }

    /// What `work` in `time` comes to.
    pub(super) fn of(self, time: Duration, work: Work) -> f64 {
        let seconds = time.as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        let rate = |amount: u64| amount as f64 / seconds.max(f64::MIN_POSITIVE);
        match self {
            Self::MegaKeys | Self::MegaEntries => rate(work.elements) / 1e6,
            Self::GigaBytes => rate(work.bytes) / 1e9,
            Self::Micros => seconds * 1e6,
            Self::Millis => seconds * 1e3,
            Self::Seconds => seconds,
        }
    }
}

/// What a figure is to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Reach {
    /// Nothing is asked.
    None,
    /// So many times the C of this name.
    Yardstick(&'static str, f64),
    /// The same, and so much of what memcpy does in bytes.
    YardstickAndCopy(&'static str, f64, f64),
    /// Cost that grows with the work, from a tenth of it on: the exponent at most.
    Linear(f64),
    /// The cost of another row, times so much at most.
    Row(&'static str, f64),
    /// So many times as fast as another row.
    Over(&'static str, f64),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) reach: Reach,
}

const fn row(name: &'static str, unit: Unit, reach: Reach) -> Row {
    Row { name, unit, reach }
}

/// The workloads that are timed inside one process, in the table's order.
pub(super) const ROWS: &[Row] = &{
    use Reach::{None, Over, Yardstick, YardstickAndCopy};
    use Unit::{GigaBytes, MegaEntries, MegaKeys, Micros, Millis};
    [
        row("memcpy", GigaBytes, None),
        row("memset", GigaBytes, None),
        row("compute", Millis, None),
        row("compute_threads", Millis, Over("compute", 1.5)),
        row(
            "radix_add_contig_o0",
            MegaKeys,
            Yardstick("radix_add_contig_o0", 1.0),
        ),
        row(
            "radix_del_contig_o0",
            MegaKeys,
            Yardstick("radix_del_contig_o0", 1.0),
        ),
        row(
            "radix_walk_dense",
            MegaKeys,
            Yardstick("radix_walk_dense", 1.0),
        ),
        row(
            "radix_iterate_dense",
            MegaKeys,
            Yardstick("radix_walk_dense", 1.0),
        ),
        row(
            "radix_add_random_1Tspan",
            MegaKeys,
            Yardstick("radix_add_random_1Tspan", 1.2),
        ),
        row(
            "radix_walk_sparse",
            MegaKeys,
            Yardstick("radix_walk_sparse", 1.3),
        ),
        row("radix_walk_runs_sparse", MegaKeys, None),
        row(
            "radix_iterate_sparse",
            MegaKeys,
            Yardstick("radix_walk_sparse", 1.3),
        ),
        row("radix_preserved_dense", MegaKeys, None),
        row("radix_preserved_sparse", MegaKeys, None),
        row(
            "radix_add_1TiB_as_2M",
            Millis,
            Yardstick("radix_add_1TiB_as_2M", 5.0),
        ),
        row(
            "radix_add_1TiB_as_2M_each",
            Millis,
            Yardstick("radix_add_1TiB_as_2M", 1.0),
        ),
        row(
            "radix_walk_1TiB_as_2M",
            Millis,
            Yardstick("radix_walk_1TiB_as_2M", 5.0),
        ),
        row(
            "radix_walk_1TiB_as_2M_each",
            Millis,
            Yardstick("radix_walk_1TiB_as_2M", 1.0),
        ),
        row(
            "radix_iterate_1TiB_as_2M",
            Millis,
            Yardstick("radix_walk_1TiB_as_2M", 1.0),
        ),
        row(
            "radix_preserve_range_dense",
            MegaKeys,
            Yardstick("radix_add_contig_o0", 50.0),
        ),
        row(
            "radix_walk_runs_dense",
            MegaKeys,
            Yardstick("radix_walk_dense", 50.0),
        ),
        row("radix_shared_add_contig_o0", MegaKeys, None),
        row(
            "radix_shared_add_contig_o0_threads",
            MegaKeys,
            Over("radix_shared_add_contig_o0", 1.5),
        ),
        row("radix_shared_add_random_1Tspan", MegaKeys, None),
        row(
            "radix_shared_add_random_1Tspan_threads",
            MegaKeys,
            Over("radix_shared_add_random_1Tspan", 1.5),
        ),
        row(
            "radix_walk_dense_threads",
            MegaKeys,
            Over("radix_walk_dense", 1.5),
        ),
        row(
            "radix_walk_sparse_threads",
            MegaKeys,
            Over("radix_walk_sparse", 1.5),
        ),
        row(
            "block_grow_per_entry",
            MegaEntries,
            Yardstick("block_grow_per_entry", 1.0),
        ),
        row(
            "block_write_32B",
            MegaEntries,
            YardstickAndCopy("block_write_32B", 1.0, 0.8),
        ),
        row(
            "block_write_32B_slices",
            MegaEntries,
            YardstickAndCopy("block_write_32B", 1.0, 0.8),
        ),
        row(
            "block_read_32B",
            MegaEntries,
            Yardstick("block_read_32B", 1.0),
        ),
        row("block_restore", Millis, Yardstick("block_restore", 1.0)),
        row("inspect_capture", Millis, None),
        row("abi_check", Millis, None),
        row("compat_verdict", Micros, None),
    ]
};

/// How a figure and what it is to reach compare.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reached {
    /// The ratio as it is asked for, in words: `1.21x C`.
    pub(super) is: String,
    pub(super) asked: String,
    pub(super) reached: bool,
}

/// What the rows are compared with.
pub(super) struct Others<'a> {
    /// By name and value, as the peer printed them.
    pub(super) yardstick: &'a [(String, f64)],
    /// Everything that was measured.
    pub(super) measured: &'a [Measured],
}

impl Others<'_> {
    fn yardstick(&self, name: &str) -> Option<f64> {
        let mut all = self.yardstick.iter();
        all.find(|(other, _)| other == name)
            .map(|(_, value)| *value)
    }

    fn own(&self, name: &str) -> Option<&Measured> {
        self.measured
            .iter()
            .find(|m| m.name == name && m.by == "kho")
    }

    /// The yardstick's own figure, where it is of the row's name.
    pub(super) fn yardstick_of(&self, row: &Row) -> Option<f64> {
        self.yardstick(row.name)
    }

    /// How `measured` does, as far as there is something to compare with.
    pub(super) fn reached(&self, row: &Row, measured: &Measured) -> Option<Reached> {
        let own = measured.best(row.unit);
        let ratio = |name| {
            let other = self.yardstick(name)?;
            Some(if row.unit.is_rate() {
                own / other
            } else {
                other / own
            })
        };
        match row.reach {
            Reach::None => None,
            Reach::Yardstick(name, times) => ratio(name).map(|is| Reached {
                is: times_of(is),
                asked: times_of(times),
                reached: is >= times,
            }),
            Reach::YardstickAndCopy(name, times, part) => {
                let copy = self.own("memcpy")?.best(Unit::GigaBytes);
                let of_copy = measured.best(Unit::GigaBytes) / copy;
                let is = ratio(name);
                let with = |c: Option<f64>, copy: f64| match c {
                    Some(c) => format!("{}, {copy:.2} memcpy", times_of(c)),
                    None => format!("{copy:.2} memcpy"),
                };
                Some(Reached {
                    is: with(is, of_copy),
                    asked: with(is.map(|_| times), part),
                    reached: of_copy >= part && is.is_none_or(|is| is >= times),
                })
            }
            Reach::Linear(most) => measured.exponent.map(|is| Reached {
                is: format!("n^{is:.2}"),
                asked: format!("n^{most:.2}"),
                reached: is <= most,
            }),
            Reach::Over(name, least) => {
                let one = self.own(name)?.best(row.unit);
                let is = if row.unit.is_rate() {
                    own / one
                } else {
                    one / own
                };
                Some(Reached {
                    is: format!("{} one thread", times_of(is)),
                    asked: times_of(least),
                    reached: is >= least,
                })
            }
            Reach::Row(name, most) => {
                let is = own / self.own(name)?.best(row.unit);
                Some(Reached {
                    is: format!("{} the cost", times_of(is)),
                    asked: format!("{} at most", times_of(most)),
                    reached: is <= most,
                })
            }
        }
    }
}

fn times_of(ratio: f64) -> String {
    if ratio >= 20.0 {
        format!("{ratio:.0}x")
    } else {
        format!("{ratio:.2}x")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, nanos: u64, elements: u64, bytes: u64) -> Measured {
        Measured {
            name: name.to_owned(),
            by: "kho".to_owned(),
            best: Duration::from_nanos(nanos),
            median: Duration::from_nanos(nanos),
            runs: 1,
            work: Work { elements, bytes },
            exponent: None,
        }
    }

    fn reached(name: &str, all: &[Measured], yardstick: &[(String, f64)]) -> Option<Reached> {
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        let others = Others {
            yardstick,
            measured: all,
        };
        others.reached(row, others.own(name).unwrap())
    }

    #[test]
    fn rates_and_times_compare_the_right_way_round() {
        let yardstick = [
            ("radix_add_1TiB_as_2M", 1.6),
            ("radix_walk_sparse", 80.0),
            ("block_write_32B", 400.0),
        ];
        let yardstick = yardstick.map(|(name, value)| (name.to_owned(), value));
        // 0.16 ms for 1.6; 100 Mkeys/s for 80.
        let all = [
            measured("radix_add_1TiB_as_2M", 160_000, 1, 0),
            measured("radix_walk_sparse", 10_000, 1000, 0),
        ];
        let of = |name| reached(name, &all, &yardstick).unwrap();
        assert_eq!(
            (
                of("radix_add_1TiB_as_2M").is,
                of("radix_add_1TiB_as_2M").reached
            ),
            ("10.00x".to_owned(), true)
        );
        let sparse = of("radix_walk_sparse");
        assert_eq!(
            (sparse.is.as_str(), sparse.asked.as_str(), sparse.reached),
            ("1.25x", "1.30x", false)
        );
    }

    #[test]
    fn copying_is_a_bound_of_its_own() {
        // 500 Mentries/s are 16 GB/s, of 20.
        let all = [
            measured("block_write_32B", 2000, 1000, 32_000),
            measured("memcpy", 1000, 0, 20_000),
        ];
        let yardstick = [("block_write_32B".to_owned(), 400.0)];
        let both = reached("block_write_32B", &all, &yardstick).unwrap();
        assert_eq!(
            (both.is.as_str(), both.reached),
            ("1.25x, 0.80 memcpy", true)
        );
        let alone = reached("block_write_32B", &all, &[]).unwrap();
        assert_eq!(
            (alone.is.as_str(), alone.asked.as_str()),
            ("0.80 memcpy", "0.80 memcpy")
        );
    }
}
