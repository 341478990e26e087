//! Peers of the field on the same data: sets of keys, and serialisers of records.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use kho_mem::{Order, PhysAddr};
use kho_radix::Key;
use roaring::RoaringTreemap;

use crate::data::entry;
use crate::radix::timed;
use crate::{Data, Result, Work, Workload};

/// A set of keys that is not ours.
trait Set: Default + 'static {
    const NAME: &'static str;
    fn put(&mut self, key: u64);
    fn take(&mut self, key: u64);
    /// Puts keys in a row in, in one call where there is one.
    fn put_range(&mut self, from: u64, count: u64);
    /// Calls for every key, in order; returns how many there are.
    fn each(&self, call: impl FnMut(u64)) -> u64;
}

impl Set for RoaringTreemap {
    const NAME: &'static str = "roaring";

    fn put(&mut self, key: u64) {
        self.insert(key);
    }

    fn take(&mut self, key: u64) {
        self.remove(key);
    }

    fn put_range(&mut self, from: u64, count: u64) {
        self.insert_range(from..from + count);
    }

    fn each(&self, mut call: impl FnMut(u64)) -> u64 {
        let mut keys = 0;
        for key in self {
            call(key);
            keys += 1;
        }
        keys
    }
}

impl Set for BTreeSet<u64> {
    const NAME: &'static str = "btreeset";

    fn put(&mut self, key: u64) {
        self.insert(key);
    }

    fn take(&mut self, key: u64) {
        self.remove(&key);
    }

    fn put_range(&mut self, from: u64, count: u64) {
        self.extend(from..from + count);
    }

    fn each(&self, mut call: impl FnMut(u64)) -> u64 {
        let mut keys = 0;
        for key in self {
            call(*key);
            keys += 1;
        }
        keys
    }
}

/// The number of the first key of an order: what the tree itself holds.
fn first(order: Order) -> u64 {
    Key::encode(PhysAddr::NULL, order).map_or(0, Key::get)
}

fn filled<S: Set>(first: u64, count: u64) -> S {
    let mut set = S::default();
    set.put_range(first, count);
    set
}

fn chosen<S: Set>(first: u64, pages: &[u64]) -> S {
    let mut set = S::default();
    pages.iter().for_each(|page| set.put(first | page));
    set
}

fn walk<S: Set>(set: &S) -> u64 {
    let mut sum = 0u64;
    let keys = set.each(|key| sum = sum.wrapping_add(black_box(key)));
    black_box(sum);
    keys
}

fn sets<S: Set>(data: Data) -> Vec<Workload> {
    let (small, large) = (first(Order::ZERO), first(data.order));
    let (count, folios) = (data.contiguous, data.folios);
    let (keys, random) = (Work::Keys(count), Work::Keys(data.random));
    let made = |name, first, count| {
        Workload::new(name, Work::Keys(count), move || {
            timed(|| Ok(filled::<S>(first, count)))
        })
    };
    let walked = |name, first, count| {
        let make = move || Ok(filled::<S>(first, count));
        Workload::on(name, Work::Keys(count), make, |set| timed(|| Ok(walk(set))))
    };
    let pages = move || Ok(data.random_pages());
    let sparse = move || Ok(chosen::<S>(small, &data.random_pages()));
    let all = vec![
        Workload::new("radix_add_contig_o0", keys, move || {
            let mut set = S::default();
            timed(|| {
                (0..count).for_each(|page| set.put(small | page));
                black_box(&set);
                Ok(())
            })
        }),
        Workload::new("radix_del_contig_o0", keys, move || {
            let mut set = filled::<S>(small, count);
            timed(|| {
                (0..count).for_each(|page| set.take(small | page));
                black_box(&set);
                Ok(())
            })
        }),
        walked("radix_walk_dense", small, count),
        Workload::on("radix_add_random_1Tspan", random, pages, move |pages| {
            timed(|| Ok(chosen::<S>(small, pages)))
        }),
        Workload::on("radix_walk_sparse", random, sparse, |set| {
            timed(|| Ok(walk(set)))
        }),
        made("radix_add_1TiB_as_2M", large, folios),
        walked("radix_walk_1TiB_as_2M", large, folios),
        made("radix_preserve_range_dense", small, count),
    ];
    let all = all.into_iter();
    all.map(|workload| workload.by(S::NAME)).collect()
}

