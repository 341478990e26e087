//! Layouts against a kernel's.

use super::*;

/// Structs with the names that they have in C.
macro_rules! structs {
    ($($c:literal $name:ident { $($(#[$bits:meta])? $field:ident: $type:ty),* })*) => { $(
        #[derive(AbiLayout)]
        #[repr(C)]
        #[abi(c_name = $c)]
        #[allow(dead_code)]
        struct $name { $($(#[$bits])? $field: $type),* }
    )* };
}

structs! {
    "kho_vmalloc_hdr" VmallocHdr { next: U64 }
    "kho_vmalloc" Vmalloc { first: U64, total_pages: U32, flags: U16, order: U16 }
    "memfd_luo_folio_ser" FolioSer { #[abi(bits(pfn: 0..52, flags: 52..64))] word: U64, index: U64 }
    "memfd_luo_ser" MemfdSer {
        pos: U64, size: U64, seals: U32, flags: U32, nr_folios: U64, folios: Vmalloc
    }
    "kho_scratch" Scratch { addr: U64, size: U64 }
    "luo_flb_ser" FlbSer { name: [u8; 48], data: U64, count: U64 }
    "setup_data" SetupData { next: U64, r#type: U32, len: U32 }
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
        let found = differences(&read(&object, &names).unwrap());
        assert_eq!(found, Vec::<String>::new());
    }
}

/// Tests of one change of the C source each, which is told, and as what it is.
macro_rules! differs {
    ($($name:ident: $from:literal => $to:literal: $message:literal;)*) => { $(
        #[test]
        fn $name() {
            assert!(SOURCE.contains($from));
            let found = changed(&SOURCE.replace($from, $to)).join("\n");
            assert!(found.contains($message), "{found}");
        }
    )* };
}

/// Tests of another spelling of the same, which is no difference.
macro_rules! same {
    ($($name:ident: $from:literal => $to:literal;)*) => { $(
        #[test]
        fn $name() {
            let source = SOURCE.replace($from, $to);
            let source = source.replace("\n#define __le16 unsigned short", "");
            let types = "typedef unsigned short __le16; typedef unsigned pages_t;";
            assert_eq!(changed(&format!("{types}{source}")), Vec::<String>::new());
        }
    )* };
}

/// How the layouts differ from those of a kernel of this source.
#[track_caller]
fn changed(source: &str) -> Vec<String> {
    let object = compiled(source, &["-c", "-g"]).unwrap();
    differences(&read(&object, &names(&facts())).unwrap())
}

differs! {
    bits_of_another_width: "u64 pfn:52; u64 flags:12;" => "u64 pfn:51; u64 flags:13;":
        "bits Some((0, 52)) here, Some((0, 51)) in the kernel";
    bits_in_another_order: "u64 pfn:52; u64 flags:12;" => "u64 flags:12; u64 pfn:52;":
        "called `flags` in the kernel";
    members_in_another_order: "struct kho_scratch { phys_addr_t addr; phys_addr_t size; };"
        => "struct kho_scratch { phys_addr_t size; phys_addr_t addr; };":
        "member 0 `addr`: called `size` in the kernel";
    a_narrower_type: "typedef u64 phys_addr_t;" => "typedef u32 phys_addr_t;":
        "u64 here, phys_addr_t (u32) in the kernel";
    a_signed_type: "typedef u64 phys_addr_t;" => "typedef long phys_addr_t;":
        "u64 here, phys_addr_t (i64) in the kernel";
    a_shorter_array: "char name[48]; u64 data; u64 count;" => "char name[40]; u64 data; u64 count;":
        "struct luo_flb_ser: 64 bytes here, 56 in the kernel";
    an_array_of_another_type: "char name[48]; u64 data; u64 count;"
        => "short name[24]; u64 data; u64 count;": "u8[48] here, short int[24] in the kernel";
    a_member_more: "char name[48]; u64 data; u64 count;"
        => "char name[48]; u64 data; u64 count; u64 more;": "the kernel's more missing here";
    a_member_less: "char name[48]; u64 data; u64 count;" => "char name[48]; u64 both;":
        "the kernel has no such member";
    a_wider_member: "    u32 seals;\n    u32 flags;" => "    u64 seals;": "8 at 16 in the kernel";
    a_pointer: "struct kho_vmalloc folios;" => "struct kho_data *folios; u64 more;":
        "struct kho_vmalloc here, struct kho_data * in the kernel";
    an_enum: "unsigned int total_pages;" => "enum { NONE } total_pages;":
        "u32 here, enum in the kernel";
}

same! {
    long_for_long_long: "typedef unsigned long long __u64;" => "typedef unsigned long __u64;";
    phys_addr_t_for_unsigned_long: "typedef u64 phys_addr_t;" => "typedef unsigned long phys_addr_t;";
    const_le16: "unsigned short order;" => "const __le16 order;\n#define __le16 unsigned short";
    a_typedef: "unsigned int total_pages;" => "pages_t total_pages;";
}

#[test]
fn a_name_of_two_structs_is_told() {
    let dir = TempDir::new().unwrap();
    let part = |(name, source): (&str, &str)| {
        let object = compile(&dir, source, &["-c", "-g"]).unwrap();
        let part = dir.path().join(name);
        fs::rename(object, &part).unwrap();
        part
    };
    const E: &str = "int f(int i) { struct kho_scratch { int i; } s = { i }; return s.i; }";
    let parts = [
        ("a.o", "struct kho_scratch { unsigned long addr, size; } a;"),
        (
            "b.o",
            "struct kho_scratch { unsigned long long addr, size; } b;",
        ),
        ("c.o", "struct kho_scratch { int of_a_driver; } c;"),
        ("d.o", "struct kho_scratch; struct kho_scratch *d;"),
        ("e.o", E),
    ];
    let parts = parts.map(part);
    let link = |parts: &[PathBuf]| {
        let out = dir.path().join("linked.o");
        let mut cc = Command::new("cc");
        cc.args(["-r", "-nostdlib", "-o"]).arg(&out).args(parts);
        assert!(cc.status().unwrap().success());
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
