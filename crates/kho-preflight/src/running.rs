//! The running kernel: its image, found by its release, and what it says of itself.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kho_core::{FdtFile, RootFdt};
use kho_mem::Damage;

use crate::end::{End, EndKind, Kernel, Root, What};
use crate::item::Spot;
use crate::system::{
    BASE, DEBUGFS, FILE_MAX, ROOT_FDT, SUBTREES, is_off, parameter, read, release, text,
};
use crate::words::shown;
use crate::{EndOptions, EndRole, Error, Progress, kernel};

/// Where a kernel's image may be, with its release in place of the star.
const IMAGES: &[&str] = &[
    "boot/vmlinuz-*",
    "lib/modules/*/vmlinuz",
    "usr/lib/modules/*/vmlinuz",
    "boot/Image-*",
    "boot/vmlinux-*",
    "boot/bzImage-*",
    "boot/kernel-*",
    "usr/lib/debug/boot/vmlinux-*",
    "usr/lib/debug/lib/modules/*/vmlinux",
    "lib/modules/*/build/vmlinux",
];
/// More subtrees than a root FDT has room for.
const SUBTREES_MAX: usize = 256;
const CONFIGS: &[&str] = &[
    "boot/config-*",
    "lib/modules/*/config",
    "usr/lib/modules/*/config",
];

/// The running kernel's configuration, and where it stands.
fn config(root: &Path, release: &str) -> Option<(PathBuf, String)> {
    let packed = root.join("proc/config.gz");
    if let Ok(bytes) = read(&packed) {
        let mut text = String::new();
        let decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
        if decoder.take(FILE_MAX).read_to_string(&mut text).is_ok() {
            return Some((packed, text));
        }
    }
    CONFIGS.iter().find_map(|path| {
        let path = root.join(path.replace('*', release));
        let text = text(&path).ok()?;
        Some((path, text))
    })
}

/// The running kernel.
pub(crate) fn end(options: &EndOptions<'_>, progress: &mut Progress<'_>) -> Result<End, Error> {
    let root = options.root;
    let release = release(root)?;
    let config = config(root, &release);
    let has = |config: &str, option: &str| {
        let line = format!("{option}=y");
        config.lines().any(|found| found.trim_end() == line)
    };
    let mut evidence = Vec::new();
    let mut notes = Vec::new();
    let (mut with, mut without) = (None, None);
    if let Some((path, config)) = &config {
        let path = path.display();
        if has(config, "CONFIG_KEXEC_HANDOVER") {
            let text = format!("CONFIG_KEXEC_HANDOVER=y in {path}");
            evidence.push(text.clone());
            with = Some(text);
        } else {
            let text = format!("CONFIG_KEXEC_HANDOVER is not set in {path}");
            evidence.push(text.clone());
            without = Some(text);
        }
    }

    let mut looked = Vec::new();
    let mut image = None;
    for path in IMAGES {
        let path = root.join(path.replace('*', &release));
        match fs::metadata(&path).and_then(|_| fs::File::open(&path)) {
            Ok(_) => {
                image = Some(path);
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                looked.push(path.display().to_string());
            }
            Err(error) => looked.push(format!("{}: {error}", path.display())),
        }
    }
    let mut end = match image {
        Some(path) => {
            let end = End::kernel(&path, progress);
            let mut end = end.map_err(|error| error.within(&path))?;
            end.name = "running".to_owned();
            end.form = format!("{}, {}", path.display(), end.form);
            if let Some(found) = end.release.as_ref().filter(|found| **found != release) {
                notes.push(format!(
                    "{} is of release {found}, the running kernel of {release}",
                    path.display()
                ));
            }
            end
        }
        None if without.is_some() => End {
            name: "running".to_owned(),
            kind: EndKind::Running,
            title: String::new(),
            form: "no image found, and none needed".to_owned(),
            release: None,
            arch: Some(
                rustix::system::uname()
                    .machine()
                    .to_string_lossy()
                    .into_owned(),
            ),
            evidence: Vec::new(),
            notes: Vec::new(),
            what: What::Kernel(Kernel::new(Err(String::new()), None)),
        },
        None => {
            if config.is_none() {
                let paths = CONFIGS.iter().map(|path| path.replace('*', &release));
                let paths = std::iter::once("proc/config.gz".to_owned()).chain(paths);
                looked.extend(paths.map(|path| root.join(path).display().to_string()));
            }
            return Err(Error::NoImage { release, looked });
        }
    };
    end.kind = EndKind::Running;
    end.title = format!("Linux {release}");
    end.release = Some(release.clone());
    end.evidence.append(&mut evidence);
    end.notes.append(&mut notes);
    if options.role == EndRole::From {
        hands_over(&mut end, root);
    }
    let End { what, notes, .. } = &mut end;
    if let What::Kernel(kernel) = &mut *what
        && let Some(text) = without
    {
        if let Ok(trace) = &kernel.kho {
            notes.push(format!("its image has {trace} all the same"));
        }
        kernel.kho = Err(text);
        return Ok(end);
    }
    if let (What::Kernel(kernel), Some(text)) = (what, with)
        && kernel.kho.is_err()
    {
        kernel.kho = Ok(text);
    }
    if options.modules.is_none() {
        modules(&mut end, options, &release, progress)?;
    }
    Ok(end)
}

