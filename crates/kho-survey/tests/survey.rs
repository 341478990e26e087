//! Surveys of a capture: whole, interrupted, and where the handover is known.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use kho_compat::Registry;
use kho_image::Image;
// Links the memfds' owner.
use kho_memfd as _;
use kho_survey::{Error, Survey, SurveyOptions, SurveyStep};
use serde_json::Value;

fn captures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures")
}

fn image() -> Image {
    let path = captures().join("small.core.zst");
    Image::open(&path, &kho_image::ImageOptions::default(), &mut |_, _| true).unwrap()
}

fn survey<'i>(
    image: &'i Image,
    options: &SurveyOptions<'_>,
    go_on: impl Fn(SurveyStep) -> bool,
) -> Survey<'i> {
    let registry = Registry::linked().unwrap();
    Survey::of(image, registry, options, &mut |step, _, _| go_on(step))
}

#[test]
fn a_whole_survey_has_the_facts_of_the_capture() {
    let image = image();
    let mut survey = survey(&image, &SurveyOptions::default(), |_| true);
    survey.hash(&mut |_, _, _| true).unwrap();
    assert!(survey.failure.is_none());
    let found = survey.json(&|at| image.locate(at));
    let facts = std::fs::read(captures().join("small.facts.json")).unwrap();
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    for name in ["compatible", "preserved", "subtrees", "kexec_metadata"] {
        assert_eq!(found.get(name), facts.get(name), "{name}");
    }
    let sum = "/sessions/0/files/0/sha256";
    let of_luo = |value: &Value| value.pointer(sum).cloned().unwrap();
    assert_eq!(of_luo(&found["luo"]), of_luo(&facts["luo"]));
}

#[test]
fn an_interrupted_survey_keeps_what_it_found() {
    let image = image();
    let before = survey(&image, &SurveyOptions::default(), |step| {
        step != SurveyStep::Scan
    });
    assert!(matches!(before.failure, Some(Error::Interrupted)));
    assert!(before.root.is_none() && before.verdict.is_none());
    let files = survey(&image, &SurveyOptions::default(), |step| {
        step != SurveyStep::Files
    });
    assert!(matches!(files.failure, Some(Error::Interrupted)));
    let luo = files.luo().unwrap();
    assert!(!luo.sessions().is_empty() && luo.file(0, 0).is_none());
    assert_eq!(files.release(), Some("7.3.4"));
    assert!(files.verdict.is_none());
}

#[test]
fn where_the_handover_is_known_nothing_is_looked_for() {
    let image = image();
    let entry = survey(&image, &SurveyOptions::default(), |_| true)
        .entry
        .unwrap();
    let known = SurveyOptions::default().entry(entry);
    let survey = survey(&image, &known, |step| step != SurveyStep::Scan);
    assert!(survey.failure.is_none());
    assert!(survey.verdict.is_some_and(|verdict| verdict.is_ok()));
}
