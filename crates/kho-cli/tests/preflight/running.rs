//! The running kernel.

use super::*;

/// The files of a system that runs Linux 7.3.4, below `temp`.
fn system(temp: &Temp, config: Option<&str>, kernel: Option<&[u8]>) -> String {
    temp.file("proc/sys/kernel/osrelease", "7.3.4\n");
    temp.file("proc/cmdline", "root=/dev/vda kho=on liveupdate=on\n");
    if let Some(config) = config {
        temp.file("proc/config.gz", gzip(config.as_bytes()));
    }
    if let Some(kernel) = kernel {
        temp.file("boot/vmlinuz-7.3.4", bzimage(kernel));
    }
    temp.path("")
}

const ON: &str = "CONFIG_KEXEC=y\nCONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n";

#[test]
fn the_running_kernel_is_found_by_its_release() {
    let temp = Temp::new("running");
    let kernel = linux(&["memfd-v2"]);
    let root = system(&temp, Some(ON), Some(&kernel));
    let next = temp.file("next", &kernel);
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    assert_eq!(value["from"]["kind"], "running-kernel");
    said(&value, "CONFIG_KEXEC_HANDOVER=y in ");
    said(&value, "kho=on on its command line");
    said(&value, "no modules were read");
    assert_eq!(code(&capture("small"), "running", &["--root", &root]), 0);

    // Modules that are loaded count for what it hands over, all of them for what it takes.
    temp.file("lib/modules/7.3.4/kernel/x-y.ko", module(&["x-flb-v1"]));
    temp.file("proc/modules", "other 1 0 - Live 0x0\n");
    assert_eq!(code("running", &next, &["--root", &root]), 0);
    temp.file("proc/modules", "x_y 1 0 - Live 0x0\n");
    assert_eq!(code("running", &next, &["--root", &root]), 3);
    assert_eq!(code("running", "running", &["--root", &root]), 0);

    // Switched off on the command line.
    let other = temp.file("other", vmlinux(&["kho-v5"], &[]));
    assert_eq!(code("running", &other, &["--root", &root]), 1);
    temp.file("proc/cmdline", "kho=on kho=off\n");
    let (code_of, value) = report("running", &other, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "KHO is switched off: kho=off");
}

#[test]
fn the_running_kernels_root_fdt_says_what_is_in_use() {
    let temp = Temp::new("debugfs");
    let root = system(&temp, None, Some(&linux(&["memfd-v2"])));
    let next = temp.file("next", vmlinux(&["kho-v4", "luo-v6"], &[]));
    assert_eq!(code("running", &next, &["--root", &root]), 1);
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 1);
    let built = b.finish();
    temp.file(
        "sys/kernel/debug/kho/out/fdt",
        built.mem.read(built.fdt, 4096),
    );
    // No LUO in it: nobody will miss one.
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "out/fdt: `kho-v4`, kexec-metadata");
    // As Linux shows it: its beginning, and the subtrees beside it.
    temp.file(
        "sys/kernel/debug/kho/out/fdt",
        built.mem.read(built.fdt, 100),
    );
    temp.file("sys/kernel/debug/kho/out/sub_fdts/kexec-metadata", "?");
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "out/fdt: `kho-v4`, kexec-metadata");
    temp.file("sys/kernel/debug/kho/out/fdt", [0xff; 64]);
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 1);
    said(&value, "out/fdt: ");
}

#[test]
fn a_running_kernel_that_is_not_found() {
    let temp = Temp::new("missing");
    let next = temp.file("next", linux(&["memfd-v2"]));
    let root = system(&temp, None, None);
    let output = preflight("running", &next, &["--root", &root]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    for part in [
        "no image of the running kernel, Linux 7.3.4, was found",
        "boot/vmlinuz-7.3.4",
        "lib/modules/7.3.4/vmlinuz",
        "proc/config.gz",
        "name its image: --from PATH",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    // A configuration says more than nothing.
    let root = system(&temp, Some("# CONFIG_KEXEC_HANDOVER is not set\n"), None);
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "CONFIG_KEXEC_HANDOVER is not set");
    assert_eq!(value["next"], json!([]));
    assert_eq!(code(&capture("small"), "running", &["--root", &root]), 1);
    // And more than an image in which nothing shows.
    let root = system(&temp, Some(ON), Some(&vmlinux(&[], &[])));
    let (code_of, value) = report(&next, "running", &["--root", &root]);
    assert_eq!(code_of, 1);
    said(&value, "the next kernel has KHO (CONFIG_KEXEC_HANDOVER=y");
    std::fs::remove_dir_all(temp.path("boot")).unwrap();
    let root = system(&temp, Some(ON), None);
    let output = preflight(&next, "running", &["--root", &root]);
    assert_eq!(output.status.code(), Some(1));
    // This very machine, whatever it has: a verdict or a reason.
    let output = preflight("running", &next, &[]);
    let error = text(&output.stderr);
    assert!(!error.contains("panicked"), "{error}");
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| matches!(code, 0 | 1 | 3))
    );
}
