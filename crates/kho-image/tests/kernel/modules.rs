//! Modules, and directories of them.

use super::*;

pub(crate) fn module(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend(text.bytes().chain([0]));
    }
    let info = b"license=GPL\0vermagic=7.3.4 SMP preempt mod_unload \0".to_vec();
    elf(
        1,
        true,
        false,
        &[
            Section(".modinfo", 1, ALLOC, info),
            Section(".rodata.str1.1", 1, ALLOC, bytes),
        ],
    )
}

#[test]
fn a_module_has_strings_and_a_release_but_no_addresses() {
    for (_, pack) in PACKS {
        let image = read(&pack(&module(&["memfd-v2"])));
        assert_eq!(image.kind(), KernelKind::Module);
        let found = image.into_strings();
        assert_eq!(texts(&found), ["memfd-v2"]);
        assert_eq!(found.release.as_deref(), Some("7.3.4"));
        assert_eq!(found.strings[0].address, None);
        assert_eq!(found.strings[0].section.as_deref(), Some(".rodata.str1.1"));
        assert!(!found.has_kho());
    }
}

#[test]
fn a_directory_of_modules() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("kernel/a.ko", &module(&["memfd-v2"]));
    put("kernel/b.ko.xz", &xz(&module(&["vfio-pci-flb-v1"])));
    put("kernel/deep/er/c.ko.zst", &zstd(&module(&["kho-test-v1"])));
    put("extra/d.ko.gz", &gzip(&module(&["nothing here", "gic-v3"])));
    put("extra/cut.ko.xz", &xz(&module(&["memfd-v2"]))[..100]);
    put("extra/text.ko", b"not a module");
    put("extra/kernel.ko", &kernel());
    put("extra/empty.ko", b"");
    // What is no module by its name, and names that are nothing but an ending.
    put("modules.dep", b"kho-v4\0");
    put("extra/e.ko.lzo", &lz4(&module(&["memfd-v2"])));
    put("extra/.ko", &module(&["memfd-v2"]));
    // Links lead anywhere, in circles too.
    std::os::unix::fs::symlink(root, root.join("build")).unwrap();
    std::os::unix::fs::symlink(root.join("kernel/a.ko"), root.join("link.ko")).unwrap();

    let mut told = Vec::new();
    let modules = read_modules(root, &LIMIT, &mut |path, done, total| {
        told.push((path.to_owned(), done, total));
        true
    });
    let modules = modules.unwrap();
    assert_eq!(told.len(), 8);
    assert!(
        told.iter()
            .enumerate()
            .all(|(at, (_, done, total))| (*done, *total) == (at, 8))
    );
    assert_eq!(modules.read, 4);
    let found = modules.found.iter();
    let found: Vec<_> = found
        .map(|m| {
            (
                m.path.to_str().unwrap(),
                texts(&m.strings),
                candidates(&m.strings),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("kernel/a.ko", vec!["memfd-v2"], vec![]),
            ("kernel/b.ko.xz", vec!["vfio-pci-flb-v1"], vec![]),
            ("kernel/deep/er/c.ko.zst", vec![], vec!["kho-test-v1"]),
        ]
    );
    let errors = modules.errors.iter();
    let errors: Vec<_> = errors
        .map(|e| format!("{}: {}", e.path.display(), e.error))
        .collect();
    let expected = [
        ("extra/cut.ko.xz: ", "xz stream is cut short"),
        ("extra/empty.ko: ", "found nothing"),
        (
            "extra/kernel.ko: ",
            "not a module at file offset 0x0: found vmlinux",
        ),
        ("extra/text.ko: ", "not a kernel image"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (path, text)) in errors.iter().zip(expected) {
        assert!(error.starts_with(path) && error.contains(text), "{error}");
    }

    let stopped = read_modules(root, &LIMIT, &mut |_, done, _| done < 2);
    assert!(matches!(stopped, Err(ImageError::Interrupted)));
    let missing = read_modules(&root.join("none"), &LIMIT, &mut |_, _, _| true);
    assert!(matches!(missing, Err(ImageError::Io { .. })));
}

#[test]
fn directories_that_are_too_deep_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let deep = (0..40).fold(dir.path().to_owned(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    let error = read_modules(dir.path(), &LIMIT, &mut |_, _, _| true).unwrap_err();
    assert!(
        error.to_string().contains("more than 32 directories"),
        "{error}"
    );
}
