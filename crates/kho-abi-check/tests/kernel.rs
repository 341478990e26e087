//! A kernel's types out of facts, DWARF and BTF: all say the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kho_abi_check::kernel::{KernelError, KernelTypes, compare, open};
use kho_compat::{AbiLayout, Layout};
use object::{Object, ObjectSection};
use tempfile::TempDir;
use zerocopy::little_endian::{U16, U32, U64};

/// The structs of the facts file, as a C source may declare them.
const SOURCE: &str = r"
typedef unsigned char __u8;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;
typedef u64 phys_addr_t;

struct later;
struct luo_ser;
extern struct luo_ser *declared_first;

struct kho_vmalloc_chunk;
struct kho_vmalloc_hdr { union { phys_addr_t phys; struct kho_vmalloc_chunk *ptr; } next; };
struct kho_vmalloc_chunk { struct kho_vmalloc_hdr hdr; u64 phys[511]; };
struct kho_vmalloc {
    union { phys_addr_t phys; struct kho_vmalloc_chunk *ptr; } first;
    unsigned int total_pages;
    unsigned short flags;
    unsigned short order;
};
struct kho_radix_node { u64 table[512]; };
struct kho_radix_leaf { unsigned long bitmap[512]; };
struct kho_kexec_metadata {
    u32 version;
    char previous_release[65];
    u32 kexec_count;
} __attribute__((packed));
struct kho_block_header_ser { u64 next; u64 count; } __attribute__((packed));
struct luo_ser {
    char compatible[8];
    u64 liveupdate_num;
    u64 sessions_pa;
    u64 flbs_pa;
} __attribute__((packed));
struct luo_file_ser { char compatible[48]; u64 data; u64 token; } __attribute__((packed));
struct luo_file_set_ser { u64 files; u64 count; } __attribute__((packed));
struct luo_session_ser {
    char name[64];
    struct luo_file_set_ser file_set_ser;
} __attribute__((packed));
struct luo_flb_header_ser { u64 pgcnt; u64 count; } __attribute__((packed));
struct luo_flb_ser { char name[48]; u64 data; u64 count; } __attribute__((packed));
struct memfd_luo_folio_ser { u64 pfn:52; u64 flags:12; u64 index; } __attribute__((packed));
struct memfd_luo_ser {
    u64 pos;
    u64 size;
    u32 seals;
    u32 flags;
    u64 nr_folios;
    struct kho_vmalloc folios;
} __attribute__((packed));
struct kho_scratch { phys_addr_t addr; phys_addr_t size; };
struct kho_data {
    __u64 fdt_addr;
    __u64 fdt_size;
    __u64 scratch_addr;
    __u64 scratch_size;
} __attribute__((packed));
struct setup_data { __u64 next; __u32 type; __u32 len; __u8 data[]; };
struct liveupdate_ioctl_create_session { __u32 size; __s32 fd; __u8 name[64]; };
struct liveupdate_ioctl_retrieve_session { __u32 size; __s32 fd; __u8 name[64]; };
struct liveupdate_session_preserve_fd {
    __u32 size;
    __s32 fd;
    __u64 token __attribute__((aligned(8)));
};
struct liveupdate_session_retrieve_fd {
    __u32 size;
    __s32 fd;
    __u64 token __attribute__((aligned(8)));
};
struct liveupdate_session_finish { __u32 size; __u32 reserved; };
struct liveupdate_session_get_name { __u32 size; __u32 reserved; __u8 name[64]; };

#define USE(name) struct name use_of_##name
USE(kho_vmalloc_hdr);
USE(kho_vmalloc_chunk);
USE(kho_vmalloc);
USE(kho_radix_node);
USE(kho_radix_leaf);
USE(kho_kexec_metadata);
USE(kho_block_header_ser);
USE(luo_ser);
USE(luo_file_ser);
USE(luo_file_set_ser);
USE(luo_session_ser);
USE(luo_flb_header_ser);
USE(luo_flb_ser);
USE(memfd_luo_folio_ser);
USE(memfd_luo_ser);
USE(kho_scratch);
USE(kho_data);
USE(setup_data);
USE(liveupdate_ioctl_create_session);
USE(liveupdate_ioctl_retrieve_session);
USE(liveupdate_session_preserve_fd);
USE(liveupdate_session_retrieve_fd);
USE(liveupdate_session_finish);
USE(liveupdate_session_get_name);

