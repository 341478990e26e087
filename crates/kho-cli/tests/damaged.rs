//! Damaged handovers, one defect each, made from real captures and from built ones: `kho restore`
//! refuses each with exit code 1 and a message that names the defect, within a bounded address
//! space, and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kho_testkit::{Anatomy, Builder, MemfdSpec, Memory, capture, node, prop};

/// Bytes of an image file, damaged.
type Make = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

struct Case {
    name: String,
    // All of these stand in the message.
    expect: &'static [&'static str],
    make: Make,
}

#[derive(Default)]
struct Cases(Vec<Case>);

/// Which capture a case starts from.
const SMALL: &str = "small";
const FILES: &str = "files";
const SESSIONS: &str = "sessions";
const THP: &str = "thp";

fn fdt_of(name: &str) -> u64 {
    // From the captures' facts.
    if name == THP { 0x1dd_e000 } else { 0x1dc_c000 }
}

impl Cases {
    /// A capture with something changed in its memory.
    fn add(
        &mut self,
        capture_name: &'static str,
        name: &str,
        expect: &'static [&'static str],
        damage: impl Fn(&mut Memory, &Anatomy) + Send + Sync + 'static,
    ) {
        let make = move || {
            let mut mem = capture(capture_name);
            let anatomy = Anatomy::of(&mem, fdt_of(capture_name));
            damage(&mut mem, &anatomy);
            mem.to_elf()
        };
        self.0.push(Case {
            name: format!("{capture_name}: {name}"),
            expect,
            make: Box::new(make),
        });
    }

    /// A capture's file with something changed in its bytes.
    fn file(
        &mut self,
        name: &str,
        expect: &'static [&'static str],
        damage: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    ) {
        let make = move || {
            let mut bytes = capture(SMALL).to_elf();
            damage(&mut bytes);
            bytes
        };
        self.0.push(Case {
            name: format!("file: {name}"),
            expect,
            make: Box::new(make),
        });
    }

    /// A built handover.
    fn built(
        &mut self,
        name: &str,
        expect: &'static [&'static str],
        make: impl Fn() -> Memory + Send + Sync + 'static,
    ) {
        let make = move || make().to_elf();
        self.0.push(Case {
            name: format!("built: {name}"),
            expect,
            make: Box::new(make),
        });
    }

    /// The usual things that happen to an address that stands at `place`.
    fn address(
        &mut self,
        capture_name: &'static str,
        what: &str,
        place: fn(&Anatomy) -> u64,
        shared: fn(&Anatomy) -> u64,
    ) {
        self.add(
            capture_name,
            &format!("{what} unaligned"),
            &["not aligned"],
            move |m, a| {
                let at = place(a);
                m.set_u64(at, m.u64(at) + 1);
            },
        );
        self.add(
            capture_name,
            &format!("{what} outside"),
            &["not preserved"],
            move |m, a| {
                m.set_u64(place(a), 0x7000_0000_0000);
            },
        );
        self.add(
            capture_name,
            &format!("{what} wrapping"),
            &["not preserved"],
            move |m, a| {
                m.set_u64(place(a), 0xffff_ffff_ffff_f000);
            },
        );
        self.add(
            capture_name,
            &format!("{what} in memory, not preserved"),
            &["not preserved"],
            move |m, a| {
                m.set_u64(place(a), a.level(0).pa);
            },
        );
        self.add(
            capture_name,
            &format!("{what} shared"),
            &["is shared"],
            move |m, a| {
                m.set_u64(place(a), shared(a));
            },
        );
    }
}

fn file_of(a: &Anatomy) -> &kho_testkit::FileAt {
    &a.sessions[1].files[2]
}