/// Times of writing and reading `$records`, of which `$record` is looked at as said.
macro_rules! times {
    ($type:ty, $records:expr, $record:ident => $look:expr) => {{
        let sum = |sum: u64, look: u64| sum.wrapping_add(look);
        let records: &$type = $records;
        // Room for it, as a writer has that knows how much there is.
        let room = size_of_val(records.as_slice()) + 64;
        let mut bytes = rkyv::util::AlignedVec::<16>::new();
        let write = timed(|| {
            let out = rkyv::util::AlignedVec::with_capacity(room);
            bytes = rkyv::api::high::to_bytes_in::<_, RkyvError>(records, out)?;
            Ok(())
        })?;
        let read = timed(|| {
            let records = rkyv::access::<rkyv::Archived<$type>, RkyvError>(&bytes)?;
            Ok(records.iter().map(|$record| $look).fold(0, sum))
        })?;
        let rkyv = ("rkyv", [write, read]);
        let mut bytes = Vec::new();
        let write = timed(|| {
            bytes = Vec::with_capacity(room);
            bincode::encode_into_std_write(records, &mut bytes, bincode())?;
            Ok(())
        })?;
        let read = timed(|| {
            let (records, _): ($type, _) = bincode::decode_from_slice(&bytes, bincode())?;
            Ok(records.iter().map(|$record| $look).fold(0, sum))
        })?;
        Ok(vec![rkyv, ("bincode", [write, read])])
    }};
}

type Records = Vec<[u64; 4]>;
type Archived = rkyv::Archived<Records>;
type RkyvError = rkyv::rancor::Error;

fn records(count: u64) -> Records {
    (0..count).map(entry).collect()
}

const fn bincode() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding()
}

fn with_bincode(records: &Records, bytes: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes);
    bincode::encode_into_std_write(records, &mut out, bincode())?;
    Ok(out)
}

fn with_rkyv(records: &Records, bytes: usize) -> Result<rkyv::util::AlignedVec> {
    let out = rkyv::util::AlignedVec::with_capacity(bytes);
    Ok(rkyv::api::high::to_bytes_in::<_, RkyvError>(records, out)?)
}

fn sum<'r>(records: impl Iterator<Item = [u64; 4]> + 'r) -> u64 {
    records.fold(0, |sum, words| {
        words.iter().fold(sum, |sum, word| sum.wrapping_add(*word))
    })
}

/// Records handed over as bytes: written from a vector, checked, and read where they lie or, where that
/// is not offered, taken out.
fn serialisers(data: Data) -> Vec<Workload> {
    let count = data.entries;
    let bytes = count * size_of::<[u64; 4]>() as u64;
    let work = Work::Entries(count, bytes);
    // What the formats add.
    let room = usize::try_from(bytes).unwrap_or(0) + 64;
    let make = move || Ok(records(count));
    let of_rkyv = move || with_rkyv(&records(count), room);
    let of_bincode = move || with_bincode(&records(count), room);
    vec![
        Workload::on("block_write_32B", work, make, move |records| {
            timed(|| with_bincode(records, room))
        })
        .by("bincode"),
        Workload::on("block_write_32B", work, make, move |records| {
            timed(|| with_rkyv(records, room))
        })
        .by("rkyv"),
        Workload::on("block_restore", work, of_rkyv, |bytes| {
            timed(|| Ok(rkyv::access::<Archived, RkyvError>(bytes)?.len()))
        })
        .by("rkyv"),
        Workload::on("block_restore", work, of_bincode, |bytes| {
            timed(|| Ok(bincode::decode_from_slice::<Records, _>(bytes, bincode())?.0))
        })
        .by("bincode"),
        Workload::on("block_read_32B", work, of_rkyv, |bytes| {
            let records = rkyv::access::<Archived, RkyvError>(bytes)?.iter();
            let records = records.map(|words| words.map(|word| word.to_native()));
            timed(|| Ok(sum(records)))
        })
        .by("rkyv"),
        Workload::on("block_read_32B", work, make, |records| {
            timed(|| Ok(sum(black_box(records).iter().copied())))
        })
        .by("bincode"),
    ]
}

pub(crate) fn workloads(data: Data) -> Vec<Workload> {
    let mut all = sets::<RoaringTreemap>(data);
    all.extend(sets::<BTreeSet<u64>>(data));
    all.extend(serialisers(data));
    all
}

/// A file's record as LUO hands it over: who restores it, what of, and its token.
type FileRecord = ([u8; 24], [u8; 24], u64, u64);

/// `count` of them.
fn file_records(count: u64) -> Vec<FileRecord> {
    let mut kind = [0; 24];
    kind.iter_mut()
        .zip(b"bench-v1")
        .for_each(|(to, from)| *to = *from);
    (0..count)
        .map(|index| (kind, [0; 24], index, index))
        .collect()
}

/// What each peer takes to write records and to read them again.
pub type Times = Vec<(&'static str, [Duration; 2])>;

/// What it takes to write `count` entries of four words, and to read them again.
// What rkyv reads is converted, what bincode reads need not be.
#[allow(clippy::useless_conversion)]
pub fn entry_times(count: u64) -> Result<Times> {
    let records = records(count);
    times!(Records, &records, record => record.iter().fold(0u64, |sum, word| sum ^ u64::from(*word)))
}

/// What it takes to write `count` file records, and to read them again.
// As above.
#[allow(clippy::useless_conversion)]
pub fn file_times(count: u64) -> Result<Times> {
    let records = file_records(count);
    times!(Vec<FileRecord>, &records, record => u64::from(record.2) ^ u64::from(record.3))
}
