//! A handover in a memory dump: what is in use.

use std::path::Path;

use kho_compat::policy::SemverRange;
use kho_compat::{Decision, Manifest, Place, Policy, Side, Verdict};
use kho_core::Handover;
use kho_image::{FindError, Image};
use kho_mem::{PageSize, PhysAddr};
use kho_survey::Survey;

use crate::boot::Boot;
use crate::end::{Dump, End, EndKind, What};
use crate::facts::Facts;
use crate::item::{Item, Spot, Uses};
use crate::words::printable;
use crate::{EndOptions, Error, Preflight, Progress, Step};

/// Memory, if there is a handover in it.
pub(crate) fn memory(
    preflight: &Preflight,
    path: &Path,
    options: &EndOptions<'_>,
    head: &[u8],
    progress: &mut Progress<'_>,
) -> Result<End, Error> {
    match preflight.dump(path, options, progress) {
        // Nothing says that it is memory at all.
        Err(Error::Dump {
            error: kho_survey::Error::Find(FindError::None(near)),
            ..
        }) if near.is_empty() && options.fdt.is_none() => {
            let bytes: Vec<_> = head
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let found = format!(
                "bytes {} at file offset 0x0, and no root FDT anywhere",
                bytes.join(" ")
            );
            Err(Error::Unrecognised { found })
        }
        other => other,
    }
}

impl Preflight {
    /// Opens the handover in the memory dump `path`: what is in use there is judged.
    ///
    /// # Errors
    ///
    /// It can not be read, holds no handover, or a damaged one; `progress` said stop.
    pub fn dump(
        &self,
        path: &Path,
        options: &EndOptions<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<End, Error> {
        let of_image = kho_image::ImageOptions {
            base: options.base,
            max_unpacked: options.max_unpacked,
        };
        let image = Image::open(path, &of_image, &mut |done, total| {
            progress(Step::Unpack, done, total)
        })?;
        let readable = Readable(options.policy);
        let of_survey = kho_survey::SurveyOptions::default()
            .fdt(options.fdt)
            .scratch(options.scratch)
            .page_size(image.page_size())
            .policy(&readable);
        let mut watch = |step, done, total| progress(Step::Survey(step), done, total);
        let mut survey = Survey::of(&image, self.registry, &of_survey, &mut watch);
        image.check()?;
        match survey.failure.take() {
            // What lies behind the root is not read here: the root's string is judged.
            None | Some(kho_survey::Error::Unrestorable(_)) => {}
            Some(error) => return Err(Error::of_dump(error, &image)),
        }
        let page_size = survey.handover.as_ref().map(Handover::page_size);
        match page_size.filter(|size| *size != PageSize::K4) {
            Some(found) => Err(Error::PageSize { found }),
            None => Ok(end(path, &image, &survey)),
        }
    }
}

/// Takes what the components here restore, and what a policy takes beyond that: a dump is read as far as it can be,
/// and judged later.
struct Readable<'p>(&'p dyn Policy);

impl Policy for Readable<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn summary(&self) -> &'static str {
        self.0.summary()
    }

    fn reads_as(
        &self,
        component: &str,
        announced: Option<u32>,
        manifest: &Manifest,
        side: &Side,
    ) -> Option<u32> {
        match announced {
            Some(version) if side.restores(component, version) => announced,
            _ => self.0.reads_as(component, announced, manifest, side),
        }
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        let restorable = SemverRange.judge(manifest, side);
        match restorable.decision {
            Decision::Reject => self.0.judge(manifest, side),
            _ => restorable,
        }
    }
}

fn end(path: &Path, image: &Image, survey: &Survey<'_>) -> End {
    let spot = |place: &Place| Spot {
        what: printable(&place.path),
        memory: true,
        address: Some(place.addr),
        offset: image.locate(PhysAddr::new(place.addr)),
    };
    let items = Item::all_of(&survey.manifest, spot);
    let unread = survey.unread();
    let uses = unread.is_none().then(|| uses(survey));
    let release = survey.release().map(str::to_owned);
    End {
        name: path.display().to_string(),
        kind: EndKind::Dump,
        title: match &release {
            Some(release) => format!("handover of Linux {release}"),
            None => "handover".to_owned(),
        },
        form: image.form(),
        release,
        arch: None,
        evidence: vec![match &uses {
            Some(uses) => format!("what is in use: {uses}"),
            None => "what is in use".to_owned(),
        }],
        notes: unread
            .iter()
            .map(|what| format!("not read: {what}"))
            .collect(),
        what: What::Dump(Dump {
            items,
            uses,
            unread: unread.map(|what| printable(&what)),
        }),
        boot: Boot::default(),
        facts: Facts::of(survey),
    }
}

fn uses(survey: &Survey<'_>) -> Uses {
    let mut uses = Uses {
        pages: survey.preserved.as_ref().map(|preserved| preserved.pages()),
        ..Uses::default()
    };
    let luo = survey.luo();
    let Some((luo, body)) = luo.and_then(|luo| Some((luo, luo.luo().body()?))) else {
        return uses;
    };
    uses.sessions = body.sessions().len() as u64;
    uses.flbs = body.flbs().len() as u64;
    for (index, session) in body.sessions().iter().enumerate() {
        for (of_session, file) in session.files().iter().enumerate() {
            let size = luo.file(index, of_session).and_then(|file| file.size());
            uses.all.add(size);
            let handler = body.compatible_of(file).to_owned();
            uses.handlers.entry(handler).or_default().add(size);
        }
    }
    uses
}