fn device_tree(cases: &mut Cases) {
    let be = |offset: u64, value: u32| {
        move |m: &mut Memory, a: &Anatomy| m.write(a.fdt + offset, &value.to_be_bytes())
    };
    cases.add(
        SMALL,
        "FDT magic",
        &["wrong magic", "d00dfeee"],
        be(0, 0xd00d_feee),
    );
    cases.add(
        SMALL,
        "FDT totalsize 0",
        &["totalsize", "found        0"],
        be(4, 0),
    );
    cases.add(
        SMALL,
        "FDT totalsize huge",
        &["totalsize", "4294967280"],
        be(4, 0xffff_fff0),
    );
    cases.add(
        SMALL,
        "FDT totalsize above a page",
        &["totalsize", "4097"],
        be(4, 4097),
    );
    cases.add(
        SMALL,
        "FDT struct offset out of range",
        &["structure block", "offset 4096"],
        be(8, 4096),
    );
    cases.add(
        SMALL,
        "FDT struct offset unaligned",
        &["structure block"],
        be(8, 57),
    );
    cases.add(
        SMALL,
        "FDT strings offset out of range",
        &["strings block"],
        be(12, 0xffff_fff0),
    );
    cases.add(
        SMALL,
        "FDT reserve map out of range",
        &["memory reservation map"],
        be(16, 0xffff_fff8),
    );
    cases.add(SMALL, "FDT version too old", &["version 16"], be(20, 16));
    cases.add(
        SMALL,
        "FDT needs a newer reader",
        &["readable from 18"],
        be(24, 18),
    );
    cases.add(
        SMALL,
        "FDT strings size huge",
        &["strings block"],
        be(32, 0xffff_0000),
    );
    cases.add(
        SMALL,
        "FDT strings size too small",
        &["property name"],
        be(32, 4),
    );
    cases.add(
        SMALL,
        "FDT struct size huge",
        &["structure block"],
        be(36, 0xffff_0000),
    );
    cases.add(
        SMALL,
        "FDT struct size too small",
        &["structure block"],
        be(36, 100),
    );
    cases.add(SMALL, "FDT token unknown", &["token 0x7"], |m, a| {
        let at = node(m, a.fdt, "kho_test");
        m.write(at, &7u32.to_be_bytes());
    });
    cases.add(SMALL, "FDT ends inside a node", &["token 0x9"], |m, a| {
        let at = node(m, a.fdt, "kexec-metadata");
        m.write(at, &9u32.to_be_bytes());
    });
    cases.add(
        SMALL,
        "FDT node unnamed",
        &["node name is empty"],
        |m, a| {
            let at = node(m, a.fdt, "LUO");
            m.write(at + 4, &[0; 4]);
        },
    );
    cases.add(
        SMALL,
        "FDT property longer than its block",
        &["property length"],
        |m, a| {
            let at = prop(m, a.fdt, "LUO", "preserved-data");
            m.write(at - 8, &0x7fff_ffffu32.to_be_bytes());
        },
    );
    cases.add(SMALL, "FDT property of 4 bytes", &["8 bytes"], |m, a| {
        // A NOP takes the place of the value's second half.
        let at = prop(m, a.fdt, "LUO", "preserved-data");
        m.write(at - 8, &4u32.to_be_bytes());
        m.write(at + 4, &4u32.to_be_bytes());
    });
    cases.add(
        SMALL,
        "FDT property name out of range",
        &["property name"],
        |m, a| {
            let at = prop(m, a.fdt, "LUO", "blob-size");
            m.write(at - 4, &57u32.to_be_bytes());
        },
    );
    cases.add(
        SMALL,
        "FDT property twice",
        &["property `preserved-data`", "duplicate"],
        |m, a| {
            let (from, to) = (
                prop(m, a.fdt, "LUO", "preserved-data"),
                prop(m, a.fdt, "LUO", "blob-size"),
            );
            let name = m.read(from - 4, 4);
            m.write(to - 4, &name);
        },
    );
    cases.add(
        SMALL,
        "FDT blob address missing",
        &["`preserved-data`", "missing"],
        |m, a| {
            let at = prop(m, a.fdt, "LUO", "preserved-data");
            let other = prop(m, a.fdt, "", "compatible");
            let name = m.read(other - 4, 4);
            m.write(at - 4, &name);
        },
    );
    cases.built("FDT node twice", &["node `dup`", "duplicate"], || {
        let mut b = Builder::new();
        for _ in 0..2 {
            let pa = b.folio(0);
            b.subtree("dup", pa, 8);
        }
        b.finish().mem
    });
    cases.add(
        SMALL,
        "root compatible unterminated",
        &["compatible", "not terminated"],
        |m, a| {
            let at = prop(m, a.fdt, "", "compatible");
            m.write(at, b"kho-v44");
        },
    );
    cases.add(SMALL, "root compatible empty", &["root FDT"], |m, a| {
        let at = prop(m, a.fdt, "", "compatible");
        m.write(at, &[0; 7]);
    });
    cases.add(
        SMALL,
        "root of another name",
        &["kha-v4", "kho-v"],
        |m, a| {
            let at = prop(m, a.fdt, "", "compatible");
            m.write(at, b"kha-v4");
        },
    );
    cases.add(
        SMALL,
        "root version unknown",
        &["refused", "kho-v5", "kho-v4", "all preserved state is lost"],
        |m, a| {
            let at = prop(m, a.fdt, "", "compatible");
            m.write(at, b"kho-v5");
        },
    );
    cases.add(
        SMALL,
        "root version not a number",
        &["refused", "kho-v4x"],
        |m, a| {
            let at = prop(m, a.fdt, "", "compatible");
            m.write(at - 8, &8u32.to_be_bytes());
            m.write(at, b"kho-v4x\0");
        },
    );
    cases.built(
        "root composite unsorted",
        &["refused", "out of alphabetical order"],
        || {
            let mut b = Builder::new();
            b.root_compatible = "kho-v4;vmalloc-v1;radix-v1".into();
            b.finish().mem
        },
    );
    cases.built(
        "root composite with a newer part",
        &["refused", "radix-v2"],
        || {
            let mut b = Builder::new();
            b.root_compatible = "kho-v4;radix-v2;vmalloc-v1".into();
            b.finish().mem
        },
    );
}

fn tracker(cases: &mut Cases) {
    for level in (0..6).rev() {
        let at = move |a: &Anatomy| a.level(level).entry;
        let level_name = |what: &str| format!("tracker level {level} {what}");
        cases.add(
            SMALL,
            &level_name("unaligned"),
            &["tracker", "not aligned"],
            move |m, a| {
                m.set_u64(at(a), a.level(level).pa + 8);
            },
        );
        cases.add(
            SMALL,
            &level_name("outside"),
            &["tracker", "outside memory"],
            move |m, a| {
                m.set_u64(at(a), 0x7f00_0000_0000);
            },
        );
        cases.add(
            SMALL,
            &level_name("wrapping"),
            &["tracker", "outside memory"],
            move |m, a| {
                m.set_u64(at(a), 0xffff_ffff_ffff_f000);
            },
        );
        if level < 5 {
            cases.add(
                SMALL,
                &level_name("is its own parent"),
                &["tracker", "cycle"],
                move |m, a| {
                    m.set_u64(at(a), at(a) & !4095);
                },
            );
            cases.add(
                SMALL,
                &level_name("is the root"),
                &["tracker", "cycle"],
                move |m, a| {
                    m.set_u64(at(a), a.nodes[0].pa);
                },
            );
            cases.add(
                SMALL,
                &level_name("lost"),
                &["not preserved"],
                move |m, a| {
                    // The subtree that holds the last keys: those of order 0.
                    let lost = a.nodes.iter().rfind(|node| node.level == level).unwrap();
                    m.set_u64(lost.entry, 0);
                },
            );
        }
        if level < 4 {
            cases.add(
                SMALL,
                &level_name("shared"),
                &["tracker", "is shared"],
                move |m, a| {
                    let last = a.nodes.iter().rfind(|node| node.level == level).unwrap();
                    m.set_u64(last.entry, at_pa(a, level));
                },
            );
        }
    }
    cases.add(
        SMALL,
        "tracker root null",
        &["root node's address", "null"],
        |m, a| {
            m.set_u64(prop(m, a.fdt, "", "preserved-memory-map"), 0);
        },
    );
    cases.add(SMALL, "tracker root is the FDT", &["damaged"], |m, a| {
        m.set_u64(prop(m, a.fdt, "", "preserved-memory-map"), a.fdt);
    });
    cases.add(
        SMALL,
        "tracker key too wide",
        &["not a valid key", "53 bits"],
        |m, a| {
            let child = m.u64(a.level(4).entry);
            m.set_u64(a.level(4).entry, 0);
            m.set_u64(a.nodes[0].pa + 8 * 4, child);
        },
    );
    cases.add(
        SMALL,
        "tracker range outside memory",
        &["preserved range", "outside memory"],
        |m, a| {
            let leaf = a.nodes.iter().rfind(|node| node.level == 0).unwrap().pa;
            m.set_u64(leaf + 8 * 511, 1 << 63);
        },
    );
    cases.add(
        SMALL,
        "tracker ranges overlap",
        &["preserved range", "overlaps", "order 0"],
        |m, a| {
            // The order 1 key over the pages of an order 0 key, in the leaf of order 1.
            let (pa, _) = *a
                .keys
                .iter()
                .find(|(pa, order)| *order == 0 && a.keys.contains(&(pa ^ 4096, 0)))
                .unwrap();
            let leaves: Vec<_> = a.nodes.iter().filter(|node| node.level == 0).collect();
            let leaf = leaves[leaves.len() - 2].pa;
            let word = leaf + 8 * ((pa >> 13 & 32767) / 64);
            m.set_u64(word, m.u64(word) | 1 << (pa >> 13 & 63));
        },
    );
    cases.add(
        SMALL,
        "tracker node preserved",
        &["preserved as well"],
        |m, a| {
            let leaf = a.nodes.iter().rfind(|node| node.level == 0).unwrap().pa;
            let pfn = a.nodes[1].pa >> 12;
            let word = leaf + 8 * ((pfn & 32767) / 64);
            m.set_u64(word, m.u64(word) | 1 << (pfn & 63));
        },
    );
    cases.built("tracker key 0", &["not a valid key", "key 0x0"], || {
        let mut b = Builder::new();
        b.folio(0);
        b.preserve(0, 38);
        let built = b.finish();
        let mut mem = built.mem;
        // The leaf of the key of order 38 is that of the smallest keys.
        let root = mem.u64(prop(&mem, built.fdt, "", "preserved-memory-map"));
        let mut node = root;
        for _ in 0..5 {
            node = mem.u64(node);
        }
        mem.set_u64(node, 1);
        mem
    });
    cases.built(
        "tracker range is all of memory",
        &["outside memory", "order 51"],
        || {
            let mut b = Builder::new();
            b.preserve(0, 51);
            b.finish().mem
        },
    );
}