int unrelated(int argument)
{
    struct of_a_function { char of_a_function; } local = { 1 };
    return argument + local.of_a_function;
}
";

/// Every form that a member's type may take.
const SHAPES: &str = r"
typedef unsigned int u32;
typedef unsigned long u64;
typedef u32 handle_t;
enum colour { RED, GREEN };
struct point { short x, y; };
struct shapes {
    const u64 constant;
    volatile int moving;
    struct point *pointer;
    void (*function)(int);
    const char *const names[2];
    unsigned short grid[3][2];
    enum colour colour;
    _Bool flag;
    signed char sign;
    struct { u32 inner; } nested;
    union { u32 a; char b; };
    union both { u32 a; char b; } both;
    struct point points[2];
    handle_t handles[4];
    unsigned char low:3, high:5;
    unsigned int c:7;
    int d:20;
    u64 wide:40;
    unsigned char none[0];
    u64 tail[];
} use_of_shapes;
struct crossing { unsigned char first; u64 over:60; u64 rest:4; } __attribute__((packed))
    use_of_crossing;
";

/// The same as a facts file.
const SHAPES_FACTS: &str = r#"{
 "shapes": { "size": 120, "members": [
  { "name": "constant", "type": "const u64", "offset": 0, "size": 8 },
  { "name": "moving", "type": "volatile int", "offset": 8, "size": 4 },
  { "name": "pointer", "type": "struct point *", "offset": 16, "size": 8 },
  { "name": "function", "type": "void (*)(int)", "offset": 24, "size": 8 },
  { "name": "names", "type": "const char *const[2]", "offset": 32, "size": 16 },
  { "name": "grid", "type": "short unsigned int[3][2]", "offset": 48, "size": 12 },
  { "name": "colour", "type": "enum colour", "offset": 60, "size": 4 },
  { "name": "flag", "type": "_Bool", "offset": 64, "size": 1 },
  { "name": "sign", "type": "signed char", "offset": 65, "size": 1 },
  { "name": "nested", "type": "struct", "offset": 68, "size": 4 },
  { "name": "", "type": "union", "offset": 72, "size": 4 },
  { "name": "both", "type": "union both", "offset": 76, "size": 4 },
  { "name": "points", "type": "struct point[2]", "offset": 80, "size": 8 },
  { "name": "handles", "type": "u32[4]", "offset": 88, "size": 16 },
  { "name": "low", "type": "unsigned char", "offset": 104, "size": 1, "bits": 3, "bit_offset": 0 },
  { "name": "high", "type": "unsigned char", "offset": 104, "size": 1, "bits": 5, "bit_offset": 3 },
  { "name": "c", "type": "unsigned int", "offset": 104, "size": 4, "bits": 7, "bit_offset": 8 },
  { "name": "d", "type": "int", "offset": 108, "size": 4, "bits": 20, "bit_offset": 0 },
  { "name": "wide", "type": "u64", "offset": 112, "size": 8, "bits": 40, "bit_offset": 0 },
  { "name": "none", "type": "unsigned char[]", "offset": 117, "size": 0 },
  { "name": "tail", "type": "u64[]", "offset": 120, "size": 0 }
 ] },
 "crossing": { "size": 9, "members": [
  { "name": "first", "type": "unsigned char", "offset": 0, "size": 1 },
  { "name": "over", "type": "u64", "offset": 0, "size": 8, "bits": 60, "bit_offset": 8 },
  { "name": "rest", "type": "u64", "offset": 8, "size": 8, "bits": 4, "bit_offset": 4 }
 ] }
}"#;

/// The facts file. The program that wrote it down lost a member that has an attribute; its bytes
/// show in the struct's size.
fn facts() -> serde_json::Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/facts/linux-7.3.4-layouts.json");
    let mut facts: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for name in [
        "liveupdate_session_preserve_fd",
        "liveupdate_session_retrieve_fd",
    ] {
        let members = facts[name]["members"].as_array_mut().unwrap();
        if members.len() == 2 {
            members.push(
                serde_json::json!({"name": "token", "type": "__u64", "offset": 8, "size": 8}),
            );
        }
    }
    facts
}

fn names(facts: &serde_json::Value) -> Vec<String> {
    facts.as_object().unwrap().keys().cloned().collect()
}

fn parse(facts: &serde_json::Value) -> KernelTypes {
    KernelTypes::parse(&facts.to_string()).unwrap()
}

