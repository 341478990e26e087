//! `kho inspect`: everything that an image holds of a handover.

use std::io::Write;

use kho_compat::Admitted;
use kho_image::{Image, Options};
use kho_memfd::{Memfd, Piece};
use sha2::{Digest, Sha256};

use crate::args::{ImageArgs, InspectArgs};
use crate::error::Failure;
use crate::human;
use crate::live;
use crate::progress::Bar;
use crate::report::{self, Hashes};
use crate::survey::Survey;

/// Opens the image of `args`.
pub(crate) fn open(args: &ImageArgs) -> Result<Image, Failure> {
    let mut bar = Bar::new("unpacking");
    let options = Options {
        base: args.base,
        max_unpacked: args.max_unpacked,
    };
    Ok(Image::open_with(
        &args.image,
        &options,
        &mut |done, total| bar.at(done, total),
    )?)
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
    let mut survey = Survey::of(&image, given);
    let mut hashes = None;
    if let (true, Some(Ok(admitted))) = (args.hash, &survey.verdict) {
        match hash(&survey, admitted) {
            Ok(computed) => hashes = Some(computed),
            Err(failure) => survey.failure = Some(failure),
        }
    }
    if args.json {
        let report = report::json(&survey, &path, hashes.as_ref());
        writeln!(std::io::stdout().lock(), "{report:#}").map_err(Failure::Output)?;
    } else {
        let mut out = anstream::stdout().lock();
        human::print(&mut out, &survey, &path, hashes.as_ref(), args.all)
            .map_err(Failure::Output)?;
    }
    match (survey.failure, survey.verdict) {
        (Some(failure), _) => Err(failure),
        (None, Some(Err(refused))) => Err(refused.into()),
        (None, _) => Ok(()),
    }
}

/// The sha256 of every memfd.
fn hash(survey: &Survey<'_>, admitted: &Admitted) -> Result<Hashes, Failure> {
    let (Some(handover), Some(luo)) = (&survey.handover, &survey.luo) else {
        return Ok(Vec::new());
    };
    let mut reading = handover
        .reading()
        .map_err(|damage| Failure::damaged(damage, survey.image))?;
    let sessions = luo
        .restore(admitted)
        .map_err(|error| Failure::Unrestorable(error.to_string()))?;
    let mut bar = Bar::new("hashing");
    let (mut done, total) = (0u64, survey.bytes());
    let mut hashes = Vec::new();
    for (session, facts) in sessions.iter().zip(&survey.memfds) {
        let mut of_session = Vec::new();
        for (file, facts) in session.files().zip(facts) {
            if facts.is_none() {
                of_session.push(None);
                continue;
            }
            let memfd = Memfd::restore(&mut reading.admitted(admitted), &file)
                .map_err(|error| Failure::of_restore(error, survey.image))?;
            let mut hash = Hasher::default();
            for piece in memfd.pieces() {
                let piece = piece.map_err(|e| Failure::of_memory(&e, survey.image))?;
                hash.update(piece);
                done += piece.len();
                if !bar.at(done, Some(total)) {
                    return Err(Failure::Interrupted);
                }
            }
            of_session.push(Some(hash.finish()));
        }
        hashes.push(of_session);
    }
    Ok(hashes)
}

/// sha256 over pieces of a file.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, piece: Piece<'_>) {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        match piece {
            Piece::Data(bytes) => self.0.update(bytes),
            Piece::Hole(mut len) => {
                while len > 0 {
                    let step = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
                    self.0.update(ZEROS.get(..step).unwrap_or(&ZEROS));
                    len -= step as u64;
                }
            }
        }
    }

    pub(crate) fn finish(self) -> String {
        report::hex(&self.0.finalize())
    }
}