fn at_pa(a: &Anatomy, level: u32) -> u64 {
    a.level(level).pa
}

fn scratch(cases: &mut Cases) {
    // The captures' tables: two areas and an empty one.
    const TABLE: u64 = 0xf3f_0000;
    cases.add(
        SMALL,
        "scratch over preserved memory",
        &["scratch", "overlaps", "preserved range"],
        |m, _| {
            m.set_u64(TABLE + 32, 0x140_0000);
        },
    );
    cases.add(
        SMALL,
        "scratch unaligned",
        &["scratch", "not aligned"],
        |m, _| {
            m.set_u64(TABLE, m.u64(TABLE) + 4096);
        },
    );
    cases.add(
        SMALL,
        "scratch size unaligned",
        &["scratch", "not aligned"],
        |m, _| {
            m.set_u64(TABLE + 8, m.u64(TABLE + 8) + 1);
        },
    );
    cases.add(SMALL, "scratch wrapping", &["scratch", "wraps"], |m, _| {
        m.set_u64(TABLE + 8, 0xffff_ffff_ffc0_0000);
    });
    cases.add(
        SMALL,
        "scratch above 52 bits",
        &["scratch", "outside memory", "52 bits"],
        |m, _| {
            m.set_u64(TABLE, 1 << 56);
        },
    );
    cases.add(
        SMALL,
        "scratch up to the top",
        &["scratch", "52 bits"],
        |m, _| {
            m.set_u64(TABLE + 8, 0u64.wrapping_sub(0xcc0_0000));
        },
    );
    cases.add(
        SMALL,
        "scratch table of ones",
        &["scratch", "not aligned"],
        |m, _| {
            m.write(TABLE, &[0xff; 48]);
        },
    );
    cases.add(
        SMALL,
        "scratch areas overlap",
        &["scratch", "overlaps"],
        |m, _| {
            m.set_u64(TABLE + 32, m.u64(TABLE));
        },
    );
    cases.built(
        "scratch table of setup_data outside",
        &["scratch table", "outside memory"],
        || {
            let b = Builder::new();
            let built = b.finish();
            let mut mem = built.mem;
            mem.remove(built.scratch.0);
            mem
        },
    );
    cases.built(
        "scratch over preserved memory, by setup_data",
        &["scratch", "overlaps"],
        || {
            let mut b = Builder::new();
            b.session_of("s", &[MemfdSpec::new(vec![1; 5000])]);
            let built = b.finish();
            let mut mem = built.mem;
            mem.set_u64(built.scratch.0, 0x1000_0000);
            mem
        },
    );
    cases.built("two handovers", &["2 handovers", "--fdt"], || {
        let mut b = Builder::new();
        let pa = b.folio(0);
        let built = b.finish();
        let mut mem = built.mem;
        mem.write(pa, &mem.read(built.fdt, 4096));
        mem
    });
}

fn subtrees(cases: &mut Cases) {
    fn luo_blob(mem: &Memory, a: &Anatomy) -> u64 {
        prop(mem, a.fdt, "LUO", "preserved-data")
    }
    cases.add(
        SMALL,
        "LUO blob null",
        &["subtree `LUO`", "null"],
        |m, a| m.set_u64(luo_blob(m, a), 0),
    );
    cases.add(
        SMALL,
        "LUO blob unaligned",
        &["subtree `LUO`", "not aligned"],
        |m, a| {
            m.set_u64(luo_blob(m, a), a.luo + 16);
        },
    );
    cases.add(
        SMALL,
        "LUO blob outside",
        &["subtree `LUO`", "not preserved"],
        |m, a| {
            m.set_u64(luo_blob(m, a), 0x9_0000_0000);
        },
    );
    cases.add(
        SMALL,
        "LUO blob not preserved",
        &["subtree `LUO`", "not preserved"],
        |m, a| {
            m.set_u64(luo_blob(m, a), a.level(0).pa);
        },
    );
    cases.add(SMALL, "blobs shared", &["is shared"], |m, a| {
        m.set_u64(luo_blob(m, a), a.metadata)
    });
    cases.add(
        SMALL,
        "blob is the FDT",
        &["is shared", "root FDT"],
        |m, a| m.set_u64(luo_blob(m, a), a.fdt),
    );
    cases.add(
        SMALL,
        "unknown subtree's blob not preserved",
        &["subtree `kho_test`"],
        |m, a| {
            m.set_u64(prop(m, a.fdt, "kho_test", "preserved-data"), 0x1_0000_0000);
        },
    );
    for (name, size, expect) in [
        ("0", 0, &["blob-size", "LUO"] as &'static [&'static str]),
        ("of a word", 8, &["LUO", "impossible size"]),
        ("off by one", 31, &["LUO", "impossible size"]),
        ("one too many", 33, &["LUO", "impossible size", "33 bytes"]),
        ("composite's", 40, &["LUO", "impossible size"]),
        ("a page too many", 8192, &["LUO", "impossible size"]),
        ("huge", u64::MAX, &["subtree `LUO`", "wraps"]),
    ] {
        cases.add(
            SMALL,
            &format!("LUO blob-size {name}"),
            expect,
            move |m, a| {
                m.set_u64(prop(m, a.fdt, "LUO", "blob-size"), size);
            },
        );
    }
    cases.add(
        SMALL,
        "metadata size",
        &["kexec metadata", "73 bytes"],
        |m, a| {
            m.set_u64(prop(m, a.fdt, "kexec-metadata", "blob-size"), 72);
        },
    );
    cases.add(
        SMALL,
        "metadata release unterminated",
        &["previous_release", "not terminated"],
        |m, a| {
            m.write(a.metadata + 4, &[b'7'; 65]);
        },
    );
    cases.add(
        SMALL,
        "metadata release empty",
        &["previous_release is empty"],
        |m, a| {
            m.write(a.metadata + 4, &[0; 65]);
        },
    );
    cases.add(
        SMALL,
        "metadata release no text",
        &["previous_release", "not valid text"],
        |m, a| {
            m.write(a.metadata + 4, &[0xff, 0xfe]);
        },
    );
}

