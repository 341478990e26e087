//! Types in BTF.

use super::*;
use crate::compared::differences;

/// A writer of BTF after its documentation, for a kernel of the facts' structs.
#[derive(Default)]
pub(crate) struct Btf {
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

    pub(crate) fn of(facts: &serde_json::Value) -> Self {
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

    pub(crate) fn bytes(&self) -> Vec<u8> {
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
