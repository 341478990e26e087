//! What the reader says of areas for given inputs: what it takes, and what it refuses.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_mem::{Link, Order, PhysAddr, PhysRange};
use kho_radix::{Claims, Preserved, Preserver, Reading};
use kho_vmalloc::v1::{FLAG_ALLOC, VmallocSer};
use kho_vmalloc::{Area, PreserveError, PreservedArea};
use zerocopy::IntoBytes;

use crate::dump::{Dump, arena};
use crate::edits::{Edit, Refusal, addr, behind, bytes, word};

/// Where the descriptor is read: a page beside the arena.
const AT: PhysAddr = PhysAddr::new(0x7000_0000);
const TOTAL: PhysAddr = behind(AT, 8);
const FLAGS: PhysAddr = behind(AT, 12);
const ORDER: PhysAddr = behind(AT, 14);

/// A handed area, and memory that is no part of it.
struct Handed {
    dump: Dump,
    preserved: Preserved,
    ser: VmallocSer,
    // Pages of somebody else: the first is claimed, the second is not.
    others: [PhysAddr; 2],
    large: PhysAddr,
    node: PhysAddr,
}

impl Handed {
    fn new(count: usize, order: u8) -> Result<Self, Failure> {
        let preserver = Preserver::new(arena()?)?;
        let order = Order::new(order).ok_or("no order")?;
        let mut folios = Vec::new();
        for _ in 0..count {
            folios.push(preserver.arena().alloc(order)?);
        }
        let area = PreservedArea::preserve(&preserver, folios, FLAG_ALLOC)?;
        let ser = area.ser();
        area.hand_over();
        let kept = [preserver.alloc_preserve(1)?, preserver.alloc_preserve(1)?];
        let large = preserver.alloc_preserve(8192)?;
        let (others, large_at) = (kept.each_ref().map(|page| page.addr()), large.addr());
        kept.into_iter().for_each(|page| page.hand_over());
        large.hand_over();
        let root = preserver.root();
        let dump = Dump::new(preserver.hand_over().map_err(|_| "still shared")?)?;
        Ok(Self {
            preserved: Preserved::read(dump.mem(), Link::given(root, "root"))?,
            ser,
            others,
            large: large_at,
            node: root,
            dump,
        })
    }

    /// The address of the first chunk.
    fn chunk(&self) -> PhysAddr {
        PhysAddr::new(self.ser.first.get())
    }

    /// Edits that put every sort of address at `at`.
    fn addresses(&self, place: &str, at: PhysAddr) -> [Edit; 7] {
        let [claimed, _] = self.others;
        let to = |what, to| addr(format!("{place}: {what}"), at, to);
        [
            to("0", PhysAddr::NULL),
            to("unaligned", behind(self.chunk(), 8)),
            to("outside memory", PhysAddr::new(0x10_0000_0000)),
            to("a page that is not preserved", self.node),
            to("a page of another", claimed),
            to("a folio of order 1", self.large),
            to("the chunk", self.chunk()),
        ]
    }

    /// What is read of it, and of it with each of `edits`; at most six of its runs of pages.
    fn readings(mut self, edits: &[Edit]) -> Result<String, Failure> {
        let beside = PhysRange::new(AT, 4096).ok_or("no range")?;
        let first = bytes("as written", AT, self.ser.as_bytes());
        let (preserved, [other, _]) = (&self.preserved, self.others);
        self.dump
            .readings_beside(&[beside], &first, edits, |mem, names| {
                let mut reading = Reading::new(mem, Claims::new(preserved));
                reading.page(Link::given(other, "somebody else's page"))?;
                let ser = reading.follow(Link::given(AT, "descriptor"))?;
                let area = Area::read(&mut reading, &ser);
                // What is refused is not claimed.
                if area.is_err() && reading.claims().count() != 1 {
                    return Err(Refusal::new("and stays claimed"));
                }
                let area = area?;
                let runs = area.runs().iter().take(6).map(|run| names.name(*run));
                let runs: Vec<_> = runs.map(|run| format!("{run}")).collect();
                let (pages, order, flags) = (area.pages(), area.order(), area.flags());
                Ok(format!(
                    "{pages} pages of order {order}, flags {flags:#x}, {} chunks\n{} from {}",
                    area.chunks(),
                    area.runs().len(),
                    runs.join(" ")
                ))
            })?;
        Ok(self.dump.finish())
    }
}

