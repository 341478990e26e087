//! Memfds in a survey.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kho_compat::describe::Members;
use kho_compat::{Fact, NotAdmitted, count};
use kho_core::RestoredFile;
use kho_luo::{AdmittedFile, Column, File, FileContents, FileOwner};
use kho_mem::{Damage, MemError, Piece};
use kho_radix::{Reading, Restoring};

use crate::{COMPONENT, Memfd, MemfdError, RestoredMemfd, Seals, v2};

/// The owner of memfds.
const OWNER: FileOwner = FileOwner::new(&COMPONENT, survey).restored_by(restore);

kho_compat::submit! { OWNER }

/// What is kept of a memfd: enough to describe it, without its list of folios.
#[derive(Debug)]
struct Found {
    pos: u64,
    size: u64,
    seals: Seals,
    flags: u32,
    nr_folios: usize,
    area: Fact,
    /// Orders in order of the file, run-length encoded; `None` for holes.
    orders: Box<[(Option<u8>, u64)]>,
}

fn survey(reading: &mut Reading<'_>, file: &File) -> Result<Box<dyn FileContents>, Damage> {
    let memfd = Memfd::read(reading, file)?;
    let in_pages = |order| reading.page_size().pages_of(order).unwrap_or_default();
    let mut orders: Vec<(Option<u8>, u64)> = Vec::new();
    for folio in memfd.folios() {
        let order = folio.addr.map(|_| in_pages(folio.order));
        match orders.last_mut() {
            Some((last, count)) if *last == order => *count += 1,
            _ => orders.push((order, 1)),
        }
    }
    let area = memfd.area();
    let area = Fact::map([
        ("total_pages", area.pages().into()),
        ("flags", area.flags().into()),
        ("order", in_pages(area.order()).into()),
        ("chunks", area.chunks().into()),
    ]);
    Ok(Box::new(Found {
        pos: memfd.pos(),
        size: memfd.size(),
        seals: memfd.seals(),
        flags: memfd.flags(),
        nr_folios: memfd.folios().len(),
        area,
        orders: orders.into(),
    }))
}

impl FileContents for Found {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn facts(&self) -> Members {
        let mut facts: Members = vec![
            ("pos".to_string(), self.pos.into()),
            ("size".to_string(), self.size.into()),
            ("seals".to_string(), self.seals.bits().into()),
            ("nr_folios".to_string(), self.nr_folios.into()),
            ("vmalloc".to_string(), self.area.clone()),
        ];
        // Left out where all folios are single pages, as most are.
        if self.orders.iter().any(|(order, _)| *order != Some(0)) {
            let run =
                |(order, n): &(Option<u8>, u64)| Fact::List(vec![(*order).into(), (*n).into()]);
            facts.push((
                "folio_orders".to_string(),
                self.orders.iter().map(run).collect(),
            ));
        }
        facts
    }

    fn noted(&self) -> Members {
        let mut noted = self.facts();
        noted.push(("flags".to_string(), self.flags.into()));
        noted
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            Column {
                value: self.size.to_string(),
                after: " bytes",
                ..Column::default()
            },
            Column {
                before: "pos ",
                value: self.pos.to_string(),
                ..Column::default()
            },
            Column::text(self.folios()),
        ];
        if !self.seals.is_empty() {
            columns.push(Column::text(format!("sealed {}", self.seals)));
        }
        columns
    }
}

impl Found {
    fn folios(&self) -> String {
        let orders = self.orders.iter().filter_map(|(order, _)| *order);
        let mut orders: Vec<u8> = orders.collect();
        orders.sort_unstable();
        orders.dedup();
        let orders = match orders.as_slice() {
            [] | [0] => String::new(),
            [order] => format!(" of order {order}"),
            [first, .., last] => format!(" of orders {first} to {last}"),
        };
        format!("{}{orders}", count(self.nr_folios as u64, "folio"))
    }
}

fn restore<'m>(
    restoring: &mut Restoring<'_, 'm>,
    file: &AdmittedFile<'_>,
) -> Result<Box<dyn RestoredFile + 'm>, kho_radix::RestoreError> {
    let restored = Memfd::restore(restoring, file).map_err(|error| match error {
        MemfdError::NotAdmitted(error) => error.into(),
        MemfdError::Damaged(damage) => kho_radix::RestoreError::from(damage),
        // The files of another handler have another owner.
        MemfdError::NotMemfd { found, .. } => {
            NotAdmitted::new(found, v2::VERSION, "memfds alone").into()
        }
    })?;
    Ok(Box::new(restored))
}

impl RestoredFile for RestoredMemfd<'_> {
    fn size(&self) -> u64 {
        self.memfd().size()
    }

    fn pieces(&self) -> Box<dyn Iterator<Item = Result<Piece<'_>, MemError>> + '_> {
        Box::new(RestoredMemfd::pieces(self))
    }

    fn not_stored(&self) -> Result<Vec<(u64, u64)>, MemError> {
        self.find_not_stored()
    }
}
