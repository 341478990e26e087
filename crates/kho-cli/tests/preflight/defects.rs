//! Known defects of kernel releases: which of them a move or a handover meets.

use super::journeys::{BOTH, defects, judged, of_release};
use super::*;

#[test]
fn releases_that_do_not_understand_each_other_under_one_string() {
    let temp = Temp::new("pairs");
    let strings = ["kho-v1", "memblock-v1", "reserve-mem-v1"];
    let of = |release: &str| temp.file(release, of_release(release, &strings, &[]));
    #[rustfmt::skip]
    let cases = [
        ("6.17.8", "6.17.8", 0, "accept, if: kexec -s; finalize first"),
        ("6.17.8", "6.18.15", 1, "reject: bitmap-grew: the whole machine is lost"),
        ("6.17.8", "6.19.10", 1, "reject: bitmap-grew: the whole machine is lost"),
        ("6.18.15", "6.17.8", 1, "reject: bitmap-shrank: all preserved state is lost"),
        ("6.19.10", "6.17.8", 1, "reject: bitmap-shrank: all preserved state is lost"),
        ("6.17.9", "6.18.15", 0, "accept, if: kexec -s; finalize first"),
        ("6.18.15", "6.19.10", 0, "accept, if: kexec -s; finalize first"),
    ];
    for (from, to, expected, headline) in cases {
        let (code, value, _) = judged(&of(from), &of(to), &[]);
        assert_eq!(value["headline"], headline, "{from} to {to}");
        assert_eq!(code, expected);
        assert_eq!(value["losses"]["machine"], headline.contains("machine"));
    }
    // A distribution's kernel was not measured.
    let (code, value, human) = judged(&of("6.17.8+deb13-amd64"), &of("6.18.15"), &[]);
    assert_eq!(code, 1);
    let grew = &value["known_defects"][0];
    assert_eq!(
        (&grew["id"], &grew["is_measured"]),
        (&json!("bitmap-grew"), &json!(false))
    );
    let words: Vec<_> = human.split_whitespace().collect();
    has(&words.join(" "), "6.19.10, not with these releases)");
}

#[test]
fn what_6_19_does_with_files() {
    let temp = Temp::new("files");
    let strings = ["kho-v1", "luo-v1", "luo-session-v2"];
    let of = |name: &str, release: &str, handlers: &[&str]| {
        temp.file(name, of_release(release, &strings, handlers))
    };
    let one = of("one", "6.19.10", &["memfd-v1"]);
    let other = of("other", "6.19.10", &["memfd-v9"]);
    let (code, value, _) = judged(&one, &one, &["--cmdline", BOTH]);
    assert_eq!(code, 0);
    assert!(
        defects(&value).contains(&("memfd-sealed", "not-seen")),
        "{value:#}"
    );
    let (code, value, human) = judged(&one, &other, &["--cmdline", BOTH]);
    assert_eq!(code, 1);
    assert!(
        defects(&value).contains(&("session-cut", "met")),
        "{value:#}"
    );
    has(&human, "Linux 6.19.10 drops the file");
    has(
        &human,
        "next: memfd-v1 is taken from Linux 6.19 on, up to before Linux 7.1",
    );
    // 6.19 writes no node that 7.0 looks for.
    let next = of("next", "7.0.1", &["memfd-v1"]);
    let (code, value, _) = judged(&one, &next, &["--cmdline", BOTH]);
    assert_eq!(
        (code, &value["headline"]),
        (
            1,
            &json!("reject: flb-node-missing: the whole machine is lost")
        )
    );
}

#[test]
fn nothing_is_read_behind_another_root() {
    let temp = Temp::new("cold");
    let strings = ["kho-v3", "luo-v1", "luo-session-v2", "luo-flb-v1"];
    let next = temp.file("next", of_release("7.1.13", &strings, &["memfd-v1"]));
    let (code, value, human) = judged(&capture("small"), &next, &[]);
    assert_eq!(code, 1);
    assert_eq!(value["losses"]["machine"], false);
    assert_eq!(value["losses"]["all_preserved_state"], true);
    has(
        &human,
        "Linux 7.1.13 boots as if nothing had been handed over",
    );
    assert!(
        !human.contains("panic") && !human.contains("EIO"),
        "{human}"
    );
}

#[test]
fn large_blocks_overflow_before_7_2() {
    let temp = Temp::new("huge");
    let strings = ["kho-v3", "memblock-v1", "reserve-mem-v1"];
    let next = temp.file("7.1.13", of_release("7.1.13", &strings, &[]));
    let (_, value, human) = judged(&next, &next, &[]);
    assert!(
        defects(&value).contains(&("huge-block", "not-seen")),
        "{value:#}"
    );
    has(&human, "not seen: whether known defect huge-block is met");
    // Of a later release it is not said.
    let next = temp.file("next", linux(&["memfd-v2"]));
    let (_, value, _) = judged(&next, &next, &[]);
    assert_eq!(defects(&value), [("range-across-nodes", "not-seen")]);
}

#[test]
fn inspect_reports_the_defects_that_a_handover_meets() {
    let temp = Temp::new("inspect");
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 1);
    b.memblock("memblock-v1", &[("odd", 0x1800)]);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let output = kho(&["inspect", &dump, "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(defects(&value), [("partial-page", "met")]);
    let human = text(&kho(&["inspect", &dump]).stdout);
    has(
        &human,
        "known defect partial-page: region odd of 6144 bytes",
    );
    let output = kho(&["inspect", &capture("small"), "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(defects(&value), []);
}

#[test]
fn preserved_memory_where_two_nodes_meet() {
    let temp = Temp::new("nodes");
    let next = temp.file("next", linux(&["memfd-v2"]));
    let dump = |name: &str, areas: [(u64, u64); 2]| {
        let mut b = Builder::new();
        b.session_of("s", &[MemfdSpec::new(vec![1; 0x8000])]);
        let mut built = b.finish();
        let table = built.scratch.0;
        built.mem.remove(table);
        built.mem.add(table, 4096);
        let all = [(0x4000_0000, 0), (0x4000_0000, 0), areas[0], areas[1]];
        for (index, (start, len)) in (0..).zip(all) {
            built.mem.set_u64(table + 16 * index, start);
            built.mem.set_u64(table + 16 * index + 8, len);
        }
        (
            temp.file(name, built.mem.to_elf()),
            format!("{table:#x}:64"),
        )
    };
    // What is built lies from 0x1000_0000 on.
    #[rustfmt::skip]
    let cases = [
        ("across", [(0x800_0000, 0x40_0000), (0x4000_0000, 0x40_0000)], true),
        ("below", [(0x3000_0000, 0x40_0000), (0x4000_0000, 0x40_0000)], false),
        ("above", [(0x400_0000, 0x40_0000), (0x800_0000, 0x40_0000)], false),
    ];
    for (name, areas, expected) in cases {
        let (path, scratch) = dump(name, areas);
        let (code, value, human) = judged(&path, &next, &["--scratch", &scratch]);
        assert_eq!(code, 0, "{human}");
        let found = defects(&value).contains(&("range-across-nodes", "not-seen"));
        assert_eq!(found, expected, "{name}: {value:#}");
        let human = text(&kho(&["inspect", &path, "--scratch", &scratch]).stdout);
        assert_eq!(human.contains("range-across-nodes"), expected, "{human}");
    }
}