fn luo(cases: &mut Cases) {
    cases.add(
        SMALL,
        "luo version unknown",
        &["refused", "luo-v6", "luo-v5", "panic"],
        |m, a| m.write(a.luo, b"luo-v6"),
    );
    cases.add(SMALL, "luo version old", &["refused", "luo-v4"], |m, a| {
        m.write(a.luo, b"luo-v4")
    });
    cases.add(
        SMALL,
        "luo compatible empty",
        &["LUO", "compatible is empty"],
        |m, a| m.write(a.luo, &[0; 8]),
    );
    cases.add(
        SMALL,
        "luo compatible unterminated",
        &["LUO", "not terminated"],
        |m, a| {
            m.write(a.luo, b"luo-v5..");
        },
    );
    cases.add(
        SMALL,
        "luo compatible not text",
        &["LUO", "not valid text"],
        |m, a| m.write(a.luo, &[0xff; 4]),
    );
    cases.add(
        SMALL,
        "luo of another name",
        &["refused", "lua-v5"],
        |m, a| m.write(a.luo, b"lua-v5"),
    );
    cases.add(
        SMALL,
        "liveupdate_num 0",
        &["liveupdate_num", "impossible value"],
        |m, a| {
            m.set_u64(a.luo + 8, 0);
        },
    );
    cases.built(
        "luo composite with an unknown part",
        &["refused", "zip"],
        || {
            let mut b = Builder::new();
            b.luo_compatible = "luo-v5;block-v1;zip-v1".into();
            b.session_of("s", &[]);
            b.finish().mem
        },
    );
    cases.address(SMALL, "sessions_pa", |a| a.luo + 16, |a| a.luo);
    cases.address(SMALL, "flbs_pa", |a| a.luo + 24, |a| a.blocks[0]);
    cases.add(
        SMALL,
        "sessions_pa an order 1 range",
        &["impossible order"],
        |m, a| m.set_u64(a.luo + 16, a.keys.iter().find(|k| k.1 == 1).unwrap().0),
    );
}

fn blocks(cases: &mut Cases) {
    cases.address(
        SESSIONS,
        "session block's next",
        |a| a.blocks[0],
        |a| a.metadata,
    );
    cases.address(
        FILES,
        "file block's next",
        |a| a.sessions[0].blocks[1],
        |a| a.blocks[0],
    );
    cases.add(
        SESSIONS,
        "session block is its own next",
        &["cycle", "block 1"],
        |m, a| m.set_u64(a.blocks[1], a.blocks[1]),
    );
    cases.add(
        SESSIONS,
        "session blocks end in the first",
        &["damaged"],
        |m, a| m.set_u64(a.blocks[2], a.blocks[0]),
    );
    cases.add(FILES, "file block is its own next", &["cycle"], |m, a| {
        m.set_u64(a.sessions[0].blocks[2], a.sessions[0].blocks[2]);
    });
    cases.add(
        FILES,
        "file blocks turn back",
        &["cycle", "block 0"],
        |m, a| {
            m.set_u64(a.sessions[0].blocks[2], a.sessions[0].blocks[0]);
        },
    );
    cases.add(
        FILES,
        "file set runs into the session set",
        &["is shared"],
        |m, a| {
            m.set_u64(a.sessions[0].blocks[0], a.blocks[0]);
        },
    );
    for (name, count) in [
        ("0", 0),
        ("above what fits", 52),
        ("huge", u64::MAX),
        ("one less", 50),
        ("2^32", 1 << 32),
    ] {
        cases.add(
            SESSIONS,
            &format!("session block count {name}"),
            &["session set", "impossible count"],
            move |m, a| {
                m.set_u64(a.blocks[1] + 8, count);
            },
        );
    }
    cases.add(
        SESSIONS,
        "last session block count 0",
        &["impossible count"],
        |m, a| m.set_u64(a.blocks[2] + 8, 0),
    );
    cases.add(
        SESSIONS,
        "last session block one too many",
        &["session 120", "name is empty"],
        |m, a| {
            m.set_u64(a.blocks[2] + 8, 19);
        },
    );
    cases.add(
        SESSIONS,
        "last session block one too few",
        &["FLB", "impossible count"],
        |m, a| {
            m.set_u64(a.blocks[2] + 8, 17);
        },
    );
    for (name, count) in [
        ("0", 0),
        ("above what fits", 64),
        ("huge", 1 << 63),
        ("one less", 62),
    ] {
        cases.add(
            FILES,
            &format!("file block count {name}"),
            &["file set", "impossible count"],
            move |m, a| {
                m.set_u64(a.sessions[0].blocks[0] + 8, count);
            },
        );
    }
    cases.add(
        FILES,
        "last file block one too few",
        &["count does not agree"],
        |m, a| {
            m.set_u64(a.sessions[0].blocks[3] + 8, 10);
        },
    );
    cases.add(
        FILES,
        "last file block one too many",
        &["does not agree"],
        |m, a| {
            m.set_u64(a.sessions[0].blocks[3] + 8, 12);
        },
    );
    cases.built(
        "a chain of more than 10000 blocks",
        &["too many", "10000"],
        || {
            let mut b = Builder::new();
            let entries: Vec<[u8; 80]> = (0..10_000u64 * 51 + 1)
                .map(|n| {
                    let mut entry = [0; 80];
                    entry[..8].copy_from_slice(&(n + 0x0101_0101_0101_0101).to_le_bytes());
                    entry
                })
                .collect();
            let head = b.blocks(&entries);
            let area = b.folio(0);
            b.mem.set_u64(area, 1);
            let mut header = b"luo-v5\0\0".to_vec();
            for value in [1, head, area] {
                header.extend(value.to_le_bytes());
            }
            let pa = b.blob(&header);
            b.subtree("LUO", pa, 32);
            b.finish().mem
        },
    );
}

