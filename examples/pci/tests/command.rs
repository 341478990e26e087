//! The component in a command that links it, and in one that does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kho_compat::{Component, Decision, Generation, Outcome, Registry, policy};
use kho_core::{Handover, Kho, KhoConfig};
use kho_mem::{Arena, ArenaConfig, PhysAddr};
use pci_example::v1::{COMPATIBLE_LEN, DeviceSer, Header};
use pci_example::{COMPONENT, NewDevice, hand_over};
use serde_json::Value;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

const WITH: &str = env!("CARGO_BIN_EXE_pci-kho");
const WITHOUT: &str = env!("CARGO_BIN_EXE_plain");

const CONFIG: &[u8] = b"\x86\x80\x22\x29configuration space";

/// Writes the image of a handover to `path` that `fill` adds a subtree to.
fn image(path: &Path, fill: impl FnOnce(&Kho)) {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 4 << 20)).unwrap();
    let kho = Kho::new(arena, &KhoConfig::new().metadata("7.3.4", 2)).unwrap();
    fill(&kho);
    let entry = kho.entry();
    let handed = kho.hand_over().map_err(|_| "shared").unwrap();
    let handed = handed.into_handed().map_err(|_| "in use").unwrap();
    let runs = Handover::open(&handed, entry).unwrap().page_runs();
    kho_image::write_elf(path, &handed, &runs, &mut |_, _| true).unwrap();
}

/// A table of version 1, as its last release wrote it, under the string of `version`.
fn old(kho: &Kho, version: u32) {
    let mut compatible = [0; COMPATIBLE_LEN];
    let string = format!("pci-v{version}");
    compatible[..string.len()].copy_from_slice(string.as_bytes());
    let header = Header {
        compatible,
        count: U32::new(1),
        reserved: U32::ZERO,
    };
    let device = DeviceSer {
        bdf: U32::new(0xfa),
        vendor: U16::new(0x8086),
        device: U16::new(0x2922),
    };
    let bytes = [header.as_bytes(), device.as_bytes()].concat();
    let mut blob = kho.preserver().alloc_preserve(bytes.len()).unwrap();
    blob[..bytes.len()].copy_from_slice(&bytes);
    kho.add_subtree("pci", blob, bytes.len() as u64).unwrap();
}

struct Images {
    dir: tempfile::TempDir,
}

impl Images {
    /// An image for each version: two that are, and one that nobody knows yet.
    fn new() -> Self {
        let images = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        image(&images.of(1), |kho| old(kho, 1));
        image(&images.of(2), |kho| {
            let device = NewDevice {
                segment: 1,
                bdf: 0xfa,
                vendor: 0x8086,
                device: 0x2922,
                config: CONFIG,
            };
            hand_over(kho, &[device]).unwrap();
        });
        image(&images.of(3), |kho| old(kho, 3));
        images
    }

    fn of(&self, version: u32) -> PathBuf {
        self.dir.path().join(format!("pci-v{version}.core"))
    }
}

