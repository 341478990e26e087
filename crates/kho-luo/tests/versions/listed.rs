//! What is listed as in use.

use super::*;

#[test]
fn what_is_in_use_is_listed_and_no_more() {
    let registry = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let kho = kho(Writing::TABLE, registry.side()).unwrap();
    let own = ["kexec-metadata", "kho", "radix", "vmalloc"];
    let check = |more: &[&str]| {
        let mut names: Vec<_> = own
            .iter()
            .chain(more)
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        let listed = listed_in(&kho);
        let listed: Vec<_> = listed.iter().map(|listed| listed.name.clone()).collect();
        assert_eq!(listed, names);
    };
    check(&[]);
    let all = handlers()
        .with(Notes {
            kind: "extra",
            version: 1,
        })
        .with_flb(["extra"], Shared("shared-v1"));
    let luo = Orchestrator::new(kho.clone(), all, 0).unwrap();
    check(&["block", "luo"]);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    one.preserve(1, Note::new("note", 1)).unwrap();
    check(&["block", "luo", "note"]);
    two.preserve(1, Note::new("note", 2)).unwrap();
    two.preserve(2, Note::new("extra", 3)).unwrap();
    // An object on which its files depend is not: its name says its version.
    let extra = ["block", "extra", "luo", "note"];
    check(&extra);
    let listed = listed_in(&kho);
    let optional = listed
        .iter()
        .filter(|listed| matches!(listed.said, Said::Version { optional: true, .. }));
    let optional: Vec<_> = optional.map(|listed| listed.name.as_str()).collect();
    assert_eq!(optional, ["extra", "kexec-metadata"]);
    one.close();
    check(&extra);
    luo.freeze().unwrap().unfreeze();
    check(&extra);
    two.close();
    check(&["block", "luo"]);
    drop(luo);
    check(&[]);
}

/// What the root FDT of a handover that is being made lists.
fn listed_in(kho: &Kho) -> Vec<Listed> {
    let mut page = [0; PAGE_SIZE];
    let at = kho.entry().fdt_addr;
    let file = kho.arena().file().unwrap();
    file.read_exact_at(&mut page, at.get() - BASE).unwrap();
    RootFdt::read(&SliceMem::new(at, &page), at)
        .unwrap()
        .listed()
        .unwrap()
}

#[test]
fn a_root_that_is_full_takes_no_first_file_and_is_as_it_was() {
    let registry = registry(&[&NOTE, &EXTRA_1]);
    let kho = kho(Writing::TABLE, registry.side()).unwrap();
    let all = handlers().with(Notes {
        kind: "extra",
        version: 1,
    });
    let luo = Orchestrator::new(kho.clone(), all, 0).unwrap();
    let session = luo.create_session("one").unwrap();
    session.preserve(1, Note::new("note", 1)).unwrap();
    let blob = || kho.preserver().alloc_preserve(1).unwrap();
    // Names of 4 bytes more take 4 bytes more: three take what is left of the page but for less
    // than a word.
    let fits = |name: &str| kho.add_subtree(name, blob(), 1).is_ok();
    let mut count = 0;
    while fits(&format!("s{count:0>27}")) {
        count += 1;
    }
    let lengths = (3..=27).step_by(4);
    let all = lengths
        .clone()
        .flat_map(|a| lengths.clone().map(move |b| (a, b)));
    let mut all = all.flat_map(|(a, b)| lengths.clone().map(move |c| [a, b, c]));
    for number in 1..3 {
        drop(
            kho.remove_subtree(&format!("s{:0>27}", count - number))
                .unwrap(),
        );
    }
    let full = |lengths: [usize; 3]| {
        let names = lengths
            .iter()
            .zip(["x", "y", "z"])
            .map(|(len, name)| format!("{name:x<len$}"));
        let names: Vec<_> = names.collect();
        let added: Vec<_> = names.iter().filter(|name| fits(name)).collect();
        if added.len() == 3 && kho.announce(&["extra"]).is_err() {
            return true;
        }
        if added.len() == 3 {
            kho.withdraw(&["extra"]);
        }
        added
            .into_iter()
            .for_each(|name| drop(kho.remove_subtree(name)));
        false
    };
    assert!(all.any(full));
    let state = || {
        let preserver = kho.preserver();
        (kho.arena().free_blocks(), preserver.keys(), listed_in(&kho))
    };
    let before = state();
    for _ in 0..3 {
        let error = session.preserve(2, Note::new("extra", 2)).unwrap_err();
        assert!(
            matches!(error, LuoError::Kho(KhoError::FdtFull { .. })),
            "{error}"
        );
        assert_eq!((state(), session.files()), (before.clone(), 1));
    }
    // Of a kind that is listed there may be more.
    session.preserve(2, Note::new("note", 2)).unwrap();
    // With room it goes on.
    drop(kho.remove_subtree(&format!("s{:0>27}", 0)).unwrap());
    session.preserve(3, Note::new("extra", 3)).unwrap();
}