fn sessions(cases: &mut Cases) {
    cases.add(
        SMALL,
        "session name empty",
        &["session 1", "name is empty"],
        |m, a| m.write(a.sessions[1].pa, &[0]),
    );
    cases.add(
        SMALL,
        "session name unterminated",
        &["session 1", "not terminated"],
        |m, a| {
            m.write(a.sessions[1].pa, &[b'x'; 64]);
        },
    );
    cases.add(
        SMALL,
        "session name twice",
        &["session 1", "duplicate"],
        |m, a| {
            let name = m.read(a.sessions[0].pa, 64);
            m.write(a.sessions[1].pa, &name);
        },
    );
    cases.add(
        SMALL,
        "session without file set",
        &["session-1", "does not agree"],
        |m, a| {
            m.set_u64(a.sessions[1].pa + 64, 0);
        },
    );
    for (name, count) in [
        ("0", 0),
        ("one more", 5),
        ("one less", 3),
        ("huge", u64::MAX),
    ] {
        cases.add(
            SMALL,
            &format!("session count {name}"),
            &["session-1", "count does not agree"],
            move |m, a| {
                m.set_u64(a.sessions[1].pa + 72, count);
            },
        );
    }
    cases.address(
        SMALL,
        "session's files",
        |a| a.sessions[1].pa + 64,
        |a| a.sessions[0].blocks[0],
    );
    cases.add(
        FILES,
        "empty session with a file set",
        &["is shared"],
        |m, a| {
            m.set_u64(a.sessions[1].pa + 64, a.sessions[0].blocks[3]);
        },
    );

    cases.add(
        SMALL,
        "file compatible empty",
        &["compatible is empty"],
        |m, a| m.write(file_of(a).pa, &[0]),
    );
    cases.add(
        SMALL,
        "file compatible unterminated",
        &["not terminated"],
        |m, a| m.write(file_of(a).pa, &[b'm'; 48]),
    );
    cases.add(
        SMALL,
        "file compatible not text",
        &["not valid text"],
        |m, a| m.write(file_of(a).pa, &[7, 7]),
    );
    cases.add(
        SMALL,
        "file version unknown",
        &["refused", "memfd-v3", "memfd-v2", "EIO", "session-1"],
        |m, a| {
            m.write(file_of(a).pa, b"memfd-v3");
        },
    );
    cases.add(
        SMALL,
        "file handler unknown",
        &["refused", "vfiofd-v1"],
        |m, a| m.write(file_of(a).pa, b"vfiofd-v1"),
    );
    cases.add(
        SMALL,
        "file handler is no handler",
        &["refused", "kho-v4"],
        |m, a| m.write(file_of(a).pa, b"kho-v4\0\0"),
    );
    cases.add(
        SMALL,
        "file compatible not in the grammar",
        &["refused", "memfd"],
        |m, a| m.write(file_of(a).pa, b"memfd\0"),
    );
    cases.add(SMALL, "token twice", &["token", "duplicate"], |m, a| {
        m.set_u64(file_of(a).pa + 56, m.u64(a.sessions[1].files[0].pa + 56));
    });
    cases.add(SMALL, "memfd state null", &["memfd", "null"], |m, a| {
        m.set_u64(file_of(a).pa + 48, 0)
    });
    cases.address(
        SMALL,
        "memfd state",
        |a| file_of(a).pa + 48,
        |a| a.sessions[0].files[0].data,
    );
    cases.add(
        THP,
        "memfd state inside a folio",
        &["inside the order 9 range"],
        |m, a| {
            m.set_u64(a.sessions[0].files[0].pa + 48, 0x3a0_1000);
        },
    );

    cases.add(
        SMALL,
        "FLB pgcnt 0",
        &["pgcnt", "impossible count"],
        |m, a| m.set_u64(a.flbs, 0),
    );
    cases.add(SMALL, "FLB pgcnt huge", &["pgcnt"], |m, a| {
        m.set_u64(a.flbs, 1 << 40)
    });
    cases.add(
        SMALL,
        "FLB count above the area",
        &["FLB", "0 to 63"],
        |m, a| m.set_u64(a.flbs + 8, 64),
    );
    cases.add(SMALL, "FLB count huge", &["0 to 63"], |m, a| {
        m.set_u64(a.flbs + 8, u64::MAX)
    });
    cases.add(
        SMALL,
        "FLB count one more",
        &["FLB 3", "name is empty"],
        |m, a| m.set_u64(a.flbs + 8, 4),
    );
    cases.add(
        SMALL,
        "FLB name empty",
        &["FLB 1", "name is empty"],
        |m, a| m.write(a.flbs + 80, &[0]),
    );
    cases.add(
        SMALL,
        "FLB name unterminated",
        &["FLB 1", "not terminated"],
        |m, a| m.write(a.flbs + 80, &[b'f'; 48]),
    );
    cases.add(SMALL, "FLB name twice", &["FLB 1", "duplicate"], |m, a| {
        let name = m.read(a.flbs + 16, 48);
        m.write(a.flbs + 80, &name);
    });
    cases.add(
        SMALL,
        "FLB of no file",
        &["FLB 2", "impossible count"],
        |m, a| m.set_u64(a.flbs + 16 + 128 + 56, 0),
    );
    cases.add(
        SMALL,
        "FLB of more files than there are",
        &["FLB 2", "13 files"],
        |m, a| {
            m.set_u64(a.flbs + 16 + 128 + 56, 13);
        },
    );
}