/// An area of two pages.
pub(crate) fn pages() -> Result<Text, Failure> {
    let handed = Handed::new(2, 0)?;
    let chunk = handed.chunk();
    let slot = |number: u64| behind(chunk, 8 + 8 * number);
    let [_, free] = handed.others;
    let first = PhysAddr::new(handed.dump.word(slot(0))?);
    let mut edits = Vec::from(handed.addresses("first", AT));
    let total = |value: u32| bytes(format!("total_pages: {value}"), TOTAL, &value.to_le_bytes());
    edits.extend([0, 1, 3, u32::MAX].map(total));
    edits.push(bytes("first and total_pages: 0", AT, &[0; 12]));
    let flags = |value: u16| bytes(format!("flags: {value:#x}"), FLAGS, &value.to_le_bytes());
    edits.extend([0, 1, 2, 3, 4, 0x8000].map(flags));
    let order = |value: u16| bytes(format!("order: {value}"), ORDER, &value.to_le_bytes());
    edits.extend([2, 256].map(order));
    let none = |value: u16| {
        let edit = bytes(format!("no pages of order {value}"), AT, &[0; 12]);
        edit.bytes(ORDER, &value.to_le_bytes())
    };
    edits.extend([52, 53].map(none));
    edits.extend(handed.addresses("entry 1", slot(1)));
    edits.extend([
        addr("entry 1: entry 0", slot(1), first),
        addr("entry 2: one page more", slot(2), free),
        addr("entry 2: one page more, total_pages: 3", slot(2), free).bytes(TOTAL, &[3]),
        word("entry 0: 0", slot(0), 0),
        addr("next: a page", chunk, free),
        addr("next: the chunk", chunk, chunk),
    ]);
    Ok(handed.readings(&edits)?.into())
}

/// An area of larger runs.
pub(crate) fn runs() -> Result<Text, Failure> {
    let handed = Handed::new(2, 2)?;
    let slot = behind(handed.chunk(), 16);
    let second = PhysAddr::new(handed.dump.word(slot)?);
    let order = |value: u8| bytes(format!("order: {value}"), ORDER, &[value]);
    let mut edits = Vec::from([0, 1, 4].map(order));
    edits.extend(handed.addresses("entry 1", slot));
    // What is preserved behind a smaller folio is the arena's affair.
    edits.retain(|edit| !edit.has("a folio of order 1"));
    edits.push(addr("entry 1: its second page", slot, behind(second, 4096)));
    edits.push(bytes("total_pages: 4", TOTAL, &[4]));
    edits.push(bytes("total_pages: 6", TOTAL, &[6]));
    Ok(handed.readings(&edits)?.into())
}

/// A list of two chunks.
pub(crate) fn chunks() -> Result<Text, Failure> {
    let handed = Handed::new(512, 0)?;
    let first = handed.chunk();
    let second = PhysAddr::new(handed.dump.word(first)?);
    let last = PhysAddr::new(handed.dump.word(behind(second, 8))?);
    let [_, free] = handed.others;
    let total = |edit: Edit, pages: u16| edit.bytes(TOTAL, &pages.to_le_bytes());
    #[rustfmt::skip]
    let edits = [
        total(word("511 pages, the second chunk empty", behind(second, 8), 0), 511),
        total(word("511 pages, no second chunk", first, 0), 511),
        total(addr("a last chunk without pages", second, free), 512),
        total(addr("the second chunk alone", AT, second), 1),
        addr("the second chunk leads to the first", second, first),
        addr("the last page is the second chunk", behind(second, 8), second),
        addr("the list begins with the last page", AT, last),
    ];
    Ok(handed.readings(&edits)?.into())
}

/// What is not written.
pub(crate) fn refused() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let mut text = String::new();
    let mut say = |what: &str, folios: &[u8], flags: u16| -> Result<(), Failure> {
        let mut all = Vec::new();
        for order in folios {
            let order = Order::new(*order).ok_or("no order")?;
            all.push(preserver.arena().alloc(order)?);
        }
        let count = all.len();
        let said = match PreservedArea::preserve(&preserver, all, flags) {
            Ok(area) => format!("{} pages", area.ser().total_pages),
            Err(refused) => {
                let back = refused.returned.len();
                let kind = match refused.error {
                    PreserveError::Empty => "empty",
                    PreserveError::MixedOrders { .. } => "mixed orders",
                    PreserveError::UnknownFlags(_) => "unknown flags",
                    PreserveError::TooLarge { .. } => "too large",
                    _ => "another reason",
                };
                format!("refused: {kind}, {back} of {count} folios come back")
            }
        };
        let _ = writeln!(text, "{what}: {said}");
        Ok(())
    };
    say("no folio", &[], 0)?;
    say("a page with flags 3", &[0], 3)?;
    say("a page with flags 4", &[0], 4)?;
    say("a page with flags 0x8000", &[0], 0x8000)?;
    say("folios of orders 1 and 0", &[1, 0], 1)?;
    say("folios of order 1", &[1, 1], 1)?;
    let _ = writeln!(text, "{} pages stay preserved", preserver.pages());
    Ok(text.into())
}