/// What the running kernel says of what it will hand over.
fn hands_over(end: &mut End, root: &Path) {
    let End {
        what,
        evidence,
        notes,
        ..
    } = end;
    let What::Kernel(kernel) = what else { return };
    let command_line = text(&root.join("proc/cmdline")).unwrap_or_default();
    for name in ["kho", "liveupdate"] {
        if let Some(value) = parameter(&command_line, name) {
            evidence.push(format!("{name}={value} on its command line"));
            if name == "kho" && is_off(&value) {
                kernel.idle = Some(format!("KHO is switched off: kho={value}"));
            }
        }
    }
    let path = root.join(ROOT_FDT);
    match root_fdt(&path, &root.join(SUBTREES)) {
        Ok(Some(found)) => {
            let what = match found.subtrees.as_slice() {
                [] => "no subtrees".to_owned(),
                subtrees => shown(subtrees),
            };
            let path = path.display();
            evidence.push(format!("{path}: `{}`, {what}", found.compatible));
            kernel.root = Some(found);
        }
        Ok(None) if root.join(DEBUGFS).exists() => {
            notes.push(format!("{} is not there", path.display()));
        }
        Ok(None) => {}
        Err(error) => notes.push(format!("{}: {error}", path.display())),
    }
    if root.join("dev/liveupdate").exists() {
        evidence.push("/dev/liveupdate is there".to_owned());
    }
}

/// The root FDT in debugfs; `None` where there is none.
fn root_fdt(path: &Path, subtrees_at: &Path) -> Result<Option<Root>, String> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let whole = |root: &RootFdt| Ok((root.compatible().to_owned(), root.subtrees()?));
    let read = match FdtFile::decode(&bytes, BASE) {
        Ok(FdtFile::Whole(root)) => whole(&root).map(|(compatible, subtrees)| {
            let subtrees = subtrees.into_iter().map(|subtree| subtree.name);
            (compatible, subtrees.collect())
        }),
        Ok(FdtFile::Cut(cut)) => {
            let (shown, total) = (cut.shown, cut.total);
            let compatible = cut.compatible.ok_or_else(|| {
                format!("its first {shown} of {total} bytes alone are there, without its version")
            })?;
            // Each is a file beside it.
            let subtrees = fs::read_dir(subtrees_at).map_err(|error| error.to_string())?;
            let names = subtrees.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let names = names.filter(|name| kho_mem::is_printable(name));
            let mut names: Vec<_> = names.take(SUBTREES_MAX).collect();
            names.sort_unstable();
            Ok((compatible, names))
        }
        Err(damage) => Err(damage),
    };
    let (compatible, subtrees) = read.map_err(|damage: Damage| damage.headline())?;
    Ok(Some(Root {
        compatible,
        subtrees,
        spot: Spot::new(path.display().to_string()),
    }))
}

/// The running kernel's modules: of what it hands over, those that are loaded.
fn modules(
    end: &mut End,
    options: &EndOptions<'_>,
    release: &str,
    progress: &mut Progress<'_>,
) -> Result<(), Error> {
    let dirs = ["lib/modules", "usr/lib/modules"].map(|dir| options.root.join(dir).join(release));
    let Some(dir) = dirs.iter().find(|dir| dir.is_dir()) else {
        let first = dirs.first().map(|dir| dir.display().to_string());
        let first = first.unwrap_or_default();
        end.notes
            .push(format!("no modules were read: {first} is not there"));
        return Ok(());
    };
    let loaded = match options.role {
        EndRole::From => text(&options.root.join("proc/modules")).ok(),
        EndRole::To => None,
    };
    let loaded = loaded.map(|text| -> HashSet<String> {
        let names = text.lines().filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect()
    });
    kernel::add_modules(end, dir, loaded.as_ref(), progress)
}
