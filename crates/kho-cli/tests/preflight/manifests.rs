//! Dumps and manifests, as either side.

use super::*;

#[test]
fn dumps_of_every_kind_and_on_either_side() {
    let temp = Temp::new("dumps");
    let kernel = temp.file("kernel", linux(&["memfd-v2"]));
    let mut b = Builder::new();
    b.session_of("s", &[MemfdSpec::new(vec![7; 5000])]);
    let built = b.finish();
    let raw = built.mem.to_raw(0x1000_0000);
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    for (name, bytes) in [
        ("core", built.mem.to_elf()),
        ("core.zst", pack(&built.mem.to_elf())),
    ] {
        let (code, value) = report(&temp.file(name, bytes), &kernel, &[]);
        assert_eq!(
            (code, &value["from"]["kind"]),
            (0, &json!("memory-dump")),
            "{name}"
        );
    }
    for (name, bytes) in [("raw", raw.clone()), ("raw.zst", pack(&raw))] {
        let base = ["--base", "0x10000000"];
        let (code, value) = report(&temp.file(name, bytes), &kernel, &base);
        assert_eq!(
            (code, &value["from"]["kind"]),
            (0, &json!("memory-dump")),
            "{name}"
        );
    }
    // What another kernel handed over shows what it writes.
    let (code_of, value) = report(&kernel, &capture("small"), &[]);
    assert_eq!(code_of, 0);
    said(&value, "what is in use: 3 sessions, 12 files");
    said(&value, "the handover that stands for the next one has none");
    assert_eq!(code(&capture("reserve"), &capture("small"), &[]), 0);
    assert_eq!(code(&capture("small"), &capture("none"), &[]), 1);
}

#[test]
fn what_this_build_can_not_read_is_not_accepted_unseen() {
    let temp = Temp::new("unread");
    let mut b = Builder::new();
    b.luo_compatible = "luo-v6".into();
    b.session_of("s", &[]);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let next = temp.file("next", vmlinux(&["kho-v4", "luo-v6"], &[]));
    refused(
        &dump,
        &next,
        1,
        &["LUO header of `luo-v6` is not read by this build"],
    );
    let this = temp.file("this", linux(&["memfd-v2"]));
    let (code, value) = report(&dump, &this, &[]);
    assert_eq!(code, 1);
    assert_eq!(finding(&value, "luo-v6")["expected"], "luo-v5");
    assert_eq!(value["losses"]["files"], Value::Null);
}

#[test]
fn this_program_answers_and_is_asked() {
    let program = env!("CARGO_BIN_EXE_kho");
    let mut command = Command::new(program);
    command.env("KHO_MANIFEST", "1").arg("inspect");
    let output = command.output().unwrap();
    assert!(output.status.success());
    let file = ManifestFile::parse(&text(&output.stdout)).unwrap();
    let side = file.side().unwrap();
    #[rustfmt::skip]
    let cases = [
        "block", "fd", "kexec-metadata", "kho", "luo", "memblock", "memfd", "radix", "reserve-mem",
        "vmalloc",
    ];
    for name in cases {
        assert!(side.get(name).is_some(), "{name}");
    }
    let (code_of, value) = report(&capture("small"), program, &[]);
    assert_eq!(code_of, 0);
    assert_eq!(value["to"]["kind"], "program");
    said(&value, "what the program answers");
    for policy in kho_compat::policy::ALL {
        assert_eq!(code(program, program, &["--policy", policy.name()]), 0);
    }
    // What it answered is as good as itself.
    let temp = Temp::new("answer");
    let answer = temp.file("answer.json", &output.stdout);
    assert_eq!(code(&answer, program, &[]), 0);
    assert_eq!(code(program, &answer, &[]), 0);
}

