//! The tracker of preserved memory.

mod pages;
mod read;
mod written;

kho_abi_check::vectors!("radix", [
    "keys of naturally aligned ranges" => written::keys,
    "ranges of keys" => written::ranges,
    "tree of 0x1000/0, 0x3000/0 (taken out), 0x200000/9, 3 folios/0 from 0x7fff000, \
                0xfffffffffffff000/0, 0x400000/10 (taken out)" => written::tree,
    "keys of runs of pages, page number/order" => written::runs,
    "preserved: a folio of order 2, 5000 bytes; dropped again: a page" => written::owners,
    "what is read as preserved of a tree of pages 1, 3, 4, 5 and 0x8000" => read::preserved,
    "what walks visit of a tree of pages 1, 3, 4, 5 and 0x8000" => read::walked,
    "claims in a row on 0x1000/0, 0x4000/2, 0x10000/2, 0x14000/0, 0x15000/0, 0x400000/10, \
                0x800000/11" => read::claimed,
]);

kho_abi_check::vectors!("radix", 1, under "16k", [
    "keys in a tree that was made by hand" => pages::keys_16k,
    "what is refused of such a tree" => pages::refused_16k,
]);

kho_abi_check::vectors!("radix", 1, under "64k", [
    "keys in a tree that was made by hand" => pages::keys_64k,
    "what is refused of such a tree" => pages::refused_64k,
]);
