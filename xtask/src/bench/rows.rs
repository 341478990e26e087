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

/// A row that is to reach so many times the C of its own name.
const fn own(name: &'static str, unit: Unit, times: f64) -> Row {
    row(name, unit, Reach::Yardstick(name, times))
}

/// The workloads that are timed inside one process, in the table's order.
pub(super) const ROWS: &[Row] = &{
    use Reach::{None, Over, Yardstick, YardstickAndCopy};
    use Unit::{GigaBytes, MegaEntries, MegaKeys, Micros, Millis};
    const DENSE: Reach = Yardstick("radix_walk_dense", 1.0);
    const SPARSE: Reach = Yardstick("radix_walk_sparse", 1.3);
    const ADD: Reach = Yardstick("radix_add_1TiB_as_2M", 1.0);
    const WALK: Reach = Yardstick("radix_walk_1TiB_as_2M", 1.0);
    const SHARED: Reach = Over("radix_shared_add_contig_o0", 1.5);
    const RANDOM: Reach = Over("radix_shared_add_random_1Tspan", 1.5);
    const WRITE: Reach = YardstickAndCopy("block_write_32B", 1.0, 0.8);
    const RANGE: Reach = Yardstick("radix_add_contig_o0", 50.0);
    const RUNS: Reach = Yardstick("radix_walk_dense", 50.0);
    const ALL_DENSE: Reach = Over("radix_walk_dense", 1.5);
    const ALL_SPARSE: Reach = Over("radix_walk_sparse", 1.5);
    [
        row("memcpy", GigaBytes, None),
        row("memset", GigaBytes, None),
        row("compute", Millis, None),
        row("compute_threads", Millis, Over("compute", 1.5)),
        own("radix_add_contig_o0", MegaKeys, 1.0),
        own("radix_del_contig_o0", MegaKeys, 1.0),
        own("radix_walk_dense", MegaKeys, 1.0),
        row("radix_iterate_dense", MegaKeys, DENSE),
        own("radix_add_random_1Tspan", MegaKeys, 1.2),
        row("radix_walk_sparse", MegaKeys, SPARSE),
        row("radix_walk_runs_sparse", MegaKeys, None),
        row("radix_iterate_sparse", MegaKeys, SPARSE),
        row("radix_preserved_dense", MegaKeys, None),
        row("radix_preserved_sparse", MegaKeys, None),
        own("radix_add_1TiB_as_2M", Millis, 5.0),
        row("radix_add_1TiB_as_2M_each", Millis, ADD),
        own("radix_walk_1TiB_as_2M", Millis, 5.0),
        row("radix_walk_1TiB_as_2M_each", Millis, WALK),
        row("radix_iterate_1TiB_as_2M", Millis, WALK),
        row("radix_preserve_range_dense", MegaKeys, RANGE),
        row("radix_walk_runs_dense", MegaKeys, RUNS),
        row("radix_shared_add_contig_o0", MegaKeys, None),
        row("radix_shared_add_contig_o0_threads", MegaKeys, SHARED),
        row("radix_shared_add_random_1Tspan", MegaKeys, None),
        row("radix_shared_add_random_1Tspan_threads", MegaKeys, RANDOM),
        row("radix_walk_dense_threads", MegaKeys, ALL_DENSE),
        row("radix_walk_sparse_threads", MegaKeys, ALL_SPARSE),
        own("block_grow_per_entry", MegaEntries, 1.0),
        row("block_write_32B", MegaEntries, WRITE),
        row("block_write_32B_slices", MegaEntries, WRITE),
        own("block_read_32B", MegaEntries, 1.0),
        own("block_restore", Millis, 1.0),
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
    /// What the peer has of this name.
    pub(super) fn yardstick(&self, name: &str) -> Option<f64> {
        let found = self.yardstick.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| *value)
    }

    fn own(&self, name: &str) -> Option<&Measured> {
        let mut all = self.measured.iter();
        all.find(|m| m.name == name && m.by == "kho")
    }

    /// How `measured` does, as far as there is something to compare with.
    pub(super) fn reached(&self, row: &Row, measured: &Measured) -> Option<Reached> {
        let own = measured.best(row.unit);
        let ratio = |other: f64| {
            if row.unit.is_rate() {
                own / other
            } else {
                other / own
            }
        };
        let of_c = |name| self.yardstick(name).map(ratio);
        let (is, asked, reached) = match row.reach {
            Reach::None => return None,
            Reach::Yardstick(name, times) => {
                let is = of_c(name)?;
                (times_of(is), times_of(times), is >= times)
            }
            Reach::YardstickAndCopy(name, times, part) => {
                let of_copy = measured.best(Unit::GigaBytes);
                let of_copy = of_copy / self.own("memcpy")?.best(Unit::GigaBytes);
                let is = of_c(name);
                let with = |c: Option<f64>, copy: f64| match c {
                    Some(c) => format!("{}, {copy:.2} memcpy", times_of(c)),
                    None => format!("{copy:.2} memcpy"),
                };
                let reached = of_copy >= part && is.is_none_or(|is| is >= times);
                (with(is, of_copy), with(is.map(|_| times), part), reached)
            }
            Reach::Linear(most) => {
                let is = measured.exponent?;
                (format!("n^{is:.2}"), format!("n^{most:.2}"), is <= most)
            }
            Reach::Over(name, least) => {
                let is = ratio(self.own(name)?.best(row.unit));
                let shown = format!("{} one thread", times_of(is));
                (shown, times_of(least), is >= least)
            }
            Reach::Row(name, most) => {
                let is = own / self.own(name)?.best(row.unit);
                let asked = format!("{} at most", times_of(most));
                (format!("{} the cost", times_of(is)), asked, is <= most)
            }
        };
        Some(Reached { is, asked, reached })
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
        let add = of("radix_add_1TiB_as_2M");
        assert_eq!((add.is.as_str(), add.reached), ("10.00x", true));
        let Reached { is, asked, reached } = of("radix_walk_sparse");
        assert_eq!((&*is, &*asked, reached), ("1.25x", "1.30x", false));
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
        assert_eq!((&*both.is, both.reached), ("1.25x, 0.80 memcpy", true));
        let alone = reached("block_write_32B", &all, &[]).unwrap();
        assert_eq!([alone.is, alone.asked], ["0.80 memcpy"; 2]);
    }
}
