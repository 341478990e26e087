//! A field more in vmalloc, under memfd, which contains the descriptor, and under a journal, which points to one.

use std::sync::Arc;

use kho_compat::{AbiLayout, Layout};
use kho_golden::journal::{JOURNAL, Journal, JournalSer, Journals};
use kho_lab::Struct;
use kho_memfd::{MemFile, MemfdHandler};

use super::*;

struct VmallocField;

/// More than a page, and not whole ones.
fn text() -> Vec<u8> {
    b"a field more; ".repeat(1000)
}

impl Story for VmallocField {
    fn component(&self, name: &str) -> Option<&'static Component> {
        match name {
            "journal" => Some(&JOURNAL),
            "memfd" | "vmalloc" => Registry::linked().unwrap().get(name),
            _ => None,
        }
    }

    fn handlers(&self, _: &History, _: &Release) -> Handlers {
        Handlers::new().with(MemfdHandler).with(Journals)
    }

    fn preserve(&self, session: &OutgoingSession, arena: &Arena) -> Result<(), LuoError> {
        let file = Arc::new(MemFile::new(arena));
        file.write_at(9000, &text()).unwrap();
        session.preserve(1, file)?;
        session.preserve(2, Arc::new(Journal(text())))
    }

    fn is_restored(&self, session: &IncomingSession) -> Result<bool, String> {
        let file = session.retrieve::<MemFile>(1);
        let file = file.map_err(|error| error.to_string())?;
        let journal = session.retrieve::<Journal>(2);
        let journal = journal.map_err(|error| error.to_string())?;
        let mut bytes = vec![1; 9000 + text().len()];
        let read = file
            .read_at(0, &mut bytes)
            .map_err(|error| error.to_string())?;
        let expected = [vec![0; 9000], text()].concat();
        Ok(read == expected.len() && bytes == expected && journal.0 == text())
    }
}

#[test]
fn every_pair_is_what_the_laboratory_says() {
    let saying = |restored| [restored, 16 - restored, 0];
    assert_eq!(
        compare("vmalloc-field", &VmallocField),
        [
            // Plain strings can not say vmalloc-v2: release 1 alone hands over, and 4 does not read it.
            ("global-version", [3, 1, 12]),
            ("composite-exact", saying(10)),
            ("composite-exact-direct", saying(10)),
            ("composite-by-token", saying(10)),
            ("composite-by-token-direct", saying(10)),
            ("semver-range", saying(12)),
            ("component-callback", saying(12)),
            ("newest-common", saying(13)),
            ("check-at-restore", saying(12)),
            ("feature-masks", [3, 1, 12]),
        ]
    );
}

/// The history's layouts are those that are written and read.
#[test]
fn layouts_are_those_of_the_code() {
    let history = History::parse(builtin("vmalloc-field").unwrap()).unwrap();
    let of = |layout: &str, name: &str| history.layouts[layout].structs[name].clone();
    let described = |layout: Layout| {
        let fields = layout.fields.iter();
        let fields = fields.map(|field| (field.name.to_string(), field.offset, field.size));
        (layout.size, fields.collect::<Vec<_>>())
    };
    let told = |told: Struct| {
        let fields = told
            .fields
            .into_iter()
            .map(|field| (field.0, field.1, field.2));
        (told.size, fields.collect::<Vec<_>>())
    };
    for (layout, ours) in [
        ("vmalloc/1", kho_vmalloc::v1::VmallocSer::layout()),
        ("vmalloc/2", kho_vmalloc::v2::VmallocSer::layout()),
        ("memfd/2", kho_memfd::v2::MemfdSer::layout()),
        ("memfd/3", kho_memfd::v3::MemfdSer::layout()),
    ] {
        let name = ours.name.to_string();
        assert_eq!(told(of(layout, &name)), described(ours), "{layout}");
    }
    let area = (std::mem::offset_of!(JournalSer, area), 8);
    let len = (std::mem::offset_of!(JournalSer, len), 8);
    let (size, fields) = told(of("journal/1", "JournalSer"));
    assert_eq!(size, size_of::<JournalSer>());
    assert_eq!(fields[0], ("area".to_owned(), area.0, area.1));
    assert_eq!(fields[1], ("len".to_owned(), len.0, len.1));
}
