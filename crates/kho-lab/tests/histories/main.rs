//! What becomes of every pair of the built-in histories, by hand.
//!
//! The tables were made from the histories and from what the outcomes mean, not by running: a row per
//! release that hands over, a letter per release that takes over. `A` accepted, `D` degraded, `R`
//! rejected upfront, `L` failed late, `S` silently wrong; `r` and `l` are false rejects.
#![allow(clippy::unwrap_used, clippy::panic)]

mod layouts;
mod measured;
mod ways;

use kho_compat::Policy;
use kho_compat::policy::ALL;
use kho_lab::{BUILTIN, Cell, Field, History, Kind, Plan, Run, Why, builtin, plan};

fn history(name: &str) -> History {
    History::parse(builtin(name).unwrap()).unwrap()
}

fn run(name: &str) -> Run {
    run_of(&history(name))
}

fn run_of(history: &History) -> Run {
    let policies: Vec<_> = ALL.iter().map(|policy| *policy as &dyn Policy).collect();
    let run = Run::new(history, &policies, &mut |_, _| true);
    run.unwrap().unwrap()
}

fn letter(cell: &Cell) -> char {
    match (cell.kind, cell.false_reject) {
        (Kind::Accepted, _) => 'A',
        (Kind::Degraded, _) => 'D',
        (Kind::Rejected, false) => 'R',
        (Kind::Rejected, true) => 'r',
        (Kind::Late, false) => 'L',
        (Kind::Late, true) => 'l',
        (Kind::Silent, _) => 'S',
    }
}

/// Compares the cells of every policy with `tables`, which name each policy once.
fn check(run: &Run, tables: &[(&[&str], &[&str])]) {
    let mut seen = 0;
    let mut wrong = String::new();
    for (policies, table) in tables {
        for policy in *policies {
            let cells = &run.matrix(policy).unwrap().cells;
            let rows = cells.iter().map(|row| row.iter().map(letter).collect());
            let found: Vec<String> = rows.collect();
            seen += 1;
            if found != *table {
                wrong += &format!("\n{policy}\n  found    {found:?}\n  expected {table:?}");
            }
        }
    }
    assert_eq!(seen, ALL.len(), "every policy has a table");
    assert!(wrong.is_empty(), "{}{wrong}", run.history);
}

fn cell<'r>(run: &'r Run, policy: &str, from: &str, to: &str) -> &'r Cell {
    let at = |name| run.releases.iter().position(|r| r == name).unwrap();
    run.matrix(policy).unwrap().cell(at(from), at(to)).unwrap()
}

/// The policies that write strings and compare them for being equal.
const EQUAL: &[&str] = &[
    "composite-exact",
    "composite-exact-direct",
    "composite-by-token",
    "composite-by-token-direct",
];

#[test]
fn june_proposal() {
    let run = run("june-proposal");
    let exact: &[&str] = &["composite-exact", "composite-exact-direct"];
    let others = ALL.iter().map(|policy| policy.name());
    let others: Vec<_> = others.filter(|name| !exact.contains(name)).collect();
    check(
        &run,
        &[
            // Plain strings are taken by who compares with them, and nothing else differs.
            (exact, &["AAAr", "AAAr", "rAAA", "rAAA"]),
            // 7.3.4 has no such policy, and compares whole strings.
            (&others, &["AAAA", "AAAA", "rAAA", "rAAA"]),
        ],
    );
    let steps = |from, to| {
        let plan = plan(&run.releases, run.matrix(exact[0]).unwrap(), from, to).unwrap();
        let steps: Vec<_> = plan.steps.into_iter().map(|step| step.to).collect();
        steps.join(" ")
    };
    assert_eq!(steps(0, 3), "both, composite proposal");
    assert_eq!(steps(3, 0), "both, plain 7.3.4");
}

