//! A new component under linked blocks, whose user does not change: a ledger (in the place of LUO) keeps numbers on a
//! shelf (in the place of block), which is a chain of pages at first and then pages that an array lists. What lies
//! in memory is written and read by the history's own layouts, the fields by their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use kho_compat::{Carrier, Generation};
use kho_core::PreservedFolio;
use kho_lab::Layout;
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::{Damage, Defect, Link, PAGE_SIZE, PhysMemExt, put};
use kho_radix::{Preserver, RestoreError, Restoring};
use zerocopy::little_endian::U64;

use super::*;

static LEDGER: Component = Component::new("ledger", &[Generation::new(5).needs(&[("shelf", 1)])])
    .carried_in(Carrier::FileHandler)
    .field(48);
static SHELF: Component = Component::new(
    "shelf",
    &[
        Generation::new(1),
        Generation::new(2).needs(&[("array", 1)]),
    ],
);
static ARRAY: Component = Component::new("array", &[Generation::new(1), Generation::new(2)]);

struct BlockNeed;

/// A file of numbers.
struct Ledger(Vec<u64>);

/// Numbers in a block, at most.
const PER_BLOCK: usize = 3;

/// In more blocks than a page of an array lists.
fn numbers() -> Vec<u64> {
    (1..=1600).map(|n| n * 7).collect()
}

/// The layouts of a release by component and version, and whether it writes an array.
#[derive(Clone)]
struct Ledgers(BTreeMap<(String, u32), Layout>);

/// The fields of a structure.
struct Fields<'l>(&'l kho_lab::Struct);

impl Fields<'_> {
    /// Where a field stands, and its bytes.
    fn place(&self, name: &str) -> (usize, usize) {
        let mut fields = self.0.fields.iter();
        let field = fields.find(|field| field.0 == name).unwrap();
        (field.1, field.2)
    }

    fn set(&self, page: &mut [u8], name: &str, value: u64) -> Result<(), HandlerError> {
        let (at, _) = self.place(name);
        put(page, at, &value.to_le_bytes(), "bytes of a page").map_err(HandlerError::new)
    }

    /// The place of the word `index` of a field in the structure at `at`.
    fn at(&self, at: PhysAddr, name: &str, index: usize) -> PhysAddr {
        PhysAddr::new(at.get() + (self.place(name).0 + 8 * index) as u64)
    }

    fn get(&self, restoring: &Restoring<'_, '_>, at: PhysAddr, name: &str) -> Result<u64, Damage> {
        word(restoring, self.at(at, name, 0))
    }
}

fn word(restoring: &Restoring<'_, '_>, at: PhysAddr) -> Result<u64, Damage> {
    let link = Link::given(at, "word");
    restoring.mem().follow::<U64>(link).map(|word| word.get())
}

impl Ledgers {
    fn of(&self, component: &str, version: u32) -> Result<&Layout, HandlerError> {
        let key = (component.to_owned(), version);
        let unknown = || std::io::Error::other(format!("no layout of {component}-v{version}"));
        self.0.get(&key).ok_or_else(|| HandlerError::new(unknown()))
    }

    /// Writes `pages`, each of which holds a part of `entries` behind what `head` puts before it. Returns the first.
    fn chain(
        made: &mut Vec<PreservedFolio>,
        preserver: &Preserver,
        parts: &[&[u64]],
        mut head: impl FnMut(&mut [u8], usize, u64) -> Result<usize, HandlerError>,
    ) -> Result<Vec<u64>, HandlerError> {
        // From the last one on, so that each knows the next.
        let (mut addrs, mut next) = (Vec::new(), 0);
        for (index, part) in parts.iter().enumerate().rev() {
            let page = preserver.alloc_preserve(PAGE_SIZE);
            let mut page = page.map_err(HandlerError::new)?;
            let at = head(&mut page, index, next)?;
            let bytes: Vec<u8> = part.iter().flat_map(|word| word.to_le_bytes()).collect();
            put(&mut page, at, &bytes, "bytes of a page").map_err(HandlerError::new)?;
            next = page.addr().get();
            addrs.push(next);
            made.push(page);
        }
        addrs.reverse();
        Ok(addrs)
    }

