//! Vectors of this workspace's components: what each writes, and what it reads, for given inputs.
//!
//! They are written over the components' public interface, as a user of them writes, and registered for
//! [`kho_abi_check`] by the component's name. Tests and tools alone link them: no program has them.

mod block;
mod dump;
mod edits;
mod fd;
mod ioctls;
pub mod journal;
mod kexec_metadata;
mod kho;
mod luo;
mod memblock;
mod memfd;
mod opened;
mod peers;
mod programs;
mod radix;
mod reserve_mem;
mod vmalloc;

pub use ioctls::IOCTLS;
use kho_compat::{Component, Registry, RegistryError};

/// The interfaces between programs of this workspace.
pub const INTERFACES: [Component; 4] = [
    IOCTLS,
    kho_compat::file::COMPONENT,
    kho_exec::SUPERVISOR,
    kho_exec::TICKET,
];

/// The components of this workspace: referring to them links them.
const COMPONENTS: [Component; 10] = [
    kho_core::COMPONENT,
    kho_core::METADATA,
    kho_core::MEMBLOCK,
    kho_core::REGION,
    kho_radix::COMPONENT,
    kho_vmalloc::COMPONENT,
    kho_block::COMPONENT,
    kho_luo::COMPONENT,
    kho_memfd::COMPONENT,
    kho_fd::COMPONENT,
];

/// The components that are linked into this program, those of this workspace among them.
///
/// # Errors
///
/// They contradict each other, or one of this workspace is missing.
pub fn components() -> Result<&'static Registry, RegistryError> {
    let registry = Registry::linked().map_err(Clone::clone)?;
    let missing = |component: &&Component| registry.get(component.name).is_none();
    match COMPONENTS.iter().find(missing) {
        Some(missing) => Err(RegistryError::Unknown(missing.name.to_owned())),
        None => Ok(registry),
    }
}

/// Tests of what a crate released: each component's snapshot, those of what differs by page size, and that its
/// vectors are linked and always the same. The snapshot of a version never changes: another format takes a new version.
#[macro_export]
macro_rules! released {
    ($($name:ident: $component:expr, $version:literal, $vectors:literal;)+) => {
        $(#[test]
        fn $name() {
            let component = $component;
            insta::with_settings!({
                snapshot_path => format!("../../../abi-snapshots/{}", component.name),
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                let snapshots = concat!(env!("CARGO_MANIFEST_DIR"), "/../../abi-snapshots");
                let registry = kho_golden::components().unwrap();
                let text = kho_abi_check::describe_released(&component, registry, snapshots.as_ref());
                insta::assert_snapshot!($version, text.unwrap());
                let generation = component.written();
                for variant in generation.variants {
                    let text = kho_abi_check::describe_variant(&component, generation, variant);
                    insta::with_settings!({ snapshot_suffix => variant.label }, {
                        insta::assert_snapshot!($version, text.unwrap());
                    });
                }
            });
            let vectors = kho_abi_check::vectors_of(component.name);
            assert_eq!(vectors.len(), $vectors);
            for vector in vectors {
                assert_eq!(vector.make().unwrap(), vector.make().unwrap());
            }
        })+
    };
}

/// A test of an experiment's snapshot, which changes with it: no release has it.
#[macro_export]
macro_rules! recorded {
    ($name:ident: $component:expr, $version:literal) => {
        #[test]
        fn $name() {
            let component = $component;
            let number = $version.trim_start_matches('v').parse().unwrap();
            let generation = component.generation(number).unwrap();
            assert_eq!(generation.role, kho_compat::Role::Experimental);
            insta::with_settings!({
                snapshot_path => format!("../../../abi-snapshots/{}", component.name),
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                let text = kho_abi_check::describe_generation(&component, generation).unwrap();
                insta::assert_snapshot!($version, text);
            });
        }
    };
}