fn read(bytes: &[u8], names: &[String]) -> Result<KernelTypes, KernelError> {
    KernelTypes::read(Cursor::new(bytes), names)
}

/// What is known, spelling and all, as text.
fn spelled(kernel: &KernelTypes) -> String {
    let text = format!("{kernel:#?}");
    let (structs, source) = text.rsplit_once("source").unwrap();
    assert!(source.contains(kernel.source()));
    structs.to_owned()
}

/// Compiles `source` with `flags`; `None` where the compiler does not know one of them.
fn compile(dir: &TempDir, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let c = dir.path().join("types.c");
    let object = dir.path().join("types.o");
    fs::write(&c, source).unwrap();
    let out = Command::new("cc")
        .args(["-w", "-o"])
        .arg(&object)
        .args(flags)
        .arg(&c)
        .output()
        .expect("cc, which zstd is built with, too");
    if out.status.success() {
        return Some(object);
    }
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!error.contains("types.c:"), "{error}");
    eprintln!("skipped: cc {flags:?}: {error}");
    None
}

fn compiled(source: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let dir = TempDir::new().unwrap();
    compile(&dir, source, flags).map(|path| fs::read(path).unwrap())
}

/// The ways that a kernel's DWARF may come in.
const FLAGS: [&[&str]; 11] = [
    &["-c", "-gdwarf-5"],
    &["-c", "-gdwarf-4"],
    &["-c", "-gdwarf-3", "-gstrict-dwarf"],
    &["-c", "-gdwarf-2", "-gstrict-dwarf"],
    &["-c", "-gdwarf-5", "-gdwarf64"],
    &["-c", "-gdwarf-5", "-gz=zlib"],
    &["-c", "-gdwarf-4", "-gz=zlib-gnu"],
    &["-c", "-gdwarf-5", "-gz=zstd"],
    &["-gdwarf-5", "-shared", "-nostdlib"],
    &["-gdwarf-4", "-shared", "-nostdlib", "-gz=zlib"],
    &[
        "-c",
        "-gdwarf-5",
        "-O2",
        "-ffunction-sections",
        "-fdata-sections",
    ],
];

#[test]
fn dwarf_says_what_the_facts_say() {
    let facts = facts();
    let names = names(&facts);
    let expected = parse(&facts);
    let mut read_of = 0;
    for flags in FLAGS {
        let dir = TempDir::new().unwrap();
        let Some(object) = compile(&dir, SOURCE, flags) else {
            continue;
        };
        let kernel = KernelTypes::load(&object, &names).unwrap();
        assert_eq!(kernel.source(), "DWARF");
        assert_eq!(spelled(&kernel), spelled(&expected), "{flags:?}");
        assert_eq!(kernel, expected, "{flags:?}");
        read_of += 1;
    }
    assert!(read_of >= 3, "{read_of}");
}

#[test]
fn every_form_of_a_type() {
    let facts: serde_json::Value = serde_json::from_str(SHAPES_FACTS).unwrap();
    let names = names(&facts);
    for flags in FLAGS {
        let Some(object) = compiled(SHAPES, flags) else {
            continue;
        };
        assert_eq!(read(&object, &names).unwrap(), parse(&facts), "{flags:?}");
    }
}

