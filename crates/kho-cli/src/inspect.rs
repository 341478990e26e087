//! `kho inspect`: everything that an image holds of a handover.

use std::io::Write;

use kho_image::{Image, ImageOptions};
use kho_preflight::{MetDefect, State};
use kho_survey::Survey;
use serde_json::{Map, Value, json};

use crate::args::{ImageArgs, InspectArgs};
use crate::compat::registry;
use crate::error::Failure;
use crate::human::{self, YELLOW, count};
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
        .page_size(args.page_size.or_else(|| image.page_size()))
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
    image.check()?;
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
    // Without a dump there is nothing else to show.
    let unread = |failure: Failure| {
        if args.json {
            let report = json!({ "image": { "path": path }, "failure": failure.json() });
            writeln!(std::io::stdout(), "{report:#}").map_err(Failure::Output)?;
        }
        Err(failure)
    };
    let image = match open(given) {
        Ok(image) => image,
        Err(failure) => return unread(failure),
    };
    let mut survey = survey(&image, given, &args.by)?;
    let mut lacking = 0;
    if survey.failure.is_none() && (args.hash || !image.is_complete()) {
        let mut progress = progress::survey();
        let looked_at = if args.hash {
            survey.hash(&mut progress)
        } else {
            survey.find_not_stored(&mut progress)
        };
        match looked_at {
            Ok(files) => lacking = files,
            Err(error) => survey.failure = Some(error),
        }
    }
    if let Err(cut) = image.check() {
        return unread(cut.into());
    }
    let failure = survey.failure.take();
    let failure = failure.map(|error| Failure::of_survey(error, &image));
    if args.json {
        let mut report = Map::new();
        report.insert("image".into(), of_image(&image, &path));
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
        let failure = failure.as_ref();
        human::print(&mut out, &survey, &image, &path, failure, args.all)
            .map_err(Failure::Output)?;
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
        (None, Some(Ok(admitted))) => match admitted.refused() {
            Some(refused) => Err(refused.into()),
            None if args.hash && lacking > 0 => {
                let files = count(lacking as u64, "file");
                let text = format!("the dump does not store all contents of {files}");
                Err(Failure::NotStored(vec![("not stored", text)]))
            }
            None => Ok(()),
        },
        (None, None) => Ok(()),
    }
}

/// What the dump is, as JSON.
fn of_image(image: &Image, path: &str) -> Value {
    let vmcoreinfo = image.vmcoreinfo().map(|info| {
        json!({
            "release": info.release(),
            "page_size": info.page_size(),
            "kernel_offset": info.kernel_offset(),
            "phys_base": info.phys_base(),
        })
    });
    json!({
        "path": path,
        "kind": image.kind().id(),
        "zstd": image.is_compressed(),
        "memory": image.memory(),
        // Bytes of memory whose contents are not stored, and those that the file is too short for.
        "not_stored": image.missing(),
        "cut": image.cut(),
        "flattened": image.is_flattened(),
        "dump_level": image.dump_level(),
        "vmcoreinfo": vmcoreinfo,
        "notes": image.notes(),
        "fault": image.take_fault().map(|fault| fault.to_string()),
    })
}
