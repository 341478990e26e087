//! Kernel images and modules, read for the compat strings that they can restore, without booting
//! them.
//!
//! [`KernelImage`] opens a bzImage, a vmlinux, an arm64 (or RISC-V) Image, an EFI zboot image, a
//! unified kernel image with any of them, or a module, each compressed as well, and recognises it by its content. [`KernelStrings`] is
//! what was found, as plain data. [`read_modules`] reads a directory of modules, [`read_initrd`] those of an initrd.
//!
//! # What a kernel says, and what it does not
//!
//! No released kernel lists what it can restore. There are drafts of two ELF sections that do,
//! `.liveupdate_versions` and `.liveupdate_features`; where an image has one, that is the
//! evidence for everything of LUO's. Otherwise it is the strings themselves, which stand in the
//! image since the kernel compares with them. Two forms count ([`Standing`]):
//!
//! - A *constant*: NUL, the string, NUL. `kho-v4`, `luo-v5`, `memblock-v1` and `reserve-mem-v1`
//!   stand so in Linux 7.3.4.
//! - A *field*: the `compatible` of a registered file handler or FLB, 48 bytes padded with NULs,
//!   behind a pointer. Its last byte is not NUL on a machine with kernel addresses at the top, so
//!   that no NUL comes before the string. `memfd-v2` stands so in Linux 7.3.4, in `.data`.
//!
//! A part of a longer string (`Spectre-v2 mitigation is off`) never counts.
//!
//! Limits of that evidence:
//!
//! - A name says what carries its string for the components that are linked (link `kho-luo` and
//!   `kho-memfd` for `luo` and `memfd`) and for all that ends in `-flb`. Whether another one is a file
//!   handler's can not be told from the string: such strings are
//!   [candidates](KernelStrings::candidates).
//! - Versions of structures without a string, as the kexec metadata's number, can not be seen.
//! - A string can be missing that is in use: a compiler may turn a copy of it into instructions, and a
//!   linker lets it share the end of a longer one. That a kernel has KHO is therefore looked for
//!   in other traces as well ([`KernelStrings::kho`]).
//! - A string can stand there that nothing restores: a test's, or one of two versions of which one
//!   is only written.
//!
//! ```no_run
//! use kho_image::kernel::{KernelImage, KernelOptions};
//!
//! let image = KernelImage::open("/boot/vmlinuz-7.3.4".as_ref(), &KernelOptions::default(), &mut |_, _| true)?;
//! if !image.strings().has_kho() {
//!     println!("no KHO at all");
//! }
//! for (carrier, found) in image.strings().carriers() {
//!     println!("{}: {found}", carrier.title());
//! }
//! # Ok::<(), kho_image::ImageError>(())
//! ```

mod config;
mod container;
mod elf;
mod found;
mod image;
mod initrd;
mod modules;
mod sections;
mod strings;
mod survey;
mod traces;
mod unified;

pub use found::{Evidence, FoundFeatures, FoundString, KernelStrings, Standing, Trace};
pub use image::{KernelImage, KernelKind, KernelOptions};
pub use initrd::{list_initrd, read_initrd};
pub use modules::{ModuleError, ModuleStrings, Modules, ModulesProgress, read_modules};
pub use unified::Unified;

pub use crate::unpack::Compression;
