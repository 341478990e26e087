//! Linked blocks.

mod read;
mod written;

kho_abi_check::vectors!("block", [
    "no entries in a set of a block" => written::none,
    "1 entry of 1360 bytes" => written::one,
    "3 entries of 1360 bytes" => written::full,
    "4 entries of 1360 bytes" => written::more,
    "7 entries of 1360 bytes, 3 blocks; the last 3 given back; room for 5 kept" => written::less,
    "4 entries of 1360 bytes, cleared; then 1 entry" => written::again,
    "511 entries of 8 bytes: 1, 2, 3 and so on" => written::packed,
    "entries per block" => written::capacity,
    "the largest sets of entries of 64 and 80 bytes" => written::largest,
    "what is read of 7 entries of 1360 bytes: addresses and first bytes" => read::sets,
    "entries 0, 2, 3, 6 and 7 of 7; three forth and four back" => read::places,
    "what is read of the last block of 1 entry, as entries of other sizes" => read::sizes,
    "formats of versions" => read::versions,
    "a chain of 10001 blocks" => read::longest,
]);

kho_abi_check::vectors!("block", 2, ["what is read of the last block of 1 entry, and of other headers" => read::second]);

kho_abi_check::vectors!("block", 1, under "16k", ["entries per block" => written::capacity_16k]);

kho_abi_check::vectors!("block", 1, under "64k", ["entries per block" => written::capacity_64k]);