#[test]
fn vmalloc_field() {
    let run = run("vmalloc-field");
    check(
        &run,
        &[
            // kho-v4 throughout, and no string says vmalloc: everyone reads with their own layout.
            (&["global-version"], &["ASSS", "SAAA", "SAAA", "SAAA"]),
            // memfd-v2;vmalloc-v1 is not memfd-v3;vmalloc-v2, though 2 and 3 could read it.
            (EQUAL, &["ArrR", "RAAA", "RAAA", "RAAA"]),
            (
                &["semver-range", "component-callback"],
                &["AAAR", "RAAA", "RAAA", "RAAA"],
            ),
            // 3 writes memfd-v2 and vmalloc-v1 for 1; 4 can not.
            (&["newest-common"], &["AAAR", "RAAA", "AAAA", "RAAA"]),
            (&["check-at-restore"], &["AAAL", "LAAA", "LAAA", "LAAA"]),
            // 2 and 3 require nothing new, so 1 takes what has the field.
            (&["feature-masks"], &["AAAR", "SAAA", "SAAA", "RAAA"]),
        ],
    );
    // kho is restored, then vmalloc's turn comes.
    for (from, to) in [("1", "4"), ("2", "1"), ("3", "1"), ("4", "1")] {
        assert_eq!(cell(&run, "check-at-restore", from, to).restored, 1);
    }
}

#[test]
fn block_need() {
    let run = run("block-need");
    let transitive: &[&str] = &["composite-exact", "composite-by-token"];
    let direct: &[&str] = &["composite-exact-direct", "composite-by-token-direct"];
    check(
        &run,
        &[
            (&["global-version"], &["ASSS", "SASS", "SSAA", "SSAA"]),
            // luo-v5;array-v1;block-v2: 4 would read that array.
            (transitive, &["ARRR", "RARr", "RRAA", "RRAA"]),
            // luo-v5;block-v2 in 2, 3 and 4: of the array nothing is said, not even to 4.
            (direct, &["ARRR", "RASS", "RSAA", "RSAA"]),
            (
                &["semver-range", "component-callback"],
                &["ARRR", "RARA", "RRAA", "RRAA"],
            ),
            (&["newest-common"], &["ARRR", "RARA", "RRAA", "RAAA"]),
            (&["check-at-restore"], &["ALLL", "LALA", "LLAA", "LLAA"]),
            // The mask of 4 requires what it writes, so it does not take what it could read.
            (&["feature-masks"], &["ARRR", "RARr", "RRAA", "RRAA"]),
        ],
    );
    let late = |from, to| cell(&run, "check-at-restore", from, to).restored;
    // kho and luo, then block.
    assert_eq!((late("1", "2"), late("2", "1"), late("4", "1")), (2, 2, 2));
    // kho, luo and block, then the array that block needs.
    assert_eq!((late("2", "3"), late("3", "2"), late("4", "2")), (3, 3, 3));
}

#[test]
fn transition() {
    let run = run("transition");
    check(
        &run,
        &[
            // Each string is its own reader's affair: memfd-v2 is read by 4 as version 3, huge-memfd-v1
            // as version 2, and so back.
            (&["global-version"], &["AAAS", "AAAS", "SAAS", "SSSA"]),
            (EQUAL, &["AArR", "AArR", "RrAD", "RrDA"]),
            (
                &["semver-range", "component-callback"],
                &["AAAR", "AAAR", "RAAD", "RDDA"],
            ),
            // Nothing can write what is older: the reader alone makes the way.
            (&["newest-common"], &["AAAR", "AAAR", "RAAD", "RDDA"]),
            (&["check-at-restore"], &["AAAL", "AAAL", "LAAD", "LDDA"]),
            // 2 supports the new bit, as a reader: so 4 takes what it did not write with it.
            (&["feature-masks"], &["AArR", "AAAS", "RAAD", "RDDA"]),
        ],
    );
    let late = |from, to| cell(&run, "check-at-restore", from, to).restored;
    // kho, luo and huge-memfd, then memfd.
    assert_eq!(late("3", "1"), 3);
    // huge-memfd was lost, not restored.
    assert_eq!((late("1", "4"), late("2", "4"), late("4", "1")), (2, 2, 2));
    let lost = &cell(&run, "semver-range", "4", "2").why;
    let found = "huge-memfd-v2".to_owned();
    assert_eq!(lost, &[Why::Lost { found }]);
}