/// A program with a field more in vmalloc, and so in memfd, before one without; and back.
#[test]
fn a_field_more_in_vmalloc_is_found_before_leaving() {
    let temp = Temp::new("field");
    let this = env!("CARGO_BIN_EXE_kho");
    let answer = Command::new(this)
        .env("KHO_MANIFEST", "1")
        .output()
        .unwrap();
    let mut newer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    for (name, version) in [("vmalloc", 2), ("memfd", 3)] {
        let component = &mut newer["components"][name];
        component["version"] = version.into();
        component["restores"] = format!(">={}, <{}", version - 1, version + 1).into();
        component["writes"] = json!([version - 1]);
    }
    let newer = temp.file("newer", newer.to_string());
    assert_eq!(code(this, &newer, &[]), 0);
    let (code_of, value) = report(&newer, this, &[]);
    assert_eq!(code_of, 1);
    for found in ["kho-v4;radix-v1;vmalloc-v2", "memfd-v3;vmalloc-v2"] {
        assert_eq!(finding(&value, found)["outcome"], "rejected");
    }
    said(&value, "memfd-v3 is not restorable there, only memfd-v2");
    said(
        &value,
        "vmalloc-v2 is not restorable there, only vmalloc-v1",
    );
    assert_eq!(code(&newer, this, &["--policy", "newest-common"]), 0);
}

#[test]
fn plain_strings_stand_for_what_they_need() {
    let temp = Temp::new("stand");
    let kernel = temp.file("kernel", vmlinux(&["kho-v4", "luo-v5"], &["memfd-v2"]));
    let release = |block: u32, radix: u32| {
        let release = manifest(json!({
            "kho": { "version": 4, "needs": ["radix", "vmalloc"], "carrier": "root" },
            "radix": { "version": radix },
            "vmalloc": { "version": 1 },
            "block": { "version": block },
            "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
        }));
        temp.file(&format!("release-{block}-{radix}"), release.to_string())
    };
    let policies = [
        "semver-range",
        "composite-exact",
        "newest-common",
        "check-at-restore",
    ];
    for policy in policies {
        assert_eq!(
            code(&release(1, 1), &kernel, &["--policy", policy]),
            0,
            "{policy}"
        );
        assert_eq!(
            code(&release(2, 1), &kernel, &["--policy", policy]),
            1,
            "{policy}"
        );
        assert_eq!(
            code(&release(1, 2), &kernel, &["--policy", policy]),
            1,
            "{policy}"
        );
    }
    let (_, value) = report(&release(2, 1), &kernel, &[]);
    said(&value, "block-v2 is not restorable there, only block-v1");
    said(&value, "what `luo-v5` stands for");
    // In use, by a table beside plain strings; and no flag makes it optional.
    let mut used = manifest(json!({}));
    used["in_use"] = json!({ "strings": [
        { "carrier": "root", "found": "kho-v4" },
        { "carrier": "luo", "found": "luo-v5" },
        { "carrier": "table", "found": "block-v2" },
    ]});
    let used = temp.file("used", used.to_string());
    assert_eq!(code(&used, &kernel, &[]), 1);
    // A kernel compares whole strings: parts that it has elsewhere do not make one.
    let mut composite = manifest(json!({}));
    composite["in_use"] = json!({ "strings": [
        { "carrier": "root", "found": "kho-v4" },
        { "carrier": "luo", "found": "luo-v5;block-v2" },
    ]});
    let composite = temp.file("composite", composite.to_string());
    let both = temp.file(
        "both",
        vmlinux(
            &["kho-v4", "luo-v5;block-v1", "luo-v6;block-v2"],
            &["memfd-v2"],
        ),
    );
    let (code_of, value) = report(&composite, &both, &[]);
    assert_eq!(code_of, 1);
    said(&value, "a kernel compares whole strings");
    said(&value, "kernel panic");
}