/// Kernels compress with zstd, which not every compiler can.
#[test]
fn sections_compressed_with_zstd() {
    let facts = facts();
    let mut object = compiled(SOURCE, &["-c", "-g"]).unwrap();
    let file = object::File::parse(&*object).unwrap();
    let sections: Vec<_> = [".debug_info", ".debug_str"]
        .map(|name| file.section_by_name(name).unwrap())
        .map(|section| (section.index().0, section.data().unwrap().to_vec()))
        .into();
    let headers = u64::from_le_bytes(object[0x28..0x30].try_into().unwrap()) as usize;
    for (index, data) in sections {
        let offset = object.len() as u64;
        // The type, which is 2, zero, the size and the alignment.
        for word in [2, data.len() as u64, 1] {
            object.extend(u64::to_le_bytes(word));
        }
        object.extend(zstd::encode_all(&*data, 0).unwrap());
        let size = object.len() as u64 - offset;
        let header = &mut object[headers + index * 64..][..64];
        header[9] |= 8;
        header[24..32].copy_from_slice(&offset.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
    }
    let kernel = read(&object, &names(&facts)).unwrap();
    assert_eq!((kernel.source(), kernel), ("DWARF", parse(&facts)));
}

/// Types that lie elsewhere are not taken for missing ones.
#[test]
fn types_in_other_places_are_told() {
    for (flags, text) in [
        (&["-c", "-gdwarf-4", "-fdebug-types-section"], "type unit"),
        (&["-c", "-gdwarf-5", "-fdebug-types-section"], "type unit"),
        (&["-c", "-gdwarf-4", "-gsplit-dwarf"], ".dwo files"),
        (&["-c", "-gdwarf-5", "-gsplit-dwarf"], ".dwo files"),
    ] {
        let Some(object) = compiled(SOURCE, flags) else {
            continue;
        };
        let error = read(&object, &["luo_ser".to_owned()]).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn what_was_not_asked_for_is_not_there() {
    let object = compiled(SOURCE, &["-c", "-g"]).unwrap();
    let kernel = read(&object, &["luo_ser".to_owned(), "later".to_owned()]).unwrap();
    // The other is declared only.
    assert_eq!(kernel.names().collect::<Vec<_>>(), ["luo_ser"]);
    assert_eq!(
        read(&object, &[]).unwrap().names().collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}

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

fn differences(kernel: &KernelTypes) -> Vec<String> {
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

/// A writer of BTF after its documentation, for a kernel of the facts' structs.
#[derive(Default)]
struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    known: BTreeMap<String, u32>,
}

impl Btf {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        offset
    }

    fn push(&mut self, name: &str, info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.push(name, 1 << 24, size, &[(encoding << 24) | (size * 8)])
    }

    fn typedef(&mut self, name: &str, of: &str) -> u32 {
        let of = self.ty(of);
        self.push(name, 8 << 24, of, &[])
    }

    fn ty(&mut self, text: &str) -> u32 {
        if let Some(id) = self.known.get(text) {
            return *id;
        }
        let id = match text {
            "union" => {
                let members = [self.name("phys"), self.ty("phys_addr_t"), 0];
                let to = self.ty("struct kho_vmalloc_chunk");
                let pointer = self.push("", 2 << 24, to, &[]);
                let pointer = [self.name("ptr"), pointer, 0];
                self.push("", (5 << 24) | 2, 8, &[members, pointer].concat())
            }
            // As a compiler may have it: declared, not known.
            "struct kho_vmalloc_chunk" => self.push("kho_vmalloc_chunk", 7 << 24, 0, &[]),
            "phys_addr_t" => self.typedef("phys_addr_t", "u64"),
            "u64" => self.typedef("u64", "__u64"),
            "u32" => self.typedef("u32", "__u32"),
            "__u64" => self.typedef("__u64", "long long unsigned int"),
            "__u32" => self.typedef("__u32", "unsigned int"),
            "__s32" => self.typedef("__s32", "int"),
            "__u8" => self.typedef("__u8", "unsigned char"),
            "long unsigned int" | "long long unsigned int" => self.int(text, 8, 0),
            "unsigned int" => self.int(text, 4, 0),
            "int" => self.int(text, 4, 1),
            "short unsigned int" => self.int(text, 2, 0),
            "unsigned char" => self.int(text, 1, 0),
            // pahole gives it a sign on most machines.
            "char" => self.int(text, 1, 1),
            array => {
                let (element, count) = array.split_once('[').unwrap();
                let count = count.strip_suffix(']').unwrap();
                let count = if count.is_empty() {
                    0
                } else {
                    count.parse().unwrap()
                };
                let rest = [self.ty(element), self.ty("unsigned int"), count];
                self.push("", 3 << 24, 0, &rest)
            }
        };
        self.known.insert(text.to_owned(), id);
        id
    }

    fn of(facts: &serde_json::Value) -> Self {
        let mut out = Self::default();
        // Others lie between: a function with its parameters, variables, values, tags.
        let int = out.ty("int");
        let parameter = [out.name("argument"), int];
        let proto = out.push("", (13 << 24) | 1, int, &parameter);
        out.push("unrelated", (12 << 24) | 1, proto, &[]);
        let variable = out.push("jiffies", 14 << 24, int, &[1]);
        out.push(".data", (15 << 24) | 1, 4, &[variable, 0, 4]);
        out.push("double", 16 << 24, 8, &[]);
        out.push("tag", 17 << 24, variable, &[u32::MAX]);
        out.push("tag", 18 << 24, int, &[]);
        let value = [out.name("LARGE"), 0, 1];
        out.push("large", (19 << 24) | 1, 8, &value);
        let value = [out.name("SMALL"), 1];
        out.push("small", (6 << 24) | 1, 4, &value);
        for (name, value) in facts.as_object().unwrap() {
            let members = value["members"].as_array().unwrap();
            let flag = members.iter().any(|m| m.get("bits").is_some());
            let mut rest = Vec::new();
            for member in members {
                let number = |key: &str| member.get(key).map_or(0, |n| n.as_u64().unwrap() as u32);
                let at = number("offset") * 8 + number("bit_offset");
                rest.push(out.name(member["name"].as_str().unwrap()));
                rest.push(out.ty(member["type"].as_str().unwrap()));
                rest.push((number("bits") << 24) | at);
            }
            let info = (u32::from(flag) << 31) | (4 << 24) | members.len() as u32;
            let size = value["size"].as_u64().unwrap() as u32;
            let id = out.push(name, info, size, &rest);
            out.known.insert(format!("struct {name}"), id);
        }
        out
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = 0xeb9f_u16.to_le_bytes().to_vec();
        out.extend([1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            out.extend(word.to_le_bytes());
        }
        [&out[..], &self.types, &self.strings].concat()
    }
}

#[test]
fn btf_says_what_the_facts_say() {
    let facts = facts();
    let names = names(&facts);
    let blob = Btf::of(&facts).bytes();
    let kernel = read(&blob, &names).unwrap();
    assert_eq!(kernel.source(), "BTF");
    assert_eq!(spelled(&kernel), spelled(&parse(&facts)));
    assert_eq!(kernel, parse(&facts));
    assert_eq!(differences(&kernel), Vec::<String>::new());

    // From a file as from memory.
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vmlinux");
    fs::write(&path, &blob).unwrap();
    assert_eq!(KernelTypes::load(&path, &names).unwrap(), kernel);

    // Each number, changed, is told.
    for (name, index, key) in [
        ("memfd_luo_folio_ser", 0, "bits"),
        ("memfd_luo_folio_ser", 1, "bit_offset"),
        ("memfd_luo_ser", 4, "offset"),
    ] {
        let mut facts = facts.clone();
        let number = &mut facts[name]["members"][index][key];
        *number = (number.as_u64().unwrap() + 1).into();
        let kernel = read(&Btf::of(&facts).bytes(), &names).unwrap();
        assert_ne!(kernel, parse(&self::facts()));
        assert_ne!(differences(&kernel), Vec::<String>::new());
    }
}

/// A newer kernel's BTF says how long its kinds are, and may have one that is not known here.
#[test]
fn btf_of_a_newer_kernel() {
    let facts = facts();
    let mut btf = Btf::default();
    btf.push("new", (21 << 24) | 2, 0, &[1, 2, 3, 4, 5]);
    let older = btf.bytes();
    let error = read(&older, &["luo_ser".to_owned()]).unwrap_err();
    assert!(
        error.to_string().contains("kind 21 is not known"),
        "{error}"
    );

    let rest = Btf::of(&facts);
    let mut types = rest.types.clone();
    types.extend(&btf.types);
    let mut layout = vec![0_u8; 22 * 4];
    layout[21 * 4] = 4;
    layout[21 * 4 + 1] = 8;
    let mut blob = 0xeb9f_u16.to_le_bytes().to_vec();
    blob.extend([1, 0]);
    let [t, s, l] = [&types, &rest.strings, &layout].map(|part| part.len() as u32);
    for word in [32, 0, t, t, s, t + s, l] {
        blob.extend(u32::to_le_bytes(word));
    }
    let blob = [&blob[..], &types, &rest.strings, &layout].concat();
    assert_eq!(read(&blob, &names(&facts)).unwrap(), parse(&facts));
}

#[test]
fn btf_that_is_hostile() {
    let says = |btf: &Btf, text: &str| {
        let error = read(&btf.bytes(), &["a".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    };
    // A typedef of itself; an array of it; a type that is not there; one that is no type.
    let mut btf = Btf::default();
    let member = [btf.name("m"), 2, 0];
    btf.push("a", (4 << 24) | 1, 8, &member);
    let mut ends = |info: u32, to: u32, rest: &[u32], text: &str| {
        let (types, count) = (btf.types.clone(), btf.count);
        btf.push("b", info, to, rest);
        says(&btf, text);
        (btf.types, btf.count) = (types, count);
    };
    ends(8 << 24, 2, &[], "never ends");
    ends(2 << 24, 2, &[], "never ends");
    ends(3 << 24, 0, &[2, 2, u32::MAX], "never ends");
    ends(8 << 24, 77, &[], "there is no type 77");
    ends(14 << 24, 1, &[0], "a member's type of kind 14");
    ends(8 << 24, 1, &[1], "cut off");

    // An array of arrays, longer than memory.
    let mut btf = Btf::default();
    let member = [btf.name("m"), 4, 0];
    btf.push("a", (4 << 24) | 1, 8, &member);
    for of in 1..4 {
        btf.push("", 3 << 24, 0, &[of, of, u32::MAX]);
    }
    says(&btf, "struct a: an array too long for memory");

    let mut module = Btf::default();
    module.push("b", 4 << 24, 0, &[]);
    module.strings.remove(0);
    says(&module, "BTF of a module");
}

#[test]
fn btf_in_an_elf_file() {
    let dir = TempDir::new().unwrap();
    let facts = facts();
    let names = names(&facts);
    let blob = dir.path().join("btf");
    fs::write(&blob, Btf::of(&facts).bytes()).unwrap();
    // The assembler, which cc has, takes it in.
    let section = format!(
        "__asm__(\".pushsection .BTF\\n.incbin \\\"{}\\\"\\n.popsection\");\n",
        blob.display()
    );
    let object = compile(&dir, &section, &["-c", "-g0"]).unwrap();
    let kernel = KernelTypes::load(&object, &names).unwrap();
    assert_eq!((kernel.source(), &kernel), ("BTF", &parse(&facts)));

    // What it does not have may be in DWARF.
    let object = compile(&dir, &format!("{section}{SHAPES}"), &["-c", "-g"]).unwrap();
    let kernel = KernelTypes::load(&object, ["luo_ser", "crossing"]).unwrap();
    assert_eq!(kernel.source(), "BTF and DWARF");
    assert_eq!(kernel.names().collect::<Vec<_>>(), ["crossing", "luo_ser"]);
    let kernel = KernelTypes::load(&object, ["luo_ser"]).unwrap();
    assert_eq!(kernel.source(), "BTF");

    // A module's is of no use, and DWARF has all.
    let mut module = Btf::of(&facts);
    module.strings[0] = b'x';
    fs::write(&blob, module.bytes()).unwrap();
    let object = compile(&dir, &format!("{section}{SOURCE}"), &["-c", "-g"]).unwrap();
    let kernel = KernelTypes::load(&object, &names).unwrap();
    assert_eq!((kernel.source(), &kernel), ("DWARF", &parse(&facts)));
    let object = compile(&dir, &section, &["-c", "-g0"]).unwrap();
    let error = KernelTypes::load(&object, &names).unwrap_err().to_string();
    assert!(error.contains("BTF of a module"), "{error}");
}

#[test]
fn other_files_are_told_for_what_they_are() {
    let dir = TempDir::new().unwrap();
    let mut boot = vec![0; 0x400];
    boot[..2].copy_from_slice(b"MZ");
    boot[0x202..0x206].copy_from_slice(b"HdrS");
    let stripped = compiled("int nothing;", &["-c", "-g0"]).unwrap();
    let mut big = stripped.clone();
    big[5] = 2;
    let files: [(&[u8], &str); 11] = [
        (b"", "neither a facts file"),
        (b"struct luo_ser {\n", "neither a facts file"),
        (b"{}{", "trailing characters"),
        (b"{\"a\": 1}", "a: no size"),
        (b"\x1f\x8b\x08\0", "decompress it first"),
        (b"\x28\xb5\x2f\xfd\0", "decompress it first"),
        (&boot, "a boot image"),
        (b"\x7fELF", "ELF: "),
        (b"\xeb\x9f\x01\0", "big-endian"),
        (&big, "ELF: "),
        (&stripped, "no DWARF and no BTF"),
    ];
    let path = dir.path().join("file");
    for (bytes, text) in files {
        fs::write(&path, bytes).unwrap();
        let error = String::from(open(&path).unwrap_err());
        let shown = format!("{}: ", path.display());
        assert!(error.starts_with(&shown), "{error}");
        assert!(error.contains(text), "{error}");
    }
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    assert!(open(&dir.path().join("none")).is_err());
    // Facts are kept whole, whatever is linked.
    fs::write(&path, facts().to_string()).unwrap();
    assert_eq!(open(&path).unwrap(), parse(&facts()));
}

/// Debug information that no compiler writes, as assembly.
#[test]
fn dwarf_that_is_hostile() {
    // Entries by number: 1 a unit, 2 a struct, 3 a member, 4 a typedef, 5 an integer, 6 one of too
    // many attributes, 7 an array, 8 a dimension, 9 an integer with a remark.
    let abbreviations = r"
.section .debug_abbrev
.uleb128 1, 0x11; .byte 1; .uleb128 0, 0
.uleb128 2, 0x13; .byte 1; .uleb128 0x03, 0x08, 0x0b, 0x0b, 0, 0
.uleb128 3, 0x0d; .byte 0; .uleb128 0x03, 0x08, 0x49, 0x13, 0, 0
.uleb128 4, 0x16; .byte 0; .uleb128 0x03, 0x08, 0x49, 0x13, 0, 0
.uleb128 5, 0x24; .byte 0; .uleb128 0x03, 0x08, 0x0b, 0x0b, 0, 0
.uleb128 6, 0x34; .byte 0
.rept 1000; .uleb128 0x2000, 0x19; .endr
.uleb128 0, 0
.uleb128 7, 0x01; .byte 1; .uleb128 0x49, 0x13, 0, 0
.uleb128 8, 0x21; .byte 0; .uleb128 0x37, 0x06, 0, 0
.uleb128 9, 0x24; .byte 0; .uleb128 0x03, 0x08, 0x0b, 0x0b, 0x25, 0x08, 0, 0
.byte 0
.section .debug_info
unit: .4byte end - start
start: .2byte 4; .4byte 0; .byte 8
.uleb128 1
";
    let long = "x".repeat(300);
    let cases = [
        // Fine, as a check of the check.
        (
            ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte t - unit; .byte 0
             t: .uleb128 5; .asciz \"int\"; .byte 4"
                .to_owned(),
            "",
        ),
        (
            ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte t - unit; .byte 0
             t: .uleb128 4; .asciz \"t\"; .4byte t - unit"
                .to_owned(),
            "struct a: a type that never ends",
        ),
        (
            ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte 99999; .byte 0"
                .to_owned(),
            "struct a: ",
        ),
        (
            ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte a - unit; .byte 0
             a: .uleb128 7; .4byte a - unit
             .uleb128 8; .4byte 0xffffffff; .byte 0"
                .to_owned(),
            "never ends",
        ),
        (
            ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte a - unit; .byte 0
             a: .uleb128 7; .4byte t - unit
             .rept 4; .uleb128 8; .4byte 0xffffffff; .endr; .byte 0
             t: .uleb128 5; .asciz \"int\"; .byte 4"
                .to_owned(),
            "struct a: an array too long for memory",
        ),
        (".uleb128 6".to_owned(), "too many attributes"),
        (".uleb128 77".to_owned(), "DWARF: "),
        (
            ".uleb128 2; .asciz \"a\"; .byte 4
             .rept 1025; .uleb128 3; .asciz \"m\"; .4byte t - unit; .endr; .byte 0
             t: .uleb128 5; .asciz \"int\"; .byte 4"
                .to_owned(),
            "more than 1024 members",
        ),
        (
            format!(
                ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"{long}\"
                 .4byte t - unit; .byte 0
                 t: .uleb128 5; .asciz \"int\"; .byte 4"
            ),
            "a name is damaged, too long",
        ),
        // A long entry that is short to refer to.
        (
            ".rept 50000; .uleb128 2; .asciz \"a\"; .byte 4
             .uleb128 3; .asciz \"m\"; .4byte t - unit; .byte 0; .endr
             t: .uleb128 9; .asciz \"int\"; .byte 4; .fill 1000000, 1, 0x78; .byte 0"
                .to_owned(),
            "too many references to the same types",
        ),
        (
            ".rept 50000; .uleb128 2; .asciz \"a\"; .byte 4
             .uleb128 3; .asciz \"m\"; .4byte a - unit; .byte 0; .endr
             a: .uleb128 7; .4byte t - unit
             .rept 10; .uleb128 8; .4byte 1; .endr; .byte 0
             t: .uleb128 4; .asciz \"t\"; .4byte i - unit
             i: .uleb128 5; .asciz \"int\"; .byte 4"
                .to_owned(),
            "",
        ),
    ];
    for (index, (entries, text)) in cases.iter().enumerate() {
        let assembly = format!("{abbreviations}{entries}\n.byte 0\nend:\n");
        let lines = assembly
            .lines()
            .map(|line| format!("\"{}\\n\"\n", line.replace('"', "\\\"")));
        let source = format!("__asm__({}\".text\");", lines.collect::<String>());
        let object = compiled(&source, &["-c", "-g0"]).unwrap();
        let start = Instant::now();
        let found = read(&object, &["a".to_owned()]);
        assert!(start.elapsed() < Duration::from_secs(20), "{index}");
        match found {
            Ok(kernel) => assert_eq!((*text, kernel.names().count()), ("", 1), "{index}"),
            Err(error) => {
                assert!(!text.is_empty(), "{index}: {error}");
                assert!(error.to_string().contains(text), "{index}: {error}");
            }
        }
    }
}

/// A section that says that it is much longer than what it is compressed from.
#[test]
fn a_section_that_grows_beyond_belief() {
    let Some(mut object) = compiled(SOURCE, &["-c", "-g", "-gz=zlib"]) else {
        return;
    };
    let file = object::File::parse(&*object).unwrap();
    let (at, _) = file
        .section_by_name(".debug_info")
        .and_then(|s| s.file_range())
        .unwrap();
    // The header: a type, zero, the size.
    let at = at as usize + 8;
    let size = u64::from_le_bytes(object[at..at + 8].try_into().unwrap());
    for (said, text) in [
        (size + 1, "should decompress to"),
        (size - 1, "should decompress to"),
        (1 << 30, "beyond belief"),
        (u64::MAX, "more than 2 GiB"),
    ] {
        object[at..at + 8].copy_from_slice(&said.to_le_bytes());
        let error = read(&object, &["luo_ser".to_owned()]).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// A generator that gives the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// `bytes` cut off anywhere or with bits turned over is read or refused, in short time.
fn damaged(bytes: &[u8], names: &[String], rounds: usize, ranges: &[(usize, usize)]) {
    let start = Instant::now();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for round in 0..rounds {
        let mut bytes = bytes.to_vec();
        if round % 4 == 0 {
            bytes.truncate(numbers.next(bytes.len()));
        } else {
            let (at, len) = ranges[round % ranges.len()];
            for _ in 0..=round % 3 {
                let at = at + numbers.next(len);
                match round % 5 {
                    0 => bytes[at] = 0xff,
                    1 => bytes[at] = 0,
                    _ => bytes[at] ^= 1 << numbers.next(8),
                }
            }
        }
        match read(&bytes, names) {
            // It must still be possible to compare and to show.
            Ok(kernel) => drop((differences(&kernel), spelled(&kernel))),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > rounds / 20, "{refused} of {rounds}");
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[test]
fn damaged_object_files() {
    let names = names(&facts());
    for flags in [
        &["-c", "-gdwarf-5"][..],
        &["-c", "-gdwarf-4"],
        &["-c", "-gdwarf-3", "-gstrict-dwarf"],
        &["-c", "-gdwarf-5", "-gz=zlib"],
    ] {
        let Some(object) = compiled(SOURCE, flags) else {
            continue;
        };
        let file = object::File::parse(&*object).unwrap();
        let mut ranges: Vec<_> = file
            .sections()
            .filter(|s| s.name().is_ok_and(|name| name.contains("debug")))
            .filter_map(|s| s.file_range())
            .filter(|(_, len)| *len > 0)
            .map(|(at, len)| (at as usize, len as usize))
            .collect();
        // The header, the sections' headers at the end, and anything.
        ranges.extend([(0, 64), (object.len() - 1000, 1000), (0, object.len())]);
        damaged(&object, &names, 800, &ranges);
    }
}

#[test]
fn damaged_btf() {
    let facts = facts();
    let blob = Btf::of(&facts).bytes();
    damaged(
        &blob,
        &names(&facts),
        4000,
        &[(0, 24), (24, blob.len() - 24), (0, blob.len())],
    );
}

#[test]
fn damaged_facts() {
    let facts = facts();
    let text = facts.to_string();
    damaged(text.as_bytes(), &names(&facts), 1000, &[(0, text.len())]);
}
