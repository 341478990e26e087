//! `kho inspect`: everything that an image holds of a handover.

use std::io::Write;

use kho_image::{Image, ImageKind, ImageOptions};
use kho_preflight::{MetDefect, State};
use kho_survey::Survey;
use serde_json::{Map, Value, json};

use crate::args::{ImageArgs, InspectArgs};
use crate::compat::registry;
use crate::error::Failure;
use crate::human::{self, YELLOW};
use crate::live;
use crate::policy::PolicyArgs;
use crate::progress::{self, Bar};

/// Opens the image of `args`.
pub(crate) fn open(args: &ImageArgs) -> Result<Image, Failure> {
    let mut bar = Bar::new("unpacking");
    let options = ImageOptions {
        base: args.base,
        max_unpacked: args.max_unpacked,
    };
    Ok(Image::open(&args.image, &options, &mut |done, total| {
        bar.at(done, total)
    })?)
}

/// Surveys `image`.
pub(crate) fn survey<'i>(
    image: &'i Image,
    args: &ImageArgs,
    by: &PolicyArgs,
) -> Result<Survey<'i>, Failure> {
    let options = kho_survey::SurveyOptions::default()
        .fdt(args.fdt)
        .scratch(args.scratch)
        .page_size(args.page_size)
        .policy(by.policy.0);
    let registry = registry()?;
    Ok(Survey::of(
        image,
        registry,
        &options,
        &mut progress::survey(),
    ))
}

/// Surveys `image` to its end.
pub(crate) fn survey_all<'i>(
    image: &'i Image,
    args: &ImageArgs,
    by: &PolicyArgs,
) -> Result<Survey<'i>, Failure> {
    let mut survey = survey(image, args, by)?;
    match survey.failure.take() {
        Some(error) => Err(Failure::of_survey(error, image)),
        None => Ok(survey),
    }
}

pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let given = match &args.image {
        _ if args.live => return live::run(&args.root, args.json),
        Some(given) => given,
        None => return Err(Failure::Usage("no memory dump is named".to_owned())),
    };
    let path = given.image.display().to_string();
    let image = match open(given) {
        Ok(image) => image,
        Err(failure) => {
            if args.json {
                let report =
                    serde_json::json!({ "image": { "path": path }, "failure": failure.json() });
                writeln!(std::io::stdout(), "{report:#}").map_err(Failure::Output)?;
            }
            return Err(failure);
        }
    };
    let mut survey = survey(&image, given, &args.by)?;
    if args.hash
        && let Err(error) = survey.hash(&mut progress::survey())
    {
        survey.failure = Some(error);
    }
    let failure = survey.failure.take();
    let failure = failure.map(|error| Failure::of_survey(error, &image));
    if args.json {
        let mut report = Map::new();
        let kind = match image.kind() {
            ImageKind::Elf => "elf",
            ImageKind::Raw => "raw",
        };
        let (zstd, memory) = (image.is_compressed(), image.memory());
        let of_image = json!({ "path": path, "kind": kind, "zstd": zstd, "memory": memory });
        report.insert("image".into(), of_image);
        report.extend(survey.json(&|at| image.locate(at)));
        report.insert(
            "known_defects".into(),
            kho_preflight::known_defects(&survey)
                .iter()
                .map(MetDefect::json)
                .collect(),
        );
        if let Some(failure) = &failure {
            report.insert("failure".into(), failure.json());
        }
        let report = Value::from(report);
        writeln!(std::io::stdout().lock(), "{report:#}").map_err(Failure::Output)?;
    } else {
        let mut out = anstream::stdout().lock();
        human::print(&mut out, &survey, &image, &path, args.all).map_err(Failure::Output)?;
        for found in kho_preflight::known_defects(&survey) {
            let may = if found.state == State::Met {
                ""
            } else {
                " (may be)"
            };
            writeln!(out, "{YELLOW}known defect{YELLOW:#}{may} {found}")
                .map_err(Failure::Output)?;
        }
    }
    match (failure, survey.verdict) {
        (Some(failure), _) => Err(failure),
        (None, Some(Err(refused))) => Err(refused.into()),
        // What a restore would find on its way.
        (None, Some(Ok(admitted))) => admitted.refused().map_or(Ok(()), |r| Err(r.into())),
        (None, None) => Ok(()),
    }
}