fn memfds(cases: &mut Cases) {
    let set = |offset: u64, value: u64| {
        move |m: &mut Memory, a: &Anatomy| m.set_u64(file_of(a).data + offset, value)
    };
    cases.add(
        SMALL,
        "memfd pos negative",
        &["pos", "impossible value"],
        set(0, u64::MAX),
    );
    cases.add(
        SMALL,
        "memfd size negative",
        &["size", "impossible value"],
        set(8, 1 << 63),
    );
    cases.add(
        SMALL,
        "memfd size past its folios",
        &["nr_folios", "does not agree"],
        set(8, 1 << 40),
    );
    cases.add(
        SMALL,
        "memfd size a page more",
        &["nr_folios", "does not agree"],
        |m, a| {
            let at = file_of(a).data + 8;
            m.set_u64(at, m.u64(at) + 4096);
        },
    );
    cases.add(
        SMALL,
        "memfd size a page less",
        &["index", "offset out of range"],
        |m, a| {
            let at = file_of(a).data + 8;
            m.set_u64(at, m.u64(at) - 4096);
        },
    );
    cases.add(
        SMALL,
        "memfd size 0 with folios",
        &["nr_folios", "file of size 0"],
        set(8, 0),
    );
    cases.add(SMALL, "memfd seals unknown", &["seals", "0x40"], |m, a| {
        m.set_u32(file_of(a).data + 16, 0x40)
    });
    cases.add(SMALL, "memfd flags", &["flags", "0x1"], |m, a| {
        m.set_u32(file_of(a).data + 20, 1)
    });
    cases.add(SMALL, "memfd nr_folios 0", &["nr_folios"], set(24, 0));
    cases.add(
        SMALL,
        "memfd nr_folios one less",
        &["nr_folios", "does not agree"],
        |m, a| {
            let at = file_of(a).data + 24;
            m.set_u64(at, m.u64(at) - 1);
        },
    );
    cases.add(
        SMALL,
        "memfd nr_folios one more",
        &["folio 7", "index"],
        |m, a| {
            let at = file_of(a).data + 24;
            m.set_u64(at, m.u64(at) + 1);
        },
    );
    cases.add(
        SMALL,
        "memfd nr_folios above its list",
        &["nr_folios", "at most 256"],
        set(24, 257),
    );
    cases.add(
        SMALL,
        "memfd nr_folios huge",
        &["nr_folios", "at most 256"],
        set(24, u64::MAX),
    );

    cases.add(
        SMALL,
        "vmalloc first null",
        &["vmalloc", "null"],
        set(32, 0),
    );
    cases.address(
        SMALL,
        "vmalloc first",
        |a| file_of(a).data + 32,
        |a| a.sessions[0].files[0].chunks[0],
    );
    for (name, pages) in [("0", 0u32), ("2", 2), ("huge", u32::MAX)] {
        cases.add(
            SMALL,
            &format!("vmalloc total_pages {name}"),
            &["total_pages", "does not agree"],
            move |m, a| {
                m.set_u32(file_of(a).data + 40, pages);
            },
        );
    }
    cases.add(
        SMALL,
        "vmalloc flags unknown",
        &["vmalloc", "flags", "0x5"],
        |m, a| m.set_u16(file_of(a).data + 44, 5),
    );
    for (name, order) in [("1", 1u16), ("60", 60), ("65535", 65535)] {
        cases.add(
            SMALL,
            &format!("vmalloc order {name}"),
            &["vmalloc", "impossible order"],
            move |m, a| {
                m.set_u16(file_of(a).data + 46, order);
            },
        );
    }
    cases.add(
        SMALL,
        "vmalloc order of other pages",
        &["vmalloc"],
        |m, a| {
            m.set_u32(file_of(a).data + 40, 2);
            m.set_u16(file_of(a).data + 46, 1);
        },
    );
    cases.add(SMALL, "vmalloc chunk empty", &["total_pages"], |m, a| {
        m.set_u64(file_of(a).chunks[0] + 8, 0)
    });
    cases.address(
        SMALL,
        "vmalloc page",
        |a| file_of(a).chunks[0] + 8,
        |a| a.sessions[0].files[0].list[0],
    );
    cases.add(SMALL, "vmalloc page twice", &["damaged"], |m, a| {
        m.set_u64(file_of(a).chunks[0] + 16, file_of(a).list[0]);
    });
    cases.add(
        SMALL,
        "vmalloc chunk after one that is not full",
        &["chunk list", "malformed"],
        |m, a| {
            m.set_u64(file_of(a).chunks[0], a.sessions[0].files[0].chunks[0]);
        },
    );
    cases.built(
        "vmalloc chunk is its own next",
        &["chunk list", "cycle"],
        || two_chunks(|_, first, _| (first, first)),
    );
    cases.built(
        "memfd of size 0 with an area",
        &["nr_folios", "file of size 0"],
        || {
            let mut b = Builder::new();
            let area = b.vmalloc(&[0; 16], 0);
            let mut ser = vec![0; 32];
            ser.extend(area);
            let data = b.blob(&ser);
            b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
            b.finish().mem
        },
    );
    cases.built(
        "vmalloc first chunk lost",
        &["total_pages", "does not agree"],
        || two_chunks(|_, first, second| (second, first)),
    );
    cases.built(
        "vmalloc second chunk unaligned",
        &["vmalloc chunk", "not aligned"],
        || two_chunks(|_, first, second| (first, second + 8)),
    );
    cases.built(
        "vmalloc second chunk lost",
        &["chunk list", "malformed"],
        || two_chunks(|_, first, _| (first, 0)),
    );

    cases.add(
        SMALL,
        "folio outside",
        &["memfd folio", "not preserved"],
        |m, a| {
            m.set_u64(file_of(a).folios[1], 0xf_ffff_ffff_ffff | 3 << 52);
        },
    );
    cases.add(
        SMALL,
        "folio not preserved",
        &["memfd folio", "not preserved"],
        |m, a| {
            m.set_u64(file_of(a).folios[1], a.level(0).pa >> 12 | 3 << 52);
        },
    );
    cases.add(
        SMALL,
        "folio twice in a file",
        &["memfd folio", "is shared"],
        |m, a| {
            m.set_u64(file_of(a).folios[1], m.u64(file_of(a).folios[0]));
        },
    );
    cases.add(
        SMALL,
        "folio of another file",
        &["memfd folio", "is shared"],
        |m, a| {
            m.set_u64(
                file_of(a).folios[1],
                m.u64(a.sessions[0].files[0].folios[0]),
            );
        },
    );
    cases.add(
        SMALL,
        "folio is the LUO header",
        &["memfd folio", "is shared", "blob"],
        |m, a| {
            m.set_u64(file_of(a).folios[0], a.luo >> 12 | 3 << 52);
        },
    );
    cases.add(SMALL, "folio null", &["folio 1", "pfn is null"], |m, a| {
        m.set_u64(file_of(a).folios[1], 3 << 52);
    });
    cases.add(
        SMALL,
        "folio left out",
        &["folio 6", "index is missing"],
        |m, a| {
            // One page more, and the last folio moved there.
            let size = file_of(a).data + 8;
            m.set_u64(size, m.u64(size) + 4096);
            m.set_u64(file_of(a).folios[6] + 8, 7);
        },
    );
    cases.add(
        THP,
        "folio smaller than it was",
        &["index is missing"],
        |m, a| {
            // Its key of order 9 becomes one of order 8.
            let pfn = m.u64(a.sessions[0].files[0].folios[0]) & ((1 << 52) - 1);
            let leaf = |order: u32| {
                let leaves = a.nodes.iter().filter(|node| node.level == 0);
                let mut leaves: Vec<_> = leaves.map(|node| node.pa).collect();
                // Leaves are in order of key: large orders first.
                if order == 9 {
                    leaves.remove(0)
                } else {
                    leaves.remove(1)
                }
            };
            let bit = |order: u32| (pfn >> order) & 32767;
            let nine = leaf(9) + 8 * (bit(9) / 64);
            m.set_u64(nine, m.u64(nine) & !(1 << (bit(9) % 64)));
            // A leaf for order 8: the node page of an unused order, found in the tree of order 9.
            let eight = 0x1_0000_0000;
            m.add(eight, 0x5000);
            let key = 1u64 << 44 | pfn >> 8;
            let mut node = a.nodes[0].pa;
            for level in (1..6).rev() {
                let entry = node + 8 * (key >> (15 + 9 * (level - 1)) & 511);
                if m.u64(entry) == 0 {
                    m.set_u64(entry, eight + 0x1000 * (5 - level));
                }
                node = m.u64(entry);
            }
            let word = node + 8 * (bit(8) / 64);
            m.set_u64(word, m.u64(word) | 1 << (bit(8) % 64));
        },
    );
    cases.add(
        SMALL,
        "folio flags unknown",
        &["folio 1", "flags", "0x7"],
        |m, a| {
            let at = file_of(a).folios[1];
            m.set_u64(at, m.u64(at) | 7 << 52);
        },
    );
    cases.add(SMALL, "folio index twice", &["folio 2", "index"], |m, a| {
        m.set_u64(file_of(a).folios[2] + 8, 1)
    });
    cases.add(
        SMALL,
        "folio index past the end",
        &["index is missing", "found        page 7"],
        |m, a| {
            m.set_u64(file_of(a).folios[6] + 8, 7);
        },
    );
    cases.add(SMALL, "folio index huge", &["index"], |m, a| {
        m.set_u64(file_of(a).folios[6] + 8, u64::MAX)
    });
    cases.add(
        THP,
        "folio inside a larger one",
        &["memfd folio", "inside the order 9 range"],
        |m, a| {
            let at = a.sessions[0].files[0].folios[0];
            m.set_u64(at, m.u64(at) + 1);
        },
    );
    cases.add(
        THP,
        "folio index one more",
        &["index is missing", "page 1025"],
        |m, a| {
            let at = a.sessions[0].files[0].folios[2] + 8;
            m.set_u64(at, m.u64(at) + 1);
        },
    );
    cases.add(
        THP,
        "folios overlap in the file",
        &["index", "overlaps"],
        |m, a| {
            m.set_u64(a.sessions[0].files[0].folios[1] + 8, 0);
        },
    );
}