#[test]
fn what_is_exact_is_the_string_of_the_next_ones_dialect() {
    let temp = Temp::new("dialects");
    let release = |dialect: Value, takes: Value| {
        let mut release = manifest(json!({
            "block": { "version": 1 },
            "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
        }));
        release["dialect"] = dialect;
        release["takes"] = takes;
        temp.file(
            &format!("{}{}", release["dialect"], release["takes"]),
            release.to_string(),
        )
    };
    let (plain, composite) = (
        release("plain".into(), json!([])),
        release("composite".into(), json!([])),
    );
    let exact = &["--policy", "composite-exact"];
    for (from, to, found, expected) in [
        (&plain, &composite, "luo-v5", "luo-v5;block-v1"),
        (&composite, &plain, "luo-v5;block-v1", "luo-v5"),
    ] {
        let (code_of, value) = report(from, to, exact);
        assert_eq!(code_of, 1);
        assert_eq!(finding(&value, found)["expected"], expected);
        assert_eq!(finding(&value, found)["outcome"], "rejected");
        assert_eq!(code(from, from, exact), 0);
        assert_eq!(code(from, to, &["--policy", "composite-by-token"]), 0);
    }
    let both = release("plain".into(), json!(["composite"]));
    assert_eq!(code(&composite, &both, exact), 0);
    assert_eq!(code(&both, &plain, exact), 0);
    // The strings in use tell where nothing else does.
    let used = |luo: &str| {
        let mut used = manifest(json!({ "block": { "version": 1 },
            "luo": { "version": 5, "needs": ["block"], "carrier": "luo" } }));
        used["in_use"] = json!({ "strings": [{ "carrier": "luo", "found": luo }] });
        temp.file(luo, used.to_string())
    };
    for (luo, other, same) in [
        ("luo-v5", &composite, &plain),
        ("luo-v5;block-v1", &plain, &composite),
    ] {
        assert_eq!(code(&used(luo), other, exact), 1, "{luo}");
        assert_eq!(code(&used(luo), same, exact), 0, "{luo}");
        assert_eq!(code(other, &used(luo), exact), 1, "{luo}");
        assert_eq!(code(same, &used(luo), exact), 0, "{luo}");
    }
    let wrong = release("loud".into(), json!([]));
    refused(
        &wrong,
        &plain,
        1,
        &["dialect: `loud` is none of plain, composite"],
    );
}

#[test]
fn the_laboratory_gives_the_same_verdict_between_dialects() {
    use kho_lab::{History, Kind, Run};
    use kho_preflight::{End, Preflight};
    let dialects = kho_compat::Writing::ALL.map(|dialect| dialect.id());
    let component = |name: &str, version: u32, more: &str| {
        format!("[release.components.{name}]\nversion = {version}\nlayout = \"x\"\n{more}\n")
    };
    let mut history =
        "format = \"kho-history-v1\"\nname = \"d\"\ntitle = \"d\"\n[layouts.x]\nhash = \"0\"\n"
            .to_owned();
    let mut ends = Vec::new();
    for (dialect, luo) in dialects
        .iter()
        .flat_map(|dialect| [(dialect, 5), (dialect, 6)])
    {
        let name = format!("{dialect}-{luo}");
        history +=
            &format!("[[release]]\nname = \"{name}\"\nsource = \"s\"\ndialect = \"{dialect}\"\n");
        history += &component("kho", 4, "carrier = \"root\"\nneeds = [\"radix\"]");
        history += &component("radix", 1, "");
        history += &component("luo", luo, "carrier = \"luo\"\nneeds = [\"block\"]");
        history += &component("block", 1, "");
        let base = json!({ "supported": 1, "required": 1 });
        let mut release = manifest(json!({
            "kho": { "version": 4, "carrier": "root", "needs": ["radix"], "features": base },
            "radix": { "version": 1, "features": base },
            "luo": { "version": luo, "carrier": "luo", "needs": ["block"], "features": base },
            "block": { "version": 1, "features": base },
        }));
        release["dialect"] = (*dialect).into();
        let file = ManifestFile::parse(&release.to_string()).unwrap();
        ends.push(End::manifest(name, &file).unwrap());
    }
    let preflight = Preflight::new(kho_compat::Registry::linked().unwrap());
    let history = History::parse(&history).unwrap();
    let policies: Vec<_> = kho_compat::policy::ALL
        .iter()
        .map(|policy| *policy as &dyn kho_compat::Policy)
        .collect();
    let run = Run::new(&history, &policies, &mut |_, _| true)
        .unwrap()
        .unwrap();
    for matrix in &run.policies {
        for (from, row) in matrix.cells.iter().enumerate() {
            for (to, cell) in row.iter().enumerate() {
                let policy = kho_compat::policy::by_name(matrix.policy).unwrap();
                let report = preflight.judge(&ends[from], &ends[to], policy).unwrap();
                let (same, accepted) = (cell.kind == Kind::Accepted, report.decision);
                let (from, to) = (&run.releases[from], &run.releases[to]);
                assert_eq!(
                    accepted == kho_compat::Decision::Accept,
                    same,
                    "{} {from} {to}",
                    policy.name()
                );
            }
        }
    }
}

