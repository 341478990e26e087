//! A real capture, opened and looked at.

use std::path::{Path, PathBuf};

use kho_compat::Manifest;
use kho_image::{Image, ImageOptions};
use kho_survey::Survey;

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
pub fn inspect(path: &Path) -> Result<(usize, Manifest)> {
    let image = Image::open(path, &ImageOptions::default(), &mut |_, _| true)?;
    let registry = kho_compat::Registry::linked().map_err(Clone::clone)?;
    let options = kho_survey::SurveyOptions::default();
    let survey = Survey::of(&image, registry, &options, &mut |_, _, _| true);
    let files = survey.luo().map_or(0, |luo| {
        let sessions = luo.sessions().iter().enumerate();
        let read = |(of, session): (usize, &kho_luo::Session)| {
            let files = 0..session.files().len();
            files.filter(|file| luo.file(of, *file).is_some()).count()
        };
        sessions.map(read).sum()
    });
    match (survey.failure, survey.verdict) {
        (Some(error), _) => Err(error.into()),
        (None, Some(Err(refused))) => Err(refused.into()),
        (None, _) => Ok((files, survey.manifest)),
    }
}

/// What the capture says of itself.
pub fn manifest() -> Result<Manifest> {
    inspect(&root().join(CAPTURE)).map(|(_, manifest)| manifest)
}

pub(crate) fn workloads() -> Vec<Workload> {
    vec![Workload::new("inspect_capture", Work::One, || {
        let path = root().join(CAPTURE);
        timed(|| Ok(inspect(&path)?.0))
    })]
}
