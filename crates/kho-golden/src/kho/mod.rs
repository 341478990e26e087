//! The root FDT, and what it leads to.

mod alone;
pub(crate) mod fdt;
pub(crate) mod handed;
mod pages;
mod read;
mod written;

kho_abi_check::vectors!("kho", [
    "root FDT: subtrees zeta, 5 bytes, and alpha, 8192 bytes; one between them taken out" => written::root,
    "root FDT in each dialect, whose root needs first and second: a subtree with an owner" => written::dialects,
    "scratch table: 40 MiB at 0xcc00000, none, 120 MiB at 0x5400000" => written::scratch,
    "what is read of a root FDT with subtrees one, 5 bytes, and two, 8192 bytes" => read::root,
    "what is read of what a root FDT lists" => read::listed,
    "what is opened of a handover with subtrees one and two, and a scratch table" => read::handover,
    "what is read of a scratch table: 40 MiB at 0xcc00000, none, 120 MiB at 0x5400000" => read::scratch,
    "subtrees, regions, releases and scratch areas that are not taken" => read::refused,
    "what one check alone refuses to read of a root FDT, a list, a handover and a scratch area" => alone::refused,
]);

kho_abi_check::vectors!("kho", 4, under "16k", [
    "what is opened of a handover with metadata, regions, sessions and FLBs" => pages::opened_16k,
]);

kho_abi_check::vectors!("kho", 4, under "64k", [
    "what is opened of a handover with metadata, regions, sessions and FLBs" => pages::opened_64k,
]);
