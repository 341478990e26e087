//! Memfds.

mod read;
mod written;

kho_abi_check::vectors!("memfd", [
    "8197 bytes: head, a hole, tail; position 2, moved after it was preserved; \
                seals SHRINK and GROW" => written::hole,
    "6 pages and a byte: a folio of order 2 at page 0, one of order 1 at 4, one at 6 that \
                reaches past the end" => written::large,
    "an empty file at position 7; a hole of 257 pages" => written::empty,
    "seals of an empty file, as they are written" => written::seals,
    "what each seal forbids of a file of a page" => written::sealed,
    "what is read of 8197 bytes: head, a hole, tail; position 2, seals SHRINK and GROW" => read::states,
    "what is read of 9 pages: a folio of order 2 at page 0, one of order 0 at 4, holes, one at 7" => read::records,
    "what is read of an empty file, and of a hole of 257 pages" => read::lists,
]);