#[test]
fn granular() {
    let run = run("granular");
    let releases = "proposal block-2 vmalloc-2 radix-2 luo-6 luo-5-backport";
    assert_eq!(run.releases.join(" "), releases);
    check(
        &run,
        &[
            // kho-v4 throughout. luo's own string says 5 or 6, and the backport knows both.
            (
                &["global-version"],
                &["ASSSSS", "SASSSS", "SSASSS", "SSSASA", "SSSSAA", "SSSASA"],
            ),
            // No need of a need: what strings list is the same either way.
            (
                EQUAL,
                &["ArrRRR", "RArRRR", "RRARRR", "RRRARA", "RRRRAr", "RRRARA"],
            ),
            (
                &["semver-range", "component-callback"],
                &["AAARRR", "RAARRR", "RRARRR", "RRRARA", "RRRRAA", "RRRARA"],
            ),
            // block-2 writes block-v1 for the proposal.
            (
                &["newest-common"],
                &["AAARRR", "AAARRR", "RRARRR", "RRRARA", "RRRRAA", "RRRARA"],
            ),
            (
                &["check-at-restore"],
                &["AAALLL", "LAALLL", "LLALLL", "LLLALA", "LLLLAA", "LLLALA"],
            ),
            // The backport supports what it reads, and luo-6 takes that for what it wrote.
            (
                &["feature-masks"],
                &["ArrRRR", "RArRRR", "RRARRR", "RRRARA", "RRRRAA", "RRRASA"],
            ),
        ],
    );
    let late = |from, to| cell(&run, "check-at-restore", from, to).restored;
    // In order: kho, radix, vmalloc, luo, block, memfd, and the optional three.
    assert_eq!(late("proposal", "radix-2"), 1);
    assert_eq!(late("vmalloc-2", "block-2"), 2);
    assert_eq!(late("radix-2", "luo-6"), 3);
    assert_eq!(late("block-2", "proposal"), 4);
}

#[test]
fn linux() {
    let run = run("linux");
    let releases = "6.16 6.17 6.17.9 6.18 6.19 7.0 7.1-rc5 7.1 7.2 7.3";
    assert_eq!(run.releases.join(" "), releases);
    // No string of two versions: whoever accepts at all accepts the same, and misreads the same.
    let upfront = [
        "AASSSSRRRR",
        "AASSSSRRRR",
        "SSAAAARRRR",
        "SSAAAARRRR",
        // What is older knows no LUO. 7.0 misses a node in the tree of 6.19.
        "RRRRASRRRR",
        "RRRRSARRRR",
        "RRRRRRASRR",
        "RRRRRRSARR",
        "RRRRRRRRAA",
        "RRRRRRRRAA",
    ];
    let mut late = upfront;
    // kho-v1 is restored before luo is found to be unknown.
    late[4] = "LLLLASRRRR";
    late[5] = "LLLLSARRRR";
    let mut others: Vec<_> = ALL.iter().map(|policy| policy.name()).collect();
    others.retain(|name| *name != "check-at-restore");
    check(&run, &[(&others, &upfront), (&["check-at-restore"], &late)]);
    // The pairs whose versions never said it, and what went wrong.
    for policy in ALL.iter().map(|policy| policy.name()) {
        for (from, to, what) in [
            ("6.17", "6.17.9", "kho: `kho_mem_phys_bits.preserve`"),
            ("6.18", "6.17", "kho: `kho_mem_phys_bits.preserve`"),
            ("6.19", "7.0", "luo: node `LUO/luo-flb` is read"),
            ("7.0", "6.19", "luo: node `LUO/luo-flb` is not read"),
            ("7.1-rc5", "7.1", "kho: `depth_16k_pages` is 4"),
            ("7.1", "7.1-rc5", "kho: `depth_16k_pages` is 5"),
        ] {
            let why = &cell(&run, policy, from, to).why;
            assert!(
                why.iter().all(|why| why.to_string().starts_with(what)) && !why.is_empty(),
                "{policy}, {from} to {to}: {why:?}"
            );
        }
    }
    for (policy, late, rejected) in [("semver-range", 0, 64), ("check-at-restore", 8, 56)] {
        let totals = run.matrix(policy).unwrap().totals;
        let right = [totals.pairs, totals.accepted, totals.degraded];
        assert_eq!(right, [100, 20, 0]);
        let wrong = [totals.rejected, totals.late, totals.silent];
        assert_eq!((wrong, totals.false_rejects), ([rejected, late, 16], 0));
    }
}

