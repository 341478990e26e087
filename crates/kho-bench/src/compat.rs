//! Versions: a verdict, and the check of this workspace's formats.

use std::hint::black_box;
use std::time::Instant;

use kho_abi_check::{Options, Project, check_linked};
use kho_compat::{Manifest, Policy, Side, policy};
use kho_golden::components;

use crate::capture::{manifest, root};
use crate::radix::timed;
use crate::{Result, Work, Workload};

/// Judges what a handover says of itself by what this side knows; returns the findings.
#[must_use]
pub fn verdict(manifest: &Manifest, side: &Side) -> usize {
    policy::SemverRange.judge(manifest, side).findings.len()
}

/// Checks this workspace's formats against their history.
pub fn abi_check() -> Result<bool> {
    components()?;
    let project = Project::new(root()).docs("docs/abi.md");
    Ok(check_linked(&project, &Options::default())?.passes())
}

pub(crate) fn workloads() -> Vec<Workload> {
    let mut made = None;
    let judge = Workload {
        name: "compat_verdict",
        by: "kho",
        work: Work::One,
        short: true,
        run: Box::new(move |times| {
            let manifest = match &mut made {
                Some(manifest) => manifest,
                none => none.insert(manifest()?),
            };
            let side = components()?.side();
            let start = Instant::now();
            for _ in 0..times {
                black_box(verdict(black_box(manifest), side));
            }
            Ok(start.elapsed())
        }),
    };
    let check = Workload::new("abi_check", Work::One, || timed(abi_check));
    vec![judge, check]
}