#[test]
fn a_manifest_has_room_for_so_much() {
    let temp = Temp::new("room");
    let many: serde_json::Map<_, _> = (0..300)
        .map(|n| (format!("c{n}"), json!({ "version": 1 })))
        .collect();
    let many = temp.file("many", manifest(many.into()).to_string());
    let output = preflight(&many, &many, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("components has 300 entries, at most 256 are taken"));
}

#[test]
fn manifest_files_describe_releases() {
    let temp = Temp::new("manifests");
    let old = manifest(json!({
        "block": { "version": 1 },
        "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
    }));
    let new = manifest(json!({
        "block": { "version": 2, "restores": ">=1, <3", "writes": [1] },
        "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
    }));
    let old = temp.file("old", format!(" \n{old}"));
    let new = temp.file("new", new.to_string());
    assert_eq!(code(&old, &new, &[]), 0);
    let (code_of, value) = report(&new, &old, &[]);
    assert_eq!(code_of, 1);
    said(&value, "block-v2 is not restorable there, only block-v1");
    // The newest version that both know is written.
    let (code_of, value) = report(&new, &old, &["--policy", "newest-common"]);
    assert_eq!(code_of, 0);
    assert_eq!(finding(&value, "block-v1")["carrier"], "table");
    // What it says is written in is what is judged.
    let mut plain = serde_json::from_str::<Value>(&std::fs::read_to_string(&new).unwrap()).unwrap();
    plain["dialect"] = "plain".into();
    let plain = temp.file("plain", plain.to_string());
    // Plain strings do not say which blocks they mean: whoever reads them takes them for its own.
    let (code_of, value) = report(&plain, &old, &[]);
    assert_eq!(code_of, 1);
    said(&value, "block-v2 is not restorable there, only block-v1");
    // What is in use is judged alone, and counted.
    let mut used =
        serde_json::from_str::<Value>(&std::fs::read_to_string(&plain).unwrap()).unwrap();
    used["in_use"] = json!({
        "strings": [
            { "carrier": "luo", "found": "luo-v5" },
            { "carrier": "file-handler", "found": "vfio-v1\u{1b}[2J", "uses": 7 },
        ],
        "sessions": 2, "files": 9, "bytes": 4096,
    });
    let used = temp.file("used", used.to_string());
    let (code_of, value) = report(&used, &old, &[]);
    assert_eq!(code_of, 1);
    let losses = &value["losses"];
    assert_eq!(losses["sessions"], 2);
    assert_eq!(losses["files"], 9);
    assert_eq!(losses["bytes"], 4096);
    assert_eq!(losses["handlers"][0]["files"], 7);
    let nothing = temp.file("nothing", {
        let mut value = manifest(json!({}));
        value["in_use"] = json!({ "strings": [] });
        value.to_string()
    });
    let (code_of, value) = report(&nothing, &old, &[]);
    assert_eq!(code_of, 0);
    said(&value, "nothing is in use");

    let wrong = |text: &str, part: &str| {
        let path = temp.file("wrong", text);
        refused(&path, &old, 1, &["--from", part]);
        refused(&old, &path, 1, &["--to", part]);
    };
    wrong("{", "EOF while parsing");
    wrong("{\"a\": 1}", "missing field `format`");
    wrong(
        &json!({ "format": "kho-manifest-v1", "a": 1 }).to_string(),
        "unknown field `a`",
    );
    wrong(
        &manifest(json!({})).to_string().replace("-v1", "-v9"),
        "kho-manifest-v9",
    );
    wrong(
        &manifest(json!({ "a": { "version": 1, "needs": ["b"] } })).to_string(),
        "needs `b`",
    );
    wrong(
        "{\"format\": \"\\u001b[2J\", \"name\": \"\", \"components\": {}}",
        "\\u{1b}",
    );
}