/// Bytes of the newest release, and the fewest and the most of any.
#[test]
fn bytes() {
    let check = |history: &str, expected: &[(&str, u64, (u64, u64))]| {
        let run = run(history);
        for (policy, newest, range) in expected {
            let totals = run.matrix(policy).unwrap().totals;
            let found = (totals.bytes, totals.bytes_range);
            assert_eq!(found, (*newest, *range), "{history}, {policy}");
        }
    };
    // Plain: "kho-v4" in 8 bytes, "luo-v5" in 8, a file's string in 48, the metadata's number in 4,
    // "memblock-v1" in 12, "reserve-mem-v1" in 16: 96. Composite: "kho-v4;radix-v1;vmalloc-v1" takes 28
    // and "luo-v5;block-v1" 16: 28 more. A table adds a node of 16 bytes, and per component 21 and its
    // name's length, which for these nine is 250; masks a node of 20, and 37 each.
    check(
        "granular",
        &[
            ("global-version", 96, (96, 96)),
            ("composite-exact", 124, (124, 124)),
            ("composite-by-token-direct", 124, (124, 124)),
            ("semver-range", 124, (124, 124)),
            ("newest-common", 362, (362, 362)),
            ("check-at-restore", 362, (362, 362)),
            ("feature-masks", 510, (510, 510)),
        ],
    );
    // 7.3 as above, with 6 components. 6.16 has "kho-v1" and memblock's two, 36; 7.1 has
    // "luo-session-v2" in 16 and luo-flb's in 48 besides: 160.
    check(
        "linux",
        &[
            ("global-version", 96, (36, 160)),
            ("composite-exact", 96, (36, 160)),
            ("newest-common", 282, (137, 406)),
            ("feature-masks", 382, (189, 538)),
        ],
    );
    // "luo-v5;block-v1" in 16, "luo-v5;array-v1;block-v2" in 32.
    check(
        "block-need",
        &[
            ("global-version", 16, (16, 16)),
            ("composite-exact", 40, (24, 40)),
            ("composite-exact-direct", 24, (24, 24)),
            ("check-at-restore", 132, (106, 132)),
            ("feature-masks", 200, (158, 200)),
        ],
    );
}

/// Strings, entries or masks of others that changed with a component's version.
#[test]
fn forced_edits() {
    let check = |history: &str, composite, direct, global| {
        let run = run(history);
        for (policies, edits) in [
            ("composite-exact composite-by-token semver-range", composite),
            ("composite-exact-direct composite-by-token-direct", direct),
            ("global-version", global),
            ("newest-common check-at-restore feature-masks", 0),
        ] {
            for policy in policies.split(' ') {
                let found = run.matrix(policy).unwrap().totals.edits;
                assert_eq!(found, edits, "{history}, {policy}");
            }
        }
    };
    // block: luo's string. vmalloc: kho's and memfd's. radix: kho's. luo, twice: nobody's. The root's
    // number would have to change each time.
    check("granular", 4, 4, 5);
    // vmalloc, once: kho's, memfd's and journal's. memfd, with it: nobody's. That masks change in 4 changes no string.
    check("vmalloc-field", 3, 3, 2);
    // block: luo's. The array: luo's again, if strings list needs of needs; block has none.
    check("block-need", 2, 1, 2);
    // memfd and huge-memfd have no users.
    check("transition", 0, 0, 2);
    // memfd in 7.1-rc5, luo in 7.2: nothing was needed by name.
    check("linux", 0, 0, 2);
}
