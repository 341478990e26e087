//! The running kernel: its image, found by its release, and what it says of itself.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use kho_core::{FdtFile, RootFdt};
use kho_mem::Damage;

use crate::boot::Boot;
use crate::command_line::CommandLine;
use crate::config::{CONFIGS, Config, KHO};
use crate::end::{End, EndKind, Kernel, Root, What};
use crate::facts::Facts;
use crate::item::Spot;
use crate::release::numbers;
use crate::system::{BASE, DEBUGFS, KHO_SUBTREES, ROOT_FDT, read, release, text};
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
/// The running kernel.
pub(crate) fn end(options: &EndOptions<'_>, progress: &mut Progress<'_>) -> Result<End, Error> {
    let root = options.root;
    let release = release(root)?;
    let config = Config::running(root, &release);
    let mut evidence = Vec::new();
    let mut notes = Vec::new();
    let (mut with, mut without) = (None, None);
    if let Some(config) = &config {
        let text = config.says(KHO);
        evidence.push(text.clone());
        match config.has(KHO) {
            true => with = Some(text),
            false => without = Some(text),
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
            boot: Boot::default(),
            facts: Facts::default(),
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
    end.boot.config = config.or(end.boot.config);
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
    let release = end.release.as_deref().and_then(numbers);
    let End {
        what,
        evidence,
        notes,
        facts,
        boot,
        ..
    } = end;
    let What::Kernel(kernel) = what else { return };
    let config = boot.config.as_ref();
    let line = text(&root.join("proc/cmdline")).ok();
    let is_known = line.is_some();
    let line = CommandLine::parse(&line.unwrap_or_default());
    for name in ["kho", "liveupdate"] {
        for value in line.values(name).flatten() {
            evidence.push(format!("{name}={value} on its command line"));
        }
    }
    *facts = Facts::running(root, &line, config);
    let here = facts.here.get_or_insert_default();
    // Without its configuration its default is not known; before 6.19 there is none.
    let default_known = config.is_some() || release.is_some_and(|release| release < [6, 19, 0]);
    let off = |name: &str, title: &str| match line.switch(name, false).words.last() {
        Some(word) => Some(format!("{title} is switched off: {word}")),
        None if name == "kho" && !default_known => None,
        None => Some(format!(
            "{title} is not switched on, {name}=on is not on the command line"
        )),
    };
    if is_known && here.kho.is_none() {
        kernel.idle = off("kho", "KHO");
    }
    if is_known && here.luo.is_none() {
        kernel.no_sessions = off("liveupdate", "LUO");
    }
    let path = root.join(ROOT_FDT);
    match root_fdt(&path, &root.join(KHO_SUBTREES)) {
        Ok(Some((found, is_cut))) => {
            (here.shows_root, here.is_cut) = (true, is_cut);
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
fn root_fdt(path: &Path, subtrees_at: &Path) -> Result<Option<(Root, bool)>, String> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let whole = |root: &RootFdt| Ok((root.compatible().to_owned(), root.subtrees()?));
    let mut is_cut = false;
    let read = match FdtFile::decode(&bytes, BASE) {
        Ok(FdtFile::Whole(root)) => whole(&root).map(|(compatible, subtrees)| {
            let subtrees = subtrees.into_iter().map(|subtree| subtree.name);
            (compatible, subtrees.collect())
        }),
        Ok(FdtFile::Cut(cut)) => {
            is_cut = true;
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
    let root = Root {
        compatible,
        subtrees,
        spot: Spot::new(path.display().to_string()),
    };
    Ok(Some((root, is_cut)))
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
