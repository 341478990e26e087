//! A kernel's types out of facts, DWARF and BTF: all say the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

mod btf;
mod compared;
mod dwarf;
mod hostile;

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

int unrelated(int argument)
{
    struct of_a_function { char of_a_function; } local = { 1 };
    return argument + local.of_a_function;
}
";

/// The facts file. The program that wrote it down lost a member that has an attribute; its bytes
/// show in the struct's size.
fn facts() -> serde_json::Value {
    let path = "../../tests/facts/linux-7.3.4-layouts.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut facts: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let token = serde_json::json!({"name": "token", "type": "__u64", "offset": 8, "size": 8});
    for call in ["preserve", "retrieve"] {
        let name = format!("liveupdate_session_{call}_fd");
        let members = facts[name]["members"].as_array_mut().unwrap();
        if members.len() == 2 {
            members.push(token.clone());
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
        // Types that nothing uses are described as well.
        .args(["-w", "-fno-eliminate-unused-debug-types", "-o"])
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
};
struct crossing { unsigned char first; u64 over:60; u64 rest:4; } __attribute__((packed));
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