#[test]
fn each_string_has_the_finding_of_its_own() {
    let temp = Temp::new("own");
    let mut from = manifest(json!({}));
    let strings = [
        ("table", "block-v1"),
        // What no table could say is not taken for its first part.
        ("table", "block-v1;zzz-v9"),
        ("root", "kho-v5"),
        ("luo", "luo-v5"),
    ];
    let used = strings.map(|(carrier, found)| json!({ "carrier": carrier, "found": found }));
    from["in_use"] = json!({ "strings": used });
    let from = temp.file("from", from.to_string());
    let to = manifest(json!({
        "kho": { "version": 4, "carrier": "root" },
        "luo": { "version": 5, "carrier": "luo" },
        "block": { "version": 1 },
    }));
    let to = temp.file("to", to.to_string());
    let (code_of, value) = report(&from, &to, &[]);
    assert_eq!(code_of, 1);
    let findings = value["verdict"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), strings.len());
    let outcomes = ["restorable", "rejected", "rejected", "restorable"];
    for (index, (carrier, found)) in strings.iter().enumerate() {
        let finding = &findings[index];
        assert_eq!(
            (&finding["carrier"], &finding["found"]),
            (&json!(carrier), &json!(found))
        );
        assert_eq!(finding["where"]["what"], format!("in_use.strings[{index}]"));
        assert_eq!(finding["outcome"], outcomes[index], "{found}");
    }
    // A string that the image has, and a module of it too.
    let kernel = temp.file("kernel", linux(&["memfd-v2", "x-flb-v1"]));
    temp.file("modules/x.ko", module(&["x-flb-v1"]));
    let (code_of, value) = report(&kernel, &to, &["--from-modules", &temp.path("modules")]);
    assert_eq!(code_of, 1);
    let findings = value["verdict"]["findings"].as_array().unwrap();
    let twice = findings.iter().filter(|f| f["found"] == "x-flb-v1");
    assert_eq!(twice.count(), 2);
    let mut of_module = findings.iter().filter(|finding| {
        let place = finding["where"]["what"].as_str().unwrap();
        place.starts_with("x.ko")
    });
    assert!(of_module.all(|finding| finding["found"] == "x-flb-v1"));
}

#[test]
fn the_next_program_is_judged_as_it_judges() {
    let temp = Temp::new("judges");
    let side = |block: u32, extra: u32| {
        let mut file = manifest(json!({
            "kho": { "version": 4, "carrier": "root" },
            "block": { "version": block, "restores": format!("<={block}") },
            "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
            "extra": { "version": extra, "optional": true, "carrier": "file-handler" },
        }));
        file["dialect"] = json!("composite");
        file
    };
    let with = |mut file: Value, member: &str, value: Value| {
        file[member] = value;
        file
    };
    let file = |name: &str, file: Value| temp.file(name, file.to_string());
    let from = file("from", side(1, 1));
    // Older blocks than its own: by a range, or exactly.
    let next = file("next", side(2, 1));
    let exact = with(side(2, 1), "policy", json!("composite-exact"));
    let exact = file("exact", exact);
    assert_eq!((code(&from, &next, &[]), code(&from, &exact, &[])), (0, 1));
    let (_, value) = report(&from, &exact, &[]);
    assert_eq!(value["verdict"]["policy"], "composite-exact");
    said(
        &value,
        "it judges what it takes over by policy `composite-exact`",
    );
    let by = ["--policy", "semver-range"];
    assert_eq!(code(&from, &exact, &by), 0);
    // One that is not known here.
    let own = file("own", with(side(2, 1), "policy", json!("my\u{1b}own")));
    refused(
        &from,
        &own,
        1,
        &[
            "a policy that is not known here",
            "semver-range",
            "--policy NAME",
        ],
    );
    assert_eq!(code(&from, &own, &by), 0);
    // An optional part is lost, and that is no reason to refuse, or it is.
    let lossy = file("lossy", with(side(1, 2), "degrade", json!(true)));
    let whole = file("whole", with(side(1, 2), "degrade", json!(false)));
    assert_eq!((code(&from, &lossy, &[]), code(&from, &whole, &[])), (3, 1));
    let both = file("both", with(side(1, 1), "degrade", json!(false)));
    assert_eq!(code(&from, &both, &[]), 0);
    // A kind of file that it knows and has no handler of, and hands none over of.
    let mut unhandled = side(1, 1);
    unhandled["components"]["extra"]["handler"] = json!(false);
    let unhandled = file("unhandled", unhandled);
    let (refuses, value) = report(&from, &unhandled, &[]);
    assert_eq!(refuses, 1);
    said(&value, "the next program has no handler of such files");
    assert_eq!(code(&unhandled, &whole, &[]), 0);
}
