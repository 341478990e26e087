//! A real capture, opened and looked at.

use std::path::{Path, PathBuf};

use kho_compat::{Compat, Manifest};
use kho_core::Handover;
use kho_image::{Image, Options};
use kho_luo::{Body, Luo};
use kho_memfd::Memfd;

use crate::radix::timed;
use crate::{Result, Work, Workload};

/// This workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The capture that is looked at: of all, the one with the most files.
const CAPTURE: &str = "tests/captures/files.core.zst";

/// Opens a dump, finds the handover in it, checks all of it, and judges it: what `kho inspect` does
/// before it prints. Returns the files and what the handover says of itself.
///
/// # Errors
///
/// It can not be read, is damaged, or is refused.
pub fn inspect(path: &Path) -> Result<(usize, Manifest)> {
    let image = Image::open(path, &Options::default())?;
    let scan = kho_image::scan(&image, &mut |_, _| true);
    let entry = scan.entry().map_err(|error| format!("{error:?}"))?;
    let handover = Handover::open(&image, entry)?;
    let mut reading = handover.reading()?;
    let (manifest, luo) = kho_luo::survey(&handover, &mut reading)?;
    let mut files = 0;
    if let Some(body) = luo.as_ref().and_then(Luo::body) {
        let memfds = memfds(body);
        for session in body.sessions() {
            for file in session.files() {
                if memfds.get(file.handler()) == Some(&true) {
                    files += Memfd::read(&mut reading, file)?.folios().len().min(1);
                }
            }
        }
    }
    let registry = kho_compat::Registry::linked().map_err(Clone::clone)?;
    registry.admit(&kho_compat::policy::SemverRange, manifest.clone())?;
    Ok((files, manifest))
}

/// Of each handler, whether its files are memfds.
fn memfds(body: &Body) -> Vec<bool> {
    let handlers = body.handlers().iter();
    handlers
        .map(|handler| {
            Compat::parse(&handler.compatible)
                .is_ok_and(|compat| compat.base().name() == kho_memfd::NAME)
        })
        .collect()
}

/// What the capture says of itself.
///
/// # Errors
///
/// As [`inspect`].
pub fn manifest() -> Result<Manifest> {
    inspect(&root().join(CAPTURE)).map(|(_, manifest)| manifest)
}

pub(crate) fn workloads() -> Vec<Workload> {
    vec![Workload::new("inspect_capture", Work::One, || {
        let path = root().join(CAPTURE);
        timed(|| Ok(inspect(&path)?.0))
    })]
}