    /// Writes `numbers` on a shelf of the version that `kho` writes. Returns what leads to it.
    fn write(
        &self,
        made: &mut Vec<PreservedFolio>,
        kho: &Kho,
        numbers: &[u64],
    ) -> Result<u64, HandlerError> {
        let preserver = kho.preserver();
        let version = |name| kho.side().get(name).map_or(0, |ability| ability.version);
        let shelf = version(SHELF.name);
        let blocks = self.of(SHELF.name, shelf)?;
        let header = Fields(&blocks.structs["block_header"]);
        let parts: Vec<_> = numbers.chunks(PER_BLOCK).collect();
        let addrs = Self::chain(made, preserver, &parts, |page, index, next| {
            header.set(page, "count", parts[index].len() as u64)?;
            if shelf == 1 {
                header.set(page, "next", next)?;
            }
            Ok(header.0.size)
        })?;
        if shelf == 1 {
            return Ok(addrs[0]);
        }
        let version = version(ARRAY.name);
        let array = self.of(ARRAY.name, version)?;
        let (head, fields) = (
            Fields(&array.structs["array"]),
            Fields(&array.structs["array_page"]),
        );
        let (at, len) = fields.place("entries");
        let lists: Vec<_> = addrs.chunks(len / 8).collect();
        let pages = Self::chain(made, preserver, &lists, |page, index, next| {
            fields.set(page, "next", next)?;
            fields.set(page, "startpos", (index * (len / 8)) as u64)?;
            if version == 2 {
                fields.set(page, "count", lists[index].len() as u64)?;
            }
            Ok(at)
        })?;
        let set = Fields(&blocks.structs["block_set"]);
        let head = Self::chain(made, preserver, &[&[]], |page, _, _| {
            head.set(page, "first", pages[0])?;
            Ok(0)
        })?;
        let set = Self::chain(made, preserver, &[&[]], |page, _, _| {
            set.set(page, "array", head[0])?;
            set.set(page, "count", addrs.len() as u64)?;
            Ok(0)
        })?;
        Ok(set[0])
    }

    /// Reads the shelf that `link` leads to, of the versions that were handed over.
    fn read(
        &self,
        restoring: &mut Restoring<'_, '_>,
        link: Link,
    ) -> Result<Vec<u64>, HandlerError> {
        let refused = |error: RestoreError| HandlerError::new(error);
        let damaged = |error: Damage| HandlerError::new(error);
        let found = restoring.found(&SHELF).map_err(HandlerError::new)?.number;
        let blocks = self.of(SHELF.name, found)?;
        let header = Fields(&blocks.structs["block_header"]);
        let mut numbers = Vec::new();
        let mut block = |restoring: &mut Restoring<'_, '_>, at| -> Result<(), RestoreError> {
            restoring.page(Link::given(at, "block"))?;
            let count = header.get(restoring, at, "count")?;
            if count > PER_BLOCK as u64 {
                return Err(Damage::new(Defect::BadCount, "count", at).into());
            }
            for index in 0..count {
                let at = at.get() + header.0.size as u64 + 8 * index;
                numbers.push(word(restoring, PhysAddr::new(at))?);
            }
            Ok(())
        };
        if found == 1 {
            let mut next = link.to;
            while !next.is_null() {
                block(restoring, next).map_err(refused)?;
                next = PhysAddr::new(header.get(restoring, next, "next").map_err(damaged)?);
            }
            return Ok(numbers);
        }
        let version = restoring.found(&ARRAY).map_err(HandlerError::new)?.number;
        let array = self.of(ARRAY.name, version)?;
        let (head, fields) = (
            Fields(&array.structs["array"]),
            Fields(&array.structs["array_page"]),
        );
        let room = fields.place("entries").1 / 8;
        let set = Fields(&blocks.structs["block_set"]);
        let mut read = || -> Result<(), RestoreError> {
            restoring.page(Link::given(link.to, "set"))?;
            let at = PhysAddr::new(set.get(restoring, link.to, "array")?);
            let blocks = set.get(restoring, link.to, "count")?;
            restoring.page(Link::given(at, "array"))?;
            let (mut next, mut seen) = (head.get(restoring, at, "first")?, 0);
            while next != 0 {
                let at = PhysAddr::new(next);
                restoring.page(Link::given(at, "array page"))?;
                let count = match version {
                    1 => room as u64,
                    _ => fields.get(restoring, at, "count")?.min(room as u64),
                };
                for index in 0..usize::try_from(count).unwrap() {
                    match word(restoring, fields.at(at, "entries", index))? {
                        0 => break,
                        entry => block(restoring, PhysAddr::new(entry))?,
                    }
                    seen += 1;
                }
                next = fields.get(restoring, at, "next")?;
            }
            if seen != blocks {
                let damage = Damage::new(Defect::Mismatch, "count", link.to);
                return Err(damage.found(seen).expected(blocks).into());
            }
            Ok(())
        };
        read().map_err(refused)?;
        Ok(numbers)
    }
}

