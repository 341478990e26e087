//! `vm kernel`: a small Linux with KHO and LUO.

mod build;
pub(crate) mod source;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, of_file};
use crate::place;

/// Build the kernel that guests run, from Debian's source package, or from a source tree.
///
/// The package linux-source-VERSION comes from the mirror that apt already uses, with Debian's signatures
/// checked; nothing of the system is changed. It is built with the options of crates/kho-vm/kho.config and nothing
/// else, which takes some minutes, and kept below the target directory, by version and configuration, so that
/// it is built once: vm/kernels/VERSION-HASH/bzImage.
///
/// A kernel that is there already is taken instead: $KHO_VM_KERNEL, or ../shared/kernel/bzImage-* beside this
/// repository.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm kernel                     the kernel that guests run, built where there is none
  cargo xtask vm kernel --install           with the packages that it takes to build one, as root
  cargo xtask vm kernel --source ~/linux    the tree there, built beside it
  cargo xtask vm kernel --debug-info        with a vmlinux for `abi-check --kernel`")]
pub(crate) struct Args {
    /// The version of Debian's source package.
    #[arg(long, value_name = "X.Y", default_value = VERSION, conflicts_with = "source")]
    version: String,
    /// Debian's suite that has the package.
    #[arg(
        long,
        value_name = "SUITE",
        default_value = "trixie-backports",
        conflicts_with = "source"
    )]
    suite: String,
    /// A source tree, which is left as it is.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Options, a line each, on top of nothing.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// With debug information: leaves a vmlinux beside the bzImage. Takes some minutes more.
    #[arg(long)]
    debug_info: bool,
    /// Build it although there is one.
    #[arg(long)]
    build: bool,
    /// Install the packages that are missing, as root or by sudo.
    #[arg(long)]
    install: bool,
    /// Print JSON: where everything is.
    #[arg(long)]
    json: bool,
}

const VERSION: &str = "7.3";
/// The variable that names a kernel, and its earlier name.
const VARIABLES: [&str; 2] = ["KHO_VM_KERNEL", "KHO_LAB_KERNEL"];
/// The options that kernels are built with here.
const CONFIG: &str = "crates/kho-vm/kho.config";
const DEBUG_INFO: &str = "
# A vmlinux that says what its types are.
CONFIG_DEBUG_INFO_NONE=n
CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y
";

/// A kernel: where, and how it came there.
struct Kernel {
    image: PathBuf,
    vmlinux: Option<PathBuf>,
    origin: String,
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let kernel = args.kernel()?;
    if args.json {
        let value = json!({
            "image": kernel.image,
            "vmlinux": kernel.vmlinux,
            "origin": kernel.origin,
        });
        println!("{value:#}");
        return Ok(true);
    }
    println!("{}", kernel.image.display());
    if let Some(vmlinux) = &kernel.vmlinux {
        println!("{}", vmlinux.display());
    }
    eprintln!("vm kernel: {}", kernel.origin);
    Ok(true)
}

impl Args {
    fn kernel(&self) -> Result<Kernel, Failure> {
        let is_usual = self.source.is_none() && self.config.is_none() && !self.debug_info;
        if is_usual
            && self.version == VERSION
            && !self.build
            && let Some((image, origin)) = there()?
        {
            return Ok(Kernel {
                image,
                vmlinux: None,
                origin: format!("{origin} (--build builds one)"),
            });
        }
        let wanted = self.wanted()?;
        if !self.build
            && self.source.is_none()
            && let Some(kernel) = wanted.built()
        {
            return Ok(kernel);
        }
        tools::ready(self.install, self.source.is_none())?;
        match &self.source {
            Some(source) => build::build(source, &wanted)?,
            None => {
                let unpacked = source::unpacked(&self.version, &self.suite)?;
                build::build(unpacked.path(), &wanted)?;
            }
        }
        wanted.built().ok_or_else(|| {
            Failure::Failed(format!("{}: no kernel was built", wanted.dir.display()))
        })
    }

    fn wanted(&self) -> Result<Wanted, Failure> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => place::root().join(CONFIG),
        };
        let mut config = fs::read_to_string(&path).map_err(of_file(&path))?;
        if self.debug_info {
            config.push_str(DEBUG_INFO);
        }
        let name = match &self.source {
            // Each tree has a directory of its own.
            Some(source) => {
                let source = source.canonicalize().map_err(of_file(source))?;
                format!("tree-{}", hash(&source.display().to_string()))
            }
            None => self.version.clone(),
        };
        Ok(Wanted {
            dir: kernels()?.join(format!("{name}-{}", hash(&config))),
            config,
            debug_info: self.debug_info,
        })
    }
}

/// A kernel to be built.
struct Wanted {
    /// Where it goes.
    dir: PathBuf,
    config: String,
    debug_info: bool,
}

impl Wanted {
    fn image(&self) -> PathBuf {
        self.dir.join("bzImage")
    }

    fn built(&self) -> Option<Kernel> {
        let (image, vmlinux) = (self.image(), self.dir.join("vmlinux"));
        let whole = image.is_file() && (!self.debug_info || vmlinux.is_file());
        whole.then(|| Kernel {
            image,
            vmlinux: self.debug_info.then_some(vmlinux),
            origin: "built here".to_owned(),
        })
    }
}

fn kernels() -> Result<PathBuf, Failure> {
    let dir = place::dir()?.join("kernels");
    fs::create_dir_all(&dir).map_err(of_file(&dir))?;
    Ok(dir)
}

/// A short name for `text`.
fn hash(text: &str) -> String {
    let sum = Sha256::digest(text.as_bytes());
    let bytes = sum.iter().take(6);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// A kernel that is there already, and where it comes from.
fn there() -> Result<Option<(PathBuf, String)>, Failure> {
    let mut named = VARIABLES.iter();
    let named = named.find_map(|name| Some((name, PathBuf::from(std::env::var_os(name)?))));
    if let Some((name, path)) = named {
        if path.is_file() {
            return Ok(Some((path, format!("from ${name}"))));
        }
        let text = format!("${name}: {} is no file", path.display());
        return Err(Failure::CanNot(text));
    }
    let path = place::root().join(CONFIG);
    let config = fs::read_to_string(&path).map_err(of_file(&path))?;
    let usual = format!("{VERSION}-{}/bzImage", hash(&config));
    let usual = kernels()?.join(usual);
    if usual.is_file() {
        return Ok(Some((usual, "built here".to_owned())));
    }
    Ok(beside().map(|path| (path, "it stands beside this repository".to_owned())))
}

/// The newest kernel by name that stands beside this repository.
fn beside() -> Option<PathBuf> {
    let dir = place::root().parent()?.join("shared").join("kernel");
    let names = fs::read_dir(dir).ok()?;
    let names = names.filter_map(|entry| Some(entry.ok()?.path()));
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("bzImage") && path.is_file()
    };
    names.filter(is_image).max()
}

/// The kernel that guests run: `given`, or one that is there.
pub(crate) fn find(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let none = "there is no kernel; this builds one: cargo xtask vm kernel";
    let (path, _) = there()?.ok_or_else(|| Failure::CanNot(none.to_owned()))?;
    Ok(path)
}
