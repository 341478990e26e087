//! Our layouts against what pahole printed for Linux 7.3.4.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

use kho_compat::Layout;
use xtask::{KernelTypes, compare, root};

fn facts() -> String {
    std::fs::read_to_string(root().join("tests/facts/linux-7.3.4-layouts.json")).unwrap()
}

fn layouts() -> Vec<Layout> {
    let mut layouts: Vec<Layout> = kho_golden::components()
        .unwrap()
        .components()
        .chain(&kho_golden::INTERFACES)
        .flat_map(|c| c.written().all_layouts())
        .collect();
    layouts.sort_by(|a, b| a.name.cmp(&b.name));
    layouts.dedup_by(|a, b| a.name == b.name);
    layouts
}

#[test]
fn every_struct_is_the_kernels() {
    let kernel = KernelTypes::parse(&facts()).unwrap();
    let mut compared = Vec::new();
    for layout in layouts() {
        match compare(&layout, &kernel) {
            Some(differences) => {
                assert_eq!(differences, Vec::<String>::new());
                compared.push(layout.c_name.unwrap());
            }
            // The header behind its string, which the kernel has as part of luo_ser only; and this
            // project's own.
            None => assert!(
                ["LuoSerTail", "FdSer", "ListedVersion", "ListedFeatures"]
                    .contains(&layout.name.as_str()),
                "{}",
                layout.name
            ),
        }
    }
    compared.sort();
    let expected = "kho_block_header_ser kho_data kho_kexec_metadata kho_radix_leaf kho_radix_node \
                    kho_scratch kho_vmalloc kho_vmalloc_chunk kho_vmalloc_hdr \
                    liveupdate_ioctl_create_session liveupdate_ioctl_retrieve_session \
                    liveupdate_session_finish liveupdate_session_get_name \
                    liveupdate_session_preserve_fd liveupdate_session_retrieve_fd luo_file_ser \
                    luo_file_set_ser luo_flb_header_ser luo_flb_ser luo_ser luo_session_ser \
                    memfd_luo_folio_ser memfd_luo_ser setup_data";
    assert_eq!(compared.join(" "), expected);
}

/// What the kernel's header says of its ioctls: tests/facts/uapi.c printed it.
#[test]
fn every_ioctl_is_the_kernels() {
    use liveupdate::abi;

    let path = root().join("tests/facts/linux-7.3.4-uapi.json");
    let text = std::fs::read_to_string(path).unwrap();
    let uapi: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = [
        ("LIVEUPDATE_IOCTL_TYPE", abi::TYPE.into()),
        (
            "LIVEUPDATE_SESSION_NAME_LENGTH",
            abi::SESSION_NAME_LEN as u32,
        ),
        ("LIVEUPDATE_IOCTL_CREATE_SESSION", abi::CREATE_SESSION),
        ("LIVEUPDATE_IOCTL_RETRIEVE_SESSION", abi::RETRIEVE_SESSION),
        ("LIVEUPDATE_SESSION_PRESERVE_FD", abi::PRESERVE_FD),
        ("LIVEUPDATE_SESSION_RETRIEVE_FD", abi::RETRIEVE_FD),
        ("LIVEUPDATE_SESSION_FINISH", abi::FINISH),
        ("LIVEUPDATE_SESSION_GET_NAME", abi::GET_NAME),
    ];
    let theirs = uapi["numbers"].as_object().unwrap();
    assert_eq!(theirs.len(), numbers.len());
    for (name, ours) in numbers {
        assert_eq!(theirs[name], ours, "{name}");
    }
    let header = KernelTypes::parse(&uapi["structs"].to_string()).unwrap();
    let layouts = kho_golden::IOCTLS.written().all_layouts();
    assert_eq!(layouts.len(), header.names().count());
    for layout in layouts {
        assert_eq!(
            compare(&layout, &header),
            Some(Vec::new()),
            "{}",
            layout.name
        );
    }
    // The header and the debug information of one kernel say the same.
    let debug: serde_json::Value = serde_json::from_str(&facts()).unwrap();
    for (name, of_header) in uapi["structs"].as_object().unwrap() {
        assert_eq!(&debug[name], of_header, "{name}");
    }
}

/// The comparison can fail: each number of the facts, changed by one, is told.
#[test]
fn a_kernel_that_differs_anywhere_is_told() {
    let facts = facts();
    let layouts = layouts();
    let ours: Vec<_> = layouts
        .iter()
        .filter_map(|layout| layout.c_name.clone())
        .collect();
    let value: serde_json::Value = serde_json::from_str(&facts).unwrap();
    let mut altered = 0;
    for name in &ours {
        let members = value[name]["members"].as_array().unwrap().len();
        let mut paths = vec![format!("/{name}/size")];
        for member in 0..members {
            for key in ["offset", "size", "bits", "bit_offset"] {
                paths.push(format!("/{name}/members/{member}/{key}"));
            }
        }
        for path in paths {
            let mut value = value.clone();
            let Some(number) = value.pointer_mut(&path) else {
                continue;
            };
            // A flexible array has no bytes, and stays out of the comparison.
            if number.as_u64() == Some(0) && path.ends_with("/size") {
                continue;
            }
            if path.starts_with("/setup_data/members/3") {
                continue;
            }
            *number = (number.as_u64().unwrap() + 1).into();
            let kernel = KernelTypes::parse(&value.to_string()).unwrap();
            let differences: Vec<_> = layouts
                .iter()
                .filter_map(|l| compare(l, &kernel))
                .flatten()
                .collect();
            assert!(!differences.is_empty(), "{path}");
            altered += 1;
        }
    }
    assert!(altered > 80, "{altered}");
}

#[test]
fn the_components_are_these() {
    let registry = kho_golden::components().unwrap();
    let names: Vec<_> = registry.components().map(|one| one.name).collect();
    let names = names.join(" ");
    let expected = "block fd kexec-metadata kho luo memblock memfd radix reserve-mem vmalloc";
    assert_eq!(names, expected);
}