/// A memfd whose folio list needs two chunks; `links` says what its descriptor's `first` and the
/// first chunk's `next` become.
fn two_chunks(links: fn(&Memory, u64, u64) -> (u64, u64)) -> Memory {
    let mut b = Builder::new();
    // 512 pages of records: one more than a chunk lists. Most folios are holes.
    let pages = 512 * 256;
    let data = hole_memfd(&mut b, pages);
    b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
    let mut mem = b.finish().mem;
    let first = mem.u64(data + 32);
    let second = mem.u64(first);
    let (to_first, to_second) = links(&mem, first, second);
    mem.set_u64(data + 32, to_first);
    mem.set_u64(first, to_second);
    mem
}

fn hole_memfd(b: &mut Builder, pages: usize) -> u64 {
    let mut records = Vec::new();
    for index in 0..pages as u64 {
        records.extend(0u64.to_le_bytes());
        records.extend(index.to_le_bytes());
    }
    let area = b.vmalloc(&records, 0);
    let mut ser = Vec::new();
    for value in [0, pages as u64 * 4096, 0, pages as u64] {
        ser.extend(value.to_le_bytes());
    }
    ser.extend(area);
    b.blob(&ser)
}

fn memblock(cases: &mut Cases) {
    fn built(damage: impl Fn(&mut Memory, u64)) -> Memory {
        let mut b = Builder::new();
        b.metadata(1, "7.3.4", 1);
        b.memblock("memblock-v1", &[("log", 0x4000), ("state", 0x8000)]);
        let built = b.finish();
        let mut mem = built.mem;
        let fdt = mem.u64(prop(&mem, built.fdt, "memblock", "preserved-data"));
        damage(&mut mem, fdt);
        mem
    }
    cases.built("memblock magic", &["memblock", "wrong magic"], || {
        built(|m, fdt| m.write(fdt, &[0]))
    });
    cases.built("memblock totalsize", &["memblock", "totalsize"], || {
        built(|m, fdt| m.write(fdt + 4, &0xfff0u32.to_be_bytes()))
    });
    cases.built(
        "memblock compatible unterminated",
        &["memblock", "not terminated"],
        || built(|m, fdt| m.write(prop(m, fdt, "", "compatible") + 11, b"1")),
    );
    let region = |property: &'static str, value: u64| {
        move || built(move |m, fdt| m.set_u64(prop(m, fdt, "state", property), value))
    };
    cases.built(
        "region size 0",
        &["region `state`", "size"],
        region("size", 0),
    );
    cases.built(
        "region too large",
        &["region `state`"],
        region("size", 1 << 30),
    );
    cases.built(
        "region wrapping",
        &["region `state`", "wraps"],
        region("size", u64::MAX),
    );
    cases.built(
        "region null",
        &["region `state`", "null"],
        region("start", 0),
    );
    cases.built(
        "region outside",
        &["region `state`", "not preserved"],
        region("start", 0x7_0000_0000),
    );
    cases.built(
        "region cuts a range",
        &["region `state`", "cut by"],
        region("size", 0x4000),
    );
    // Unaligned as such is what a kernel writes; its pages are preserved all the same.
    cases.built(
        "region unaligned and outside",
        &["region `state`", "not preserved"],
        region("start", 0x7_0000_0008),
    );
    cases.built("region shared", &["region `state`", "is shared"], || {
        built(|m, fdt| {
            let log = m.u64(prop(m, fdt, "log", "start"));
            m.set_u64(prop(m, fdt, "state", "start"), log);
            m.set_u64(prop(m, fdt, "state", "size"), 0x4000);
        })
    });
    cases.built("region without start", &["`start`", "missing"], || {
        built(|m, fdt| {
            let at = prop(m, fdt, "state", "start");
            let name = m.read(prop(m, fdt, "state", "compatible") - 4, 4);
            let size = prop(m, fdt, "state", "size");
            let size_name = m.read(size - 4, 4);
            // `start` is called `size`, and `size` something else.
            m.write(at - 4, &size_name);
            let other = u32::from_be_bytes(name.try_into().unwrap()) + 3;
            m.write(size - 4, &other.to_be_bytes());
        })
    });
}

