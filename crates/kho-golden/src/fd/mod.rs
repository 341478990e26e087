//! Descriptors that an exec keeps.

mod read;
mod written;

kho_abi_check::vectors!("fd", [
    "state of a socket" => written::socket,
    "what is retrieved of states of a socket, whose number was 7, where another's was 9" => read::states,
    "what is read of three states without opening them" => read::surveyed,
]);
