//! Layouts against a kernel's.

use super::*;

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "kho_vmalloc_hdr")]
struct VmallocHdr {
    #[allow(dead_code)]
    next: U64,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "kho_vmalloc")]
#[allow(dead_code)]
struct Vmalloc {
    first: U64,
    total_pages: U32,
    flags: U16,
    order: U16,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "memfd_luo_folio_ser")]
#[allow(dead_code)]
struct FolioSer {
    #[abi(bits(pfn: 0..52, flags: 52..64))]
    word: U64,
    index: U64,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "memfd_luo_ser")]
#[allow(dead_code)]
struct MemfdSer {
    pos: U64,
    size: U64,
    seals: U32,
    flags: U32,
    nr_folios: U64,
    folios: Vmalloc,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "kho_scratch")]
#[allow(dead_code)]
struct Scratch {
    addr: U64,
    size: U64,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "luo_flb_ser")]
#[allow(dead_code)]
struct FlbSer {
    name: [u8; 48],
    data: U64,
    count: U64,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "setup_data")]
#[allow(dead_code)]
struct SetupData {
    next: U64,
    r#type: U32,
    len: U32,
}

fn layouts() -> Vec<Layout> {
    vec![
        VmallocHdr::layout(),
        Vmalloc::layout(),
        FolioSer::layout(),
        MemfdSer::layout(),
        Scratch::layout(),
        FlbSer::layout(),
        SetupData::layout(),
    ]
}

pub(crate) fn differences(kernel: &KernelTypes) -> Vec<String> {
    layouts()
        .iter()
        .flat_map(|layout| compare(layout, kernel).unwrap())
        .collect()
}

#[test]
fn layouts_are_the_kernels() {
    let names = names(&facts());
    for flags in ["-gdwarf-4", "-gdwarf-5"] {
        let object = compiled(SOURCE, &["-c", flags]).unwrap();
        assert_eq!(
            differences(&read(&object, &names).unwrap()),
            Vec::<String>::new()
        );
    }
}

/// Each change of the C source is told, and as what it is.
#[test]
fn a_kernel_that_differs_is_told() {
    let changes = [
        (
            "u64 pfn:52; u64 flags:12;",
            "u64 pfn:51; u64 flags:13;",
            "bits Some((0, 52)) here, Some((0, 51)) in the kernel",
        ),
        (
            "u64 pfn:52; u64 flags:12;",
            "u64 flags:12; u64 pfn:52;",
            "called `flags` in the kernel",
        ),
        (
            "struct kho_scratch { phys_addr_t addr; phys_addr_t size; };",
            "struct kho_scratch { phys_addr_t size; phys_addr_t addr; };",
            "member 0 `addr`: called `size` in the kernel",
        ),
        (
            "typedef u64 phys_addr_t;",
            "typedef u32 phys_addr_t;",
            "u64 here, phys_addr_t (u32) in the kernel",
        ),
        (
            "typedef u64 phys_addr_t;",
            "typedef long phys_addr_t;",
            "u64 here, phys_addr_t (i64) in the kernel",
        ),
        (
            "char name[48]; u64 data; u64 count;",
            "char name[40]; u64 data; u64 count;",
            "struct luo_flb_ser: 64 bytes here, 56 in the kernel",
        ),
        (
            "char name[48]; u64 data; u64 count;",
            "short name[24]; u64 data; u64 count;",
            "u8[48] here, short int[24] in the kernel",
        ),
        (
            "char name[48]; u64 data; u64 count;",
            "char name[48]; u64 data; u64 count; u64 more;",
            "the kernel's more missing here",
        ),
        (
            "char name[48]; u64 data; u64 count;",
            "char name[48]; u64 both;",
            "the kernel has no such member",
        ),
        (
            "    u32 seals;\n    u32 flags;",
            "    u64 seals;",
            "8 at 16 in the kernel",
        ),
        (
            "struct kho_vmalloc folios;",
            "struct kho_data *folios; u64 more;",
            "struct kho_vmalloc here, struct kho_data * in the kernel",
        ),
        (
            "unsigned int total_pages;",
            "enum { NONE } total_pages;",
            "u32 here, enum in the kernel",
        ),
    ];
    let names = names(&facts());
    for (from, to, message) in changes {
        assert!(SOURCE.contains(from), "{from}");
        let object = compiled(&SOURCE.replace(from, to), &["-c", "-g"]).unwrap();
        let found = differences(&read(&object, &names).unwrap()).join("\n");
        assert!(found.contains(message), "{from} -> {to}: {found}");
    }
    // Another spelling of the same is no difference.
    for (from, to) in [
        (
            "typedef unsigned long long __u64;",
            "typedef unsigned long __u64;",
        ),
        (
            "typedef u64 phys_addr_t;",
            "typedef unsigned long phys_addr_t;",
        ),
        (
            "unsigned short order;",
            "const __le16 order;\n#define __le16 unsigned short",
        ),
        ("unsigned int total_pages;", "pages_t total_pages;"),
    ] {
        let source = SOURCE.replace(from, to);
        let source = format!("typedef unsigned short __le16; typedef unsigned pages_t;{source}");
        let object = compiled(
            &source.replace("\n#define __le16 unsigned short", ""),
            &["-c", "-g"],
        );
        let kernel = read(&object.unwrap(), &names).unwrap();
        assert_eq!(differences(&kernel), Vec::<String>::new(), "{to}");
    }
}

#[test]
fn a_name_of_two_structs_is_told() {
    let dir = TempDir::new().unwrap();
    let mut parts = Vec::new();
    for (name, source) in [
        ("a.o", "struct kho_scratch { unsigned long addr, size; } a;"),
        (
            "b.o",
            "struct kho_scratch { unsigned long long addr, size; } b;",
        ),
        ("c.o", "struct kho_scratch { int of_a_driver; } c;"),
        ("d.o", "struct kho_scratch; struct kho_scratch *d;"),
        (
            "e.o",
            "int f(int i) { struct kho_scratch { int i; } s = { i }; return s.i; }",
        ),
    ] {
        let object = compile(&dir, source, &["-c", "-g"]).unwrap();
        let part = dir.path().join(name);
        fs::rename(object, &part).unwrap();
        parts.push(part);
    }
    let link = |parts: &[PathBuf]| {
        let out = dir.path().join("linked.o");
        let status = Command::new("cc")
            .args(["-r", "-nostdlib", "-o"])
            .arg(&out)
            .args(parts)
            .status()
            .unwrap();
        assert!(status.success());
        let kernel = KernelTypes::load(&out, ["kho_scratch"]).unwrap();
        compare(&Scratch::layout(), &kernel).unwrap()
    };
    let same = [parts[3].clone(), parts[0].clone(), parts[1].clone()];
    assert_eq!(link(&same), Vec::<String>::new());
    let told =
        ["struct kho_scratch: the kernel has different ones of this name; compared with the first"];
    assert_eq!(link(&parts[..3]), told);
    assert_eq!(link(&[parts[0].clone(), parts[4].clone()]), told);
}