fn files(cases: &mut Cases) {
    let word = |offset: usize, value: u64| {
        move |bytes: &mut Vec<u8>| bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes())
    };
    cases.file("empty", &["empty file"], Vec::clear);
    cases.file("cut in a segment", &["cut short"], |b| {
        b.truncate(b.len() - 100)
    });
    cases.file("cut in the headers", &["program headers"], |b| {
        b.truncate(200)
    });
    cases.file("cut in the ELF header", &["ELF header"], |b| b.truncate(40));
    cases.file("ELF magic", &["damaged", "raw memory"], |b| b[1] = b'e');
    cases.file("ELF of 32 bits", &["ELF header", "class 1"], |b| b[4] = 1);
    cases.file("ELF big-endian", &["ELF header", "byte order 2"], |b| {
        b[5] = 2
    });
    cases.file("ELF executable", &["not a core"], |b| b[16] = 2);
    cases.file(
        "program headers outside",
        &["program headers"],
        word(32, 1 << 40),
    );
    cases.file("too many program headers", &["damaged"], |b| {
        b[56..58].copy_from_slice(&60000u16.to_le_bytes())
    });
    cases.file("no program headers", &["no PT_LOAD"], |b| {
        b[56..58].copy_from_slice(&0u16.to_le_bytes())
    });
    cases.file(
        "segment outside the file",
        &["cut short"],
        word(64 + 8, 1 << 40),
    );
    cases.file(
        "segment offset wrapping",
        &["cut short"],
        word(64 + 8, u64::MAX - 4095),
    );
    cases.file(
        "segment wrapping",
        &["wraps"],
        word(64 + 24, 0xffff_ffff_ffff_f000),
    );
    cases.file(
        "segment filesz above memsz",
        &["p_filesz"],
        word(64 + 40, 0x1000),
    );
    cases.file(
        "segments overlap",
        &["overlap"],
        word(64 + 56 + 24, 0x15b_4000),
    );
    cases.file(
        "segments share bytes",
        &["overlap in the file"],
        word(64 + 56 + 8, 0x2000),
    );
    cases.file("gzip", &["gzip"], |b| {
        b[..4].copy_from_slice(&[0x1f, 0x8b, 8, 0]);
    });
    cases.file("zstd cut short", &["zstd", "cut short"], |b| {
        *b = std::fs::read(kho_testkit::capture_path("small.core.zst")).unwrap();
        b.truncate(b.len() / 2);
    });
    cases.file("zstd corrupt", &["zstd"], |b| {
        *b = std::fs::read(kho_testkit::capture_path("small.core.zst")).unwrap();
        let middle = b.len() / 2;
        b[middle..middle + 64].fill(0x55);
    });
    cases.file("zeros", &["no handover"], |b| *b = vec![0; 1 << 20]);
}

fn all() -> Vec<Case> {
    let mut cases = Cases::default();
    device_tree(&mut cases);
    tracker(&mut cases);
    scratch(&mut cases);
    subtrees(&mut cases);
    luo(&mut cases);
    blocks(&mut cases);
    sessions(&mut cases);
    memfds(&mut cases);
    memblock(&mut cases);
    files(&mut cases);
    cases.0
}

/// Runs the command with 256 MiB of address space, and ends it if it does not end by itself.
fn run(image: &Path, out: &Path) -> Result<Output, String> {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 262144; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_kho"),
            "restore",
        ])
        .args([image, Path::new("--out"), out])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let since = Instant::now();
    // Messages are short: the pipes can not fill up while we wait.
    while child
        .try_wait()
        .map_err(|error| error.to_string())?
        .is_none()
    {
        if since.elapsed() > Duration::from_secs(30) {
            child.kill().ok();
            return Err("did not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().map_err(|error| error.to_string())
}

fn check(case: &Case, dir: &Path) -> Result<String, String> {
    let image = dir.join("image");
    std::fs::write(&image, (case.make)()).unwrap();
    // Into a directory that has something, which must stay as it is, and into one not there yet.
    let kept = dir.join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("precious"), "data").unwrap();
    let mut text = String::new();
    for out in [kept.clone(), dir.join("new/deeper")] {
        let output = run(&image, &out)?;
        text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(1) {
            return Err(format!("exit status {}: {text}", output.status));
        }
        if text.contains("panicked") || !output.stdout.is_empty() {
            return Err(text);
        }
    }
    if let Some(missing) = case
        .expect
        .iter()
        .find(|expected| !text.contains(**expected))
    {
        return Err(format!("no {missing:?} in: {text}"));
    }
    let names = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let left = (names(dir), names(&kept));
    if left
        != (
            vec!["image".to_owned(), "kept".to_owned()],
            vec!["precious".to_owned()],
        )
    {
        return Err(format!("left behind: {left:?}"));
    }
    Ok(text)
}

#[test]
fn every_damaged_image_is_refused_and_leaves_nothing_behind() {
    let cases = all();
    assert!(cases.len() >= 65, "{} cases", cases.len());
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut failed = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let dir = std::env::temp_dir().join(format!(
                "kho-damaged-{}-{}",
                std::process::id(),
                case.name.replace(['/', ' ', ':'], "-")
            ));
            std::fs::create_dir_all(&dir).unwrap();
            match check(case, &dir) {
                Ok(text) if std::env::var_os("SHOW_DAMAGE").is_some() => {
                    println!("{}\n{text}", case.name)
                }
                Ok(_) => {}
                Err(error) => failed.push(format!("{}: {error}", case.name)),
            }
            std::fs::remove_dir_all(&dir).unwrap();
        }
        failed
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    println!(
        "{} damaged images, {} not refused as they should be",
        cases.len(),
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}
