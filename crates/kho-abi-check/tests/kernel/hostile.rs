//! Files that are damaged, or none of a kernel.

use super::*;
use crate::btf::Btf;
use crate::compared::differences;

/// Tests of one file each that is none of a kernel's types, and what is said of it.
macro_rules! refused {
    ($($name:ident: $bytes:expr => $text:literal;)*) => { $(
        #[test]
        fn $name() {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join("file");
            fs::write(&path, &$bytes).unwrap();
            let error = String::from(open(&path).unwrap_err());
            let start = format!("{}: ", path.display());
            assert!(error.starts_with(&start) && error.contains($text), "{error}");
        }
    )* };
}

fn boot_image() -> Vec<u8> {
    let mut boot = vec![0; 0x400];
    boot[..2].copy_from_slice(b"MZ");
    boot[0x202..0x206].copy_from_slice(b"HdrS");
    boot
}

fn stripped() -> Vec<u8> {
    compiled("int nothing;", &["-c", "-g0"]).unwrap()
}

fn big_endian() -> Vec<u8> {
    let mut object = stripped();
    object[5] = 2;
    object
}

refused! {
    nothing: b"" => "neither a facts file";
    a_struct_in_c: b"struct luo_ser {\n" => "neither a facts file";
    facts_and_more: b"{}{" => "trailing characters";
    facts_without_a_size: b"{\"a\": 1}" => "a: no size";
    gzip: b"\x1f\x8b\x08\0" => "decompress it first";
    zstd: b"\x28\xb5\x2f\xfd\0" => "decompress it first";
    a_boot_image: boot_image() => "a boot image";
    an_elf_magic: b"\x7fELF" => "ELF: ";
    big_endian_btf: b"\xeb\x9f\x01\0" => "big-endian";
    big_endian_elf: big_endian() => "ELF: ";
    no_debug_information: stripped() => "no DWARF and no BTF";
}

#[test]
fn what_is_no_file() {
    let dir = TempDir::new().unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    assert!(open(&dir.path().join("none")).is_err());
}

/// Facts are kept whole, whatever is linked.
#[test]
fn a_file_of_facts() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, facts().to_string()).unwrap();
    assert_eq!(open(&path).unwrap(), parse(&facts()));
}

/// Entries by number: 1 a unit, 2 a struct, 3 a member, 4 a typedef, 5 an integer, 6 one of too
/// many attributes, 7 an array, 8 a dimension, 9 an integer with a remark.
const ABBREVIATIONS: &str = r"
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

/// Tests of debug information that no compiler writes, as assembly: the entries behind the unit's, and the error,
/// if that is not a kernel with one struct.
macro_rules! dwarf {
    ($($name:ident: $entries:expr => $error:expr;)*) => { $(
        #[test]
        fn $name() {
            hostile_dwarf($entries, $error);
        }
    )* };
}

fn hostile_dwarf(entries: &str, expected: Option<&str>) {
    let assembly = format!("{ABBREVIATIONS}{entries}\n.byte 0\nend:\n");
    let quoted = |line: &str| format!("\"{}\\n\"\n", line.replace('"', "\\\""));
    let lines = assembly.lines().map(quoted);
    let source = format!("__asm__({}\".text\");", lines.collect::<String>());
    let object = compiled(&source, &["-c", "-g0"]).unwrap();
    let start = Instant::now();
    let found = read(&object, &["a".to_owned()]);
    assert!(start.elapsed() < Duration::from_secs(20));
    match (found, expected) {
        (Ok(kernel), None) => assert_eq!(kernel.names().count(), 1),
        (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
        (found, _) => panic!("{found:?}, where {expected:?} is expected"),
    }
}

dwarf! {
    fine:
        ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte t - unit; .byte 0
         t: .uleb128 5; .asciz \"int\"; .byte 4" => None;
    a_typedef_of_itself:
        ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte t - unit; .byte 0
         t: .uleb128 4; .asciz \"t\"; .4byte t - unit" => Some("struct a: a type that never ends");
    a_type_outside:
        ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte 99999; .byte 0"
        => Some("struct a: ");
    an_array_of_itself:
        ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte a - unit; .byte 0
         a: .uleb128 7; .4byte a - unit
         .uleb128 8; .4byte 0xffffffff; .byte 0" => Some("never ends");
    an_array_too_long:
        ".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"m\"; .4byte a - unit; .byte 0
         a: .uleb128 7; .4byte t - unit
         .rept 4; .uleb128 8; .4byte 0xffffffff; .endr; .byte 0
         t: .uleb128 5; .asciz \"int\"; .byte 4" => Some("struct a: an array too long for memory");
    too_many_attributes: ".uleb128 6" => Some("too many attributes");
    an_abbreviation_that_is_not_there: ".uleb128 77" => Some("DWARF: ");
    too_many_members:
        ".uleb128 2; .asciz \"a\"; .byte 4
         .rept 1025; .uleb128 3; .asciz \"m\"; .4byte t - unit; .endr; .byte 0
         t: .uleb128 5; .asciz \"int\"; .byte 4" => Some("more than 1024 members");
    a_name_too_long:
        &format!(".uleb128 2; .asciz \"a\"; .byte 4; .uleb128 3; .asciz \"{}\"
         .4byte t - unit; .byte 0
         t: .uleb128 5; .asciz \"int\"; .byte 4", "x".repeat(300))
        => Some("a name is damaged, too long");
    a_long_type_often:
        ".rept 50000; .uleb128 2; .asciz \"a\"; .byte 4
         .uleb128 3; .asciz \"m\"; .4byte t - unit; .byte 0; .endr
         t: .uleb128 9; .asciz \"int\"; .byte 4; .fill 1000000, 1, 0x78; .byte 0"
        => Some("too many references to the same types");
    an_array_of_an_array_often:
        ".rept 50000; .uleb128 2; .asciz \"a\"; .byte 4
         .uleb128 3; .asciz \"m\"; .4byte a - unit; .byte 0; .endr
         a: .uleb128 7; .4byte t - unit
         .rept 10; .uleb128 8; .4byte 1; .endr; .byte 0
         t: .uleb128 4; .asciz \"t\"; .4byte i - unit
         i: .uleb128 5; .asciz \"int\"; .byte 4" => None;
}

/// A section that says that it is much longer than what it is compressed from.
#[test]
fn a_section_that_grows_beyond_belief() {
    let Some(mut object) = compiled(SOURCE, &["-c", "-g", "-gz=zlib"]) else {
        return;
    };
    let file = object::File::parse(&*object).unwrap();
    let section = file.section_by_name(".debug_info").unwrap();
    let (at, _) = section.file_range().unwrap();
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
    let ranges = [(0, 24), (24, blob.len() - 24), (0, blob.len())];
    damaged(&blob, &names(&facts), 4000, &ranges);
}

#[test]
fn damaged_facts() {
    let facts = facts();
    let text = facts.to_string();
    damaged(text.as_bytes(), &names(&facts), 1000, &[(0, text.len())]);
}
