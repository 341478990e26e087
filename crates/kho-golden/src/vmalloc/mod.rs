//! Preserved vmalloc areas.

mod pages;
mod read;
mod written;

kho_abi_check::vectors!("vmalloc", [
    "area of 5000 bytes: first, last page's last" => written::pages,
    "area of 2 folios of order 9 with both flags; of a page with each" => written::huge,
    "chunks of areas of 511 and 512 pages" => written::chunks,
    "what is read of an area of 2 pages" => read::pages,
    "what is read of an area of 2 folios of order 2" => read::runs,
    "what is read of an area of 512 pages" => read::chunks,
    "areas that are not written" => read::refused,
]);

kho_abi_check::vectors!("vmalloc", 1, under "16k", [
    "what is read of an area of 512 pages, in one chunk" => pages::area_16k,
]);

kho_abi_check::vectors!("vmalloc", 1, under "64k", [
    "what is read of an area of 512 pages, in one chunk" => pages::area_64k,
]);