fn run(program: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let args = args.iter().map(|arg| arg.as_ref());
    Command::new(program).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn inspect_shows_both_versions() {
    let images = Images::new();
    for (version, address, config) in [(1, "0000:00:1f.2", false), (2, "0001:00:1f.2", true)] {
        let image = images.of(version);
        let output = run(WITH, &[&"inspect", &image]);
        assert_eq!(output.status.code(), Some(0));
        let text = text(&output);
        assert!(
            text.contains(&format!("PCI devices  1 device  pci-v{version}")),
            "{text}"
        );
        assert!(text.contains(&format!("{address}  8086:2922")), "{text}");
        assert!(!text.contains("left alone"), "{text}");
        let report = json(&run(WITH, &[&"inspect", &image, &"--json"]));
        let device = &report["pci"]["devices"][0];
        assert_eq!(report["pci"]["compatible"], format!("pci-v{version}"));
        assert_eq!(device["address"], address);
        assert_eq!(device["config"].is_u64(), config);
        let findings = report["verdict"]["findings"].as_array().unwrap();
        let finding = findings.iter().find(|it| it["carrier"] == "pci").unwrap();
        assert_eq!(finding["outcome"], "restorable");
        // Everything that is preserved has an owner.
        assert_eq!(report["unclaimed"]["pages"], 0);
    }
}

#[test]
fn a_command_without_it_leaves_it_alone() {
    let images = Images::new();
    for version in [1, 2, 3] {
        let output = run(WITHOUT, &[&"inspect", &images.of(version)]);
        assert_eq!(output.status.code(), Some(0));
        let text = text(&output);
        assert!(text.contains("left alone  subtree `pci`"), "{text}");
        let out = images.dir.path().join(format!("plain-{version}"));
        let output = run(WITHOUT, &[&"restore", &images.of(version), &"--out", &out]);
        assert_eq!(output.status.code(), Some(0));
        assert!(!out.join("@pci").exists());
    }
}

#[test]
fn a_version_of_the_future_is_lost() {
    let images = Images::new();
    let report = json(&run(WITH, &[&"inspect", &images.of(3), &"--json"]));
    assert_eq!(report["verdict"]["decision"], "degrade");
    assert_eq!(report["pci"]["devices"], Value::Null);
    let text = text(&run(WITH, &[&"inspect", &images.of(3)]));
    assert!(text.contains("lost  PCI device table `pci-v3`"), "{text}");
    assert!(text.contains("expected pci-v1 or pci-v2"), "{text}");
    let out = images.dir.path().join("out");
    let output = run(WITH, &[&"restore", &images.of(3), &"--out", &out]);
    assert_eq!(output.status.code(), Some(0));
    assert!(!out.join("@pci").exists());
}

#[test]
fn a_component_that_nobody_can_do_without_is_rejected() {
    static KHO: Component = kho_core::COMPONENT;
    static OPTIONAL: Component = COMPONENT;
    static MANDATORY: Component = Component::new("pci", &[Generation::new(1), Generation::new(2)])
        .owned(match COMPONENT.carrier {
            Some(kho_compat::Carrier::Owned(owned)) => owned,
            _ => panic!("it owns a subtree"),
        });
    let linked = Registry::linked().unwrap();
    let mut manifest = kho_compat::Manifest::new();
    let carrier = COMPONENT.carrier.unwrap();
    manifest.add(carrier, "pci-v3", kho_compat::Place::default());
    for (component, outcome, decision) in [
        (&OPTIONAL, Outcome::Lost, Decision::Degrade),
        (&MANDATORY, Outcome::Rejected, Decision::Reject),
    ] {
        let core = linked
            .components()
            .filter(|one| one.name != "pci" && one.name != KHO.name);
        let registry = Registry::new(core.chain([&KHO, component])).unwrap();
        let verdict = match registry.admit(&policy::SemverRange, manifest.clone()) {
            Ok(admitted) => admitted.verdict().clone(),
            Err(refused) => refused.into_verdict(),
        };
        assert_eq!(verdict.decision, decision);
        assert_eq!(verdict.findings[0].outcome, outcome);
    }
}

#[test]
fn restore_writes_what_the_owner_restores() {
    let images = Images::new();
    let out = images.dir.path().join("out");
    let restore = |version| {
        run(
            WITH,
            &[
                &"restore",
                &images.of(version),
                &"--out",
                &out,
                &"--hash",
                &"--force",
            ],
        )
    };
    let output = restore(2);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("restored 2 files of component `pci`"),
        "{text}"
    );
    // A colon is encoded, as in the name of a session.
    let config = std::fs::read(out.join("@pci/0001%3A00%3A1f.2.config")).unwrap();
    assert_eq!((config.len(), &config[..CONFIG.len()]), (4096, CONFIG));
    assert!(
        std::fs::read(out.join("@pci/devices"))
            .unwrap()
            .starts_with(b"pci-v2\0")
    );
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let part = &manifest["subtrees"][0];
    assert_eq!(
        (&part["component"], &part["dir"]),
        (&"pci".into(), &"@pci".into())
    );
    assert_eq!(part["files"][1]["name"], "0001:00:1f.2.config");
    assert_eq!(part["files"][1]["sha256"].as_str().unwrap().len(), 64);
    // An earlier restore goes as a whole.
    assert_eq!(restore(1).status.code(), Some(0));
    assert!(
        std::fs::read(out.join("@pci/devices"))
            .unwrap()
            .starts_with(b"pci-v1\0")
    );
    assert!(!out.join("@pci/0001%3A00%3A1f.2.config").exists());
}

#[test]
fn damage_is_said_with_its_path() {
    let images = Images::new();
    let path = images.dir.path().join("damaged.core");
    image(&path, |kho| {
        old(kho, 1);
        kho.with_subtree("pci", |blob| blob[COMPATIBLE_LEN] = 2)
            .unwrap();
    });
    let output = run(WITH, &[&"inspect", &path]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("pci: count has an impossible count"),
        "{text}"
    );
}

#[test]
fn the_manifest_lists_it() {
    let output = Command::new(WITH)
        .env("KHO_MANIFEST", "1")
        .output()
        .unwrap();
    let manifest = json(&output);
    assert_eq!(manifest["name"], "pci-example 0.1.0");
    let pci = &manifest["components"]["pci"];
    assert_eq!(
        (&pci["version"], &pci["carrier"]),
        (&2.into(), &"pci".into())
    );
    assert_eq!(
        (&pci["subtree"], &pci["optional"]),
        (&"pci".into(), &true.into())
    );
}

#[test]
fn preflight_judges_it() {
    let images = Images::new();
    let judge = |program: &str, version, to: &str| {
        let from = images.of(version);
        let output = run(
            program,
            &[&"preflight", &"--json", &"--from", &from, &"--to", &to],
        );
        (output.status.code(), json(&output))
    };
    let outcome = |report: &Value| {
        let findings = report["verdict"]["findings"].as_array().unwrap();
        let of_pci = findings.iter().find(|it| it["carrier"] == "pci");
        of_pci.map(|it| it["outcome"].as_str().unwrap().to_owned())
    };
    for version in [1, 2] {
        let (code, report) = judge(WITH, version, WITH);
        assert_eq!(
            (code, outcome(&report).as_deref()),
            (Some(0), Some("restorable"))
        );
    }
    let (code, report) = judge(WITH, 3, WITH);
    assert_eq!((code, outcome(&report).as_deref()), (Some(3), Some("lost")));
    // What the next program does not know is lost with it.
    let (code, report) = judge(WITH, 2, WITHOUT);
    assert_eq!((code, outcome(&report).as_deref()), (Some(3), Some("lost")));
    // Whoever does not know it can not say that it is lost.
    let (code, report) = judge(WITHOUT, 2, WITHOUT);
    assert_eq!((code, outcome(&report)), (Some(0), None));
}
