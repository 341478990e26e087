//! What is written of areas for given inputs: the part of the format that no struct shows.

use kho_abi_check::{Failure, Text};
use kho_mem::{Order, PhysAddr};
use kho_radix::Preserver;
use kho_vmalloc::PreservedArea;
use kho_vmalloc::v1::{FLAG_ALLOC, FLAG_HUGE, VmallocSer};
use zerocopy::IntoBytes;

use crate::dump::{Dump, arena, number};

// The format's number, written once more: a dump must not change with the constant.
const PAGE: usize = 4096;

fn hand_over(preserver: Preserver, areas: Vec<PreservedArea>) -> Result<Dump, Failure> {
    areas.into_iter().for_each(PreservedArea::hand_over);
    Dump::new(preserver.hand_over().map_err(|_| "still shared")?)
}

fn descriptor(dump: &mut Dump, ser: &VmallocSer) {
    dump.bytes("descriptor", ser.as_bytes().to_vec());
}

/// An area of single pages.
pub(crate) fn pages() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let mut bytes = vec![0; 5000];
    for (byte, text) in bytes.iter_mut().zip(*b"first") {
        *byte = text;
    }
    for (byte, text) in bytes.iter_mut().rev().zip(*b"last") {
        *byte = text;
    }
    let area = PreservedArea::of_bytes(&preserver, &bytes)?;
    let (ser, root) = (area.ser(), preserver.root());
    let mut dump = hand_over(preserver, Vec::from([area]))?;
    descriptor(&mut dump, &ser);
    let chunk = PhysAddr::new(ser.first.get());
    dump.memory("chunk", chunk, PAGE)?;
    for slot in 1..3 {
        let page = dump.word(PhysAddr::new(chunk.get() + slot * 8))?;
        dump.memory("page", PhysAddr::new(page), PAGE)?;
    }
    dump.preserved(root)?;
    Ok(dump.finish().into())
}

/// An area of huge pages.
pub(crate) fn huge() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let order = Order::new(9).ok_or("no order")?;
    let mut sers = Vec::new();
    for flags in [0, FLAG_ALLOC, FLAG_HUGE] {
        let folio = preserver.arena().alloc(Order::ZERO)?;
        sers.push(PreservedArea::preserve(&preserver, Vec::from([folio]), flags)?.ser());
    }
    let folios = [
        preserver.arena().alloc(order)?,
        preserver.arena().alloc(order)?,
    ];
    let flags = FLAG_ALLOC | FLAG_HUGE;
    let area = PreservedArea::preserve(&preserver, folios.into(), flags)?;
    let ser = area.ser();
    let refused = preserver.arena().alloc(Order::ZERO)?;
    let refused = PreservedArea::preserve(&preserver, Vec::from([refused]), 4).is_err();
    let root = preserver.root();
    let mut dump = hand_over(preserver, Vec::from([area]))?;
    descriptor(&mut dump, &ser);
    dump.memory("chunk", PhysAddr::new(ser.first.get()), PAGE)?;
    dump.preserved(root)?;
    for ser in sers {
        let (pages, flags, order) = (ser.total_pages, ser.flags, ser.order);
        dump.line(format!("flags {flags}: {pages} page of order {order}"));
    }
    dump.line(format!("flags 4 refused: {refused}"));
    Ok(dump.finish().into())
}

/// Areas that fill their chunks.
pub(crate) fn chunks() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let mut areas = Vec::new();
    for pages in [511, 512] {
        let mut folios = Vec::with_capacity(pages);
        for _ in 0..pages {
            folios.push(preserver.arena().alloc(Order::ZERO)?);
        }
        areas.push(PreservedArea::preserve(&preserver, folios, FLAG_ALLOC)?);
    }
    let listed = areas.iter().map(|area| {
        let folios = area.folios().iter().map(|folio| folio.addr().get());
        (area.ser(), folios.collect::<Vec<_>>())
    });
    let listed: Vec<_> = listed.collect();
    let mut dump = hand_over(preserver, areas)?;
    for (ser, folios) in listed {
        dump.line(format!("total_pages {}", ser.total_pages));
        let mut folios = folios.into_iter();
        for at in dump.chain(PhysAddr::new(ser.first.get()))? {
            let page = dump.read(at, PAGE)?;
            let mut words = page.chunks(8).map(number);
            let next = words.next().unwrap_or(0);
            let entries: Vec<_> = words.collect();
            let listed = entries.iter().take_while(|entry| **entry != 0).count();
            let zeros = entries.iter().skip(listed).all(|entry| *entry == 0);
            let in_order = folios
                .by_ref()
                .take(listed)
                .eq(entries.into_iter().take(listed));
            let shown = dump.name(at);
            let next_shown = dump.name(PhysAddr::new(next));
            let order = if in_order {
                "in order"
            } else {
                "in another order"
            };
            let rest = if zeros { "zeros" } else { "more" };
            dump.line(format!(
                "  chunk at {shown}: next {next_shown}, {listed} entries {order}, then {rest}"
            ));
        }
    }
    Ok(dump.finish().into())
}