impl FileHandler for Ledgers {
    type File = Ledger;
    type Preserved = (u64, Vec<PreservedFolio>);

    fn component(&self) -> &'static str {
        LEDGER.name
    }

    fn writes(&self) -> &[u32] {
        &[5]
    }

    fn preserve(&self, kho: &Kho, file: &Arc<Ledger>) -> Result<Self::Preserved, HandlerError> {
        let mut made = Vec::new();
        let at = self.write(&mut made, kho, &file.0)?;
        Ok((at, made))
    }

    fn unpreserve(&self, _: &Arc<Ledger>, preserved: Self::Preserved) {
        drop(preserved);
    }

    fn freeze(&self, _: &Arc<Ledger>, made: &mut Self::Preserved) -> Result<u64, HandlerError> {
        Ok(made.0)
    }

    fn unfreeze(&self, _: &Arc<Ledger>, _: &mut Self::Preserved) {}

    fn hand_over(&self, _: &Arc<Ledger>, made: Self::Preserved) {
        made.1.into_iter().for_each(PreservedFolio::hand_over);
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Ledger>, HandlerError> {
        let link = retrieve.link(data, "shelf");
        let numbers = retrieve.restoring(|restoring| self.read(restoring, link))?;
        Ok(Arc::new(Ledger(numbers)))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<Ledger>>) {}
}

impl Story for BlockNeed {
    fn component(&self, name: &str) -> Option<&'static Component> {
        match name {
            "luo" => Some(&LEDGER),
            "block" => Some(&SHELF),
            "array" => Some(&ARRAY),
            _ => None,
        }
    }

    fn handlers(&self, history: &History, release: &Release) -> Handlers {
        let mut layouts = BTreeMap::new();
        for (name, known) in &release.layouts {
            let Some(component) = self.component(name) else {
                continue;
            };
            let own = release.side.get(name).unwrap().version;
            for one in component.generations {
                if let Some(layout) = known.of(one.number, own) {
                    let key = (component.name.to_owned(), one.number);
                    layouts.insert(key, history.layouts[layout].clone());
                }
            }
        }
        Handlers::new().with(Ledgers(layouts))
    }

    fn preserve(&self, session: &OutgoingSession, _: &Arena) -> Result<(), LuoError> {
        session.preserve(1, Arc::new(Ledger(numbers())))
    }

    fn is_restored(&self, session: &IncomingSession) -> Result<bool, String> {
        let ledger = session.retrieve::<Ledger>(1);
        Ok(ledger.map_err(|error| error.to_string())?.0 == numbers())
    }
}

#[test]
fn every_pair_is_what_the_laboratory_says() {
    let saying = |restored| [restored, 16 - restored, 0];
    // Strings of direct needs say nothing of the array: 2 writes the version that they stand for, 3 and 4 do not. Who
    // reads 2's takes its own version: 2 is right, 3 and 4 find that the pages make no sense.
    let direct = [2, 6, 8];
    assert_eq!(
        compare("block-need", &BlockNeed),
        [
            ("global-version", [1, 3, 12]),
            ("composite-exact", saying(6)),
            ("composite-exact-direct", direct),
            ("composite-by-token", saying(6)),
            ("composite-by-token-direct", direct),
            ("semver-range", saying(7)),
            ("component-callback", saying(7)),
            ("newest-common", saying(8)),
            ("check-at-restore", saying(7)),
            ("feature-masks", [1, 3, 12]),
        ]
    );
}
