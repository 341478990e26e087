//! A kernel image and its modules as one end.

use std::collections::HashSet;
use std::path::Path;

use kho_compat::{Carrier, Compat, Features};
use kho_image::kernel::{
    Evidence, FoundFeatures, FoundString, KernelImage, KernelKind, KernelOptions, KernelStrings,
    Trace, read_modules,
};

use super::end::{End, Kernel, Kind, Masks, Seen, Spot, What};
use super::open::unrecognised;
use crate::error::Failure;
use crate::human::count;
use crate::progress::Bar;

/// Names shown of a list.
const SHOWN: usize = 6;

/// Reads the kernel image at `path`.
pub(super) fn read(path: &Path) -> Result<KernelImage, Failure> {
    let mut bar = Bar::new("unpacking");
    let options = KernelOptions::default();
    let image = KernelImage::open_with(path, &options, &mut |done, total| bar.at(done, total))?;
    if image.kind() == KernelKind::Module {
        let hint = "--modules DIR reads a kernel's modules, --from-modules DIR those of --from";
        return Err(unrecognised("a kernel module", Some(hint)));
    }
    Ok(image)
}

/// `image`, which was given as `name`.
pub(super) fn end(name: String, image: KernelImage) -> End {
    let compressions: Vec<_> = image.compressions().iter().map(|c| c.name()).collect();
    let mut form = image.kind().to_string();
    if !compressions.is_empty() {
        form.push_str(&format!(", {}", compressions.join(" and ")));
    }
    let evidence = image.evidence().iter().map(ToString::to_string).collect();
    let strings = image.into_strings();
    let release = strings.release.clone();
    let mut end = End {
        name,
        kind: Kind::Kernel,
        title: release
            .as_ref()
            .map_or_else(|| "Linux".to_owned(), |release| format!("Linux {release}")),
        form,
        release,
        arch: strings.arch.clone(),
        evidence,
        notes: Vec::new(),
        what: What::Kernel(Kernel {
            kho: shows(strings.kho.as_ref())
                .ok_or_else(|| "nothing in its image shows KHO".to_owned()),
            luo: shows(strings.luo.as_ref()),
            seen: Vec::new(),
            candidates: Vec::new(),
            masks: Vec::new(),
            with_modules: false,
            idle: None,
            root: None,
        }),
    };
    if let What::Kernel(kernel) = &mut end.what {
        take(kernel, strings, None);
    }
    end
}

fn shows(trace: Option<&Trace>) -> Option<String> {
    let trace = trace?;
    Some(format!("`{}` at {:#x}", trace.text, trace.offset))
}

/// Adds what stands in the image, or in the module `module`.
fn take(kernel: &mut Kernel, strings: KernelStrings, module: Option<&Path>) {
    let lists = strings
        .evidence
        .iter()
        .any(|evidence| *evidence != Evidence::Strings);
    for found in &strings.strings {
        let Some(seen) = seen(found, module) else {
            continue;
        };
        // A section lists what is LUO's, whatever its name; whether a handler or an FLB is called so
        // the other side shows.
        if seen.carrier.is_none() && found.evidence == Evidence::Versions {
            kernel.candidates.push(seen);
        } else {
            kernel.seen.push(seen);
        }
    }
    if !lists {
        let candidates = strings.candidates.iter();
        kernel
            .candidates
            .extend(candidates.filter_map(|found| seen(found, module)));
    }
    let masks = strings.features.iter().map(|found| masks(found, module));
    kernel.masks.extend(masks);
}

fn spot(section: Option<&str>, offset: u64, address: Option<u64>, module: Option<&Path>) -> Spot {
    let what = match (module, section) {
        (Some(module), Some(section)) => format!("{}, {section}", module.display()),
        (Some(module), None) => module.display().to_string(),
        (None, Some(section)) => section.to_owned(),
        (None, None) => "image".to_owned(),
    };
    Spot {
        what,
        memory: false,
        address,
        offset: Some(offset),
    }
}

fn seen(found: &FoundString, module: Option<&Path>) -> Option<Seen> {
    Some(Seen {
        compat: Compat::parse(&found.text).ok()?,
        carrier: found.carrier(),
        spot: spot(
            found.section.as_deref(),
            found.offset,
            found.address,
            module,
        ),
    })
}

fn masks(found: &FoundFeatures, module: Option<&Path>) -> Masks {
    Masks {
        name: found.name.clone(),
        features: Features {
            supported: found.supported,
            required: found.required,
            active: found.active,
        },
        spot: spot(
            found.section.as_deref(),
            found.offset,
            found.address,
            module,
        ),
    }
}

/// Adds the modules below `dir` to `end`; of them, where it is given, those `loaded` alone.
pub(super) fn add_modules(
    end: &mut End,
    dir: &Path,
    loaded: Option<&HashSet<String>>,
) -> Result<(), Failure> {
    let What::Kernel(kernel) = &mut end.what else {
        let text = format!(
            "modules belong to a kernel image, not to {}",
            end.kind.title()
        );
        return Err(Failure::Usage(text));
    };
    let mut bar = Bar::new("modules");
    let modules = read_modules(dir, &KernelOptions::default(), &mut |_, done, total| {
        bar.count(done as u64, total as u64)
    })?;
    drop(bar);
    kernel.with_modules = true;
    let is_loaded = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        let stem = name.as_deref().and_then(|name| name.split(".ko").next());
        let stem = stem.unwrap_or_default().replace('-', "_");
        loaded.is_none_or(|loaded| loaded.contains(&stem))
    };
    let mut with = Vec::new();
    for module in modules.found {
        if is_loaded(&module.path) {
            with.push(module.path.display().to_string());
            take(kernel, module.strings, Some(&module.path));
        }
    }
    let of_them = match (with.len(), loaded) {
        (0, None) => "none with strings of a live update".to_owned(),
        (0, Some(_)) => "none that is loaded with strings of a live update".to_owned(),
        (n, _) => format!("strings in {n}: {}", shown(&with)),
    };
    let read = count(modules.read as u64, "module");
    end.evidence
        .push(format!("{read} below {}, {of_them}", dir.display()));
    if let Some(first) = modules.errors.first() {
        let what = count(modules.errors.len() as u64, "file");
        let (path, error) = (first.path.display(), &first.error);
        end.notes.push(format!(
            "{what} below {} could not be read; {path}: {error}",
            dir.display()
        ));
    }
    Ok(())
}

/// The first of `names`, and how many more there are.
pub(super) fn shown(names: &[String]) -> String {
    let first: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

impl Kernel {
    /// Its strings in `carrier`.
    pub(super) fn carried_in(&self, carrier: Carrier) -> impl Iterator<Item = &Seen> {
        self.seen
            .iter()
            .filter(move |seen| seen.carrier == Some(carrier))
    }

    /// Whether a part of it, or a list of its features, is called `name`.
    pub(super) fn names(&self, name: &str) -> bool {
        let seen = |seen: &Seen| seen.compat.base().name() == name;
        self.seen.iter().any(seen) || self.masks.iter().any(|masks| masks.name == name)
    }
}
