//! A kernel image and its modules as one end.

use std::collections::HashSet;
use std::path::Path;

use kho_compat::{Compat, Features};
use kho_image::kernel::{
    Evidence, FoundFeatures, FoundString, KernelImage, KernelKind, KernelOptions, KernelStrings,
    Trace, Unified, read_modules,
};

use crate::boot::Boot;
use crate::command_line::CommandLine;
use crate::config::{Config, KHO};
use crate::end::{End, EndKind, Kernel, Masks, Seen, What};
use crate::facts::Facts;
use crate::initrd::Initrd;
use crate::item::Spot;
use crate::words::shown;
use crate::{Error, Progress, Step};
use kho_compat::count;

impl End {
    /// Reads the kernel image `path` for its compat strings. It is not booted. Its modules come with
    /// [`EndOptions::modules`](crate::EndOptions::modules).
    ///
    /// # Errors
    ///
    /// It can not be read, or is no kernel image; `progress` said stop.
    pub fn kernel(path: &Path, progress: &mut Progress<'_>) -> Result<Self, Error> {
        let options = KernelOptions::default();
        let image = KernelImage::open(path, &options, &mut |done, total| {
            progress(Step::Unpack, done, total)
        })?;
        if image.kind() == KernelKind::Module {
            return Err(Error::Module);
        }
        Ok(end(path, image))
    }
}

/// `image`, which is the file `path`.
fn end(path: &Path, image: KernelImage) -> End {
    let compressions: Vec<_> = image.compressions().iter().map(|c| c.name()).collect();
    let mut form = image.kind().to_string();
    if !compressions.is_empty() {
        form.push_str(&format!(", {}", compressions.join(" and ")));
    }
    let evidence = image.evidence().iter().map(ToString::to_string).collect();
    let name = path.display().to_string();
    let (mut boot, notes) = unified(path, image.unified());
    boot.image = image.init_size();
    let strings = image.into_strings();
    let release = strings.release.clone();
    let own = strings.config.clone().map(|text| Config {
        text,
        of: format!("the configuration in {name}"),
    });
    boot.config = own.or_else(|| Config::beside(path, release.as_deref()?));
    let kho = shows(strings.kho.as_ref()).ok_or(boot.config.as_ref());
    let kho = kho.or_else(|config| match config {
        Some(config) if config.has(KHO) => Ok(config.says(KHO)),
        Some(config) => Err(config.says(KHO)),
        None => Err(format!("nothing in its image shows {KHO}")),
    });
    let mut kernel = Kernel::new(kho, shows(strings.luo.as_ref()));
    let arch = strings.arch.clone();
    take(&mut kernel, strings, None);
    End {
        name,
        kind: EndKind::Kernel,
        title: release
            .as_ref()
            .map_or_else(|| "Linux".to_owned(), |release| format!("Linux {release}")),
        form,
        release,
        arch,
        evidence,
        notes,
        what: What::Kernel(kernel),
        boot,
        facts: Facts::default(),
    }
}

/// What the unified kernel image `path` boots its kernel with, and what to note of it.
fn unified(path: &Path, unified: Option<&Unified>) -> (Boot, Vec<String>) {
    let mut boot = Boot::default();
    let Some(unified) = unified else {
        return (boot, Vec::new());
    };
    let of = |section: &str| format!("{section} of {}", path.display());
    let line = unified.cmdline.as_deref().map(CommandLine::parse);
    boot.command_line = line.map(|line| (line, of(".cmdline")));
    // Of an image in a compressed file it lies elsewhere.
    let initrd = unified.initrd.iter().map(|range| {
        let part = Initrd::part(path, range.clone(), of(".initrd"));
        part.unwrap_or_else(|error| Initrd {
            of: of(".initrd"),
            bytes: range.end.saturating_sub(range.start),
            modules: Err(error.to_string()),
        })
    });
    boot.initrds = initrd.collect();
    let notes = match unified.others.len() as u64 {
        0 => Vec::new(),
        others => vec![format!("{} not looked at", count(others, "other profile"))],
    };
    (boot, notes)
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
pub(crate) fn add_modules(
    end: &mut End,
    dir: &Path,
    loaded: Option<&HashSet<String>>,
    progress: &mut Progress<'_>,
) -> Result<(), Error> {
    let What::Kernel(kernel) = &mut end.what else {
        return Err(Error::Modules(end.kind));
    };
    let modules = read_modules(dir, &KernelOptions::default(), &mut |_, done, total| {
        progress(Step::Modules, done as u64, Some(total as u64))
    })?;
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
            kernel.modules.push(module.path.display().to_string());
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
