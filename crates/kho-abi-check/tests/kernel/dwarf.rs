//! Types in DWARF.

use super::*;

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
